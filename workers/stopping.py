"""Tasks that nobody wants any more."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any


async def stop(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel `tasks`. None of them runs any more when this returns, or raises: who gives something up may be cancelled
    meanwhile, and twice. What became of them is for who asks."""
    for task in tasks:
        task.cancel()
    again: asyncio.CancelledError | None = None
    while not all(task.done() for task in tasks):
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError as cancelled:  # as a task group does: what was begun here ends here
            again = cancelled
    if again is not None:
        raise again
