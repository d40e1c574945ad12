"""The stand-in's pages, and the faults on them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.standins import http
from tests.standins.groq import chat, hearing
from tests.standins.groq.faults import Fault
from tests.standins.groq.refusal import RETRY_AFTER_S, Refused, answer, by_fault
from tests.standins.twilio.watch import Watch

KEY = "gsk_standin"
_LIMITS = {
    "x-ratelimit-limit-requests": "14400",
    "x-ratelimit-limit-tokens": "200000",
    "x-ratelimit-remaining-requests": "14370",
    "x-ratelimit-remaining-tokens": "197700",
    "x-ratelimit-reset-requests": "2m59.56s",
    "x-ratelimit-reset-tokens": "7.66s",
    "x-request-id": "req_01",
}
_TOLD: dict[str, dict[str, Any]] = {
    "told": {"error": {"message": "openai/gpt-oss-20b is over capacity.", "type": "internal_server_error"}},
    "told_bad_call": {
        "error": {
            "message": "Failed to call a function. Please adjust your prompt.",
            "type": "invalid_request_error",
            "code": "tool_use_failed",
            "failed_generation": "secret",
            "status_code": 400,
        }
    },
    "told_in_words": {"error": "upstream closed"},
    "nonsense": {"choices": "none today"},
    "numberless": {"choices": [{"delta": {"tool_calls": [{"index": math.inf, "function": {"name": "look"}}]}}]},
}


@dataclass(slots=True)
class Asked:
    """One request for a chat completion."""

    body: dict[str, Any]
    connection: str


@dataclass(slots=True)
class Groq:
    """The stand-in's behaviour, and what it was asked."""

    hears: hearing.Manner = field(default_factory=hearing.Manner)
    says: chat.Manner = field(default_factory=chat.Manner)
    answers: Callable[[dict[str, Any]], chat.Manner] | None = None
    """How it answers the request with this body; none: as in `says`."""
    fault: Fault | None = None
    """Of every request, where `hears` and `says` have none of their own."""
    retry_after_s: int = RETRY_AFTER_S
    latency_s: float = 0.0
    """How long it takes to begin to answer."""
    transcriptions: list[hearing.Heard] = field(default_factory=list)
    completions: list[Asked] = field(default_factory=list)
    requests: int = 0
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client left an answer before its end."""
    url: str = ""
    watch: Watch = field(init=False)
    """Told of each request: `await groq.watch.until(lambda: len(groq.completions) == 2, 10)`."""

    def __post_init__(self) -> None:
        self.watch = Watch(lambda: f"{len(self.transcriptions)} transcriptions, {len(self.completions)} completions")

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/openai/v1/audio/transcriptions", self.transcribe, methods=["POST"]),
                Route("/openai/v1/chat/completions", self.complete, methods=["POST"]),
            ]
        )

    async def transcribe(self, request: Request) -> Response:
        try:
            self._admit(request)
            async with request.form() as form:
                heard = await hearing.understood(form)
            self.transcriptions.append(heard)
            self.watch.tell()
            fault = self.hears.fault or self.fault
            if instead := await self._instead(request, fault, self.hears.latency_s):
                return instead
        except Refused as refused:
            return answer(refused, _LIMITS)
        told = hearing.answer(heard, self.hears)
        if isinstance(told, str):
            return PlainTextResponse(told, headers=_LIMITS)
        return JSONResponse(told, headers=_LIMITS)

    async def complete(self, request: Request) -> Response:
        try:
            self._admit(request)
            body = chat.understood(json.loads(await request.body()))
            client = request.client
            self.completions.append(Asked(body, f"{client.host}:{client.port}" if client else ""))
            self.watch.tell()
            manner = self.answers(body) if self.answers else self.says
            fault = manner.fault or self.fault
            if instead := await self._instead(request, fault, manner.latency_s):
                return instead
        except Refused as refused:
            return answer(refused, _LIMITS)
        return StreamingResponse(self._stream(body, manner, fault), media_type="text/event-stream", headers=_LIMITS)

    def _admit(self, request: Request) -> None:
        self.requests += 1
        if request.headers.get("authorization") != f"Bearer {KEY}":
            raise Refused("Invalid API Key", "invalid_api_key", 401)

    async def _instead(self, request: Request, fault: Fault | None, latency_s: float) -> Response | None:
        """What a fault makes of the answer from its beginning on."""
        if (refused := by_fault(fault, self.retry_after_s)) is not None:
            raise refused
        if fault == "page":
            return PlainTextResponse("<html>502 Bad Gateway</html>", media_type="text/html")
        if fault == "empty":
            return Response(b"")
        if await http.hung_up_within(60 if fault == "silent" else self.latency_s + latency_s, request):
            self.hung_up.set()
        return None

    async def _stream(
        self, body: dict[str, Any], manner: chat.Manner, fault: Fault | None
    ) -> AsyncGenerator[str, None]:
        try:
            for place, chunk in enumerate(chat.chunks(body, manner)):
                if place == 1 + manner.fault_after:  # the first has no word
                    if fault == "cut":
                        return
                    if (spoilt := await _spoilt(chunk, fault)) is not None:
                        yield spoilt
                yield f"data: {json.dumps(chunk)}\n\n"
                await asyncio.sleep(manner.word_s)
            yield "data: [DONE]\n\n"
            if fault == "lingering":
                await asyncio.sleep(60)
        except (asyncio.CancelledError, GeneratorExit):
            self.hung_up.set()
            raise


async def _spoilt(chunk: dict[str, Any], fault: Fault | None) -> str | None:
    """What a fault sends in the middle of an answer."""
    if fault == "stalled":
        await asyncio.sleep(60)
    if fault == "torn":
        raise ConnectionResetError("torn on purpose")
    if fault == "garbage":
        return "data: {nonsense\n\n"
    if fault == "short":
        return f"data: {json.dumps({**chunk, 'x_groq': {'id': 'req_01', 'error': 'over_capacity'}})}\n\n"
    return f"data: {json.dumps(_TOLD[fault])}\n\n" if fault in _TOLD else None


@contextlib.asynccontextmanager
async def serve(groq: Groq | None = None, port: int = 0) -> AsyncIterator[Groq]:
    """Run the stand-in; `url` of what it yields is its address, without `/openai/v1`."""
    groq = groq or Groq()
    async with http.serve(groq.app, port) as groq.url:
        yield groq
