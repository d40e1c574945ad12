"""The stand-in's pages, and the faults on them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.standins import http
from tests.standins.groq import chat, hearing
from tests.standins.groq.refusal import Refused, answer, by_fault

Fault = Literal[
    "unauthorized",
    "rate_limited",
    "at_capacity",
    "broken",
    "bad_call",
    "silent",
    "page",
    "empty",
    "stalled",
    "cut",
    "torn",
    "garbage",
    "nonsense",
    "told",
    "told_bad_call",
    "told_in_words",
    "short",
    "lingering",
]
"""Refusals; no answer at all; a web page instead; nothing instead; mute in the middle of an answer; an end in its
middle, orderly or not; no JSON there, or JSON that is no chunk; an error told there, in three ways; `x_groq.error`; an
answer that is over and does not end."""

KEY = "gsk_standin"
_MIDDLE = 3
"""The chunk before which faults in the middle happen: a role and two words have come."""

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
    fault: Fault | None = None
    latency_s: float = 0.0
    """How long it takes to begin to answer."""
    transcriptions: list[hearing.Heard] = field(default_factory=list)
    completions: list[Asked] = field(default_factory=list)
    requests: int = 0
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client left an answer before its end."""
    url: str = ""

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
            if instead := await self._instead(request):
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
            if instead := await self._instead(request):
                return instead
        except Refused as refused:
            return answer(refused, _LIMITS)
        return StreamingResponse(self._stream(body), media_type="text/event-stream", headers=_LIMITS)

    def _admit(self, request: Request) -> None:
        self.requests += 1
        if request.headers.get("authorization") != f"Bearer {KEY}":
            raise Refused("Invalid API Key", "invalid_api_key", 401)

    async def _instead(self, request: Request) -> Response | None:
        """What a fault makes of the answer from its beginning on."""
        if (refused := by_fault(self.fault)) is not None:
            raise refused
        if self.fault == "page":
            return PlainTextResponse("<html>502 Bad Gateway</html>", media_type="text/html")
        if self.fault == "empty":
            return Response(b"")
        await self._wait(60 if self.fault == "silent" else self.latency_s, request)
        return None

    async def _wait(self, seconds: float, request: Request) -> None:
        """Wait, but not beyond the client's patience: nothing of an answer has begun that would notice."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (await request.receive())["type"] != "http.disconnect":
                    """The rest of a body that is known already."""
                self.hung_up.set()

    async def _stream(self, body: dict[str, Any]) -> AsyncGenerator[str, None]:
        try:
            for place, chunk in enumerate(chat.chunks(body, self.says)):
                if place == _MIDDLE:
                    if self.fault == "cut":
                        return
                    if (spoilt := await self._spoilt(chunk)) is not None:
                        yield spoilt
                yield f"data: {json.dumps(chunk)}\n\n"
                await asyncio.sleep(0.001)
            yield "data: [DONE]\n\n"
            if self.fault == "lingering":
                await asyncio.sleep(60)
        except (asyncio.CancelledError, GeneratorExit):
            self.hung_up.set()
            raise

    async def _spoilt(self, chunk: dict[str, Any]) -> str | None:
        """What a fault sends in the middle of an answer."""
        if self.fault == "stalled":
            await asyncio.sleep(60)
        if self.fault == "torn":
            raise ConnectionResetError("torn on purpose")
        if self.fault == "garbage":
            return "data: {nonsense\n\n"
        if self.fault == "short":
            return f"data: {json.dumps({**chunk, 'x_groq': {'id': 'req_01', 'error': 'over_capacity'}})}\n\n"
        return f"data: {json.dumps(_TOLD[self.fault])}\n\n" if self.fault in _TOLD else None


@contextlib.asynccontextmanager
async def serve(groq: Groq | None = None, port: int = 0) -> AsyncIterator[Groq]:
    """Run the stand-in; `url` of what it yields is its address, without `/openai/v1`."""
    groq = groq or Groq()
    async with http.serve(groq.app, port) as groq.url:
        yield groq
