"""Cartesia's Sonic models as text-to-speech: an answer is one context, its sentences continue each other."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from trunkline.errors import ProviderError, SettingsError
from workers.providers.base import Word
from workers.providers.cartesia import protocol
from workers.providers.cartesia.account import Account, AccountOptions
from workers.providers.cartesia.line import Context, Line, Sentence, Stale

log = logging.getLogger(__name__)

MODEL = "sonic-3.5"
SHUT_DOWN = ("sonic-english", "sonic-multilingual", "sonic-turbo", "sonic-2", "sonic-3-2025-10-27")
"""Models, and beginnings of their dated names, that the vendor switched off, the last on 2026-10-20."""

CONTINUE_S = 0.6
"""A context takes another sentence so long after its last audio. At the vendor it is 1 s; the rest is for the way, and
for the socket's rest (`line.REST_S`)."""

_SPACELESS = ("ja", "th", "zh")
"""Languages whose sentences follow each other without a space. The vendor joins texts as they are."""


class CartesiaOptions(AccountOptions):
    """A tenant's options for Cartesia's text-to-speech."""

    model: str = Field(default=MODEL, min_length=1)
    voice: str = Field(
        default="6ccbfb76-1fc6-48f7-b71d-91ac6298247b", min_length=1, description="the id of a voice of your account"
    )
    language: str = Field(default="en", min_length=2)
    rate_hz: Literal[8000, 16000, 22050, 24000, 44100, 48000] = Field(
        default=16000, description="of the audio: 8000 is enough for a telephone"
    )
    speed: float | None = Field(default=None, ge=0.6, le=1.5, description="1 is the voice's own")
    volume: float | None = Field(default=None, ge=0.5, le=2.0, description="1 is the voice's own")
    emotion: str | None = Field(default=None, description="such as calm; the vendor has a list")
    pronunciation_dict_id: str | None = None
    # A little less than a chain waits (workers.failover.chains): it is here that a mute socket is seen and replaced.
    first_audio_s: float = Field(default=1.4, gt=0, le=60, description="longest wait for a sentence's first audio")
    next_audio_s: float = Field(default=1.4, gt=0, le=60, description="longest wait for more of it")


class CartesiaSpeech:
    """Cartesia as a `TextToSpeech`. One socket for all answers, dialled when the first needs it, and again after it
    was lost, was mute, or the vendor closed it because nobody spoke for five minutes."""

    def __init__(self, options: CartesiaOptions) -> None:
        """Raises SettingsError for a model that was shut down, and a key or an address that is missing or wrong."""
        self.options = options
        self.rate_hz: int = options.rate_hz
        self.fields = _fields(options)
        """What every message of a context repeats."""
        self._account = Account(options, "text-to-speech 'cartesia'")
        self._line: Line | None = None
        self._lines: set[Line] = set()
        self._dialling: asyncio.Task[Line] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    @property
    def description(self) -> str:
        return f"Cartesia: {self.options.model}, voice {self.options.voice}"

    async def speak(self, text: str) -> AsyncGenerator[bytes | Word, None]:
        """Stream `text` by itself. Raises ProviderError."""
        voice = self.voice()
        try:
            async with aclosing(voice.speak(text, last=True)) as parts:
                async for part in parts:
                    yield part
        finally:
            await voice.close()

    def voice(self) -> Answer:
        """Begin an answer. While a language model thinks about it, the socket is dialled if there is none."""
        if self.open_line is None and not self._closed:
            _ = self._dial()
        return Answer(self)

    @property
    def open_line(self) -> Line | None:
        """The socket for a new context, if there is one."""
        return self._line if self._line is not None and self._line.usable else None

    async def line(self) -> Line:
        """The socket for a new context. All who wait for it wait for the same. Raises ProviderError."""
        if self.open_line is not None:
            return self.open_line
        if self._closed:
            raise ProviderError("cartesia", "the provider was closed", retryable=False)
        dialling = self._dial()
        await asyncio.wait((dialling,))  # who is cancelled leaves the line to the others
        if dialling.cancelled():
            raise ProviderError("cartesia", "the provider was closed", retryable=False)
        line = dialling.result()
        if not line.usable:
            raise Stale("cartesia", "hung up as soon as it was connected")
        return line

    def _dial(self) -> asyncio.Task[Line]:
        if self._dialling is None or self._dialling.done():
            self._dialling = self._start(self._connect())
        return self._dialling

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `work` until it ends or this is closed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, ProviderError):  # that, who waits for the line is told
            log.error("a fault of ours", exc_info=error)

    async def _connect(self) -> Line:
        line = Line(await self._account.connect(protocol.PATH))
        self._line = line
        self._lines.add(line)
        self._start(line.run()).add_done_callback(lambda _: self._lines.discard(line))
        return line

    async def close(self) -> None:
        """Hang up; whoever still listens is told so."""
        self._closed = True
        if self._dialling is not None:
            self._dialling.cancel()
        if self._lines:
            await asyncio.gather(*(line.close() for line in self._lines))
        if self._tasks:
            await asyncio.wait(self._tasks)


