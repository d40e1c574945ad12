"""A stand-in for OpenAI's chat completions endpoint (streamed), and for Ollama's list of models, on loopback.

What it sends is what PROTOCOLS section 5 records of the wire: a chunk with the role, chunks with content (some with
`obfuscation`), one with the finish reason, one with usage and `choices: []` when asked for, `[DONE]`. Faults are set
on `Chat` and go on until unset.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.standins import http

Fault = Literal["unauthorized", "rate_limited", "broken", "silent", "stalled", "cut", "torn"]

_REFUSALS: dict[str, tuple[int, str, dict[str, str]]] = {
    "unauthorized": (401, "Incorrect API key provided.", {}),
    "rate_limited": (429, "Rate limit reached for requests.", {"retry-after": "20"}),
    "broken": (500, "The server had an error while processing your request.", {}),
}


@dataclass(slots=True)
class Chat:
    """The stand-in's behaviour, and what it was asked."""

    answer: str = "Hello there, this is the stand-in."
    calls: list[tuple[str, str]] = field(default_factory=list)
    """Tools that it calls after the answer, by name with their arguments, in two fragments each."""
    fault: Fault | None = None
    ollama_models: list[dict[str, Any]] | None = None
    """What `/api/tags` lists; none: there is no such page."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    clients: list[tuple[str, int] | None] = field(default_factory=list)
    """Host and port that each request came from."""
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client left a stream before its end."""
    url: str = ""

    async def completions(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.clients.append(request.client)
        self.requests.append({**body, "authorization": request.headers.get("authorization")})
        if self.fault in _REFUSALS:
            status, message, headers = _REFUSALS[self.fault]
            error = {"message": message, "type": "requests", "param": None, "code": self.fault}
            return JSONResponse({"error": error}, status, {"x-request-id": "req_1", **headers})
        return StreamingResponse(self._stream(body), media_type="text/event-stream")

    async def tags(self, _: Request) -> Response:
        return (
            JSONResponse({"models": self.ollama_models})
            if self.ollama_models is not None
            else Response(status_code=404)
        )

    async def _stream(self, body: dict[str, Any]) -> AsyncGenerator[str, None]:
        try:
            if self.fault == "silent":
                await asyncio.sleep(60)
            yield _event(body, [_choice({"role": "assistant", "content": "", "refusal": None})], obfuscation="xx")
            words = self.answer.split(" ") if self.answer else []
            for place, word in enumerate(words):
                if place == 2 and self.fault == "stalled":
                    await asyncio.sleep(60)
                if place == 2 and self.fault == "cut":
                    return
                if place == 2 and self.fault == "torn":
                    raise ConnectionResetError("torn on purpose")
                yield _event(body, [_choice({"content": word if place == 0 else f" {word}"})], obfuscation="abcdef")
                await asyncio.sleep(0.001)
            for fragment in self._fragments():
                yield _event(body, [_choice({"tool_calls": [fragment]})])
            yield _event(body, [_choice({}, finish_reason="tool_calls" if self.calls else "stop")])
            if (body.get("stream_options") or {}).get("include_usage"):
                usage = {"prompt_tokens": 30, "completion_tokens": len(words), "total_tokens": 30 + len(words)}
                yield _event(body, [], usage=usage)
            yield "data: [DONE]\n\n"
        except (asyncio.CancelledError, GeneratorExit):
            self.hung_up.set()
            raise

    def _fragments(self) -> Iterator[dict[str, Any]]:
        """The calls as they are streamed: id and name first, then the arguments, cut anywhere."""
        for index, (name, arguments) in enumerate(self.calls):
            function = {"name": name, "arguments": ""}
            yield {"index": index, "id": f"call_{index}", "type": "function", "function": function}
            middle = len(arguments) // 2
            yield {"index": index, "function": {"arguments": arguments[:middle]}}
            if self.fault == "torn":
                raise ConnectionResetError("torn on purpose")
            yield {"index": index, "function": {"arguments": arguments[middle:]}}


def _choice(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish_reason}


def _event(body: dict[str, Any], choices: list[dict[str, Any]], **more: Any) -> str:
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1795239000, "model": body["model"]}
    return f"data: {json.dumps({**chunk, 'choices': choices, 'usage': None, **more})}\n\n"


@contextlib.asynccontextmanager
async def serve(chat: Chat | None = None) -> AsyncIterator[Chat]:
    """Run the stand-in on a free port of 127.0.0.1; `url` of what it yields is its address, without `/v1`."""
    chat = chat or Chat()
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", chat.completions, methods=["POST"]),
            Route("/api/tags", chat.tags),
        ]
    )
    async with http.serve(app) as chat.url:
        yield chat
