"""The caller's audio comes as it is spoken where somebody waits for it, and together where nobody does."""

from __future__ import annotations

from tests.conversation.talk import ANSWER, QUESTION, talk
from tests.standins.session import Say
from tests.standins.voices import LOUD
from trunkline.audio.frame import FULL_SCALE
from workers.cascade.easing import AS_IT_COMES, TOGETHER, TOGETHER_MS

WHAT_IS_LOUD = (TOGETHER_MS, LOUD, FULL_SCALE)
WHAT_IS_SOFT = (TOGETHER_MS, 0, LOUD)


def test_a_question_and_its_answer() -> None:
    outcome = talk([Say(1000, QUESTION)])
    assert outcome.edge.heard == ANSWER
    assert outcome.last.eased == [
        TOGETHER,
        WHAT_IS_LOUD,  # they speak: silence is waited for
        AS_IT_COMES,  # they are silent: are they done?
        WHAT_IS_SOFT,  # they are answered: speech is waited for
        TOGETHER,
    ]


def test_speech_over_an_answer_comes_as_it_is_spoken_until_that_is_given_up() -> None:
    outcome = talk([Say(1000, QUESTION), Say(4000, QUESTION)])
    assert outcome.last.eased[3:7] == [WHAT_IS_SOFT, AS_IT_COMES, WHAT_IS_LOUD, AS_IT_COMES]
