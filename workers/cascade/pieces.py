"""Cuts a sentence's audio, as a voice gives it, into pieces ready to send."""

from __future__ import annotations

from trunkline.audio.frame import FRAME_MS, bytes_in

PIECE_MS = 100
"""The longest piece: small enough for a barge-in, large enough to be few."""


class Cutter:
    """One sentence's audio: s16le mono at `rate_hz`, its first `skip_ms` thrown away.

    Pieces are whole frames; the end of the sentence is filled up with silence. So a sentence begins at the same frame
    of its turn whichever worker speaks it. One frame is kept until more comes, so that the last piece is known as such.
    """

    def __init__(self, rate_hz: int, skip_ms: int = 0) -> None:
        self._frame = bytes_in(FRAME_MS, rate_hz)
        self._piece = bytes_in(PIECE_MS, rate_hz)
        self._skip = bytes_in(skip_ms, rate_hz)
        self._total = 0
        self._buffer = b""

    @property
    def total_ms(self) -> int:
        """How long the sentence is so far, with what was thrown away; a begun frame counts."""
        return -(-self._total // self._frame) * FRAME_MS

    def push(self, pcm: bytes) -> list[bytes]:
        """Take the next audio and return what can be sent of it."""
        self._add(pcm)
        ready = len(self._buffer) - self._frame
        return self._cut(ready - ready % self._frame)

    def finish(self, pcm: bytes = b"") -> list[bytes]:
        """Take the last audio and return the rest, the last piece of the sentence last; none if there is no audio."""
        self._add(pcm)
        self._buffer += bytes(-len(self._buffer) % self._frame)
        return self._cut(len(self._buffer))

    def _add(self, pcm: bytes) -> None:
        self._total += len(pcm)
        skipped = min(self._skip, len(pcm))
        self._skip -= skipped
        self._buffer += pcm[skipped:]

    def _cut(self, size: int) -> list[bytes]:
        if size <= 0:
            return []
        ready, self._buffer = self._buffer[:size], self._buffer[size:]
        return [ready[at : at + self._piece] for at in range(0, size, self._piece)]
