"""A stand-in for Cartesia's sockets on loopback, text-to-speech and speech-to-text, as PROTOCOLS section 3 has them.

It speaks and hears tones (`tests/standins/tones.py`), and holds both sides to the official SDK's types.
"""

from __future__ import annotations

import asyncio
import http
import json
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from .behaviour import Behaviour
from .connection import Connection
from .listening import Listened, Listening
from .speaking import Cut, Spoken, refusal

VERSION = "2026-08-14"


class Cartesia:
    """The stand-in. `async with Cartesia() as vendor` serves it at `vendor.url`, a ws:// address without a path."""

    def __init__(self, behaviour: Behaviour | None = None, port: int = 0) -> None:
        self.behaviour = behaviour or Behaviour()
        self.url = ""
        self.sockets = 0
        """How many were opened so far."""
        self.contexts: list[Spoken] = []
        self.listened: list[Listened] = []
        self._port = port
        self._server: Server | None = None
        self._open: set[ServerConnection] = set()
        self._news = asyncio.Condition()
        self._closing = asyncio.Event()

    async def __aenter__(self) -> Cartesia:
        self._server = await serve(
            self._serve, "127.0.0.1", self._port, process_request=self._admit, compression=None, ping_interval=None
        )
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._closing.set()
        self._server.close(close_connections=False)
        for socket in list(self._open):
            socket.transport.abort()
        await self._server.wait_closed()

    @property
    def active(self) -> int:
        """Contexts that count towards the account's limit."""
        return sum(not spoken.over.is_set() for spoken in self.contexts)

    async def wait_for_sockets(self, open_now: int) -> None:
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(lambda: len(self._open) == open_now)

    async def wait_for_context(self, number: int = 1) -> Spoken:
        """The `number`-th context there ever was, once it is there."""
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(lambda: len(self.contexts) >= number)
        return self.contexts[number - 1]

    async def _admit(self, socket: ServerConnection, request: Request) -> Response | None:
        refused = await self._refusal(request)
        if refused is None:
            return None
        status, code, message = refused
        error = refusal(status, code, message)
        body = {name: error[name] for name in ("error_code", "title", "message", "request_id")}
        response = socket.respond(http.HTTPStatus(status), json.dumps(body))
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json"
        if status == 429:
            response.headers["Retry-After"] = str(self.behaviour.retry_after_s)
        return response

    async def _refusal(self, request: Request) -> tuple[int, str | None, str] | None:
        parts = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        key = request.headers.get("Authorization", "").removeprefix("Bearer ") or request.headers.get("X-API-Key")
        version = request.headers.get("cartesia-version") or query.get("cartesia_version")
        if parts.path not in ("/tts/websocket", "/stt/websocket"):
            return 404, "not_found", f"There is no {parts.path}"
        if version != VERSION:
            return 400, "invalid_request", f"The version {version} is none that this stand-in speaks: {VERSION}"
        match self.behaviour.fails("unauthorized", "rate_limited", "broken", "no_answer"):
            case "rate_limited":
                return 429, "concurrency_limited", "You have exceeded your plan's limit"
            case "broken":
                return 500, None, "Something went wrong"
            case "no_answer":
                await self._closing.wait()
            case "unauthorized":
                return 401, "unauthorized", "The API key is wrong"
        if key != self.behaviour.api_key:
            return 401, "unauthorized", "The API key is wrong"
        return None

    async def _serve(self, socket: ServerConnection) -> None:
        self.sockets += 1
        self._open.add(socket)
        try:
            await self._tell()
            assert socket.request is not None
            if socket.request.path.startswith("/stt/"):
                listening = Listening(socket, self.behaviour)
                self.listened.append(listening.listened)
                await listening.run()
            else:
                await Connection(socket, self.behaviour, self._began, lambda: self.active).run()
        except* ConnectionClosed:
            pass  # the client is free to leave in the middle of a sentence
        except* Cut:
            socket.transport.abort()
        finally:
            self._open.discard(socket)
            await self._tell()

    async def _began(self, spoken: Spoken) -> None:
        self.contexts.append(spoken)
        await self._tell()

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()
