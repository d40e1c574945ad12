"""What a peer says: a track that is pulled 20 ms at a time, in real time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from fractions import Fraction

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame

RATE_HZ = 48_000
"""Opus's own, so that aiortc's encoder resamples nothing: a resampler would hold back a packet."""

FRAME_MS = 20
FRAME_SAMPLES = RATE_HZ * FRAME_MS // 1000
FRAME_BYTES = FRAME_SAMPLES * 2

_LATE_S = 0.5
"""A track that is later than that does not catch up: a microphone after a stall goes on from now."""


class PacedTrack(MediaStreamTrack):
    """`pull` gives the next 20 ms, s16le mono at 48 kHz."""

    kind = "audio"

    def __init__(self, pull: Callable[[], bytes]) -> None:
        super().__init__()
        self._pull = pull
        self._samples = 0
        self._began_s: float | None = None

    async def recv(self) -> AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        await self._until_due()
        frame = AudioFrame(format="s16", layout="mono", samples=FRAME_SAMPLES)
        frame.planes[0].update(self._pull())
        frame.sample_rate, frame.time_base = RATE_HZ, Fraction(1, RATE_HZ)
        frame.pts = self._samples
        self._samples += FRAME_SAMPLES
        return frame

    async def _until_due(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._began_s is None:
            self._began_s = now_s
        ahead_s = self._began_s + self._samples / RATE_HZ - now_s
        if ahead_s > 0:
            await asyncio.sleep(ahead_s)
        elif ahead_s < -_LATE_S:
            self._began_s -= ahead_s
