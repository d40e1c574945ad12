"""Speech is what is loud: the edges of speech in a stream of PCM, in the stream's own time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BLOCK_MS = 10
LOUD_RMS = 500.0
"""At threshold 0.5: far above a line's noise, far below the tones of tests/standins/tones.py (5600)."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Speech begins at `at_ms` (its first loud sample), or is over: `at_ms` then includes the silence waited for."""

    begins: bool
    at_ms: int


class EnergyVad:
    """`floor_ms` of loud audio begin speech, `silence_ms` of quiet end it; both in steps of 10 ms."""

    def __init__(
        self, rate_hz: int, floor_ms: int, silence_ms: int, threshold: float = 0.5, from_ms: float = 0
    ) -> None:
        self._block = rate_hz * _BLOCK_MS // 1000
        self._floor_ms, self._silence_ms = max(_BLOCK_MS, floor_ms), max(_BLOCK_MS, silence_ms)
        self._loud = (LOUD_RMS * threshold / 0.5) ** 2
        self._rest = b""
        self._at_ms = from_ms
        self._run_ms = 0
        """How long the audio has been loud (while silent), or quiet (while speaking)."""

        self.speaking = False

    def push(self, pcm: bytes) -> list[Edge]:
        """The edges that `pcm` (s16le, any length) completes."""
        held = self._rest + pcm
        whole = len(held) - len(held) % (2 * self._block)
        self._rest = held[whole:]
        if not whole:
            return []
        blocks: NDArray[np.float32] = np.frombuffer(held, "<i2", whole // 2).reshape(-1, self._block).astype(np.float32)
        loud = np.einsum("ij,ij->i", blocks, blocks) > self._loud * self._block
        return [edge for is_loud in loud.tolist() if (edge := self._step(is_loud)) is not None]

    def _step(self, is_loud: bool) -> Edge | None:
        self._at_ms += _BLOCK_MS
        self._run_ms = 0 if is_loud == self.speaking else self._run_ms + _BLOCK_MS
        if self._run_ms < (self._silence_ms if self.speaking else self._floor_ms):
            return None
        self.speaking = not self.speaking
        run_ms, self._run_ms = self._run_ms, 0
        return Edge(self.speaking, round(self._at_ms - run_ms if self.speaking else self._at_ms))
