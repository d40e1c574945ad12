"""The line to the model breaks, ends, or cannot be had: what the caller hears, and what is kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.conversation.relay_talk import (
    ANSWER,
    GREETING,
    QUESTION,
    SECOND,
    SECOND_ANSWER,
    Cast,
    Outcome,
    talk,
    tenant,
)
from tests.standins.model import Model
from tests.standins.realtime import Close, Drop, Expire, Garbage, Mute, Refuse, Stall
from tests.standins.realtime import Say as Words
from tests.standins.session import Action, Ask, Say, Type
from workers.relay.link import ModelLost
from workers.relay.runner import DIAL_S
from workers.relay.trouble import Kind

CONVERSATION = [("user", QUESTION), ("assistant", ANSWER), ("user", SECOND), ("assistant", SECOND_ANSWER)]
SCRIPT: list[Action] = [Say(1000, QUESTION), Say(8000, SECOND)]


def refusing(*faults: Any, always: Refuse | None = None) -> Cast:
    def prepare(model: Model) -> None:
        model.faults.extend(faults)
        model.always = always

    return Cast(prepare=prepare)


def assert_once(heard: str, whole: str, seam: int = 2) -> None:
    """All of `whole`, in order; at the seam at most `seam` words twice, or one broken."""
    words, expected = heard.split(), whole.split()
    assert list(dict.fromkeys(words)) == [word for word in expected if word in words]
    assert len(words) - len(set(words)) <= seam, heard
    assert len(set(expected) - set(words)) <= 1, heard


# --- the line breaks


@pytest.mark.parametrize("drop_ms", range(100, 1000, 170))
def test_idle(drop_ms: int) -> None:
    outcome = talk(SCRIPT, faults={drop_ms: Drop()}, end_ms=13_000)
    assert outcome.heard == f"{ANSWER} {SECOND_ANSWER}"
    assert outcome.items == CONVERSATION


@pytest.mark.parametrize("drop_ms", range(1020, 2120, 60))
def test_in_a_question(drop_ms: int) -> None:
    outcome = talk(SCRIPT, faults={drop_ms: Drop()}, end_ms=13_000)
    assert outcome.heard == f"{ANSWER} {SECOND_ANSWER}"
    assert outcome.items == CONVERSATION
    assert outcome.model_items == CONVERSATION


@pytest.mark.parametrize("drop_ms", range(2080, 3200, 70))
@pytest.mark.parametrize("speed", [4.0, 1.05])
def test_in_an_answer(drop_ms: int, speed: float) -> None:
    outcome = talk(SCRIPT, Cast(options={"speed": speed}), faults={drop_ms: Drop()}, end_ms=13_000)
    heard = outcome.heard
    assert heard.endswith(SECOND_ANSWER)
    assert_once(heard.removesuffix(SECOND_ANSWER), ANSWER, seam=2)
    assert [role for role, _ in outcome.items] == ["user", "assistant", "user", "assistant"]
    assert_once(outcome.items[1][1], ANSWER, seam=2)
    assert len(outcome.edge.turns) == 2, "it is one answer"
    told = [text for _, text in outcome.model_items]
    assert (told[0], told[-2:]) == (QUESTION, [SECOND, SECOND_ANSWER])
    assert_once(" ".join(told[1:-2]), ANSWER, seam=2)


@pytest.mark.parametrize("drop_ms", [3200, 4000, 5000, 6200])
def test_after_an_answer_that_is_still_heard(drop_ms: int) -> None:
    """It is not asked for again, and the next session with the model knows of it."""
    outcome = talk(SCRIPT, faults={drop_ms: Drop()}, end_ms=13_000)
    assert outcome.heard == f"{ANSWER} {SECOND_ANSWER}"
    assert outcome.items == CONVERSATION == outcome.model_items
    assert not outcome.sent("response.create")


def test_what_the_caller_did_not_hear_of_an_answer_is_forgotten_by_the_next_session_too() -> None:
    outcome = talk([Say(1000, QUESTION), Say(5000, SECOND)], faults={3600: Drop()})
    cut = outcome.items[1][1]
    assert ANSWER.startswith(cut)
    assert 10 < len(cut.split()) < 16
    assert outcome.model_items == [
        ("user", QUESTION),
        ("assistant", cut),
        ("user", SECOND),
        ("assistant", SECOND_ANSWER),
    ]
    assert len(outcome.sent("conversation.item.delete")) == 1


def test_between_two_breaks_of_the_same_answer() -> None:
    outcome = talk(SCRIPT, Cast(options={"speed": 1.05}), faults={3000: Drop(), 4200: Close(1011)}, end_ms=13_000)
    assert_once(outcome.heard.removesuffix(SECOND_ANSWER), ANSWER, seam=2)
    assert outcome.items[2:] == CONVERSATION[2:]


@pytest.mark.parametrize("drop_ms", [60, 120, 160, 220, 330, 500])
def test_in_the_greeting(drop_ms: int) -> None:
    outcome = talk([Say(3000, QUESTION)], Cast(tenant(GREETING)), faults={drop_ms: Drop()})
    assert_once(outcome.heard.removesuffix(ANSWER), GREETING)
    assert outcome.heard.endswith(ANSWER)
    assert outcome.items[-2:] == [("user", QUESTION), ("assistant", ANSWER)]


@pytest.mark.parametrize("drop_ms", [2950, 3000, 3010, 3055, 3100, 3140, 3155, 3160])
def test_typed_text_around_a_break(drop_ms: int) -> None:
    outcome = talk([Type(3000, QUESTION)], faults={drop_ms: Drop()})
    assert_once(outcome.heard, ANSWER)
    assert [text for role, text in outcome.items if role == "user"] == [QUESTION]
    assert [text for role, text in outcome.model_items if role == "user"] == [QUESTION]


@pytest.mark.parametrize("type_ms", range(2990, 3300, 15))
def test_typed_text_while_a_new_session_begins(type_ms: int) -> None:
    outcome = talk([Say(500, SECOND), Type(type_ms, QUESTION)], faults={3000: Drop()})
    assert outcome.heard.endswith(ANSWER)
    assert [text for role, text in outcome.model_items if role == "user"] == [SECOND, QUESTION]


@pytest.mark.parametrize("drop_ms", range(1500, 2500, 90))
def test_a_commit_outlives_the_line(drop_ms: int) -> None:
    outcome = talk(
        [Say(1000, QUESTION), Ask(2000, "commit")], Cast(tenant(turn_detection=None)), faults={drop_ms: Drop()}
    )
    assert_once(outcome.heard, ANSWER)
    assert [text for role, text in outcome.items if role == "user"] == [QUESTION]
    assert [text for role, text in outcome.model_items if role == "user"] == [QUESTION]


def test_without_transcription_an_answer_goes_on_all_the_same() -> None:
    def reply(prompt: Any) -> Any:
        told = [item for item in prompt.items if item.get("role") == "user"]
        said = prompt.items[-1]["content"][0].get("text", "") if prompt.items else ""
        return Words(ANSWER if told else ANSWER.removeprefix(said).strip())

    outcome = talk(
        [Say(1000, QUESTION)], Cast(tenant(transcription=None), options={"answer": reply}), faults={2700: Drop()}
    )
    assert_once(outcome.heard, ANSWER)


# --- the model is silent


def test_a_model_that_says_nothing_any_more_is_called_again() -> None:
    outcome = talk(SCRIPT, Cast(tenant(answer_timeout_s=2)), faults={7000: Mute()}, end_ms=16_000)
    assert outcome.heard.endswith(SECOND_ANSWER)
    assert len(outcome.model.sessions) == 2


@pytest.mark.parametrize("mute_ms", [500, 1900])
def test_words_said_to_a_deaf_model_are_not_lost(mute_ms: int) -> None:
    """It owes nothing, for it does not know that anybody spoke: it is asked whether it lives."""
    outcome = talk([Say(1000, QUESTION)], Cast(tenant(answer_timeout_s=3)), faults={mute_ms: Mute()}, end_ms=14_000)
    assert outcome.heard == ANSWER
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)]
    assert outcome.warned("it gives no sign of life")


def test_a_model_with_nothing_to_say_is_left_alone() -> None:
    outcome = talk([Say(40_000, QUESTION)], Cast(tenant(answer_timeout_s=1)), end_ms=48_000)
    assert outcome.heard == ANSWER
    assert len(outcome.model.sessions) == 1


def test_an_answer_that_does_not_go_on_is_gone_on_with() -> None:
    cast = Cast(tenant(answer_timeout_s=2))
    outcome = talk(SCRIPT, cast, faults={1900: Stall(after_audio_ms=1000)}, end_ms=13_000)
    assert_once(outcome.heard.removesuffix(SECOND_ANSWER), ANSWER)
    assert outcome.items == CONVERSATION
    assert outcome.warned("it owes an answer, and is silent")
    assert len(outcome.model.sessions) == 2


def test_patience_is_that_of_one_session() -> None:
    """The deadline of a lost session does not end the next one."""
    cast = Cast(tenant(answer_timeout_s=2))
    outcome = talk([Say(1000, QUESTION)], cast, faults={2100: Drop()}, end_ms=14_000)
    assert len(outcome.model.sessions) == 2
    assert_once(outcome.heard, ANSWER)


def test_garbage_is_not_an_end() -> None:
    outcome = talk(SCRIPT, faults={900: Garbage("unknown_type"), 950: Garbage("unknown_fields")}, end_ms=13_000)
    assert outcome.items == CONVERSATION
    assert len(outcome.model.sessions) == 1


# --- there is no line


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_is_given_up_at_once(status: int) -> None:
    outcome = talk([Say(1000, QUESTION)], refusing(always=Refuse(status)))
    assert outcome.last.gave_up == "provider"
    assert len(outcome.model.dialled_ms) == 1
    assert [(told.data["code"], told.data["fatal"]) for told in outcome.events("error")] == [("provider", True)]


def test_settings_that_are_refused_are_an_apology_and_not_another_assistant() -> None:
    outcome = talk([Say(1000, QUESTION)], Cast(tenant(GREETING, voice="nobody")))
    assert outcome.last.gave_up == "provider"
    assert outcome.heard == ""
    assert outcome.told("error", "fatal") == [True]
    assert len(outcome.model.sessions) == 1, "to call again would not help"
    assert outcome.warned("it does not take its settings: invalid_value")


def test_a_model_that_comes_in_the_end() -> None:
    outcome = talk([Say(1000, QUESTION), Say(11_000, SECOND)], refusing(*[Refuse(503)] * 5), end_ms=15_000)
    assert outcome.heard == f"{ANSWER} {SECOND_ANSWER}"
    assert outcome.items == CONVERSATION
    assert not outcome.events("error")


def test_a_model_that_never_comes_is_given_up_after_five_seconds() -> None:
    outcome = talk([Say(1000, QUESTION)], refusing(always=Refuse(503)))
    [told] = outcome.events("error")
    assert 4500 <= told.at_ms <= 5500
    assert outcome.last.gave_up == "provider"


def test_a_model_that_answers_no_call_is_given_up_after_eight_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    async def dial(_: Model) -> None:
        await asyncio.sleep(DIAL_S)
        raise ModelLost(f"no session within {DIAL_S:g} s", Kind.UNAVAILABLE)

    monkeypatch.setattr(Model, "dial", dial)
    outcome = talk([Say(1000, QUESTION)])
    [told] = outcome.events("error")
    assert 8000 <= told.at_ms <= 8500
    assert outcome.last.gave_up == "provider"
    assert [record.levelname for record in outcome.log].count("ERROR") == 1


def test_a_model_that_does_not_come_back_is_given_up() -> None:
    def prepare(model: Model) -> None:
        model.faults.append(None)
        model.faults.extend([Refuse(503)] * 20)

    outcome = talk([Say(1000, QUESTION)], Cast(prepare=prepare), faults={3000: Drop()})
    assert outcome.last.gave_up == "provider"
    assert ANSWER.startswith(outcome.items[-1][1])


def test_words_wait_for_the_model() -> None:
    """The line breaks for longer than the silence that is kept: what is said meanwhile is heard in the end."""
    cast = refusing(None, *[Refuse(503)] * 4)
    outcome = talk([Say(3000, QUESTION)], cast, faults={2900: Drop()})
    assert outcome.heard == ANSWER
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)]


# --- the session's time is over

OLD = {"lifetime_s": 60.0}


def old(**options: Any) -> Cast:
    return Cast(tenant(renew_after_s=20), options={**OLD, **options})


def test_a_session_is_renewed_in_a_pause_with_all_that_was_said() -> None:
    outcome = talk([Say(1000, QUESTION), Say(25_000, SECOND)], old(), end_ms=30_000)
    assert outcome.heard == f"{ANSWER} {SECOND_ANSWER}"
    assert outcome.items == CONVERSATION == outcome.model_items
    assert len(outcome.model.sessions) == 2
    assert outcome.model.dialled_ms[1] == pytest.approx(20_050, abs=60)
    assert not outcome.warned("lost the model")


@pytest.mark.parametrize("say_ms", [18_700, 19_000, 19_400, 19_900, 20_000, 20_040, 20_080, 20_120])
def test_a_renewal_waits_for_the_answer(say_ms: int) -> None:
    outcome = talk([Say(1000, QUESTION), Say(say_ms, SECOND)], old(), end_ms=27_000)
    assert outcome.heard == f"{ANSWER} {SECOND_ANSWER}"
    assert outcome.items == CONVERSATION == outcome.model_items
    assert len(outcome.model.sessions) == 2


def test_a_renewal_that_finds_no_pause_is_done_at_the_last_moment() -> None:
    long = " ".join([ANSWER] * 14)
    cast = old(speed=1.05)
    cast.answers = {QUESTION: Words(long)}
    outcome = talk([Say(10_000, QUESTION)], cast, end_ms=72_000)
    assert len(outcome.model.sessions) >= 2
    assert outcome.model.sessions[0].closed is not None
    assert not outcome.warned("session_expired")
    assert outcome.heard.startswith(" ".join([ANSWER] * 10))


@pytest.mark.parametrize("expire_ms", [900, 1300, 1900, 2300, 2700, 4000, 7000])
def test_a_session_that_expires_all_the_same(expire_ms: int) -> None:
    outcome = talk(SCRIPT, faults={expire_ms: Expire()}, end_ms=13_000)
    assert_once(outcome.heard.removesuffix(SECOND_ANSWER), ANSWER)
    assert [role for role, _ in outcome.items] == ["user", "assistant", "user", "assistant"]
    assert len(outcome.model.sessions) == 2


def _uplink_of(outcome: Outcome) -> list[str]:
    return [session.heard for session in outcome.model.sessions]


def test_nothing_that_is_known_is_heard_twice_by_a_model() -> None:
    outcome = talk(SCRIPT, faults={7000: Drop()}, end_ms=13_000)
    assert _uplink_of(outcome) == [QUESTION, SECOND]


def test_an_uplink_without_a_model_is_bounded_and_what_is_lost_is_said() -> None:
    """It cannot be reached for longer than is kept: 40 s, of which the oldest go."""

    def prepare(model: Model) -> None:
        dial = model.dial

        async def slow() -> Any:
            await asyncio.sleep(40)
            return await dial()

        model.dial = slow  # type: ignore[method-assign]

    outcome = talk([Say(1000, SECOND), Say(35_000, QUESTION)], Cast(prepare=prepare), end_ms=48_000)
    assert outcome.heard == ANSWER
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)]
    [lost] = [record.getMessage() for record in outcome.log if "of the caller's are lost" in record.getMessage()]
    assert int(lost.split()[2]) == pytest.approx(500, abs=10), "10 s"
