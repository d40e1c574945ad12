"""Telephone keys: gathered into numbers, told to the model, and never lost or taken twice."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conversation.talk import ANSWER, QUESTION, Cast, Outcome, talk
from tests.standins.session import Action, Dial, Say, Type
from tests.standins.voices import ScriptedLlm
from trunkline.tenants import KeySettings, Tenant, TurnSettings
from workers.keys import told

GREETING = "Hello and welcome to this place here."
"""1.4 s."""


def dial(at_ms: int, keys: str, every_ms: int = 300) -> list[Dial]:
    return [Dial(at_ms + number * every_ms, key) for number, key in enumerate(keys)]


def cast(answers: dict[str, str], greeting: str | None = None, mute: tuple[Any, ...] = (), **keys: Any) -> Cast:
    tenant = Tenant(id="test", greeting=greeting, keys=KeySettings(**keys), turn=TurnSettings(mute=mute))
    return Cast(tenant=tenant, llm=ScriptedLlm({QUESTION: ANSWER} | answers))


def user_said(outcome: Outcome) -> list[str]:
    return [text for role, text in outcome.items if role == "user"]


def test_keys_are_one_contribution_once_none_has_come_for_a_while() -> None:
    outcome = talk(dial(1000, "123"), cast({told("123"): "Thank you."}))
    assert outcome.items == [("user", told("123")), ("assistant", "Thank you.")]
    assert outcome.edge.heard == "Thank you."
    assert outcome.told("transcript", "text") == [told("123"), "Thank you."]
    assert outcome.events("transcript")[0].at_ms == pytest.approx(1600 + 2500, abs=40)
    assert outcome.told("state", "state") == ["listening", "thinking", "speaking", "listening"]
    assert outcome.last.rests == [True, False, True]


def test_the_key_that_ends_them_does_so_at_once() -> None:
    outcome = talk(dial(1000, "12#"), cast({told("12#"): "Thank you."}))
    assert outcome.events("transcript")[0].at_ms == pytest.approx(1600, abs=40)


def test_a_tenant_chooses_how_keys_end() -> None:
    outcome = talk(dial(1000, "12*#3"), cast({told("12*"): "Yes.", told("#3"): "No."}, end="*", wait_s=1))
    assert user_said(outcome) == [told("12*"), told("#3")]
    outcome = talk(dial(1000, "7"), cast({told("7"): "Sales."}, longest=1))
    assert outcome.events("transcript")[0].at_ms == pytest.approx(1000, abs=40)
    outcome = talk(dial(1000, "##"), cast({told("##"): "What?"}, end=None))
    assert user_said(outcome) == [told("##")]


def test_the_first_key_interrupts_an_answer() -> None:
    outcome = talk([Say(1000, QUESTION), *dial(4000, "12#")], cast({told("12#"): "Thank you."}))
    assert max(at_ms for at_ms, turn, _ in outcome.edge.heard_at if turn == 2) <= 4040
    assert [role for role, _ in outcome.items] == ["user", "assistant", "user", "assistant"]
    assert outcome.edge.heard.endswith("Thank you.")
    assert ANSWER.startswith(outcome.items[1][1])


def test_what_was_said_before_a_number_is_answered_with_it() -> None:
    script: list[Action] = [Say(1000, "my number is"), *dial(1700, "123", every_ms=500)]
    outcome = talk(script, cast({f"my number is {told('123')}": "Thank you."}), end_ms=14_000)
    assert outcome.edge.heard == "Thank you."
    assert user_said(outcome) == ["my number is", told("123")]


def test_keys_while_speaking_do_not_cut_the_speaker_off() -> None:
    script: list[Action] = [Say(1000, "it is this number here now"), *dial(1100, "12#", every_ms=100)]
    outcome = talk(script, cast({f"{told('12#')} it is this number here now": "Thank you."}))
    assert outcome.edge.heard == "Thank you."


def test_typed_text_does_not_take_half_a_number_along() -> None:
    script: list[Action] = [*dial(1000, "12", every_ms=200), Type(1500, "well"), *dial(1800, "3#", every_ms=200)]
    outcome = talk(script, cast({f"well {told('123#')}": "Thank you."}))
    assert user_said(outcome) == ["well", told("123#")]
    assert outcome.edge.heard == "Thank you."


def test_a_muted_greeting_is_heard_to_its_end_and_the_keys_are_kept() -> None:
    script = dial(200, "12#", every_ms=100)
    outcome = talk(script, cast({told("12#"): "Thank you."}, GREETING, mute=("greeting",)))
    assert outcome.edge.heard == f"{GREETING} Thank you."
    assert outcome.items == [("assistant", GREETING), ("user", told("12#")), ("assistant", "Thank you.")]
    outcome = talk(script, cast({told("12#"): "Thank you."}, GREETING))
    assert outcome.edge.heard != f"{GREETING} Thank you.", "without it, they interrupt"


KILLED: list[Action] = [Say(1000, QUESTION), *dial(3800, "12"), *dial(5000, "3#", every_ms=200)]


@pytest.mark.parametrize("kill_ms", [*range(3755, 5500, 61), 5700, 6000])
def test_keys_outlive_a_worker(kill_ms: int) -> None:
    answers = {told("123#"): "Thank you very much.", f"{QUESTION} {told('123#')}": "Thank you very much."}
    outcome = talk(KILLED, cast(answers), kills_ms=[kill_ms])
    assert user_said(outcome) == [QUESTION, told("123#")]
    assert outcome.edge.heard.endswith("Thank you very much.")
    assert outcome.items[-1] == ("assistant", "Thank you very much.")


@pytest.mark.parametrize("kill_ms", range(150, 3000, 190))
def test_keys_in_a_muted_greeting_outlive_a_worker(kill_ms: int) -> None:
    answers = {told("12#"): "Thank you."}
    outcome = talk(dial(200, "12#", every_ms=100), cast(answers, GREETING, mute=("greeting",)), kills_ms=[kill_ms])
    assert outcome.edge.heard == f"{GREETING} Thank you."
    assert user_said(outcome) == [told("12#")]


def test_many_deaths_in_a_long_number() -> None:
    keys = "1234567890"
    outcome = talk(dial(1000, f"{keys}#"), cast({told(f"{keys}#"): "Thank you."}), kills_ms=range(900, 5500, 333))
    assert user_said(outcome) == [told(f"{keys}#")]
    assert outcome.edge.heard == "Thank you."
