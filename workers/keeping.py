"""When a conversation is committed, and when another worker may have it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from workers.backend import Session


class Keeper:
    """Commits a session's snapshot. `needed_seq` gives the oldest uplink that must be heard again, `is_idle` whether
    nobody speaks and nothing is pending."""

    def __init__(self, session: Session, needed_seq: Callable[[], int], is_idle: Callable[[], bool]) -> None:
        self._session = session
        self._needed_seq = needed_seq
        self._is_idle = is_idle
        self._due = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._at_rest = False

    async def commit(self) -> None:
        """Commit now, and return when it is done. Raises SessionLost."""
        async with self._one_at_a_time:
            snapshot = self._session.snapshot
            snapshot.uplink_seq = max(snapshot.uplink_seq, self._needed_seq())
            await self._session.commit()

    def commit_soon(self) -> None:
        """Commit without anybody waiting for it."""
        self._due.set()

    async def run(self) -> None:
        """Do what `commit_soon` asked for, until cancelled; rest when all is committed and nothing goes on."""
        while True:
            await self._due.wait()
            self._due.clear()
            await self.commit()
            if self._is_idle() and not self._due.is_set():
                self._rest(True)

    def wake(self) -> None:
        """Something goes on."""
        self._rest(False)

    def _rest(self, at_rest: bool) -> None:
        if at_rest != self._at_rest:
            self._at_rest = at_rest
            self._session.rest(at_rest)
