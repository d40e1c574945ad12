"""What a relayed model may do besides talking: our tools, the client's, and ending the call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conversation.relay_talk import (
    ANSWER,
    QUESTION,
    SECOND,
    SECOND_ANSWER,
    Cast,
    Outcome,
    both_wires,
    talk,
    tenant,
)
from tests.standins.clock_tool import Clock
from tests.standins.realtime import Call, Drop, Reply
from tests.standins.realtime import Say as Words
from tests.standins.session import Ask, Say, Type
from workers.tools import registry

pytestmark = [both_wires, pytest.mark.usefixtures("clock")]

WHEN = "what day"
TOLD = "it was monday"
GOODBYE = "goodbye and thanks"
BYE = "bye bye"


def cast(call: Reply | None = None, **options: Any) -> Cast:
    answers: dict[str, Reply] = {
        WHEN: call or Call("clock", {"day": "monday"}),
        '"monday"': Words(TOLD),
        '"friday"': Words("it was friday"),
        json.dumps({"error": "there is no sunday"}): Words("no sorry"),
        json.dumps({"error": "clock did not answer in time"}): Words("wait a minute"),
        BYE: Call("end_call"),
        json.dumps({"ok": True, "next": "Say a short goodbye. The call ends after it."}): Words(GOODBYE),
    }
    tools = ({"name": "clock"}, {"name": "end_call"}, {"name": "transfer_call", "numbers": {"desk": "+15550123"}})
    return Cast(tenant(tools=tools, client_tools=CLIENT_TOOLS), answers, options)


CLIENT_TOOLS = ({"name": "page", "description": "Show a page.", "timeout_s": 2.0},)


def assert_one_output_a_call(outcome: Outcome) -> None:
    """In each session with the model: an output for every call, once; never a response while one was active."""
    outputs: list[str] = []
    calls: list[str] = []
    for session in outcome.model.sessions:
        calls = [item["call_id"] for item in session.items if item["type"] == "function_call"]
        outputs = [item["call_id"] for item in session.items if item["type"] == "function_call_output"]
        assert len(outputs) == len(set(outputs))
        assert set(outputs) <= set(calls)
        assert "error" not in session.sent
    assert set(outputs) == set(calls), "in the newest"


def test_a_tool_is_called_and_its_result_spoken(clock: Clock) -> None:
    outcome = talk([Say(1000, WHEN)], cast())
    assert outcome.heard == TOLD
    assert clock.calls == ["monday"]
    assert_one_output_a_call(outcome)
    assert outcome.model_items == [("user", WHEN), ("call", "clock"), ("output", '"monday"'), ("assistant", TOLD)]
    assert outcome.items == [("user", WHEN), ("tool", '"monday"'), ("assistant", TOLD)]
    assert len(outcome.sent("response.create")) == 1
    assert outcome.told("tool_result", "ok") == [True]
    assert outcome.told("state", "state") == ["listening", "thinking", "speaking", "listening"]
    assert outcome.last.rests == [True, False, True]


def test_what_is_said_before_a_call_is_part_of_the_answer(clock: Clock) -> None:
    outcome = talk([Say(1000, WHEN)], cast(Call("clock", say_first="one moment please")))
    assert outcome.heard == f"one moment please {TOLD}"
    assert outcome.items == [("user", WHEN), ("tool", '"monday"'), ("assistant", f"one moment please {TOLD}")]
    assert [told.data["turn"] for told in outcome.events("transcript")] == [1, 2]


def test_two_calls_in_one_response_are_answered_by_one(clock: Clock) -> None:
    calls = [Call("clock", {"day": "monday"}), Call("clock", {"day": "friday"})]
    outcome = talk([Say(1000, WHEN)], cast(calls))
    assert sorted(clock.calls) == ["friday", "monday"]
    assert outcome.heard in ("it was friday", "it was monday")
    assert_one_output_a_call(outcome)
    assert len(outcome.sent("response.create")) == 1


def test_a_tool_that_fails_is_spoken_of(clock: Clock) -> None:
    outcome = talk([Say(1000, WHEN)], cast(Call("clock", {"day": "sunday"})))
    assert outcome.heard == "no sorry"
    assert outcome.told("tool_result", "ok") == [False]


def test_a_tool_that_takes_too_long_is_spoken_of(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "OURS_TIMEOUT_S", 2.0)
    clock.takes_s = 100.0
    outcome = talk([Say(1000, WHEN)], cast())
    assert outcome.heard == "wait a minute"
    assert clock.ended == 1


@pytest.mark.parametrize("kills_ms", [[], [2500], [4000]])
def test_who_cancels_while_a_tool_runs_is_not_told_of_its_result(clock: Clock, kills_ms: list[float]) -> None:
    clock.takes_s = 2.0
    outcome = talk([Type(1000, WHEN), Ask(2000, "cancel"), Type(6000, SECOND)], cast(), kills_ms=kills_ms)
    assert outcome.heard == SECOND_ANSWER
    known = [item for item in outcome.items if item[0] == "tool"]
    assert known == ([] if kills_ms == [2500] else [("tool", '"monday"')]), "the model may be asked of it"
    assert_one_output_a_call(outcome)


def test_a_tool_that_is_wanted_is_told_of_beside_one_that_was_cancelled(clock: Clock) -> None:
    """The one that nobody waits for ends last."""
    clock.takes_s = 4.0
    both = cast()
    failed = json.dumps({"error": "page did not answer in time"})
    both.answers = {**both.answers, QUESTION: Call("page", {}), failed: Words("sorry no")}
    outcome = talk([Type(1000, WHEN), Ask(1500, "cancel"), Type(2000, QUESTION)], both)
    assert outcome.heard == TOLD, "what the model says last answers all that it was told"
    assert_one_output_a_call(outcome)


def test_a_caller_who_speaks_up_while_a_tool_runs_hears_both(clock: Clock) -> None:
    clock.takes_s = 4.0
    outcome = talk([Say(1000, WHEN), Say(3000, SECOND)], cast())
    assert outcome.heard == f"{SECOND_ANSWER} {TOLD}"
    assert_one_output_a_call(outcome)
    assert outcome.last.rests[-1] is True


def test_a_tool_that_ends_while_the_model_speaks_waits_for_its_turn(clock: Clock) -> None:
    clock.takes_s = 2.0
    outcome = talk([Say(1000, WHEN), Say(2500, SECOND)], cast(speed=1.05))
    assert outcome.heard == f"{SECOND_ANSWER} {TOLD}"
    assert_one_output_a_call(outcome)


@pytest.mark.parametrize("drop_ms", [2000, 2500, 2930, 2942, 2955])
def test_a_model_lost_while_a_tool_runs_is_told_of_it(clock: Clock, drop_ms: int) -> None:
    outcome = talk([Say(1000, WHEN)], cast(), faults={drop_ms: Drop()})
    assert outcome.heard == TOLD
    assert clock.calls == ["monday"]
    assert len(outcome.model.sessions) == 2
    assert_one_output_a_call(outcome)
    assert outcome.model_items == [("user", WHEN), ("call", "clock"), ("output", '"monday"'), ("assistant", TOLD)]


def test_a_tool_ends_when_the_caller_hangs_up(clock: Clock) -> None:
    clock.takes_s = 100.0
    outcome = talk([Say(1000, WHEN)], cast(), end_ms=4000)
    assert clock.ended == 1
    assert outcome.heard == ""


@pytest.mark.parametrize("kill_ms", range(1900, 5000, 130))
def test_a_worker_may_die_around_a_tool(clock: Clock, kill_ms: int) -> None:
    outcome = talk([Say(1000, WHEN)], cast(), kills_ms=[kill_ms])
    words = outcome.heard.split()
    assert " ".join(sorted(set(words), key=words.index)) == TOLD
    assert len(words) <= 5
    assert len(clock.calls) == (2 if 1940 < kill_ms < 2945 else 1)
    assert_one_output_a_call(outcome)
    assert [role for role, _ in outcome.items] == ["user", "tool", "assistant"]


# --- the client's


def shown(outcome: Outcome) -> Outcome:
    assert outcome.told("tool_call", "tool") == ["page"]
    return outcome


def test_a_tool_of_the_client(clock: Clock) -> None:
    """The call's id is the model's: it is known from the same script without an answer."""
    talking = cast(Call("page", {}))
    talking.answers = {**talking.answers, "shown": Words("you see")}
    [call_id] = talk([Say(1000, WHEN)], talking, end_ms=3000).told("tool_call", "call_id")
    outcome = talk([Say(1000, WHEN), Ask(3000, "tool_output", {"call_id": call_id, "output": "shown"})], talking)
    assert shown(outcome).heard == "you see"
    assert outcome.items == [("user", WHEN), ("tool", "shown"), ("assistant", "you see")]
    assert_one_output_a_call(outcome)


def test_a_client_that_does_not_answer(clock: Clock) -> None:
    talking = cast(Call("page", {}))
    failed = json.dumps({"error": "page did not answer in time"})
    talking.answers = {**talking.answers, failed: Words("sorry no")}
    outcome = talk([Say(1000, WHEN), Ask(5000, "tool_output", {"call_id": "call_1_9", "output": "shown"})], talking)
    assert shown(outcome).heard == "sorry no"
    assert outcome.told("error", "code") == ["unknown_call"]


# --- ending the call


def test_the_call_ends_after_the_goodbye_was_heard() -> None:
    outcome = talk([Say(1000, BYE)], cast())
    assert outcome.heard == GOODBYE
    assert outcome.last.closed == ("assistant_ended", "")
    assert outcome.edge.hung_up.is_set()


def test_the_call_ends_when_the_goodbye_was_said_before_the_tool() -> None:
    talking = cast()
    quiet = json.dumps({"ok": True, "next": "Say a short goodbye. The call ends after it."})
    talking.answers = {**talking.answers, BYE: Call("end_call", say_first=GOODBYE), quiet: []}
    outcome = talk([Say(1000, BYE)], talking)
    assert outcome.heard == GOODBYE
    assert outcome.last.closed == ("assistant_ended", "")


def test_the_call_ends_without_a_goodbye() -> None:
    talking = cast()
    quiet = json.dumps({"ok": True, "next": "Say a short goodbye. The call ends after it."})
    talking.answers = {**talking.answers, quiet: []}
    outcome = talk([Say(1000, BYE)], talking)
    assert outcome.heard == ""
    assert outcome.last.closed == ("assistant_ended", "")


def test_a_call_is_put_through_after_the_model_said_so() -> None:
    talking = cast(Call("transfer_call", {"to": "desk"}))
    done = {"ok": True, "next": "Say in a few words that you put the caller through. It happens after that."}
    talking.answers = {**talking.answers, json.dumps(done): Words("one moment please")}
    outcome = talk([Say(1000, WHEN)], talking)
    assert outcome.heard == "one moment please"
    assert outcome.last.closed == ("transferred", "+15550123")


@pytest.mark.parametrize("speaks_ms", [2130, 2200, 2300, 2500])
def test_a_caller_who_interrupts_the_goodbye_goes_on(speaks_ms: int) -> None:
    outcome = talk([Say(1000, BYE), Say(speaks_ms, SECOND)], cast())
    assert outcome.last.closed is None
    assert outcome.heard.endswith(SECOND_ANSWER)
    assert outcome.items[-2:] == [("user", SECOND), ("assistant", SECOND_ANSWER)]


@pytest.mark.parametrize("kill_ms", range(1900, 2700, 90))
def test_a_call_that_is_to_end_ends_with_another_worker(kill_ms: int) -> None:
    outcome = talk([Say(1000, BYE)], cast(), kills_ms=[kill_ms])
    words = outcome.heard.split()
    assert " ".join(sorted(set(words), key=words.index)) == GOODBYE
    assert [session.closed for session in outcome.sessions if session.closed] == [("assistant_ended", "")]
    assert outcome.edge.hung_up.is_set()


def test_typed_text_while_a_tool_runs(clock: Clock) -> None:
    clock.takes_s = 4.0
    outcome = talk([Say(1000, WHEN), Type(3000, QUESTION)], cast(), end_ms=14_000)
    assert outcome.heard == f"{ANSWER} {TOLD}"
    assert_one_output_a_call(outcome)
