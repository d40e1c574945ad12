"""The cascade between a real session and a real bridge, without Redis, in virtual time: do the three mean the same?"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.conversation import bridged
from tests.conversation.bridged import Outcome
from tests.conversation.talk import ANSWER, QUESTION, Cast, tenant
from tests.standins.session import Action, Ask, Dial, Say, Type
from tests.standins.voices import ScriptedLlm, ScriptedStt

GREETING = "Hello and welcome here."
SECOND = "and what else"
SECOND_ANSWER = "Nothing else at all. I am done."
SCRIPT = [Say(2000, QUESTION), Say(10_000, SECOND)]


def converse(script: Sequence[Action], end_ms: int, kills_ms: Sequence[float] = ()) -> Outcome:
    cast = Cast(tenant(GREETING), llm=ScriptedLlm({QUESTION: ANSWER, SECOND: SECOND_ANSWER}))
    return bridged.converse(script, end_ms, kills_ms, cast)


def test_a_conversation() -> None:
    outcome = converse(SCRIPT, 16_000)
    assert outcome.wire.text == f"{GREETING} {ANSWER} {SECOND_ANSWER}"
    assert outcome.items == [GREETING, QUESTION, ANSWER, SECOND, SECOND_ANSWER]


@pytest.mark.parametrize("kill_ms", [300, 2300, 3150, 3500, 3900, 4300, 5700, 7500, 8000, 9500])
def test_a_takeover(kill_ms: int) -> None:
    outcome = converse(SCRIPT, 16_000, [kill_ms])
    assert outcome.wire.text == f"{GREETING} {ANSWER} {SECOND_ANSWER}"
    assert outcome.items == [GREETING, QUESTION, ANSWER, SECOND, SECOND_ANSWER]


@pytest.mark.parametrize("kills_ms", [[], [5110], [5200], [5300], [5900]])
def test_an_interruption(kills_ms: list[int]) -> None:
    outcome = converse([Say(2000, QUESTION), Say(5000, SECOND)], 12_000, kills_ms)
    assert outcome.items[3:] == [SECOND, SECOND_ANSWER]
    assert ANSWER.startswith(outcome.items[2])
    assert outcome.wire.text.endswith(f" {SECOND_ANSWER}")
    assert outcome.wire.cleared == {3}


def test_noise_pauses_and_the_answer_goes_on() -> None:
    outcome = converse([Say(2000, QUESTION), Say(5000, "mhm", word_ms=160)], 12_000)
    assert outcome.wire.text == f"{GREETING} {ANSWER}"
    assert outcome.items == [GREETING, QUESTION, ANSWER]
    names = [event.name for event in outcome.wire.events]
    assert names.index("pause") < names.index("resume", names.index("pause"))


@pytest.mark.parametrize("kills_ms", [[], [4400]])
@pytest.mark.parametrize("between", [Type(1800, "typed"), Ask(1700, "commit"), Ask(1700, "cancel"), Dial(1800, "1")])
def test_what_the_caller_does_keeps_its_place_in_what_they_say(between: Action, kills_ms: list[int]) -> None:
    """The next worker hears seconds of it in one moment."""
    cast = Cast(stt=ScriptedStt(takes_s=3.0))
    outcome = bridged.converse([Say(1000, QUESTION), between, Say(4000, SECOND)], 12_000, kills_ms, cast)
    said = [item for item in outcome.items if item in {QUESTION, "typed", SECOND}]
    assert said == [QUESTION, *(["typed"] if isinstance(between, Type) else []), SECOND]
