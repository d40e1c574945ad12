"""Cuts a sentence's audio, as a voice gives it, into pieces ready to send."""

from __future__ import annotations

PIECE_MS = 100
"""The longest piece: small enough for a barge-in, large enough to be few."""

HELD_BACK_MS = 20
"""Kept until more comes, so that the last piece of a sentence can say that it is the last."""

_SAMPLE_BYTES = 2


class Cutter:
    """One sentence's audio: s16le mono at `rate_hz`, its first `skip_ms` thrown away.

    Every piece is a whole number of ms (the end is filled up with silence), so places in a turn are exact in ms.
    """

    def __init__(self, rate_hz: int, skip_ms: int = 0) -> None:
        self._ms_bytes = rate_hz // 1000 * _SAMPLE_BYTES
        self._skip = skip_ms * self._ms_bytes
        self._total = 0
        self._buffer = b""

    @property
    def total_ms(self) -> int:
        """How long the sentence is so far, with what was thrown away; begun ms count."""
        return -(-self._total // self._ms_bytes)

    def push(self, pcm: bytes) -> list[bytes]:
        """Take the next audio and return what can be sent of it."""
        self._add(pcm)
        ready = len(self._buffer) - HELD_BACK_MS * self._ms_bytes
        return self._cut(ready - ready % self._ms_bytes)

    def finish(self, pcm: bytes = b"") -> list[bytes]:
        """Take the last audio and return the rest, the last piece of the sentence last; none if there is no audio."""
        self._add(pcm)
        missing = -len(self._buffer) % self._ms_bytes
        self._buffer += bytes(missing)
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
        step = PIECE_MS * self._ms_bytes
        return [ready[at : at + step] for at in range(0, size, step)]
