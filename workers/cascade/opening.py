"""The first sentence of an answer that may be given: spoken before it is known whether it will be wanted, so that its
first audio is there when the turn ends. If it is not wanted, it leaves no trace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from trunkline.errors import ProviderError
from workers.cascade.sentences import Sentences
from workers.cascade.speakable import Reading
from workers.providers.base import TextToSpeech, ToolCall, Voice, Word
from workers.stopping import stop

PARTS_AHEAD = 64
"""Chunks and words that a voice may be ahead of who wants them; then it is read no further. The first counts."""


class Opening:
    """Hears what the model says to a guess, and has a voice begin with the first sentence that sounds: `begin` is told
    its text, and whether nothing follows it. `read` is as the answer would be read, from its beginning."""

    def __init__(self, begin: Callable[[str, bool], BegunVoice], read: Callable[[str], Reading]) -> None:
        self._begin = begin
        self._read = read
        self._cut = Sentences()
        self._calls = False
        self._listens = True
        self._voice: BegunVoice | None = None
        self._taken = False

    def hear(self, part: str | ToolCall | None) -> None:
        """What the model says next; None when that was all."""
        if not self._listens:
            return
        if isinstance(part, ToolCall):
            self._calls = True
            return
        for sentence in self._cut.flush() if part is None else self._cut.push(part):
            if text := self._read(sentence).spoken.strip():
                self._listens = False
                self._voice = self._begin(text, part is None and not self._calls)
                return

    def take(self) -> Voice | None:
        """The voice, if it has begun, for an answer that begins now: the first that asks has it, and closes it. If it
        has not begun, it does not any more."""
        self._listens = False
        taken, self._taken = self._taken, True
        return None if taken else self._voice

    def drop(self) -> None:
        """What the model says is not wanted."""
        self._listens = False
        if self._voice is not None:
            self._voice.drop()


class BegunVoice:
    """Implements `Voice`. It speaks `text` already, in a task of `group`: an answer whose first sentence that is has it
    at once, and goes on in the same voice. Any other answer has a voice of its own, and of this one nobody hears; nor
    if it failed, for then it is asked again."""

    def __init__(self, group: asyncio.TaskGroup, text_to_speech: TextToSpeech, text: str, *, last: bool) -> None:
        self._text_to_speech = text_to_speech
        self._text = text
        self._begun: Voice | None = None
        """Speaks ahead, and may be wanted."""
        self._voice: Voice | None = None
        """The answer's, since its first sentence was asked for."""
        self._parts: asyncio.Queue[bytes | Word | ProviderError | None] = asyncio.Queue(PARTS_AHEAD)
        self._wanted = asyncio.Event()
        self._task = group.create_task(self._begin(last=last))

    def speak(self, text: str, *, last: bool) -> AsyncGenerator[bytes | Word, None]:
        """As `Voice` has it."""
        if self._voice is not None:
            return self._voice.speak(text, last=last)
        if self._begun is not None and text == self._text:
            self._voice = self._begun
            self._wanted.set()
            return self._first()
        self.drop()
        self._voice = self._text_to_speech.voice()
        return self._voice.speak(text, last=last)

    async def close(self) -> None:
        self.drop()
        try:
            await stop([self._task])
        finally:
            if self._voice is not None:
                await self._voice.close()

    def drop(self) -> None:
        """What was begun is not wanted, unless an answer has it already."""
        if self._voice is None:
            self._begun = None
            self._task.cancel()

    # --- ahead

    async def _begin(self, *, last: bool) -> None:
        voice = self._begun = self._text_to_speech.voice()
        try:
            async with aclosing(voice.speak(self._text, last=last)) as parts:
                async for part in parts:
                    await self._parts.put(part)
            await self._parts.put(None)
            await self._wanted.wait()
        except ProviderError as error:
            if self._voice is voice:
                await self._parts.put(error)
        finally:
            if self._voice is not voice:  # whose it is closes it
                self._begun = None
                await voice.close()

    async def _first(self) -> AsyncGenerator[bytes | Word, None]:
        """Its first sentence. Raises ProviderError, after what came of it."""
        try:
            while (part := await self._parts.get()) is not None:
                if isinstance(part, ProviderError):
                    raise part
                yield part
        finally:
            await stop([self._task])  # nobody takes from a voice what another does, nor closes it meanwhile
