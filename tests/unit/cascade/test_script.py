"""What a voice is asked for ahead of what is taken from it."""

from __future__ import annotations

import asyncio

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


async def test_what_is_there_is_asked_for_at_once_and_taken_in_order() -> None:
    asked = Asked("One.", "Two.", "Three.", None)
    assert await asked.next() == "One."
    assert asked.texts == ["One.", "Two.", "Three."]
    assert asked.last == ["Three."]
    assert [await asked.next() for _ in range(4)] == ["Two.", "Three.", None, None]


async def test_what_comes_while_a_sentence_is_taken() -> None:
    asked = Asked("One.")
    assert await asked.next() == "One."
    asked.script.ask_ahead()
    assert asked.texts == ["One."]
    asked.queue.put_nowait("Two.")
    asked.script.ask_ahead()
    assert asked.texts == ["One.", "Two."]
    assert asked.last == [], "the language model may say more"


async def test_only_so_much_is_asked_for() -> None:
    long = "x" * (TEXT_AHEAD // 2)
    asked = Asked(*[long] * 6, None)
    assert await asked.next() == long
    assert len(asked.texts) == 3, "the one that is taken, and TEXT_AHEAD"
    asked.script.ask_ahead()
    assert len(asked.texts) == 3
    await asked.next()
    assert len(asked.texts) == 4
    assert asked.last == []


async def test_a_sentence_that_is_waited_for() -> None:
    asked = Asked()
    taking = asyncio.ensure_future(asked.next())
    await asyncio.sleep(0)
    assert not taking.done()
    asked.queue.put_nowait("One.")
    assert await taking == "One."
    asked.queue.put_nowait(None)
    assert await asked.next() is None
