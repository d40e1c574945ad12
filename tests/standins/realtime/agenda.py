"""What a session will do later, in its own time: the caller says what time it is."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

Action = Callable[[float], None]
"""Is told the time at which it was due, so that what follows it does not drift when the loop is late."""


class Agenda:
    """Times in milliseconds, of any clock that only goes forward."""

    def __init__(self, now_ms: float) -> None:
        self.now_ms = now_ms
        self._entries: list[tuple[float, int, Action]] = []
        self._order = itertools.count()

    def at(self, due_ms: float, action: Action) -> None:
        heapq.heappush(self._entries, (due_ms, next(self._order), action))

    def after(self, ms: float, action: Action) -> None:
        self.at(self.now_ms + ms, action)

    def run(self) -> None:
        """Do all that is due, in order."""
        while self._entries and self._entries[0][0] <= self.now_ms:
            due_ms, _, action = heapq.heappop(self._entries)
            action(due_ms)

    @property
    def next_due_ms(self) -> float | None:
        return self._entries[0][0] if self._entries else None
