"""What a voice is asked for ahead of what is taken from it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from workers.cascade.script import TEXT_AHEAD, Line, Script
from workers.cascade.speakable import Reading


class Asked:
    """Notes what is asked for."""

    def __init__(self, *sentences: str | None) -> None:
        self.queue: asyncio.Queue[str | None] = asyncio.Queue()
        for sentence in sentences:
            self.queue.put_nowait(sentence)
        self.texts: list[str] = []
        self.last: list[str] = []
        self.complete = None in sentences
        self.script = Script(self.queue, lambda: self.complete, self._ask)

    def _ask(self, sentence: str, last: bool) -> Line:
        self.texts.append(sentence)
        self.last += [sentence] * last
        return Line(Reading(sentence, sentence), None)

    async def next(self) -> str | None:
        line = await self.script.next()
        return None if line is None else line.text


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.fixture
async def ask() -> AsyncIterator[Callable[..., Asked]]:
    """Makes a script that runs."""
    running: list[asyncio.Task[None]] = []

    def make(*sentences: str | None) -> Asked:
        asked = Asked(*sentences)
        running.append(asyncio.ensure_future(asked.script.run()))
        return asked

    yield make
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_what_is_there_is_asked_for_at_once_and_taken_in_order(ask: Callable[..., Asked]) -> None:
    asked = ask("One.", "Two.", "Three.", None)
    assert await asked.next() == "One."
    assert asked.texts == ["One.", "Two.", "Three."]
    assert asked.last == ["Three."]
    assert [await asked.next() for _ in range(3)] == ["Two.", "Three.", None]


async def test_what_comes_while_a_sentence_is_taken(ask: Callable[..., Asked]) -> None:
    asked = ask("One.")
    assert await asked.next() == "One."
    asked.queue.put_nowait("Two.")
    await settle()
    assert asked.texts == ["One.", "Two."]
    assert asked.last == [], "the language model may say more"


async def test_only_so_much_is_asked_for(ask: Callable[..., Asked]) -> None:
    long = "x" * (TEXT_AHEAD // 2)
    asked = ask(*[long] * 6, None)
    await settle()
    assert len(asked.texts) == 2
    for count in (3, 4, 5, 6):
        assert await asked.next() == long
        await settle()
        assert len(asked.texts) == count, "TEXT_AHEAD beyond those that were taken"
    assert asked.last == [long]


async def test_a_sentence_longer_than_that_is_asked_for(ask: Callable[..., Asked]) -> None:
    asked = ask("x" * (3 * TEXT_AHEAD), "y", None)
    await settle()
    assert len(asked.texts) == 1
    assert [len(text or "") for text in [await asked.next() for _ in range(3)]] == [3 * TEXT_AHEAD, 1, 0]
