"""The last 15 s of captured audio, and how far it has been sent: a resumed session gets what the lost socket swallowed.

Pure. All positions are samples of media time.
"""

from __future__ import annotations

from collections import deque

from trunkline.audio.frame import SAMPLE_BYTES, check_whole, samples_in

KEEP_MS = 15_000
BLOCK_MS = 100
"""Sent at once when behind: docs/websocket.md calls 20 to 100 ms best."""


class SentAudio:
    """A ring of captured frames (s16le mono) with a cursor at what is sent next."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._keep = samples_in(KEEP_MS, rate_hz)
        self._block = samples_in(BLOCK_MS, rate_hz)
        self.lost_ms = 0.0
        """What was to be sent and is no longer kept, in ms; silence went in its place."""
        self.restart()

    def restart(self) -> None:
        """A new session: media time begins at 0 with the sample captured next."""
        self._frames: deque[bytes] = deque()
        self._kept = self._end = self._cursor = 0

    @property
    def end_ms(self) -> float:
        """Media time of the sample captured next."""
        return self._end * 1000 / self._rate_hz

    @property
    def waiting_ms(self) -> float:
        """What was captured and not yet sent."""
        return (self._end - self._cursor) * 1000 / self._rate_hz

    def push(self, frame: bytes) -> None:
        """Keep a captured frame; the oldest beyond 15 s is forgotten. Raises AudioError for half a sample."""
        check_whole(frame)
        self._frames.append(frame)
        self._kept += len(frame) // SAMPLE_BYTES
        self._end += len(frame) // SAMPLE_BYTES
        while self._kept - len(self._frames[0]) // SAMPLE_BYTES >= self._keep:
            self._kept -= len(self._frames.popleft()) // SAMPLE_BYTES

    def seek(self, media_ms: float) -> None:
        """Send from this media time next."""
        self._cursor = min(self._end, samples_in(max(0.0, media_ms), self._rate_hz))

    def take(self) -> bytes:
        """What to send next, at most 100 ms; b"" when all is sent. What is no longer kept comes as silence."""
        oldest = self._end - self._kept
        count = min(self._block, self._end - self._cursor)
        if count and self._cursor < oldest:
            count = min(count, oldest - self._cursor)
            self.lost_ms += count * 1000 / self._rate_hz
            piece = bytes(count * SAMPLE_BYTES)
        else:
            piece = self._kept_from(self._cursor, count, oldest)
        self._cursor += count
        return piece

    def _kept_from(self, start: int, count: int, oldest: int) -> bytes:
        """`count` samples from `start`: found from the newest end, where a live call looks."""
        pieces: list[bytes] = []
        at = self._end
        for frame in reversed(self._frames):
            at -= len(frame) // SAMPLE_BYTES
            if at < start + count:
                pieces.append(frame)
            if at <= start:
                break
        skip = (start - max(at, oldest)) * SAMPLE_BYTES
        return b"".join(reversed(pieces))[skip : skip + count * SAMPLE_BYTES]
