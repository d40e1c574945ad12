"""How late the process of the tests is: its callers are then, too, and whom they call cannot know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

WATCHED_EVERY_S = 0.02
STALL_MS = 60


@dataclass
class Lateness:
    """How late this process was: meanwhile its callers hear nothing, and say nothing, and that is not the gateway's."""

    worst_ms: float = 0.0
    stalls: int = 0
    """How often it was later than a jitter buffer makes good."""


@asynccontextmanager
async def watched() -> AsyncIterator[Lateness]:
    """How late this process is while the block lasts."""
    late = Lateness()
    clock = asyncio.get_running_loop().time

    async def watch() -> None:
        while True:
            due_s = clock() + WATCHED_EVERY_S
            await asyncio.sleep(WATCHED_EVERY_S)
            late_ms = (clock() - due_s) * 1000
            late.worst_ms = max(late.worst_ms, late_ms)
            late.stalls += late_ms > STALL_MS

    watching = asyncio.create_task(watch())
    try:
        yield late
    finally:
        watching.cancel()
        await asyncio.wait((watching,))
