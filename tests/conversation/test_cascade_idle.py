"""A caller who says nothing is asked, and at last the call is ended."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.conversation.talk import ANSWER, QUESTION, Cast, Outcome, talk
from tests.standins.session import Action, Dial, Say, Type
from tests.standins.voices import ScriptedLlm
from trunkline.tenants import IdleSettings, Tenant
from workers.keys import told

GREETING = "Hello and welcome."
"""600 ms."""
FIRST, SECOND, GOODBYE = "Are you still there?", "Can you hear me?", "Then goodbye for now."
"""800, 800 and 800 ms."""


def converse(
    *script: Action, closes: bool = True, end_ms: int = 30_000, kills_ms: Sequence[int] = (), hang_up: bool = True
) -> Outcome:
    idle = IdleSettings(after_s=4, prompts=(FIRST, SECOND), hang_up=hang_up, goodbye=GOODBYE)
    answers = {QUESTION: ANSWER, "yes i am": "Very well.", told("1#"): "Thank you."}
    tenant = Tenant(id="test", greeting=GREETING, idle=idle)
    cast = Cast(tenant=tenant, llm=ScriptedLlm(answers), closes=closes)
    return talk(script, cast, end_ms=end_ms, kills_ms=kills_ms)


def begun_at(outcome: Outcome, text: str) -> int:
    """When the caller began to hear it."""
    [turn] = [number for number, turn in outcome.edge.turns.items() if turn.text == text.split()]
    return next(at_ms for at_ms, number, _ in outcome.edge.heard_at if number == turn)


def test_prompts_goodbye_and_the_end() -> None:
    outcome = converse()
    assert outcome.edge.heard == f"{GREETING} {FIRST} {SECOND} {GOODBYE}"
    assert outcome.items == [("assistant", text) for text in (GREETING, FIRST, SECOND, GOODBYE)]
    assert outcome.last.closed == ("idle", "")
    assert outcome.edge.hung_up.is_set()
    assert begun_at(outcome, FIRST) == pytest.approx(100 + 600 + 4000 + 100, abs=100)
    assert begun_at(outcome, SECOND) == pytest.approx(begun_at(outcome, FIRST) + 4900, abs=100)
    assert begun_at(outcome, GOODBYE) == pytest.approx(begun_at(outcome, SECOND) + 4900, abs=100)


def test_a_tenant_who_never_hangs_up() -> None:
    outcome = converse(closes=False, hang_up=False)
    assert outcome.edge.heard == f"{GREETING} {FIRST} {SECOND}"
    assert outcome.last.rests[-1] is True


def test_who_speaks_up_is_answered_and_asked_from_the_beginning_again() -> None:
    outcome = converse(Say(12_000, "yes i am"), closes=False, end_ms=25_000)
    assert outcome.edge.heard == f"{GREETING} {FIRST} {SECOND} Very well. {FIRST} {SECOND}"


@pytest.mark.parametrize("action", [Say(14_900, "yes i am"), Type(14_900, "yes i am")])
def test_who_speaks_up_over_the_goodbye_stays(action: Action) -> None:
    outcome = converse(action, closes=False, end_ms=24_000)
    assert "Very well." in outcome.edge.heard
    assert "ending" not in outcome.last.committed.flow


def test_keys_are_a_sign_of_life() -> None:
    outcome = converse(Dial(6000, "1"), Dial(8000, "#"), closes=False, end_ms=12_000)
    assert outcome.edge.heard == f"{GREETING} {FIRST} Thank you."


def test_a_sound_is_none_but_is_waited_for() -> None:
    outcome = converse(Say(4000, "a b c d e", word_ms=80), closes=False, end_ms=12_000)
    assert begun_at(outcome, FIRST) == pytest.approx(4400 + 480 + 200 + 4000 + 100, abs=150)


def test_an_answer_is_no_silence() -> None:
    outcome = converse(Say(1000, QUESTION), closes=False, end_ms=14_000)
    assert outcome.edge.heard == f"{GREETING} {ANSWER} {FIRST}"


@pytest.mark.parametrize("kill_ms", [*range(300, 16_800, 1237), 14_650, 15_000, 15_450])
def test_a_death_changes_nothing(kill_ms: int) -> None:
    outcome = converse(kills_ms=[kill_ms])
    assert outcome.items == [("assistant", text) for text in (GREETING, FIRST, SECOND, GOODBYE)]
    assert outcome.edge.heard == f"{GREETING} {FIRST} {SECOND} {GOODBYE}"
    assert outcome.edge.hung_up.is_set()
