"""What is different with a model over WebRTC: its audio comes no faster than it is heard, its words long before, it
cuts itself, and what it is to hear again takes as long as it took to say."""

from __future__ import annotations

from collections.abc import Sequence
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
    PeakVad,
    talk,
    tenant,
)
from tests.standins.call import NOTICED_S, CallModel
from tests.standins.realtime import Call, Close, CloseChannel, Drop, Expire, Mute, Reply
from tests.standins.realtime import Say as Words
from tests.standins.session import Action, Ask, Say, Type

pytestmark = pytest.mark.parametrize("wire", [CallModel], indirect=True, ids=["webrtc"])

STOP = "no stop that"
STOP_ANSWER = "all the then"
CONVERSATION = [("user", QUESTION), ("assistant", ANSWER), ("user", SECOND), ("assistant", SECOND_ANSWER)]
SCRIPT: list[Action] = [Say(1000, SECOND), Say(6000, QUESTION)]
"""The first answer tells how fast the model speaks; the second, from 7100 to 11,100 ms, is the one in which things
happen."""


def cast(**fields: Any) -> Cast:
    return Cast(answers={STOP: Words(STOP_ANSWER)}, **fields)


def first(outcome: Outcome, answer: str) -> int:
    """When the first word of an answer was heard, in ms."""
    word = answer.split()[0]
    return next(at for at in range(0, 20_000, 100) if word in outcome.heard_between(0, at).split())


def assert_seam(heard: Sequence[str], *, twice: int) -> None:
    """All of ANSWER, in order, but for a word that is broken at the seam; at most so many words twice."""
    expected = ANSWER.split()
    assert list(dict.fromkeys(heard)) == [word for word in expected if word in heard]
    assert len(set(expected) - set(heard)) <= 1, heard
    assert len(heard) - len(set(heard)) <= twice, heard


def second(outcome: Outcome) -> list[str]:
    """What was heard of the second answer."""
    assert outcome.heard.startswith(SECOND_ANSWER)
    return outcome.heard.removeprefix(SECOND_ANSWER).split()


# --- answers


def test_question_and_answer() -> None:
    outcome = talk([Say(1000, QUESTION)])
    assert outcome.heard == ANSWER
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)] == outcome.model_items
    assert outcome.told("state", "state") == ["listening", "thinking", "speaking", "listening"]
    assert "".join(outcome.told("transcript_delta", "delta")) == ANSWER
    assert outcome.told("speech_started", "media_ms") == pytest.approx([700], abs=40), "with the model's padding"
    assert outcome.told("speech_stopped", "media_ms") == pytest.approx([2080], abs=40)
    assert outcome.last.rests == [True, False, True]
    assert {event["type"] for _, event in outcome.model.links[0].sent} == {"session.update"}


def test_a_tool_runs_while_the_model_still_speaks() -> None:
    """It says 1 s of something, and the client answers the call within it: what it says then follows at once."""
    tools = ({"name": "page", "description": "Show a page.", "timeout_s": 20.0},)
    answers: dict[str, Reply] = {
        QUESTION: Call("page", say_first="one moment please hold on"),
        "shown": Words("you see"),
    }
    script: list[Action] = [Say(1000, QUESTION), Ask(2600, "tool_output", {"call_id": "call_1_4", "output": "shown"})]
    outcome = talk(script, Cast(tenant(client_tools=tools), answers))
    [called] = outcome.events("tool_call")
    assert called.at_ms < 2600, "the model speaks until 3200"
    assert outcome.heard == "one moment please hold on you see"
    assert first(outcome, "you see") < 3200 + 600
    assert outcome.responses == ["completed", "completed"]


# --- interruptions


@pytest.mark.parametrize("speed", [4.0, 1.05, 0.0])
def test_a_model_that_notices_an_interruption_cuts_itself(speed: float) -> None:
    outcome = talk([*SCRIPT, Say(9000, STOP)], cast(options={"speed": speed}), end_ms=14_000)
    assert outcome.heard_between(9150, 10_000) == "", "silent at once"
    assert outcome.heard.endswith(STOP_ANSWER)
    assert not outcome.sent("conversation.item.truncate")
    assert not outcome.sent("response.cancel")
    heard = second(outcome)[: -len(STOP_ANSWER.split())]
    role, cut = outcome.items[3]
    assert role == "assistant"
    assert ANSWER.startswith(cut)
    assert abs(len(cut.split()) - len(heard)) <= 3, "by how fast the model spoke before"
    assert len(outcome.model_items[3][1].split()) - len(heard) in (0, 1), "by what it had sent"


@pytest.mark.parametrize("speed", [4.0, 1.05])
def test_an_interruption_by_text_is_ours_to_tell(speed: float) -> None:
    outcome = talk([*SCRIPT, Type(9000, STOP)], cast(options={"speed": speed}), end_ms=14_000)
    assert outcome.heard_between(9060, 11_000) == STOP_ANSWER, "silent at once"
    [truncation] = outcome.sent("conversation.item.truncate")
    assert abs(truncation["audio_end_ms"] - outcome.edge.turns[4].played_ms) <= 40
    assert outcome.model.sessions[0].truncations == [
        {name: truncation[name] for name in ("item_id", "content_index", "audio_end_ms")}
    ]
    heard = second(outcome)[: -len(STOP_ANSWER.split())]
    assert abs(len(outcome.model_items[3][1].split()) - len(heard)) <= 1


