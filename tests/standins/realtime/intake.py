"""The caller's audio over RTP, without holes: silence for what was lost, or was never sent because it was quiet."""

from __future__ import annotations

_RTP_HZ = 48_000
_PATIENCE_MS = 60.0
"""Without packets for so long the caller is silent, and the model hears that: voice detection lives on it."""

_LONGEST_HOLE_MS = 5_000.0
"""A timestamp that jumps further begins another stream."""


class Intake:
    """s16le mono at `rate_hz`; nothing is held back, and what comes after its place is dropped."""

    def __init__(self, rate_hz: int) -> None:
        self._bytes_per_ms = rate_hz * 2 // 1000
        self._sequence: int | None = None
        self._next_timestamp = 0
        self._until_ms = 0.0
        """The audio so far lasts until then, by the receiver's clock."""

        self._filled_ms = 0.0
        """Silence since the last packet."""

    def packet(self, sequence: int, timestamp: int, pcm: bytes, now_ms: float) -> bytes:
        """What to append for a packet that came now."""
        if self._sequence is not None and (sequence - self._sequence - 1) & 0x8000:
            return b""
        hole_ms = 0.0
        if self._sequence is not None:
            missing = (timestamp - self._next_timestamp) & 0xFFFFFFFF
            hole_ms = missing / (_RTP_HZ // 1000) - self._filled_ms
        lasts_ms = len(pcm) / self._bytes_per_ms
        self._sequence = sequence
        self._next_timestamp = timestamp + round(lasts_ms * _RTP_HZ / 1000) & 0xFFFFFFFF
        self._until_ms, self._filled_ms = now_ms + lasts_ms, 0.0
        return self._silence(hole_ms if 0 < hole_ms < _LONGEST_HOLE_MS else 0.0) + pcm

    def silence(self, now_ms: float) -> bytes:
        """What to append because nothing came."""
        quiet_ms = float(int(now_ms - self._until_ms - _PATIENCE_MS))
        if self._sequence is None or quiet_ms <= 0:
            return b""
        self._until_ms += quiet_ms
        self._filled_ms += quiet_ms
        return self._silence(quiet_ms)

    def _silence(self, ms: float) -> bytes:
        return bytes(round(ms) * self._bytes_per_ms)
