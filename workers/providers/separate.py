"""The voice of a vendor of text-to-speech that speaks each sentence by itself."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

from workers.providers.base import TextToSpeech, Word
from workers.stopping import stop


class Separate:
    """The `Voice` of a vendor that speaks each sentence by itself. While one is taken, the next is asked for up to its
    first audio, so that the vendor's delay is not heard after a short one."""

    def __init__(self, text_to_speech: TextToSpeech) -> None:
        self._text_to_speech = text_to_speech
        self._asked: deque[_Asked] = deque()
        """The first is being taken, or will be next."""

    def speak(self, text: str, *, last: bool) -> AsyncGenerator[bytes | Word, None]:
        """`text` by itself, whatever came before it. `last` means nothing here."""
        asked = _Asked(self._text_to_speech.speak(text))
        self._asked.append(asked)
        self._begin_next()
        return self._spoken(asked)

    async def _spoken(self, asked: _Asked) -> AsyncGenerator[bytes | Word, None]:
        while asked in self._asked and self._asked[0] is not asked:
            await self._asked.popleft().close()  # nobody took it
        asked.is_taken = True
        try:
            beginning = asked.begin()  # before the next, where a vendor makes one after the other
            self._begin_next()
            for part in await beginning:
                yield part
            async for part in asked.audio:
                yield part
        finally:
            if asked in self._asked:
                self._asked.remove(asked)
            await asked.close()

    def _begin_next(self) -> None:
        if len(self._asked) > 1 and self._asked[0].is_taken:
            _ = self._asked[1].begin()

    async def close(self) -> None:
        async with AsyncExitStack() as all_of_them:  # also when this is cancelled meanwhile
            while self._asked:
                all_of_them.push_async_callback(self._asked.popleft().close)


class _Asked:
    """A sentence that `Separate` was asked for."""

    def __init__(self, audio: AsyncGenerator[bytes | Word, None]) -> None:
        self.audio = audio
        self.is_taken = False
        self._task: asyncio.Task[list[bytes | Word]] | None = None

    def begin(self) -> asyncio.Task[list[bytes | Word]]:
        """Have it made up to its first audio; returns all of that."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._first())
        return self._task

    async def _first(self) -> list[bytes | Word]:
        parts: list[bytes | Word] = []
        async for part in self.audio:
            parts.append(part)
            if isinstance(part, bytes):
                break
        return parts

    async def close(self) -> None:
        """Nothing more of it is made. Safe to call twice, and to be cancelled in."""
        try:
            if self._task is not None:
                await stop([self._task])
        finally:
            if self._task is not None and not self._task.cancelled():
                self._task.exception()  # whoever takes it is told; this one nobody takes
            await self.audio.aclose()
