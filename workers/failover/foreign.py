"""A provider's code, as its chain calls it: somebody else wrote it, and it may have faults of its own.

Whatever it raises that is no ProviderError, a KeyError for a reply that it did not expect, or because a task of its own
was cancelled, is that provider's failure: the log has the traceback, its breaker counts it, and the chain turns to the
next. Who is cancelled stays cancelled, whatever it raises on the way out. What it gives is of the right kind, and
bounded. No other place calls a provider's code in a conversation, and none but this forgives its faults.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from enum import Enum
from types import TracebackType
from typing import TypeVar

from trunkline.errors import BusError, ProviderError, SessionLost
from workers.failover.chain import Link
from workers.providers.base import (
    ChatMessage,
    LanguageModel,
    SpeechToText,
    TextToSpeech,
    ToolCall,
    ToolSchema,
    Transcriber,
    Transcript,
    Voice,
    Word,
)

LONGEST_TRANSCRIPT = 4000
"""Characters of one utterance, as many as may be typed: 33 a second of the longest (120 s) that a tenant may allow.
People say up to 20; a recogniser that repeats itself without end says any number."""

LONGEST_REASON = 200
"""Characters of a fault's own words in an error; the log has all of them."""


class _End(Enum):
    END = "end"


Part = TypeVar("Part")

_log = logging.getLogger(__name__)


def reply(
    link: Link[LanguageModel], messages: Sequence[ChatMessage], tools: Sequence[ToolSchema]
) -> AsyncGenerator[str | ToolCall, None]:
    """`LanguageModel.reply`."""
    return _stream(link.name, lambda: link.provider.reply(messages, tools), _spoken_or_called)


def utterance(link: Link[SpeechToText]) -> Transcriber:
    """`SpeechToText.utterance`. Raises ProviderError."""
    with _Blamed(link.name):
        return _Transcriber(link.name, link.provider.utterance())


def voice(link: Link[TextToSpeech]) -> Voice:
    """`TextToSpeech.voice`. Raises ProviderError."""
    with _Blamed(link.name):
        return _Voice(link.name, link.provider.voice())


class _Blamed:
    """What is raised in it is the provider's failure."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, SessionLost | BusError) or not _is_its_own(error):
            return
        if not isinstance(error, ProviderError):
            _log.error("provider %s has a fault of its own", self._name, exc_info=error)
        if _was_clearing_up(error):
            raise asyncio.CancelledError from error
        if not isinstance(error, ProviderError):
            raise ProviderError(self._name, _reason(error)) from error


def _is_its_own(error: BaseException) -> bool:
    """Whether the provider raised it: that somebody wants it no more, it did not."""
    return isinstance(error, Exception) or (isinstance(error, asyncio.CancelledError) and not _is_cancelled())


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _was_clearing_up(error: BaseException) -> bool:
    """Whether it was raised on the way out of what was cancelled: cancelled that stays."""
    before: BaseException | None = error
    while before is not None and not isinstance(before, asyncio.CancelledError):
        before = before.__context__
    return before is not None and _is_cancelled()


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "something of its own was cancelled"
    return f"raised {type(error).__name__}: {error}"[:LONGEST_REASON]


class _GivenUp:
    """Nobody waits for what is done in it: its failure is known to the log, and to nobody else. `awaits`: we may be
    cancelled in it, and then are, whatever it makes of that."""

    __slots__ = ("_awaits", "_name")

    def __init__(self, name: str, *, awaits: bool = False) -> None:
        self._name = name
        self._awaits = awaits

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None or isinstance(error, SessionLost | BusError) or not _is_its_own(error):
            return False
        _log.error("provider %s has a fault of its own when it is given up", self._name, exc_info=error)
        if self._awaits and _was_clearing_up(error):
            raise asyncio.CancelledError from error
        return True


async def _stream(
    name: str, begin: Callable[[], AsyncGenerator[Part, None]], check: Callable[[object], None]
) -> AsyncGenerator[Part, None]:
    """What `begin` streams. `check` raises TypeError or ValueError for a part that is none."""
    blamed = _Blamed(name)
    with blamed:
        parts = begin()
    try:
        while True:
            with blamed:
                part = await anext(parts, _End.END)
                if part is not _End.END:
                    check(part)
            if part is _End.END:
                return
            yield part
    finally:
        with _GivenUp(name, awaits=True):
            await parts.aclose()


def _spoken_or_called(part: object) -> None:
    if not isinstance(part, str | ToolCall):
        raise TypeError(f"a {type(part).__name__} is no part of an answer")


def _sound_or_word(part: object) -> None:
    if not isinstance(part, bytes | Word):
        raise TypeError(f"a {type(part).__name__} is no part of speech")
    if isinstance(part, bytes) and len(part) % 2:
        raise ValueError(f"{len(part)} bytes of audio are no whole samples")


class _Transcriber:
    """Implements `Transcriber`."""

    def __init__(self, name: str, transcriber: Transcriber) -> None:
        self._name = name
        self._transcriber = transcriber
        self._blamed = _Blamed(name)
        self._fault: ProviderError | None = None
        """Of what cannot raise: `failure` tells it."""

    def push(self, pcm: bytes) -> None:
        with self._blamed:
            self._transcriber.push(pcm)

    def pause(self) -> None:
        with self._blamed:
            self._transcriber.pause()

    @property
    def interim(self) -> str:
        return self._asked(lambda: self._transcriber.interim[:LONGEST_TRANSCRIPT], "")

    @property
    def ended(self) -> bool:
        return self._asked(lambda: self._transcriber.ended, otherwise=False)

    @property
    def failure(self) -> ProviderError | None:
        return self._fault or self._asked(lambda: self._transcriber.failure, None) or self._fault

    def _asked(self, ask: Callable[[], Part], otherwise: Part) -> Part:
        try:
            with self._blamed:
                return ask()
        except ProviderError as error:
            self._fault = error
            return otherwise

    async def finish(self) -> Transcript:
        if self._fault is not None:
            raise self._fault
        with self._blamed:
            transcript = await self._transcriber.finish()
            return self._bounded(transcript)

    def _bounded(self, transcript: Transcript) -> Transcript:
        text = transcript.text
        if len(text) <= LONGEST_TRANSCRIPT:
            return transcript
        _log.warning("provider %s understood %d characters in one utterance: cut", self._name, len(text))
        whole, _, _ = text[: LONGEST_TRANSCRIPT + 1].rpartition(" ")
        return replace(transcript, text=whole or text[:LONGEST_TRANSCRIPT])

    def cancel(self) -> None:
        with _GivenUp(self._name):
            self._transcriber.cancel()


class _Voice:
    """Implements `Voice`."""

    def __init__(self, name: str, its: Voice) -> None:
        self._name = name
        self._its = its

    def speak(self, text: str, *, last: bool) -> AsyncGenerator[bytes | Word, None]:
        """Asks at once; what is wrong is raised by what this returns, as any other failure of a sentence."""
        try:
            with _Blamed(self._name):
                parts = self._its.speak(text, last=last)
        except ProviderError as error:
            return _failed(error)
        return _stream(self._name, lambda: parts, _sound_or_word)

    async def close(self) -> None:
        with _GivenUp(self._name, awaits=True):
            await self._its.close()


async def _failed(error: ProviderError) -> AsyncGenerator[bytes | Word, None]:
    raise error
    yield b""  # what makes it a generator
