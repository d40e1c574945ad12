"""Speech is what is loud: the edges of speech in a stream of audio, in the stream's own time."""

from __future__ import annotations

from dataclasses import dataclass

from .formats import Format

_BLOCK_MS = 10
LOUD_PEAK = 700
"""At threshold 0.5, -33 dBFS: far above a line's noise, far below the tones of tests/standins/tones.py (8000)."""

_SHARE = 4
"""A block is loud if one sample in so many is: a sine of twice the threshold has two in three."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Speech begins at `at_ms` (its first loud sample), or is over: `at_ms` then includes the silence waited for."""

    begins: bool
    at_ms: int


class LoudnessVad:
    """`floor_ms` of loud audio begin speech, `silence_ms` of quiet end it; both in steps of 10 ms."""

    def __init__(self, form: Format, floor_ms: int, silence_ms: int, threshold: float, from_ms: float) -> None:
        self.speaking = False
        self._format = form
        self._block = form.rate_hz * _BLOCK_MS // 1000
        self._floor_ms, self._silence_ms = max(_BLOCK_MS, floor_ms), max(_BLOCK_MS, silence_ms)
        self._peak = round(LOUD_PEAK * threshold / 0.5)
        self._cut = b""
        """The part of a sample that came so far."""

        self._rest = b""
        """The loudness of less than a block."""

        self._at_ms = from_ms
        self._run_ms = 0
        """How long the audio has been loud (while silent), or quiet (while speaking)."""

    def push(self, audio: bytes) -> list[Edge]:
        """The edges that `audio` (of any length) completes."""
        if self._format.sample_bytes > 1:
            audio = self._cut + audio
            whole = len(audio) - len(audio) % self._format.sample_bytes
            audio, self._cut = audio[:whole], audio[whole:]
        held = self._rest + self._format.loudness(audio, self._peak)
        size, at = self._block, 0
        edges = []
        while at + size <= len(held):
            edge = self._step(held.count(1, at, at + size) * _SHARE >= size)
            if edge is not None:
                edges.append(edge)
            at += size
        self._rest = held[at:]
        return edges

    def _step(self, is_loud: bool) -> Edge | None:
        self._at_ms += _BLOCK_MS
        if is_loud == self.speaking:
            self._run_ms = 0
            return None
        self._run_ms += _BLOCK_MS
        if self._run_ms < (self._silence_ms if self.speaking else self._floor_ms):
            return None
        self.speaking = not self.speaking
        run_ms, self._run_ms = self._run_ms, 0
        return Edge(self.speaking, round(self._at_ms - run_ms if self.speaking else self._at_ms))
