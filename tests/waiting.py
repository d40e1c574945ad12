"""Waits for what tells nobody that it has happened."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

PATIENCE_S = 20.0
"""For a machine that does other things too: what is waited for takes milliseconds, or never comes."""
FIRST_NAP_S, LONGEST_NAP_S, LONGER = 0.002, 0.1, 1.3
"""It is looked often at first, and then ever less: to look may cost those who are waited for."""


async def until(
    condition: Callable[[], object] | Callable[[], Awaitable[object]],
    what: str = "what is waited for",
    within_s: float = PATIENCE_S,
) -> None:
    """Wait until the condition is true, of whatever kind: it is asked anew each time. Raises TimeoutError that names
    `what`."""
    nap_s, patience = FIRST_NAP_S, asyncio.timeout(within_s)
    try:
        async with patience:
            while True:
                met = condition()
                if await met if isinstance(met, Awaitable) else met:
                    return
                await asyncio.sleep(nap_s)
                nap_s = min(nap_s * LONGER, LONGEST_NAP_S)
    except TimeoutError:
        if not patience.expired():  # the condition's own
            raise
        raise TimeoutError(f"not within {within_s:g} s: {what}") from None
