"""The caller's audio comes as it is spoken where somebody waits for it, and together where nobody does."""

from __future__ import annotations

from tests.conversation.talk import ANSWER, QUESTION, talk
from tests.standins.session import Say
from tests.standins.voices import LOUD
from trunkline.audio.frame import FULL_SCALE
from workers.cascade.easing import AS_IT_COMES, TOGETHER, TOGETHER_MS

OVER_AN_ANSWER = (TOGETHER_MS, LOUD)


def test_a_question_and_its_answer() -> None:
    outcome = talk([Say(1000, QUESTION)])
    assert outcome.edge.heard == ANSWER
    assert outcome.last.eased == [
        TOGETHER,  # nobody speaks, and then the caller
        AS_IT_COMES,  # they are silent: are they done?
        OVER_AN_ANSWER,  # what is quiet may wait
        TOGETHER,
    ]


def test_over_an_answer_speech_is_heard_as_it_comes() -> None:
    outcome = talk([Say(1000, QUESTION), Say(4000, QUESTION)])
    assert outcome.last.eased[2:6] == [OVER_AN_ANSWER, AS_IT_COMES, TOGETHER, AS_IT_COMES]


def test_no_noise_is_above_full_scale() -> None:
    assert LOUD < TOGETHER[1] == FULL_SCALE
