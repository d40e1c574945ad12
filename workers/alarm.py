"""A timer of the event loop that can be set anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Calls back once, some time after it was last set."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None

    def set(self, after_s: float) -> None:
        """Ring `after_s` from now, not when it was to ring before."""
        self.stop()
        self._handle = asyncio.get_running_loop().call_later(after_s, self._callback)

    def stop(self) -> None:
        """Do not ring."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
