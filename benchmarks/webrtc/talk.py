"""When a caller speaks: two seconds, then he listens; an answer that does not pause, he interrupts. Pure."""

from __future__ import annotations

import random

FRAME_S = 0.02
SPEECH_FRAMES = 100
PATIENCE_S = 5.0
"""An answer that has not begun then is missed, and he speaks again."""
OVER_S = 0.7
"""After so much silence he takes the answer to be over."""
PAUSE_S = 0.5
"""Then he speaks again."""
HOLE_S = 0.08
"""Audio that is so late is no part of what was heard before it."""
STREAM_S = 0.4
"""What lasts longer is no single mark, nor two of them that a busy machine brought close together."""
BARGE_IN_S = (0.5, 2.5)
"""How long he listens to such an answer."""
CYCLE_S = 7.0
"""About how long question and answer take: callers dial spread over that, so that every part of it always goes on."""


class Talk:
    """One caller's side. Say when he hears something, and ask for every frame whether he speaks."""

    def __init__(self, number: int) -> None:
        self.answers = 0
        self.unanswered = 0
        self.interruptions_s: list[float] = []
        """When the first frame of each was sent."""
        self._random = random.Random(number)
        self._left = SPEECH_FRAMES
        self._speaks_at_s = 0.0
        self._heard_s: float | None = None
        self._since_s = 0.0
        self._interrupts = False

    def speaks(self, now_s: float) -> int | None:
        """Which frame of his speech is sent now; none: silence."""
        if self._left == 0:
            if now_s < self._speaks_at_s:
                return None
            self._left = SPEECH_FRAMES
            if self._heard_s is None:
                self.unanswered += 1
            elif self._interrupts:
                self.interruptions_s.append(now_s)
        self._left -= 1
        if self._left == 0:
            self._speaks_at_s = now_s + PATIENCE_S
            self._heard_s, self._interrupts = None, False
        return SPEECH_FRAMES - 1 - self._left

    def hears(self, now_s: float) -> None:
        """A packet that is no silence has arrived."""
        if self._left:  # he speaks: it is of the answer that he interrupts
            return
        if self._heard_s is None:
            self.answers += 1
        if self._heard_s is None or now_s - self._heard_s > HOLE_S:
            self._since_s = now_s
        self._heard_s = now_s
        if self._interrupts:
            return
        if now_s - self._since_s > STREAM_S:
            self._interrupts = True
            self._speaks_at_s = self._since_s + self._random.uniform(*BARGE_IN_S)
        else:
            self._speaks_at_s = now_s + OVER_S + PAUSE_S
