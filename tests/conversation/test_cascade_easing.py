"""The caller's audio comes as it is spoken where somebody waits for it, and together where nobody does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest

from tests.conversation.bridged import DirectLanes, converse
from tests.conversation.talk import ANSWER, QUESTION, Cast, talk
from tests.standins.session import FRAME_BYTES, Action, Ask, Dial, Say, Type
from tests.standins.voices import LOUD
from trunkline.audio.frame import FRAME_MS, FULL_SCALE
from trunkline.bus.messages import Message, UplinkAudio
from workers.cascade.easing import AS_IT_COMES, TOGETHER, TOGETHER_MS
from workers.session import LiveSession
from workers.turns.endpointing import CHUNK_MS

SECOND = "and what else"
DECISIONS = {"speech_started", "speech_stopped", "pause", "resume", "clear", "response_done", "transcript"}


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


class Comparison(NamedTuple):
    """A conversation through a bridge."""

    items: list[str]
    text: str
    decided: list[tuple[str, int]]
    """What was told of the caller's speech and the answer to it, and when (ms)."""
    frames: list[int]
    """How many came in each message."""


def through_a_bridge(script: Sequence[Action], kills_ms: Sequence[int], part: Cast) -> Comparison:
    frames: list[int] = []

    class Counting(DirectLanes):
        def send(self, lane: str, message: Message, *, within_s: float = 0.0) -> None:
            if isinstance(message, UplinkAudio):
                frames.append(len(message.pcm) // FRAME_BYTES)
            super().send(lane, message, within_s=within_s)

    outcome = converse(script, 16_000, kills_ms, part, lanes=Counting)
    decided = [(told.name, told.at_ms) for told in outcome.wire.events if told.name in DECISIONS]
    return Comparison(outcome.items, outcome.wire.text, decided, frames)


@pytest.mark.parametrize("kills_ms", [[], [4300], [4700]])
@pytest.mark.parametrize(
    "script",
    [
        [Say(1000, QUESTION)],
        [Say(1000, QUESTION), Say(4000, SECOND), Say(9000, QUESTION)],
        [Say(1000, QUESTION), Say(4000, "mhm", word_ms=160)],
        [Say(1000, QUESTION), Say(1900, SECOND), Say(6000, "one, two and"), Say(7800, "three")],
        [Say(1000, QUESTION), Ask(1700, "commit"), Type(6000, SECOND), Dial(9000, "1"), Ask(12_000, "cancel")],
    ],
)
def test_what_is_decided_is_the_same_and_no_later(
    script: list[Action], kills_ms: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    eased = through_a_bridge(script, kills_ms, Cast())
    monkeypatch.setattr(LiveSession, "ease", lambda *wish: None)
    as_it_comes = through_a_bridge(script, kills_ms, Cast())
    assert set(as_it_comes.frames) == {1}
    assert len(eased.frames) < 0.6 * len(as_it_comes.frames)
    assert max(eased.frames) * FRAME_MS == TOGETHER_MS
    assert (eased.items, eased.text) == (as_it_comes.items, as_it_comes.text)
    grid_ms = CHUNK_MS + FRAME_MS if kills_ms else 0  # the next worker's chunks begin where its first message does
    for (name, at_ms), (alone, alone_at_ms) in zip(eased.decided, as_it_comes.decided, strict=True):
        assert name == alone
        later_ms = TOGETHER_MS if name == "speech_started" else 0  # where nobody was answered, nobody waits for that
        assert -grid_ms <= at_ms - alone_at_ms <= later_ms + grid_ms
