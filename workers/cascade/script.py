"""What a voice is asked to say, sentence by sentence, and how far ahead of what is taken from it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from workers.cascade.speakable import Reading
from workers.providers.base import Word

TEXT_AHEAD = 300
"""Characters that a voice may have been asked for beyond the sentence that is taken from it: 20 s of speech. A vendor
with contexts makes one speech of them; an interruption wastes at most so much of what vendors bill."""


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence that a voice was asked for."""

    reading: Reading
    audio: AsyncGenerator[bytes | Word, None] | None
    """None: it has nothing that sounds."""

    @property
    def text(self) -> str:
        """As it is written."""
        return self.reading.written


class Script:
    """Asks for `sentences` ahead (`ask` does that for one), which end with None. `complete` says whether all of them
    are there already: whether the language model will say more is not worth waiting for."""

    def __init__(
        self,
        sentences: asyncio.Queue[str | None],
        complete: Callable[[], bool],
        ask: Callable[[str, bool], Line],
    ) -> None:
        self._sentences = sentences
        self._complete = complete
        self._ask = ask
        self._asked: asyncio.Queue[Line | None] = asyncio.Queue()
        """What was asked for, in order; bounded by `_characters`."""
        self._characters = 0
        self._room = asyncio.Event()

    async def run(self) -> None:
        """Ask for each as soon as it is there, as far ahead as is allowed. Returns when all were asked for."""
        while (sentence := await self._sentences.get()) is not None:
            while self._characters >= TEXT_AHEAD:
                self._room.clear()
                await self._room.wait()
            last = self._complete() and self._sentences.qsize() == 1  # the None
            self._characters += len(sentence)
            self._asked.put_nowait(self._ask(sentence, last))
        self._asked.put_nowait(None)

    async def next(self) -> Line | None:
        """The next sentence to be taken; None when there is none any more."""
        line = await self._asked.get()
        if line is not None:
            self._characters -= len(line.text)
            self._room.set()
        return line
