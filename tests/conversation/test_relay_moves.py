"""What else a caller, a client and a tool may do in a relayed conversation."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
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
    both_wires,
    talk,
    tenant,
)
from tests.standins.model import Link
from tests.standins.realtime import Drop, Fail, FailResponse, Incomplete, Reply
from tests.standins.realtime import Say as Words
from tests.standins.realtime.faults import SessionFault
from tests.standins.session import Ask, Dial, Say, Type
from workers.keys import told
from workers.relay.websocket import CLOSE_S

STOP = "no stop that"
STOP_ANSWER = "all the then"

# --- barge-in noticed here


def local(**options: Any) -> Cast:
    return Cast(tenant(barge_in="local"), answers={STOP: Words(STOP_ANSWER)}, options=options, detector=PeakVad)


@both_wires
def test_an_interruption_noticed_here_and_confirmed_by_the_model() -> None:
    outcome = talk([Say(1000, QUESTION), Say(4000, STOP)], local(vad_floor_ms=150, speed=1.05))
    assert outcome.heard_between(4000 + 160, 5000) == "", "paused before the model noticed"
    assert outcome.heard.endswith(STOP_ANSWER)
    assert outcome.responses == ["cancelled", "completed"], "by us: the model is told not to"
    assert len(outcome.sent("response.cancel")) == 1
    [truncation] = outcome.sent("conversation.item.truncate")
    assert abs(truncation["audio_end_ms"] - outcome.edge.turns[2].played_ms) <= 20
    assert outcome.items[-2:] == [("user", STOP), ("assistant", STOP_ANSWER)]


@pytest.mark.parametrize("speed", [4.0, 1.05])
def test_noise_that_the_model_ignores_only_pauses(speed: float) -> None:
    cast = local(vad_floor_ms=400, speed=speed)
    outcome = talk([Say(1000, QUESTION, word_ms=600), Say(5000, "a", word_ms=250)], cast)
    assert outcome.heard == ANSWER
    assert outcome.silent_ms(5000, 7000) > 400, "it was paused"
    assert outcome.responses == ["completed"]
    assert outcome.items[-1] == ("assistant", ANSWER)
    assert not outcome.sent("response.cancel")
    assert not outcome.sent("conversation.item.truncate")


@both_wires
def test_noise_before_the_first_sound_of_an_answer_does_not_hold_it_for_good() -> None:
    cast = local(vad_floor_ms=400, first_audio_ms=900)
    outcome = talk([Say(1000, QUESTION, word_ms=600), Say(3400, "a", word_ms=250)], cast)
    assert outcome.heard == ANSWER


# --- telephone keys


@both_wires
def test_keys_are_gathered_by_their_pauses() -> None:
    one, two = "(The caller pressed these telephone keys: 12)", "(The caller pressed these telephone keys: 3#)"
    cast = Cast(answers={one: Words("yes"), two: Words("no")})
    outcome = talk([Dial(1000, "1"), Dial(2000, "2"), Dial(7000, "3"), Dial(7300, "#")], cast)
    assert outcome.heard == "yes no"
    assert outcome.items == [("user", one), ("assistant", "yes"), ("user", two), ("assistant", "no")]
    assert 4500 <= outcome.events("transcript")[0].at_ms <= 4520
    assert 7300 <= outcome.events("transcript")[2].at_ms <= 7320, "# ends them at once"
    assert outcome.last.rests[-1] is True


def test_keys_without_end_are_passed_on_in_parts() -> None:
    outcome = talk([Dial(1000 + 100 * n, "5") for n in range(100)], end_ms=14_000)
    typed = [text for role, text in outcome.items if role == "user"]
    assert [text.count("5") for text in typed] == [20, 20, 20, 20, 20]


@both_wires
@pytest.mark.parametrize("kill_ms", [2050, 2500, 4400, 4510, 4600])
def test_keys_outlive_a_worker(kill_ms: int) -> None:
    keys = "(The caller pressed these telephone keys: 12)"
    cast = Cast(answers={keys: Words("yes")})
    outcome = talk([Dial(1000, "1"), Dial(2000, "2")], cast, kills_ms=[kill_ms])
    assert set(outcome.heard.split()) == {"yes"}
    assert [text for role, text in outcome.items if role == "user"] == [keys]


def test_keys_that_wait_while_a_worker_hangs_up_ring_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    close = Link.close

    async def slowly(link: Link) -> None:
        await close(link)
        await asyncio.sleep(CLOSE_S)

    monkeypatch.setattr(Link, "close", slowly)
    outcome = talk([Dial(1000, "1")], Cast(answers={told("1"): Words("yes")}), kills_ms=[2000])
    assert outcome.items == [("user", told("1")), ("assistant", "yes")]


# --- session.update

CHANGES = {"type": "realtime", "instructions": "Speak of ships.", "audio": {"output": {"speed": 1.25}}}


def updated(*actions: Any, kills_ms: tuple[int, ...] = (), faults: Mapping[float, Any] | None = None) -> Outcome:
    cast = Cast(tenant(client_may_update=("instructions", "speed", "turn_detection")))
    return talk([*actions, Say(6000, QUESTION)], cast, kills_ms=kills_ms, faults=faults, end_ms=13_000)


@both_wires
def test_a_client_changes_what_it_may() -> None:
    outcome = updated(Ask(1000, "session_update", {"session": CHANGES}))
    assert outcome.model.session.config["instructions"] == "Speak of ships."
    assert outcome.model.session.config["audio"]["output"]["speed"] == 1.25
    assert not outcome.events("error")
    assert outcome.heard == ANSWER


def test_a_client_changes_nothing_else() -> None:
    outcome = updated(Ask(1000, "session_update", {"session": {"voice": "cedar", "instructions": "No."}}))
    assert outcome.told("error", "code") == ["not_allowed"]
    assert outcome.model.session.config["instructions"] == "You are brief."


@both_wires
@pytest.mark.parametrize("lost", ["nothing", "worker", "model"])
def test_a_change_that_the_model_refuses_is_undone_and_told(lost: str) -> None:
    cast = Cast(tenant(client_may_update=("voice", "instructions")))
    actions = [
        Ask(500, "session_update", {"session": {"voice": "cedar"}}),
        Ask(1000, "session_update", {"session": {"voice": "nobody", "instructions": "No."}}),
        Ask(1001, "session_update", {"session": {"instructions": "Speak of ships."}}),
    ]
    outcome = talk(
        [*actions, Say(6000, QUESTION)],
        cast,
        kills_ms=(3000,) if lost == "worker" else (),
        faults={3000: Drop()} if lost == "model" else None,
        end_ms=13_000,
    )
    assert outcome.told("error", "code") == ["bad_session"]
    assert "nobody" in outcome.told("error", "message")[0]
    assert outcome.model.session.config["audio"]["output"]["voice"] == "cedar"
    assert outcome.model.session.config["instructions"] == "Speak of ships.", "what was changed after it stays"
    assert outcome.heard == ANSWER
    assert outcome.last.gave_up is None


@pytest.mark.parametrize("lost", ["worker", "model"])
def test_changes_are_kept(lost: str) -> None:
    many = [Ask(1000 + 20 * n, "session_update", {"session": {"speed": 0.9 + n / 100}}) for n in range(40)]
    outcome = updated(
        Ask(500, "session_update", {"session": {"instructions": "Speak of ships."}}),
        *many,
        kills_ms=(3000,) if lost == "worker" else (),
        faults={3000: Drop()} if lost == "model" else None,
    )
    assert len(outcome.model.sessions) == 2
    config = outcome.model.session.config
    assert config["instructions"] == "Speak of ships."
    assert config["audio"]["output"]["speed"] == pytest.approx(1.29)
    assert outcome.heard == ANSWER


@both_wires
@pytest.mark.parametrize("kills_ms", [(), (3000,)])
def test_a_client_takes_turn_detection_over(kills_ms: tuple[int, ...]) -> None:
    outcome = updated(
        Ask(1000, "session_update", {"session": {"turn_detection": None}}), Ask(7000, "commit"), kills_ms=kills_ms
    )
    assert outcome.heard == ANSWER
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)]


# --- answers that fail


@both_wires
def test_a_rate_limited_answer_is_tried_again_after_its_wait() -> None:
    fault = FailResponse("rate_limit_exceeded", "Rate limit reached. Please try again in 1.7s.")
    outcome = talk([Say(1000, QUESTION)], faults={500: fault})
    assert outcome.heard == ANSWER
    assert outcome.responses == ["failed", "completed"]
    assert outcome.heard_between(0, 2080 + 1700) == ""
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)]
    assert not outcome.events("error")


@both_wires
def test_a_greeting_that_fails_is_said_after_all() -> None:
    cast = Cast(tenant(GREETING), prepare=lambda model: model.faults.append(FailResponse("server_error", "oops")))
    outcome = talk([Say(4000, QUESTION)], cast)
    assert outcome.heard == f"{GREETING} {ANSWER}"


def test_a_caller_who_goes_on_meanwhile_is_answered_once() -> None:
    fault = FailResponse("rate_limit_exceeded", "Rate limit reached. Please try again in 2s.")
    outcome = talk([Say(1000, QUESTION), Say(2500, SECOND)], faults={500: fault})
    assert outcome.heard == SECOND_ANSWER
    assert not outcome.sent("response.create")


@pytest.mark.parametrize("cancel_ms", [2050, 2100, 2150, 2225])
def test_what_was_cancelled_before_it_failed_is_not_tried_again(cancel_ms: int) -> None:
    fault = FailResponse("rate_limit_exceeded", "Rate limit reached. Please try again in 1s.")
    outcome = talk([Type(2000, QUESTION), Ask(cancel_ms, "cancel")], Cast(latency_ms=80), faults={500: fault})
    assert outcome.responses == ["failed"]
    assert outcome.heard == ""
    assert not outcome.events("error")
    assert outcome.last.rests[-1] is True


def test_an_answer_that_keeps_failing_is_said_to_be_lost() -> None:
    failures: dict[float, SessionFault] = {at_ms: FailResponse("server_error", "no") for at_ms in (500, 501, 502)}
    outcome = talk([Say(1000, QUESTION), Say(7000, SECOND)], faults=failures)
    assert outcome.responses == ["failed"] * 3 + ["completed"]
    assert [(told.data["code"], told.data["fatal"]) for told in outcome.events("error")] == [("provider", False)]
    assert outcome.heard == SECOND_ANSWER
    assert outcome.last.gave_up is None


def test_an_empty_account_ends_the_session() -> None:
    outcome = talk([Say(1000, QUESTION)], faults={500: FailResponse("insufficient_quota", "You exceeded your quota")})
    assert outcome.last.gave_up == "provider"
    assert outcome.told("error", "fatal") == [True]


@both_wires
def test_an_answer_that_breaks_off_goes_on() -> None:
    half = " ".join(ANSWER.split()[:10])
    failed: list[int] = []
    usual = Cast().model().options.answer

    def reply(prompt: Any) -> Reply:
        if not failed:
            failed.append(1)
            return [Words(half), Fail()]
        return usual(prompt)

    outcome = talk([Say(1000, QUESTION)], Cast(options={"answer": reply}))
    assert outcome.heard == ANSWER
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)]


@both_wires
def test_an_incomplete_answer_is_one() -> None:
    outcome = talk([Say(1000, QUESTION)], Cast(answers={QUESTION: [Words("one two"), Incomplete()]}))
    assert outcome.heard == "one two"
    assert outcome.items == [("user", QUESTION), ("assistant", "one two")]
    assert outcome.last.rests[-1] is True
