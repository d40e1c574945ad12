"""Waiting for what happens in a call, without polling and without waiting for what can no longer happen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Watch:
    """Predicates that tests wait for. `tell` it whenever something happened; `describe` is for who waits in vain."""

    def __init__(self, describe: Callable[[], str]) -> None:
        self._describe = describe
        self._waiting: list[tuple[Callable[[], object], asyncio.Future[None]]] = []
        self._over: Callable[[], Exception] | None = None

    async def until(self, predicate: Callable[[], object], within_s: float | None) -> None:
        """Wait until `predicate` is true. TimeoutError says what is; what was given to `close` is raised after it."""
        if predicate():
            return
        if self._over is not None:
            raise self._over()
        told = asyncio.get_running_loop().create_future()
        entry = (predicate, told)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(within_s):
                await told
        except TimeoutError as error:
            raise TimeoutError(f"not within {within_s} s: {self._describe()}") from error
        finally:
            self._waiting.remove(entry)

    def tell(self) -> None:
        """Something happened: ask every predicate. What one raises goes to whoever waits for it."""
        for predicate, told in self._waiting:
            if told.done():
                continue
            try:
                if predicate():
                    told.set_result(None)
                elif self._over is not None:
                    told.set_exception(self._over())
            except Exception as error:
                told.set_exception(error)

    def close(self, over: Callable[[], Exception]) -> None:
        """Nothing more will happen: who still waits gets `over()`, now and later."""
        self._over = over
        self.tell()
