"""The clock that sends frames: sessions spread evenly over the 20 ms of a frame, a tick every millisecond."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

FRAME_MS = 20
FRAME_S = FRAME_MS / 1000


class Tick(NamedTuple):
    """Sessions whose number is `offset_ms` modulo 20 send their frame `seq`. It should be `due_s` now (monotonic)."""

    seq: int
    offset_ms: int
    due_s: float


async def ticks(frames: int) -> AsyncIterator[Tick]:
    """A tick every millisecond, until every session had so many frames; after a delay, those missed come at once."""
    start_s = time.monotonic()
    for number in range(frames * FRAME_MS):
        due_s = start_s + number / 1000
        await asyncio.sleep(due_s - time.monotonic())
        yield Tick(*divmod(number, FRAME_MS), due_s)
