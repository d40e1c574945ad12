"""The Realtime model of WebRTC calls: `python -m benchmarks.webrtc.model --port P --report FILE`.

The first sound is speech to it: what a model needs to be sure is in no figure. Two of three answers are single marks,
with silence between them, each sent at the moment it is spoken: what it is late by then is what the way adds, and not
what was waiting before it. The third is a stream at four times real time, as the real model's, to be interrupted. When
told to end (SIGTERM) it writes what it heard and said to FILE, by session.
"""

from __future__ import annotations

import base64
import random
from typing import Any

import numpy as np

from benchmarks import world
from benchmarks.phone.realtime import Event
from benchmarks.phone.session import Model, Session
from benchmarks.webrtc import marks
from benchmarks.webrtc.stream import Stream

SPEED = 4.0
STREAM_EVERY = 3
STREAM_MARKS, SINGLE_MARKS = 50, 11
"""An answer lasts 5 s, or about 3.5."""
SINGLE_S = (0.3, 0.36)
"""From one single mark to the next. It falls anywhere between the ticks of whoever paces its audio by a clock."""

FORMAT: Event = {"type": "audio/pcm", "rate": marks.RATE_HZ}


class MarkedPcm:
    """What one session sounds like."""

    format = FORMAT

    def __init__(self, number: int) -> None:
        self.heard = Stream()
        self.said: list[tuple[float, int, bool]] = []
        """When each mark was sent that met nothing before it, its tone, and whether it began an answer."""
        self._tones = marks.tones(number)
        self._random = random.Random(number)
        self._marks = 0
        self._next_s = 0.0
        self._speaking = False
        self._silent = 0

    @property
    def heard_ms(self) -> int:
        return self.heard.samples // marks.RATE_PER_MS

    def hear(self, pcm: bytes, now_s: float, silence_ms: int) -> list[bool]:
        self.heard.add(pcm, now_s)
        samples = np.frombuffer(pcm, "<i2")
        audible = marks.audible(samples)
        self._silent = 0 if audible else self._silent + samples.size
        if audible if not self._speaking else self._silent >= silence_ms * marks.RATE_PER_MS:
            self._speaking = not self._speaking
            return [self._speaking]
        return []

    def say(self, answer: int, piece: int, now_s: float) -> tuple[str, float | None]:
        tone = self._tones[self._marks % marks.TONES]
        self._marks += 1
        streams = answer % STREAM_EVERY == STREAM_EVERY - 1
        if piece == 0 or not streams:
            self.said.append((now_s, tone, piece == 0))
        if piece == 0:
            self._next_s = 0.0
        self._next_s += marks.MARK_MS / 1000 / SPEED if streams else self._random.uniform(*SINGLE_S)
        last = piece + 1 == (STREAM_MARKS if streams else SINGLE_MARKS)
        return base64.b64encode(marks.mark(tone)).decode(), None if last else self._next_s

    def report(self) -> dict[str, Any]:
        return {"heard": self.heard.marks(), "said": self.said}


def main() -> None:
    sounds: list[MarkedPcm] = []

    def sound() -> MarkedPcm:
        sounds.append(MarkedPcm(len(sounds)))
        return sounds[-1]

    model = Model(sound)

    def report() -> dict[str, Any]:
        return {"sessions": [one.report() for one in sounds]} | model.report()

    world.main("benchmarks.webrtc.model", lambda: Session(model), report)


if __name__ == "__main__":
    main()
