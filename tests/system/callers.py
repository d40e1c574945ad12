"""Callers of the cascade in real time: by telephone, and by a browser's WebSocket. Both speak in words of
`tests.standins.tones` with a voice that is taken for one, and know what they heard, word by word, and when nothing."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np

from benchmarks.stack import Stack
from cli.client import Caller as Client
from tests.standins import tones
from tests.standins.twilio import Call
from tests.standins.voiced import Person

PUBLIC = "https://voice.example.com"
PATIENCE_S = 30.0
WORD_MS = 150
"""The vendors speak quickly: these tests take as long as their words."""

LISTEN_S = 0.15
QUIET_PEAK = 300
FRAME_MS = 20
_ENDING_S = 0.4
"""Longer than any pause between two words of an answer."""


class Caller(ABC):
    """One call. What it heard counts from the last `mark` on; times are seconds since it first heard anything."""

    rate_hz: int

    def __init__(self, stack: Stack, tenant: str) -> None:
        self.stack = stack
        self.tenant = tenant
        self.said_s = 0.0
        """When it last ended to speak."""
        self._marked = 0
        self._person: Person | None = None

    async def __aenter__(self) -> Self:
        self._person = await Person.at(self.rate_hz)
        await self._enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exit(kind, error, trace)

    # --- what each kind of caller does in its own way

    @abstractmethod
    async def _enter(self) -> None: ...

    @abstractmethod
    async def _exit(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    @abstractmethod
    def pcm(self) -> bytes:
        """All that was heard, silence included."""

    @abstractmethod
    async def _speak(self, pcm: bytes) -> None: ...

    @abstractmethod
    async def session(self) -> str: ...

    # --- what is said

    async def say(self, *phrases: str | float) -> None:
        """Speak words, with pauses of so many seconds between, and wait until all is said."""
        assert self._person is not None
        parts = [
            bytes(round(each * self.rate_hz) * 2) if isinstance(each, float) else self._person.says(each)
            for each in phrases
        ]
        await self._speak(b"".join(parts))
        self.said_s = self.now_s

    async def ask(self, question: str, answer: str) -> None:
        """Say something when nothing is heard, and hear the answer to its end."""
        await self.until_silent()
        self.mark()
        await self.say(question)
        await self.until_heard(answer)
        await self.until_silent()

    # --- what is heard

    @property
    def now_s(self) -> float:
        return len(self.pcm) / 2 / self.rate_hz

    def mark(self) -> None:
        self._marked = len(self.pcm)

    @property
    def heard(self) -> str:
        """The words since the last mark."""
        return tones.hear(self.pcm[self._marked :], self.rate_hz, WORD_MS)

    async def until_heard(self, words: str) -> None:
        """Wait until these words were heard in a row since the last mark."""
        await self.until_answered(words, [])

    async def until_answered(self, answer: str, fillers: Sequence[str], within_s: float = PATIENCE_S) -> None:
        """Wait until this was heard since the last mark, whatever was said while it was waited for."""
        heard = ""
        try:
            async with asyncio.timeout(within_s):
                while answer not in without(fillers, heard):
                    await asyncio.sleep(LISTEN_S)
                    heard = await asyncio.to_thread(lambda: self.heard)
        except TimeoutError:
            raise TimeoutError(f"{self.tenant}: {answer!r} not heard, but {heard!r}") from None

    async def until_silent(self) -> None:
        """Wait until nothing is heard any more: a word counts as heard before it has ended."""
        async with asyncio.timeout(PATIENCE_S):
            while self.silences(self.now_s - _ENDING_S)[-1:] != [_whole(_ENDING_S)]:  # noqa: ASYNC110 - only the audio knows
                await asyncio.sleep(LISTEN_S)

    def silences(self, from_s: float) -> list[float]:
        """How long each stretch without any sound lasted from then on, in seconds; the last may be going on."""
        first = round(from_s * self.rate_hz) * 2
        samples = np.abs(np.frombuffer(self.pcm[max(0, first) :], "<i2").astype(np.int32))
        size = self.rate_hz * FRAME_MS // 1000
        loud = samples[: samples.size // size * size].reshape(-1, size).max(axis=1, initial=0) > QUIET_PEAK
        lengths, running = list[int](), 0
        for is_loud in loud.tolist():
            if is_loud and running:
                lengths.append(running)
            running = 0 if is_loud else running + 1
        return [_whole(length * FRAME_MS / 1000) for length in [*lengths, running] if length]

    def dead_air_s(self) -> float:
        """The longest time without a sound since the end of what was said last, until the last sound."""
        return max(self.silences(self.said_s)[:-1], default=0.0)


def without(fillers: Sequence[str], heard: str) -> str:
    """What was heard, but for the words of what was said to pass the time; a word that stammers is one word."""
    words = _meant(fillers, heard)
    return " ".join(word for word, before in zip(words, ["", *words], strict=False) if word != before)


def stammers(fillers: Sequence[str], heard: str) -> int:
    """How often the same is heard twice in a row: a word that was cut is, where a voice is replaced or a frame late."""
    return len(_meant(fillers, heard)) - len(without(fillers, heard).split())


def _meant(fillers: Sequence[str], heard: str) -> list[str]:
    passing = {word for filler in fillers for word in filler.split()}
    return [word for word in heard.split() if word not in passing]


def _whole(seconds: float) -> float:
    return round(seconds, 2)


class Phone(Caller):
    """By Twilio's Media Streams."""

    rate_hz = 8000

    def __init__(self, stack: Stack, tenant: str, number: str) -> None:
        super().__init__(stack, tenant)
        url = f"http://127.0.0.1:{stack.port}/twiml"
        self.call = Call(url, to=number, public_origin=PUBLIC, status_url=f"{PUBLIC}/twiml/status", return_ms=100)

    async def _enter(self) -> None:
        await self.call.__aenter__()
        await self.call.connected()

    async def _exit(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.call.__aexit__(kind, error, trace)

    @property
    def pcm(self) -> bytes:
        return self.call.heard_pcm()

    async def _speak(self, pcm: bytes) -> None:
        spoken = self.call.say(pcm)
        await self.call.until(lambda: self.call.heard.ended_s >= spoken.ended_s, PATIENCE_S)

    async def session(self) -> str:
        raw: bytes = await self.stack.redis.ask("HGET", f"call:{self.call.sid}", "session")
        return raw.decode()


class Browser(Caller):
    """By `/ws`."""

    rate_hz = 16_000

    def __init__(self, stack: Stack, tenant: str) -> None:
        super().__init__(stack, tenant)
        self.client = Client(stack.url, tenant=tenant, rate_hz=self.rate_hz)

    async def _enter(self) -> None:
        await self.client.__aenter__()

    async def _exit(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.client.__aexit__(kind, error, trace)

    @property
    def pcm(self) -> bytes:
        return self.client.heard

    async def _speak(self, pcm: bytes) -> None:
        await self.client.say(pcm)

    async def session(self) -> str:
        return self.client.session_id
