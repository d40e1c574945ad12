"""What a relay knows of how long its caller waited: the model says by its own clock when they spoke."""

from __future__ import annotations

import pytest

from tests.conversation.relay_talk import QUESTION, SECOND, Cast, both_wires, talk, tenant
from tests.standins.session import Say, Type

SPEECH_MS = 600
"""Of QUESTION."""
PAUSE_MS = 20
"""Between two words, and after the last: not for a detector."""


@both_wires
def test_speech_ended_before_the_silence_that_the_model_waited_for() -> None:
    outcome = talk([Say(1000, QUESTION), Say(9000, QUESTION)], end_ms=14_000)
    ended = [wait.speech_end_ms for wait in outcome.last.waits]
    assert ended == pytest.approx([1000 + SPEECH_MS, 9000 + SPEECH_MS], abs=2 * PAUSE_MS)
    assert [wait.parts[0] for wait in outcome.last.waits] == [("endpoint", 500)] * 2


def test_of_a_model_that_goes_by_the_meaning_it_is_not_known_when_speech_ended() -> None:
    outcome = talk([Say(1000, QUESTION)], Cast(tenant(turn_detection={"type": "semantic_vad"})))
    assert [wait.speech_end_ms for wait in outcome.last.waits] == [None]


@both_wires
def test_speech_over_an_answer_began_after_the_model_s_padding() -> None:
    outcome = talk([Say(1000, QUESTION), Say(3500, SECOND)])
    [over_ms] = outcome.last.spoken_over_ms
    assert over_ms == pytest.approx(3500, abs=2 * PAUSE_MS)


def test_typed_text_over_an_answer_is_no_speech() -> None:
    outcome = talk([Say(1000, QUESTION), Type(3500, SECOND)])
    assert outcome.last.spoken_over_ms == [None]
