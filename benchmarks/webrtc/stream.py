"""Audio in the order in which it arrived, and when each part of it did."""

from __future__ import annotations

from array import array

import numpy as np

from benchmarks.webrtc import marks


class Stream:
    """What one end of a call heard: s16le mono at 24 kHz, times in seconds, monotonic."""

    def __init__(self) -> None:
        self.samples = 0
        self._pcm = bytearray()
        self._ends = array("q")
        self._at_s = array("d")

    def add(self, pcm: bytes, at_s: float) -> None:
        self._pcm += pcm
        self.samples += len(pcm) // 2
        self._ends.append(self.samples)
        self._at_s.append(at_s)

    def marks(self) -> list[tuple[float, int]]:
        """When each mark's first loud sample arrived, and its tone."""
        found = marks.find(np.frombuffer(self._pcm, "<i2"))
        parts = np.searchsorted(np.asarray(self._ends), [mark.sample for mark in found], side="right")
        return [(self._at_s[part], mark.tone) for part, mark in zip(parts.tolist(), found, strict=True)]
