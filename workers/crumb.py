"""A crumb: which session's code runs in this process right now, in a file that survives the process.

When a worker dies, its supervisor reads the crumb and blames that session, not its neighbours. The event loop's slot is
written before and after every step of a session's tasks; jobs on the default executor have slots of their own.
"""

from __future__ import annotations

import asyncio
import mmap
import os
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context, ContextVar
from pathlib import Path
from typing import Any, TypeVar

A = TypeVar("A")
T = TypeVar("T")

SLOT_BYTES = 64
THREADS = 8
SIZE = SLOT_BYTES * (1 + THREADS)

current: ContextVar[str] = ContextVar("session", default="")
"""The session whose code runs."""


class Crumb:
    """The writing side, in a worker."""

    def __init__(self, path: Path) -> None:
        with path.open("w+b") as file:
            file.truncate(SIZE)
            self._slots = mmap.mmap(file.fileno(), SIZE)

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Mark every task and default-executor job that is started while `current` is set, and every `run`."""
        global _installed
        _installed = self
        loop.set_task_factory(self._make_task)
        loop.set_default_executor(_MarkingExecutor(self))

    def read(self, slot: int) -> bytes:
        """Whose code runs in `slot`, as `write` takes it."""
        return self._slots[slot * SLOT_BYTES : slot * SLOT_BYTES + 32]

    def write(self, slot: int, session: bytes) -> None:
        """Say whose code runs in `slot`: 0 is the event loop. Padded to 32 bytes; zeros for nobody's."""
        self._slots[slot * SLOT_BYTES : slot * SLOT_BYTES + 32] = session

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, T] | Generator[Any, None, T], **options: Any
    ) -> asyncio.Task[T]:
        context: Context | None = options.get("context")
        session = context.get(current, "") if context is not None else current.get()
        if session and asyncio.iscoroutine(coro):
            coro = _Marked(coro, session, self)
        return asyncio.Task(coro, loop=loop, **options)


_NOBODY = bytes(32)
_installed: Crumb | None = None


def run(session: bytes, call: Callable[[A], None], argument: A) -> None:
    """Run a session's code outside of its tasks, or within one. `session` is a `name_of`."""
    if _installed is None:
        call(argument)
        return
    before = _installed.read(0)
    _installed.write(0, session)
    try:
        call(argument)
    finally:
        _installed.write(0, before)


def name_of(session: str) -> bytes:
    """A session's id as a slot holds it."""
    return session.encode()[:32].ljust(32, b"\0")


class _Marked(Coroutine[Any, Any, T]):
    """A coroutine whose every step leaves a crumb."""

    __slots__ = ("__name__", "__qualname__", "_coro", "_crumb", "_session")

    def __init__(self, coro: Coroutine[Any, Any, T], session: str, crumb: Crumb) -> None:
        self._coro = coro
        self._session = name_of(session)
        self._crumb = crumb
        self.__name__ = getattr(coro, "__name__", "coroutine")
        self.__qualname__ = getattr(coro, "__qualname__", "coroutine")

    def send(self, value: Any) -> Any:
        self._crumb.write(0, self._session)
        try:
            return self._coro.send(value)
        finally:
            self._crumb.write(0, _NOBODY)

    def throw(self, *error: Any) -> Any:
        self._crumb.write(0, self._session)
        try:
            return self._coro.throw(*error)
        finally:
            self._crumb.write(0, _NOBODY)

    def close(self) -> None:
        self._coro.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._coro.__await__()


class _MarkingExecutor(ThreadPoolExecutor):
    def __init__(self, crumb: Crumb) -> None:
        super().__init__(max_workers=THREADS, thread_name_prefix="work")
        self._crumb = crumb
        self._free = list(range(1, THREADS + 1))

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        session = current.get()
        if not session:
            return super().submit(fn, *args, **kwargs)
        return super().submit(self._marked, session, fn, *args, **kwargs)

    def _marked(self, session: str, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        slot = self._free.pop()
        self._crumb.write(slot, name_of(session))
        try:
            return fn(*args, **kwargs)
        finally:
            self._crumb.write(slot, _NOBODY)
            self._free.append(slot)


def take(path: Path) -> str | None:
    """`read`, and remove the file."""
    name = read(path)
    path.unlink(missing_ok=True)
    return name


def read(path: Path) -> str | None:
    """Whose code ran when the process of this crumb ended: the event loop's, else a thread's; None: nobody's."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    for slot in range(0, len(data), SLOT_BYTES):
        name = data[slot : slot + 32].rstrip(b"\0")
        if name:
            return name.decode(errors="replace")
    return None


def from_environment() -> Crumb | None:
    """The crumb our supervisor asked for, if there is a supervisor."""
    path = os.environ.get("TRUNKLINE_CRUMB")
    return Crumb(Path(path)) if path else None
