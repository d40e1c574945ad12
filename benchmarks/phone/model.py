"""The telephone's Realtime model: `python -m benchmarks.phone.model --port P --report FILE`.

It hears by energy, and answers with 5 s of marked audio. When told to end (SIGTERM) it writes what it timed to FILE.
"""

from __future__ import annotations

from typing import Any

from benchmarks import world
from benchmarks.phone import audio, realtime
from benchmarks.phone.session import Model, Session
from benchmarks.phone.times import Times

SPEED = 4.0
"""Audio is sent so many times faster than it is played, as the real one does."""
_PIECE_S = audio.PIECE_BYTES / audio.RATE_PER_MS / 1000 / SPEED
_NOISE = audio.after_marker(audio.PIECE_BYTES, loud=True)


class Timed:
    """When marked audio came to all sessions, and left them."""

    def __init__(self) -> None:
        self.appended, self.spoken = Times(), Times()

    def report(self) -> dict[str, Any]:
        return {"appended": self.appended.as_json(), "spoken": self.spoken.as_json()}


class MarkedMulaw:
    """What one telephone call sounds like."""

    format: realtime.Event = {"type": "audio/pcmu"}  # noqa: RUF012 - nobody changes it

    def __init__(self, timed: Timed) -> None:
        self._timed = timed
        self._ear = realtime.Ear()
        self._finder = audio.Finder()
        self._call = 0

    @property
    def heard_ms(self) -> int:
        return self._ear.heard_ms

    def hear(self, mulaw: bytes, now_s: float, silence_ms: int) -> list[bool]:
        for key in self._finder.feed(mulaw):
            self._call = audio.call_of(key)
            self._timed.appended.note(key, now_s)
        return self._ear.feed(mulaw, silence_ms)

    def say(self, answer: int, piece: int, now_s: float) -> tuple[str, float | None]:
        key = audio.answer_key(self._call, answer, piece)
        self._timed.spoken.note(key, now_s)
        last = piece == audio.ANSWER_PIECES - 1
        return audio.marked(key, _NOISE), None if last else (piece + 1) * _PIECE_S


def main() -> None:
    timed = Timed()
    model = Model(lambda: MarkedMulaw(timed))
    world.main("benchmarks.phone.model", lambda: Session(model), lambda: timed.report() | model.report())


if __name__ == "__main__":
    main()
