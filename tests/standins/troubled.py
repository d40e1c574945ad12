"""Scripted providers in trouble: mute, slow, refusing, or broken in the middle, as a plan says for each request.

They know what was left open: a stream that nobody closed is a request that the vendor still works at, and bills.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from tests.standins.voices import ScriptedLlm, ScriptedStt, ScriptedTranscriber, ScriptedTts
from trunkline.errors import ProviderError
from workers.providers.base import ChatMessage, ToolCall, ToolSchema, Transcript, Word

Part = TypeVar("Part")

MUTE_S = 3600.0

BROKEN = ProviderError("troubled", "broke down")
REFUSED = ProviderError("troubled", "HTTP 400: no", retryable=False)
LOCKED_OUT = ProviderError("troubled", "HTTP 401: who?", retryable=False, locked_out=True)


def too_many(retry_after_s: float) -> ProviderError:
    return ProviderError("troubled", "HTTP 429: too many", retry_after_s=retry_after_s)


@dataclass(frozen=True)
class Trouble:
    """Of one request: after `after` parts of an answer it waits for `wait_s`, and then raises `error`, if it is one."""

    wait_s: float = 0.0
    error: Exception | None = None
    after: int = 0


NONE = Trouble()
MUTE = Trouble(MUTE_S)


class Troubles:
    """One for each request, in order; then the last for ever, or none, if the plan says so."""

    def __init__(self, *plan: Trouble, for_ever: bool = True) -> None:
        self._plan = list(plan)
        self._for_ever = for_ever
        self.requests = 0
        self.open = 0
        """Requests that are neither over nor given up."""

    def next(self) -> Trouble:
        self.requests += 1
        if not self._plan:
            return NONE
        return self._plan[0] if len(self._plan) == 1 and self._for_ever else self._plan.pop(0)

    @asynccontextmanager
    async def request(self) -> AsyncIterator[Trouble]:
        self.open += 1
        try:
            yield self.next()
        finally:
            self.open -= 1

    async def stream(self, parts: AsyncGenerator[Part, None]) -> AsyncGenerator[Part, None]:
        async with self.request() as trouble, aclosing(parts):
            number = 0
            async for part in parts:
                if number == trouble.after:
                    await happen(trouble)
                number += 1
                yield part
            if number == trouble.after:
                await happen(trouble)


async def happen(trouble: Trouble) -> None:
    await asyncio.sleep(trouble.wait_s)
    if trouble.error is not None:
        raise trouble.error


class TroubledLlm(ScriptedLlm):
    """A part is a word."""

    def __init__(self, answers: dict[str, str], *plan: Trouble, for_ever: bool = True, first_s: float = 0.3) -> None:
        super().__init__(answers, first_s)
        self.troubles = Troubles(*plan, for_ever=for_ever)

    def reply(
        self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema] = ()
    ) -> AsyncGenerator[str | ToolCall, None]:
        return self.troubles.stream(super().reply(messages, tools))


class TroubledTts(ScriptedTts):
    """A part is 50 ms of audio, a quarter of a word. `timed`: it says when each word is, before its audio."""

    def __init__(self, *plan: Trouble, for_ever: bool = True, timed: bool = False, rate_hz: int = 8000) -> None:
        super().__init__()
        self.troubles = Troubles(*plan, for_ever=for_ever)
        self.timed = timed
        self.rate_hz = rate_hz

    def speak(self, text: str) -> AsyncGenerator[bytes | Word, None]:
        return self._with_words(text, self.troubles.stream(super().speak(text)))

    async def _with_words(
        self, text: str, audio: AsyncGenerator[bytes | Word, None]
    ) -> AsyncGenerator[bytes | Word, None]:
        if self.timed:
            for number, word in enumerate(text.split()):
                yield Word(word, number * self.WORD_MS, (number + 1) * self.WORD_MS)
        async with aclosing(audio):
            async for part in audio:
                # Each sample as often as the rate is higher: a word is the same value for as long.
                assert isinstance(part, bytes)
                times = self.rate_hz // 8000
                yield part if times == 1 else b"".join(part[at : at + 2] * times for at in range(0, len(part), 2))


class TroubledStt(ScriptedStt):
    """In trouble when all is said, or, with `dies_ms`, after so much audio, and then it knows it."""

    def __init__(self, *plan: Trouble, for_ever: bool = True, takes_s: float = 0.2, dies_ms: int | None = None) -> None:
        super().__init__(takes_s)
        self.troubles = Troubles(*plan, for_ever=for_ever)
        self.dies_ms = dies_ms
        self.pushed_ms = 0.0

    def utterance(self) -> ScriptedTranscriber:
        self.open += 1
        return _TroubledTranscriber(self)


class _TroubledTranscriber(ScriptedTranscriber):
    def __init__(self, stt: TroubledStt) -> None:
        super().__init__(stt)
        self._troubled = stt
        self._pushed_ms = 0.0

    def push(self, pcm: bytes) -> None:
        super().push(pcm)
        self._pushed_ms += len(pcm) / 16
        self._troubled.pushed_ms += len(pcm) / 16

    @property
    def failure(self) -> ProviderError | None:
        dies_ms = self._troubled.dies_ms
        return BROKEN if dies_ms is not None and self._pushed_ms >= dies_ms else None

    async def finish(self) -> Transcript:
        if self.failure is not None:
            self.cancel()
            raise self.failure
        async with self._troubled.troubles.request() as trouble:
            try:
                await happen(trouble)
            except BaseException:
                self.cancel()
                raise
            return await super().finish()
