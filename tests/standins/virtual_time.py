"""An event loop whose clock jumps to the next timer when nothing else is to do: minutes pass in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    """Never sleeps: what the loop would wait for becomes time that has passed."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("nothing will ever happen any more: every task waits for another")
            self.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s

    def stall(self, seconds: float) -> None:
        """So much time passes now, and nothing else happens: something blocks the loop."""
        self._jumping.now_s += seconds


def run(conversation: Coroutine[Any, Any, T]) -> T:
    """Run to the end in virtual time, which begins at 0 s. Fails when a task is left over."""

    async def counted() -> T:
        result = await conversation
        await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"left running: {left}"
        return result

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(counted())