def test_an_interruption_noticed_here_is_ours_to_tell() -> None:
    """And confirmed by the model, which notices late."""
    local = tenant(barge_in="local")
    outcome = talk([*SCRIPT, Say(9000, STOP)], cast(tenant=local, detector=PeakVad, options={"vad_floor_ms": 150}))
    assert outcome.heard_between(9160, 10_000) == "", "paused before the model noticed"
    assert len(outcome.sent("response.cancel")) == 1
    assert len(outcome.sent("conversation.item.truncate")) == 1
    assert outcome.model.sessions[0].truncations


# --- the line breaks


@pytest.mark.parametrize("close_ms", [500, 1200, 1700, 1950])
def test_a_question_outlives_the_line(close_ms: int) -> None:
    outcome = talk([Say(1000, QUESTION), Say(9000, SECOND)], faults={close_ms: Close(1000)}, end_ms=14_000)
    assert outcome.heard == f"{ANSWER} {SECOND_ANSWER}"
    assert outcome.items == CONVERSATION == outcome.model_items
    assert len(outcome.model.sessions) == 2


@pytest.mark.parametrize("close_ms", [7150, 7600, 8300, 9100, 10_400, 10_900])
@pytest.mark.parametrize("speed", [4.0, 1.05])
def test_an_answer_outlives_the_line(close_ms: int, speed: float) -> None:
    outcome = talk(SCRIPT, Cast(options={"speed": speed}), faults={close_ms: Close(1000)}, end_ms=16_000)
    assert_seam(second(outcome), twice=4)
    assert len(outcome.edge.turns) == 2, "it is one answer"
    assert [role for role, _ in outcome.items] == ["user", "assistant", "user", "assistant"]
    assert len(outcome.model.sessions) == 2


@pytest.mark.parametrize("fault", [Drop(), Mute(pongs=False)])
@pytest.mark.parametrize("drop_ms", [900, 1500, 4000])
def test_a_model_that_vanishes_is_called_again_and_hears_what_it_missed(drop_ms: int, fault: Any) -> None:
    outcome = talk([Say(1000, QUESTION), Say(13_000, SECOND)], faults={drop_ms: fault}, end_ms=19_000)
    words = outcome.heard.removesuffix(SECOND_ANSWER).split()
    assert_seam(words, twice=6)
    assert outcome.items[2:] == CONVERSATION[2:]
    assert len(outcome.model.sessions) == 2
    assert outcome.model.dialled_ms[1] >= drop_ms + NOTICED_S * 1000


def test_a_caller_is_heard_live_again_soon_after_what_the_model_missed() -> None:
    """The question is heard again 3 s late; the next one is not late any more."""
    outcome = talk([Say(1000, QUESTION), Say(12_000, SECOND)], faults={900: Drop()}, end_ms=17_000)
    assert outcome.heard == f"{ANSWER} {SECOND_ANSWER}"
    assert first(outcome, ANSWER) < 900 + NOTICED_S * 1000 + 2500
    assert first(outcome, SECOND_ANSWER) <= 12_000 + 600 + 500 + 300


def test_a_data_channel_that_closes_is_a_lost_line() -> None:
    outcome = talk(SCRIPT, Cast(tenant(answer_timeout_s=2)), faults={4000: CloseChannel()}, end_ms=16_000)
    assert outcome.heard == f"{SECOND_ANSWER} {ANSWER}"
    assert len(outcome.model.sessions) == 2


@pytest.mark.parametrize("expire_ms", [1300, 5000, 8300])
def test_a_session_that_expires(expire_ms: int) -> None:
    outcome = talk(SCRIPT, faults={expire_ms: Expire()}, end_ms=16_000)
    assert_seam(second(outcome), twice=4)
    assert outcome.items[:3] == [("user", SECOND), ("assistant", SECOND_ANSWER), ("user", QUESTION)]


def test_a_session_is_renewed_in_a_pause() -> None:
    old = Cast(tenant(renew_after_s=20), options={"lifetime_s": 60.0})
    outcome = talk([Say(1000, QUESTION), Say(25_000, SECOND)], old, end_ms=30_000)
    assert outcome.heard == f"{ANSWER} {SECOND_ANSWER}"
    assert outcome.items == CONVERSATION == outcome.model_items
    assert len(outcome.model.sessions) == 2
    assert not outcome.warned("lost the model")


# --- the worker dies


@pytest.mark.parametrize("kill_ms", [800, 1400, 2000])
def test_a_question_outlives_its_worker(kill_ms: int) -> None:
    outcome = talk([Say(1000, QUESTION)], Cast(tenant(GREETING)), kills_ms=[kill_ms])
    assert outcome.heard.endswith(ANSWER)
    assert outcome.items[-2:] == [("user", QUESTION), ("assistant", ANSWER)]


@pytest.mark.parametrize("kill_ms", [7200, 7500, 8000, 8900, 9900, 10_900])
def test_an_answer_outlives_its_worker(kill_ms: int) -> None:
    outcome = talk(SCRIPT, kills_ms=[kill_ms], end_ms=16_000)
    assert_seam(second(outcome), twice=8)
    assert len(outcome.edge.turns) == 2
    assert [role for role, _ in outcome.items] == ["user", "assistant", "user", "assistant"]
