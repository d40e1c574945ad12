"""Whole conversations with the relay: what is said, what is heard, what is remembered, what the model is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conversation.relay_talk import (
    ANSWER,
    GREETING,
    QUESTION,
    SECOND,
    SECOND_ANSWER,
    UNKNOWN,
    Cast,
    Outcome,
    both_wires,
    talk,
    tenant,
)
from tests.standins.realtime import FailTranscription
from tests.standins.realtime import Say as Reply
from tests.standins.realtime.listening import Listening
from tests.standins.session import Action, Ask, Say, Type
from trunkline.tenants import RelaySettings
from workers.backend import Item, Snapshot

STOP = "no stop that"
STOP_ANSWER = "all the then"
STOPPED = {STOP: Reply(STOP_ANSWER)}


def stopping(**of_tenant: Any) -> Cast:
    return Cast(tenant(**of_tenant), answers=STOPPED)


def assert_cut(outcome: Outcome, answer: str = ANSWER, place: int = 1) -> str:
    """The answer at `place` is remembered as far as it was heard, by us and by the model. Returns the heard words."""
    role, cut = outcome.items[place]
    assert role == "assistant"
    assert answer.startswith(cut)
    [truncation] = outcome.sent("conversation.item.truncate")
    [turn] = [each for each in outcome.edge.turns.values() if each.cleared]
    assert abs(truncation["audio_end_ms"] - turn.played_ms) <= 20
    assert outcome.model.session.truncations
    heard = outcome.heard.split()
    before = heard[: heard.index(outcome.model_items[-1][1].split()[0])]
    assert len(before) - 1 <= len(cut.split()) <= len(before) + 1
    [told] = [told for told in outcome.events("transcript") if told.data.get("interrupted")]
    assert told.data["text"] == cut
    return cut


def test_question_and_answer() -> None:
    outcome = talk([Say(1000, QUESTION)])
    assert outcome.heard == ANSWER
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)] == outcome.model_items
    assert outcome.told("state", "state") == ["listening", "thinking", "speaking", "listening"]
    assert outcome.told("transcript", "text") == [QUESTION, ANSWER]
    assert "".join(outcome.told("transcript_delta", "delta")) == ANSWER
    assert outcome.told("speech_started", "media_ms") == [700], "with the model's padding"
    assert outcome.told("speech_stopped", "media_ms") == pytest.approx([2080], abs=20)
    assert outcome.last.committed.answer is None
    assert outcome.last.rests == [True, False, True]
    assert not outcome.sent("response.create")


@both_wires
def test_latency_is_told_in_parts_that_sum() -> None:
    [told] = talk([Say(1000, QUESTION)]).events("latency")
    assert [part for part, _ in told.data["parts"]] == ["endpoint", "model"]
    assert sum(ms for _, ms in told.data["parts"]) == told.data["total_ms"] == pytest.approx(550, abs=20)
    assert told.data["providers"] == {"model": f"openai {RelaySettings().model}"}


@both_wires
def test_greeting_comes_first_and_only_once() -> None:
    outcome = talk([Say(2000, QUESTION)], Cast(tenant(GREETING)))
    assert outcome.heard == f"{GREETING} {ANSWER}"
    assert outcome.items == [("assistant", GREETING), ("user", QUESTION), ("assistant", ANSWER)] == outcome.model_items
    assert len(outcome.sent("response.create")) == 1


@both_wires
def test_known_caller_is_not_greeted() -> None:
    known = Snapshot(items=[Item("user", "hello", 1), Item("assistant", "hello there", 2)], next_turn=3)
    outcome = talk([], Cast(tenant(GREETING)), end_ms=3000, snapshot=known)
    assert outcome.heard == ""
    assert outcome.model_items == [("user", "hello"), ("assistant", "hello there")]


@both_wires
def test_an_unanswered_question_is_answered() -> None:
    """As another kind of backend may leave it."""
    left = Snapshot(items=[Item("user", QUESTION, 1)], next_turn=2)
    assert talk([], end_ms=6000, snapshot=left).heard == ANSWER


@both_wires
def test_two_questions() -> None:
    outcome = talk([Say(1000, QUESTION), Say(7000, SECOND)])
    assert outcome.heard == f"{ANSWER} {SECOND_ANSWER}"
    expected = [("user", QUESTION), ("assistant", ANSWER), ("user", SECOND), ("assistant", SECOND_ANSWER)]
    assert outcome.items == expected == outcome.model_items


@pytest.mark.parametrize("speed", [4.0, 1.05, 0.0])
def test_interruption_while_the_model_speaks_or_is_done_and_still_played(speed: float) -> None:
    cast = stopping()
    cast.options["speed"] = speed
    outcome = talk([Say(1000, QUESTION), Say(4000, STOP)], cast)
    assert_cut(outcome)
    assert outcome.heard_between(4080, 5000) == "", "silent at once"
    assert outcome.heard.endswith(STOP_ANSWER)
    assert outcome.items[-2:] == [("user", STOP), ("assistant", STOP_ANSWER)] == outcome.model_items[-2:]
    assert not outcome.sent("response.cancel"), "the model cancelled by itself"


@both_wires
def test_interruption_in_the_first_moment() -> None:
    outcome = talk([Say(1000, QUESTION), Say(2130, STOP)], stopping())
    assert len(outcome.heard_between(0, 3000).split()) <= 1
    assert outcome.heard.endswith(STOP_ANSWER)
    assert outcome.items[-2:] == [("user", STOP), ("assistant", STOP_ANSWER)]
    for truncation in outcome.sent("conversation.item.truncate"):
        assert truncation["audio_end_ms"] <= 60


@both_wires
def test_speech_while_the_model_thinks_is_part_of_the_question() -> None:
    cast = stopping()
    cast.options["first_audio_ms"] = 1500
    outcome = talk([Say(1000, QUESTION), Say(2600, STOP)], cast)
    assert outcome.heard == STOP_ANSWER
    assert outcome.items == [("user", QUESTION), ("user", STOP), ("assistant", STOP_ANSWER)]
    assert outcome.responses == ["cancelled", "completed"]


@both_wires
def test_no_barge_in_lets_the_answer_end_and_answers_then() -> None:
    """The model wants to answer while it speaks, which it says is not possible: it is asked again."""
    cast = stopping(turn={"barge_in": False})
    cast.options["speed"] = 1.05
    outcome = talk([Say(1000, QUESTION), Say(3000, STOP)], cast)
    assert outcome.heard == f"{ANSWER} {STOP_ANSWER}"
    assert outcome.items[-1] == ("assistant", STOP_ANSWER)
    assert outcome.responses == ["completed", "completed"]
    assert len(outcome.sent("response.create")) == 1
    assert not outcome.sent("conversation.item.truncate")


@both_wires
def test_no_barge_in_while_a_finished_answer_is_played() -> None:
    outcome = talk([Say(1000, QUESTION), Say(4500, STOP)], stopping(turn={"barge_in": False}))
    assert outcome.heard == f"{ANSWER} {STOP_ANSWER}"
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER), ("user", STOP), ("assistant", STOP_ANSWER)]


def test_two_answers_are_queued_and_a_cancel_says_how_far_the_first_was() -> None:
    """The edge tells of the last turn that was cleared only."""
    script: list[Action] = [Say(1000, QUESTION), Say(3000, SECOND), Ask(4900, "cancel")]
    outcome = talk(script, Cast(tenant(turn={"barge_in": False})))
    heard = outcome.heard.split()
    assert 10 < len(heard) < 16
    [cut] = [text for role, text in outcome.items if role == "assistant"]
    assert ANSWER.startswith(cut)
    assert abs(len(cut.split()) - len(heard)) <= 1
    assert [each["audio_end_ms"] for each in outcome.sent("conversation.item.truncate")] == pytest.approx(
        [outcome.edge.turns[2].played_ms, 0], abs=120
    )


def test_semantic_vad() -> None:
    outcome = talk([Say(1000, QUESTION), Say(4000, STOP)], stopping(turn_detection={"type": "semantic_vad"}))
    assert_cut(outcome)
    assert outcome.heard.endswith(STOP_ANSWER)


@both_wires
def test_without_turn_detection_the_client_says_when_an_utterance_is_over() -> None:
    script: list[Action] = [Say(1000, QUESTION), Ask(2000, "commit"), Say(7000, SECOND), Ask(8000, "commit")]
    outcome = talk(script, Cast(tenant(turn_detection=None)))
    assert outcome.heard == f"{ANSWER} {SECOND_ANSWER}"
    expected = [("user", QUESTION), ("assistant", ANSWER), ("user", SECOND), ("assistant", SECOND_ANSWER)]
    assert outcome.items == expected == outcome.model_items
    assert outcome.last.rests[-1] is True
    assert [told.data["parts"][0][0] for told in outcome.events("latency")] == ["model", "model"]


def test_a_commit_of_nothing_is_told_to_the_client() -> None:
    outcome = talk([Ask(20, "commit"), Say(1000, QUESTION), Ask(2000, "commit")], Cast(tenant(turn_detection=None)))
    assert outcome.told("error", "code") == ["nothing_heard"]
    assert outcome.heard == ANSWER


def test_a_commit_in_the_middle_of_what_the_model_hears() -> None:
    outcome = talk([Say(1000, QUESTION), Ask(1590, "commit")])
    assert outcome.heard == ANSWER
    assert outcome.events("state")[1].at_ms < 1700, "sooner than the model would have"
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)]


@both_wires
def test_cancel_while_thinking() -> None:
    cast = Cast(options={"first_audio_ms": 1000})
    outcome = talk([Say(1000, QUESTION), Ask(2500, "cancel"), Say(5000, SECOND)], cast)
    assert outcome.heard == SECOND_ANSWER
    assert outcome.responses == ["cancelled", "completed"]
    assert outcome.items == [("user", QUESTION), ("user", SECOND), ("assistant", SECOND_ANSWER)]


@pytest.mark.parametrize("cancel_ms", range(2160, 2440, 20))
def test_cancel_while_events_are_on_their_way(cancel_ms: int) -> None:
    """The model is far away, and knows that the question is over before we do: at 2260 ms."""
    cast = Cast(latency_ms=80)
    outcome = talk([Say(1000, QUESTION), Ask(cancel_ms, "cancel"), Say(5000, SECOND)], cast)
    if cancel_ms >= 2260:
        assert len(outcome.heard_between(0, 5000).split()) <= 1
        assert outcome.responses[0] == "cancelled"
    assert outcome.heard.endswith(SECOND_ANSWER)
    assert outcome.items[-1] == ("assistant", SECOND_ANSWER)


@both_wires
def test_cancel_while_speaking() -> None:
    outcome = talk([Say(1000, QUESTION), Ask(3000, "cancel")])
    assert_heard = outcome.heard.split()
    assert ANSWER.startswith(outcome.heard)
    assert len(assert_heard) in (4, 5)
    assert outcome.heard_between(3060, 12_000) == ""
    role, text = outcome.items[-1]
    assert role == "assistant"
    assert ANSWER.startswith(text)
    assert len(outcome.items) == 2
    assert outcome.last.rests[-1] is True


@both_wires
def test_typed_text_is_answered() -> None:
    outcome = talk([Type(1000, QUESTION)])
    assert outcome.heard == ANSWER
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)] == outcome.model_items
    assert outcome.told("transcript", "text") == [QUESTION, ANSWER]


@pytest.mark.parametrize("speed", [4.0, 1.05])
def test_typed_text_interrupts(speed: float) -> None:
    cast = Cast(options={"speed": speed})
    outcome = talk([Say(1000, QUESTION), Type(4000, SECOND)], cast)
    assert_cut(outcome)
    assert outcome.heard.endswith(f" {SECOND_ANSWER}")
    assert outcome.items[-2:] == [("user", SECOND), ("assistant", SECOND_ANSWER)]
    assert len(outcome.sent("response.create")) == 1


@both_wires
def test_typed_text_while_the_caller_speaks_is_answered_with_what_they_say() -> None:
    cast = Cast(answers={f"{QUESTION}": Reply("yes no")})
    outcome = talk([Say(1000, QUESTION), Type(1300, SECOND)], cast)
    assert outcome.heard == "yes no"
    assert outcome.responses == ["completed"]
    assert [text for _, text in outcome.model_items] == [SECOND, QUESTION, "yes no"]


@pytest.mark.parametrize("type_ms", range(2120, 2440, 20))
def test_typed_text_that_crosses_the_models_own_answer_is_answered(type_ms: int) -> None:
    outcome = talk([Say(1000, QUESTION), Type(type_ms, SECOND)], Cast(latency_ms=80, options={"first_audio_ms": 300}))
    assert outcome.heard.endswith(SECOND_ANSWER)
    assert UNKNOWN not in outcome.heard
    assert sorted(text for role, text in outcome.items if role == "user") == [QUESTION, SECOND]


@both_wires
def test_a_transcript_that_comes_late_stands_where_it_belongs() -> None:
    cast = Cast(options={"transcribe_ms": 3000, "speed": 0.0})
    outcome = talk([Say(1000, QUESTION)], cast)
    assert outcome.heard == ANSWER
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)]
    assert outcome.last.rests[-1] is True


@both_wires
def test_a_transcript_that_fails_costs_only_itself() -> None:
    outcome = talk([Say(1000, QUESTION), Say(7000, SECOND)], faults={500: FailTranscription()})
    assert outcome.heard == f"{ANSWER} {SECOND_ANSWER}"
    assert outcome.items == [("assistant", ANSWER), ("user", SECOND), ("assistant", SECOND_ANSWER)]
    assert outcome.last.rests[-1] is True


def test_a_transcript_that_never_comes_does_not_keep_the_session_from_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Listening, "_transcribe", lambda *_: None)
    outcome = talk([Say(1000, QUESTION)], end_ms=40_000)
    assert outcome.heard == ANSWER
    assert outcome.last.rests == [True, False, True]


@both_wires
def test_without_transcription_the_model_s_words_are_kept() -> None:
    outcome = talk([Say(1000, QUESTION), Say(7000, SECOND)], Cast(tenant(transcription=None)))
    assert outcome.heard == f"{ANSWER} {SECOND_ANSWER}"
    assert outcome.items == [("assistant", ANSWER), ("assistant", SECOND_ANSWER)]
    assert outcome.last.rests == [True, False, True, False, True]


@both_wires
def test_a_silent_caller_is_spoken_to_where_the_tenant_wants_that() -> None:
    cast = Cast(
        tenant(turn_detection={"type": "server_vad", "idle_timeout_ms": 5000}), answers={"": Reply("are you there")}
    )
    outcome = talk([Say(1000, QUESTION)], cast, end_ms=13_500)
    assert outcome.heard == f"{ANSWER} are you there"
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER), ("assistant", "are you there")]
    assert outcome.last.rests[-1] is True
