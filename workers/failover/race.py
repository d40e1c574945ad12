"""Whoever answers first: one provider is asked; the next one too when that is slow, and at once when it fails."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from trunkline.errors import ProviderError
from workers.breaker import Permit
from workers.failover.chain import Course, Link
from workers.stopping import stop

T = TypeVar("T")

EARLY_S = 1e-6
"""An event loop's timer may ring a little (its clock's resolution, 1 ns) before its time."""


@dataclass(slots=True, eq=False)
class Entry(Generic[T]):
    """One provider's try."""

    link: Link[Any]
    permit: Permit
    first: Callable[[], Coroutine[Any, Any, T]]
    """The first that comes of it. Raises ProviderError; cancelled when another was first."""
    give_up: Callable[[], Awaitable[None]]
    """After `first` was cancelled, failed, or came second."""
    due_s: float = math.inf
    """When it has failed by silence."""

    @property
    def patience_s(self) -> float:
        """Silence after which the next is asked: none, if others have found out meanwhile that this one fails."""
        return 0.0 if self.permit.doubtful else self.link.patience_s


async def race(entries: Iterator[Entry[T]], course: Course[Any]) -> tuple[Entry[T], T]:
    """Whose `first` was first, and that. Those who were asked besides are given up when it returns.

    Whoever is silent beyond its deadline has failed, but may still win: nobody asks what it costs us. Raises
    ProvidersExhausted when all have failed.
    """
    racing = _Race[T](course)
    try:
        while (won := await racing.step(entries)) is None:
            """Somebody failed, or somebody else was asked."""
        await racing.give_up()
    except BaseException:
        await racing.give_up(winner=True)
        raise
    return won


class _Race(Generic[T]):
    def __init__(self, course: Course[Any]) -> None:
        self._course = course
        self._clock = asyncio.get_running_loop().time
        self._running: dict[asyncio.Task[T], Entry[T]] = {}
        self._asked: list[Entry[T]] = []
        self._winner: Entry[T] | None = None
        self._ask_s = -math.inf
        """When to ask the next; inf: there is none."""

    async def step(self, entries: Iterator[Entry[T]]) -> tuple[Entry[T], T] | None:
        """Wait for the next that happens; the winner, if that is what it was."""
        now_s = self._clock()
        self._note_silence(now_s)
        if self._ask_s - now_s < EARLY_S:
            self._ask(next(entries, None), now_s)
        due_s = [entry.due_s for entry in self._running.values()]
        if self._ask_s == math.inf and all(each == math.inf for each in due_s):
            raise self._course.exhausted()
        until_s = min([self._ask_s, *due_s])
        await asyncio.wait(self._running, timeout=until_s - now_s, return_when=asyncio.FIRST_COMPLETED)
        return self._first_done()

    def _ask(self, entry: Entry[T] | None, now_s: float) -> None:
        if entry is None:
            self._ask_s = math.inf
            return
        entry.due_s = now_s + entry.link.deadline_s
        self._ask_s = now_s + entry.patience_s
        self._asked.append(entry)
        self._course.waits()
        self._running[asyncio.get_running_loop().create_task(entry.first())] = entry

    def _note_silence(self, now_s: float) -> None:
        for entry in self._running.values():
            if entry.due_s - now_s < EARLY_S:
                entry.due_s = math.inf
                self._course.failed(entry.link, entry.permit, entry.link.silent())

    def _first_done(self) -> tuple[Entry[T], T] | None:
        """Who was asked first goes first. Raises what is no ProviderError."""
        for task, entry in list(self._running.items()):
            if not task.done():
                continue
            del self._running[task]
            try:
                first = _result(task, entry)
            except ProviderError as error:
                self._course.failed(entry.link, entry.permit, error)
                self._ask_s = -math.inf
            else:
                self._winner = entry
                return entry, first
        return None

    async def give_up(self, *, winner: bool = False) -> None:
        """All who were asked but the winner; `winner`: that one as well, for it is not wanted any more. Each of them,
        also when this is cancelled meanwhile: whoever interrupts an answer cancels it twice."""
        async with AsyncExitStack() as others:
            for entry in self._asked:
                if winner or entry is not self._winner:
                    entry.permit.dropped()
                    others.push_async_callback(self._close, entry)
            await self._stop()

    async def _stop(self) -> None:
        """Nobody runs any more when this returns, or raises."""
        try:
            await stop(self._running)
        finally:
            for task in self._running:
                if not task.cancelled():
                    task.exception()  # it came second, if not to a fault; nobody wants to know
            self._running.clear()

    async def _close(self, entry: Entry[T]) -> None:
        await entry.give_up()
        self._asked.remove(entry)


def _result(task: asyncio.Task[T], entry: Entry[T]) -> T:
    if task.cancelled():  # nobody here did that: only `give_up` does, and looks at none of them any more
        raise ProviderError(entry.link.name, "something of its own was cancelled")
    return task.result()