@dataclass(slots=True, eq=False)
class _Asked:
    """A sentence that is to be spoken."""

    text: str
    last: bool
    context: Context | None = None
    """Where it was sent; none while it waits for a line."""
    sentence: Sentence | None = None


class Answer:
    """The voice of one answer: one context at the vendor for as long as that takes more, then another.

    Sentences are sent when they are asked for, and those that wait for the line when it is there.
    """

    def __init__(self, speech: CartesiaSpeech) -> None:
        self._speech = speech
        self._options = speech.options
        self._context: Context | None = None
        self._waiting: deque[_Asked] = deque()
        self._closed = False
        self._clock = asyncio.get_running_loop().time

    def speak(self, text: str, *, last: bool) -> AsyncGenerator[bytes | Word, None]:
        """Stream the next sentence, which is sent at once. Raises ProviderError, after what came of it.

        A sentence that met the end of its context or of its socket is sent once more, elsewhere.
        """
        asked = _Asked(text, last)
        if any(character.isalnum() for character in text):  # of others the vendor makes no sound, and may not say so
            self._waiting.append(asked)
            if (context := self._ready()) is not None:
                self._send(context)
        return self._said(asked)

    async def _said(self, asked: _Asked) -> AsyncGenerator[bytes | Word, None]:
        if asked.sentence is None and asked not in self._waiting:
            return
        for attempt in (1, 2):
            context, sentence = await self._begun(asked)
            try:
                async with aclosing(self._parts(context, sentence)) as parts:
                    async for part in parts:
                        yield part
                return
            except Stale:
                if sentence.sounded or attempt == 2 or self._closed:
                    raise
                asked.sentence = None
                self._waiting.appendleft(asked)
            finally:
                if not sentence.over:
                    context.give_up()

    async def _begun(self, asked: _Asked) -> tuple[Context, Sentence]:
        """Where `asked` is being said. Raises ProviderError when there is no line."""
        while asked.sentence is None or asked.context is None:
            line = await self._speech.line()
            if asked not in self._waiting:
                raise ProviderError("cartesia", "the answer was given up", retryable=False)
            while self._waiting[0] is not asked:  # nobody took them
                self._waiting.popleft()
            if self._context is not None and not self._context.takes_more(self._clock(), CONTINUE_S):
                self._drop()
            self._send(self._context or self._begin(line))
        return asked.context, asked.sentence

    def _ready(self) -> Context | None:
        """A context that takes a sentence now. One that may have expired is followed by another as soon as nothing more
        is to come of it."""
        if self._context is not None:
            if self._context.takes_more(self._clock(), CONTINUE_S):
                return self._context
            if self._context.at_work:
                return None
            self._drop()
        line = self._speech.open_line
        return None if line is None else self._begin(line)

    def _begin(self, line: Line) -> Context:
        self._context = line.context(uuid.uuid4().hex, self._speech.rate_hz)
        return self._context

    def _drop(self) -> None:
        if self._context is not None:
            self._context.give_up()
            self._context = None

    def _send(self, context: Context) -> None:
        """Send all that waits; after a last sentence the context takes no more."""
        while self._waiting:
            asked = self._waiting.popleft()
            spaced = not asked.last and not self._options.language.startswith(_SPACELESS)
            text = asked.text.strip() + (" " if spaced else "")
            message = protocol.generation(self._speech.fields, context.context_id, text, last=asked.last)
            asked.context = context
            asked.sentence = context.begin(message, last=asked.last, now_s=self._clock())
            if asked.last:
                return

    async def _parts(self, context: Context, sentence: Sentence) -> AsyncGenerator[bytes | Word, None]:
        options = self._options
        while True:
            within_s = options.next_audio_s if sentence.sounded else options.first_audio_s
            try:
                if sentence.waits:  # a deadline for what is there would cost more than to take it
                    async with asyncio.timeout(within_s):
                        await sentence.news()
            except TimeoutError as error:
                if sentence.flushed:
                    return  # it has no sound
                context.line.retire()
                said = f"; it had said: {context.line.complaint}" if context.line.complaint else ""
                raise ProviderError("cartesia", f"no audio within {within_s:g} s{said}") from error
            part = sentence.take()
            if part is None:
                return
            yield part

    async def close(self) -> None:
        self._closed = True
        self._waiting.clear()
        self._drop()


def _fields(options: CartesiaOptions) -> dict[str, Any]:
    if options.model == "sonic" or options.model.startswith(SHUT_DOWN):
        raise SettingsError(f"text-to-speech 'cartesia': the model {options.model} was shut down; use {MODEL}")
    fields: dict[str, Any] = {
        "model_id": options.model,
        "voice": options.voice,
        "language": options.language,
        "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": options.rate_hz},
        "add_timestamps": True,
    }
    style = {"speed": options.speed, "volume": options.volume, "emotion": options.emotion}
    if chosen := {name: value for name, value in style.items() if value is not None}:
        fields["generation_config"] = chosen
    if options.pronunciation_dict_id is not None:
        fields["pronunciation_dict_id"] = options.pronunciation_dict_id
    return fields
