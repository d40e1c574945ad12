"""When a caller speaks: three seconds, or as his speeches last, then he listens to the answer; every third one he
interrupts. Pure."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from benchmarks.phone.audio import FRAME_BYTES, RATE_PER_MS

FRAME_S = FRAME_BYTES / RATE_PER_MS / 1000
SPEECH_FRAMES = 150
PAUSE_S = 1.0
"""Between the end of an answer and what he says next."""
BARGE_IN_EVERY = 3
BARGE_IN_S = (0.5, 2.5)
"""How long he listens to an answer before he interrupts it: while the model still sends, and after."""
PATIENCE_S = 5.0
"""An answer that has not begun then is missed, and he speaks again."""
LONGEST_ANSWER_S = 10.0
"""He speaks again also when the end of an answer does not come."""
CLEAR_S = 2.0
"""So is a clear."""
CYCLE_S = 9.0
"""About how long question and answer take: callers dial spread over that, so that every part of it always goes on."""


class Talk:
    """One caller's side. Feed it what he hears, and ask for every frame whether it is loud."""

    def __init__(self, number: int, lengths: Iterator[int] | None = None) -> None:
        """`lengths`: frames of each thing he says; none: SPEECH_FRAMES."""
        self.answers = 0
        self.unanswered = 0
        self.uncleared = 0
        self.stale = 0
        """Pieces of an answer that arrived after it was cleared: he hears what he has interrupted."""
        self.barge_ins_s: list[tuple[float, float]] = []
        """When the first loud frame of each was sent, and how long it took until the clear."""
        self.gaps_s: list[tuple[float, float]] = []
        """When the sound stopped inside an answer, and for how long."""
        self.played_until_s = 0.0
        self._number = number
        self._random = random.Random(number)
        self._lengths = itertools.repeat(SPEECH_FRAMES) if lengths is None else lengths
        self._left = next(self._lengths)
        self._speaks_at_s = 0.0
        self._barging_since_s: float | None = None
        self._will_barge_in = False
        self._hears_end = False
        self._answer: int | None = None
        self._cleared: int | None = None

    def speaks(self, now_s: float) -> bool:
        """Whether the frame that is sent now is loud."""
        if self._barging_since_s is not None and now_s - self._barging_since_s > CLEAR_S:
            self.uncleared += 1
            self._barging_since_s = None
        if self._left == 0:
            if now_s < self._speaks_at_s:
                return False
            self._begin(now_s)
        self._left -= 1
        if self._left == 0:
            self._speaks_at_s = now_s + PATIENCE_S
            self._answer = None
            self._hears_end = False
        return True

    def _begin(self, now_s: float) -> None:
        self._left = next(self._lengths)
        if self._answer is None:
            self.unanswered += 1
        elif self._will_barge_in:
            self._barging_since_s = now_s
            self._will_barge_in = False

    def piece(self, now_s: float, answer: int, *, last: bool) -> None:
        """A piece of an answer begins in the audio that has just arrived."""
        if answer == self._cleared:
            self.stale += 1
            return
        if self._left:  # he speaks: of an answer that he is interrupting, or that came in between
            return
        if answer != self._answer:
            self._answer = answer
            self.answers += 1
            self.played_until_s = max(self.played_until_s, now_s)
            self._will_barge_in = (self.answers + self._number) % BARGE_IN_EVERY == 0
            listens_s = self._random.uniform(*BARGE_IN_S) if self._will_barge_in else LONGEST_ANSWER_S
            self._speaks_at_s = now_s + listens_s
        self._hears_end = last and not self._will_barge_in

    def audio(self, now_s: float, duration_s: float) -> None:
        """Audio has arrived; call `piece` first for what begins in it."""
        if self._answer is not None and not self._left and now_s - self.played_until_s > FRAME_S / 10:
            self.gaps_s.append((now_s, now_s - self.played_until_s))
        self.played_until_s = max(self.played_until_s, now_s) + duration_s
        if self._hears_end and not self._left:
            self._speaks_at_s = self.played_until_s + PAUSE_S

    def clear(self, now_s: float) -> None:
        """What has not been played is dropped."""
        self.played_until_s = now_s
        self._cleared = self._answer
        if self._barging_since_s is not None:
            self.barge_ins_s.append((self._barging_since_s, now_s - self._barging_since_s))
            self._barging_since_s = None
