"""A context at the stand-in: texts in, audio and the times of words out, in order."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.standins import tones

from .behaviour import Behaviour

FIXED = ("model_id", "voice", "output_format", "language", "generation_config", "pronunciation_dict_id")
"""What must not change within a context."""

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Cut(Exception):
    """The socket is to be cut without a word."""


@dataclass(slots=True)
class Spoken:
    """What a context was asked for, and what became of it: for tests."""

    context_id: str
    fields: dict[str, Any]
    texts: list[str] = field(default_factory=list)
    sent_ms: int = 0
    """Audio sent: what is billed."""
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Speaking:
    """One context. `run` makes its audio until the last text, a cancellation, or its expiry."""

    def __init__(self, behaviour: Behaviour, send: Send, garble: Callable[[], Awaitable[None]], spoken: Spoken) -> None:
        self.spoken = spoken
        self._behaviour = behaviour
        self._send = send
        self._garble = garble
        self._requests: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._flush_id = 1
        self._rate_hz: int = spoken.fields["output_format"]["sample_rate"]
        self._float = spoken.fields["output_format"]["encoding"] == "pcm_f32le"

    @property
    def closed(self) -> bool:
        return self.spoken.over.is_set() or self.spoken.cancelled.is_set()

    def ask(self, request: dict[str, Any]) -> None:
        self.spoken.texts.append(request["transcript"])
        self._requests.put_nowait(request)

    def cancel(self) -> None:
        """Halt what has not begun; a text that is being made is made to its end, as the vendor's are."""
        self.spoken.cancelled.set()
        self._requests.put_nowait({})

    async def run(self) -> None:
        try:
            await self._run()
        finally:
            self.spoken.over.set()

    async def _run(self) -> None:
        text = ""
        while (request := await self._next(holding=bool(text))) is not None:
            text += request.get("transcript", "")
            at_once = request.get("flush") or request.get("max_buffer_delay_ms", 3000) == 0
            if not (at_once or request.get("held") or not request.get("continue")):
                continue
            await self._say(text)
            text = ""
            if not request.get("continue"):
                await self._event("done", done=True, status_code=200)
                return
            if at_once:
                await self._flushed()

    async def _next(self, *, holding: bool) -> dict[str, Any] | None:
        """The next request; that a text was held for long enough is one, too. None when the context has expired."""
        behaviour = self._behaviour
        limit_s = 3.0 if holding else behaviour.expire_s if self.spoken.sent_ms else None
        try:
            async with asyncio.timeout(limit_s):
                request = await self._requests.get()
        except TimeoutError:
            return {"held": True, "continue": True, "max_buffer_delay_ms": 3000} if holding else None
        if self.spoken.cancelled.is_set():
            return None
        return request

    async def _flushed(self) -> None:
        for _ in range(2 if self._behaviour.fails("flushes_twice") else 1):
            await self._event("flush_done", flush_done=True, flush_id=self._flush_id)
        self._flush_id += 1

    async def _say(self, text: str) -> None:
        behaviour = self._behaviour
        if behaviour.fails("silent") or not text.strip():
            return
        await asyncio.sleep(behaviour.first_audio_ms / 1000)
        await self._fail_before()
        words = tones.words_of(text)
        pcm = b"".join(tones.speak(tones.respelled(word), self._rate_hz, behaviour.word_ms) for word in words)
        chunk_bytes = self._rate_hz * behaviour.chunk_ms // 1000 * 2 - (1 if behaviour.fails("torn") else 0)
        for at in range(0, len(pcm), chunk_bytes):
            await self._chunk(pcm[at : at + chunk_bytes])
            if at == 0:
                await self._words(words)
                await self._fail_within()
            await asyncio.sleep(behaviour.chunk_ms / 1000 / behaviour.speed)
        self.spoken.sent_ms += len(words) * behaviour.word_ms

    async def _fail_before(self) -> None:
        match self._behaviour.fails("mute", "failed", "ended", "nameless", "complaint", "quota"):
            case "mute":
                await asyncio.Event().wait()
            case "failed":
                await self.refuse(500, "internal_error", "Something went wrong")
            case "ended":
                await self._event("done", done=True, status_code=200)
            case "quota":
                await self.refuse(429, "quota_exceeded", "No credits are left")
            case "nameless":
                await self.refuse(503, None, "The model is not available", context_id=None)
            case "complaint":
                await self.refuse(400, "invalid_request", "The transcript is wrong", context_id=None)
            case _:
                return
        await asyncio.Event().wait()

    async def _fail_within(self) -> None:
        match self._behaviour.fails("stalled", "dropped", "garbage", "bad_audio"):
            case "stalled":
                await asyncio.Event().wait()
            case "dropped":
                raise Cut
            case "garbage":
                await self._garble()
            case "bad_audio":
                await self._event("chunk", data="!", step_time=1.0, flush_id=self._flush_id)

    async def _chunk(self, pcm: bytes) -> None:
        if self._float:
            pcm = (np.frombuffer(pcm, "<i2") / 32768).astype("<f4").tobytes()
        data = base64.b64encode(pcm).decode()
        await self._event("chunk", data=data, step_time=1.5, flush_id=self._flush_id)

    async def _words(self, words: list[str]) -> None:
        if not self.spoken.fields.get("add_timestamps"):
            return
        word_ms, begun_ms = self._behaviour.word_ms, self.spoken.sent_ms
        starts = [(begun_ms + number * word_ms) / 1000 for number in range(len(words))]
        times = {"words": words, "start": starts, "end": [start + word_ms / 1000 for start in starts]}
        await self._event("timestamps", word_timestamps=times, flush_id=self._flush_id)

    async def _event(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "context_id": self.spoken.context_id, "done": False, "status_code": 206, **fields}
        await self._send(event)

    async def refuse(self, status: int, code: str | None, message: str, **changed: Any) -> None:
        event = refusal(status, code, message)
        await self._send({**event, "context_id": self.spoken.context_id, **changed})


def refusal(status: int, code: str | None, message: str) -> dict[str, Any]:
    """An error as the vendor words it; it is the end of its context."""
    return {
        "type": "error",
        "done": True,
        "status_code": status,
        "error_code": code,
        "title": "The request failed",
        "message": message,
        "request_id": "req-1",
    }
