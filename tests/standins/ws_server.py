"""A scripted server of docs/websocket.md, with the page at `/`: what the page is developed and tested against.

Tests drive a `Caller` line by line. `python -m tests.standins.ws_server` serves a canned conversation to look at.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import itertools
import json
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

GATEWAY = Path(__file__).resolve().parents[2] / "gateway"
CONSOLE = GATEWAY / "console"
POLICY = (
    "default-src 'self'; connect-src 'self' ws: wss:; script-src 'self'; style-src 'self'; worker-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
RATE_HZ = 16_000
BYTES_PER_MS = RATE_HZ * 2 // 1000
CHUNK_MS = 20
AHEAD_MS = 400
"""How far ahead of real time audio is sent."""
TOKEN_REJECTED = 4401
PATIENCE_S = 15.0
"""How long a test waits for something before it fails."""

Script = Callable[["Caller"], Awaitable[None]]


class Caller:
    """One session, as the server sees it: what came, and what to send."""

    def __init__(self, start: dict[str, Any]) -> None:
        self.starts = [start]
        self.uplink = bytearray()
        """All audio of the user, without gaps, at its media time."""
        self.messages: list[dict[str, Any]] = []
        self.token = ""
        self.connected = asyncio.Event()
        self.websocket: WebSocket | None = None
        self._news = asyncio.Condition()
        self._seq = itertools.count(1)
        self._turn = 0
        self._sent_ms = 0.0

    @property
    def uplink_ms(self) -> float:
        return len(self.uplink) / BYTES_PER_MS

    @property
    def samples(self) -> np.ndarray[Any, np.dtype[np.int16]]:
        return np.frombuffer(bytes(self.uplink), dtype="<i2")

    async def send(self, kind: str, **fields: Any) -> None:
        """Send one JSON message; what is sent while the caller is away is lost."""
        if self.websocket is not None:
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await self.websocket.send_json({"type": kind, "seq": next(self._seq), **fields})

    async def say(self, turn: int, pcm: bytes, *, offset_ms: float = 0, paced: bool = True) -> None:
        """Send a turn's audio, at most AHEAD_MS ahead of real time; a caller who comes back gets what is missing."""
        self._turn, self._sent_ms = turn, offset_ms
        began = asyncio.get_running_loop().time()
        announced: WebSocket | None = None
        while (at := round((self._sent_ms - offset_ms) * RATE_HZ / 1000) * 2) < len(pcm) and self._turn == turn:
            await self.connected.wait()
            websocket = self.websocket
            if websocket is None:
                continue
            if announced is not websocket:
                at = round((self._sent_ms - offset_ms) * RATE_HZ / 1000) * 2
                await self.send("audio", turn=turn, offset_ms=self._sent_ms)
                announced = websocket
            chunk = pcm[at : at + CHUNK_MS * BYTES_PER_MS]
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await websocket.send_bytes(chunk)
            if self.websocket is websocket:
                self._sent_ms += len(chunk) / BYTES_PER_MS
            ahead_s = began + (self._sent_ms - offset_ms - AHEAD_MS) / 1000 - asyncio.get_running_loop().time()
            await asyncio.sleep(max(0.0, ahead_s) if paced else 0)

    async def clear(self, turn: int) -> None:
        self._turn = 0
        await self.send("clear", turn=turn)

    async def wait_for(self, kind: str, count: int = 1, **fields: Any) -> dict[str, Any]:
        """The `count`-th message of this kind whose fields have these values."""

        def found() -> list[dict[str, Any]]:
            wanted = {"type": kind, **fields}
            return [message for message in self.messages if wanted.items() <= message.items()]

        async with asyncio.timeout(PATIENCE_S), self._news:
            await self._news.wait_for(lambda: len(found()) >= count)
        return found()[count - 1]

    async def wait_for_uplink(self, ms: float) -> None:
        async with asyncio.timeout(PATIENCE_S), self._news:
            await self._news.wait_for(lambda: self.uplink_ms >= ms)

    async def attach(self, websocket: WebSocket, *, resumed: bool) -> None:
        """A socket of this caller's: greet it, and read it until it ends."""
        self.token = secrets.token_urlsafe(12)
        self.websocket = websocket
        if resumed and (received := self.starts[-1].get("received")) and received["turn"] == self._turn:
            self._sent_ms = received["ms"]
        await self.send(
            "session_ready",
            session_id="s-standin",
            conversation_id="c-standin",
            resume=self.token,
            resumed=resumed,
            rate_hz=RATE_HZ,
            encoding="binary",
            output="pcm",
            uplink_ms=self.uplink_ms,
        )
        self.connected.set()
        try:
            while True:
                message = await websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                if self.websocket is not websocket:
                    return
                await self._take(message)
        finally:
            if self.websocket is websocket:
                self.websocket = None
                self.connected.clear()

    async def unheard(self, websocket: WebSocket) -> int:
        """A socket of this caller's by which nothing gets to it. Returns its close code."""
        while (message := await websocket.receive())["type"] != "websocket.disconnect":
            await self._take(message)
        return int(message["code"])

    async def _take(self, message: Message) -> None:
        if message.get("bytes") is not None:
            self.uplink += message["bytes"]
        else:
            parsed = json.loads(message["text"])
            if parsed["type"] == "audio":
                self.uplink += base64.b64decode(parsed["data"])
            self.messages.append(parsed)
        async with self._news:
            self._news.notify_all()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class StandIn:
    """The server. `refuse_tokens` answers every resume with 4401; `away` refuses sockets, as if it were down."""

    def __init__(self, script: Script | None = None, assets: Path | None = None) -> None:
        self.callers: list[Caller] = []
        self.refuse_tokens = False
        self.away = False
        self.refused_s: list[float] = []
        """When, on the loop's clock, sockets were refused while it was away."""
        self.lose_answers = 0
        """To so many resumes from now on no answer arrives."""
        self.given_up_with: list[int] = []
        """The close codes of those."""
        self.greet_with: tuple[dict[str, Any], int] | None = None
        """An `error` and a close code, instead of a session."""
        self.url = ""
        self._script = script
        self._arrived = asyncio.Condition()
        routes = [
            Route("/", self._page),
            Mount("/console", StaticFiles(directory=CONSOLE)),
            Mount("/client", StaticFiles(directory=GATEWAY / "client")),
            WebSocketRoute("/ws", self._door),
        ]
        if assets:
            routes.append(Mount("/assets", StaticFiles(directory=assets)))
        self.app = Starlette(routes=routes, middleware=[Middleware(_Policy)])
        self._server: _Server | None = None

    @contextlib.asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[StandIn]:
        listening = socket.create_server(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config = uvicorn.Config(self.app, log_level="warning", ws="websockets-sansio", timeout_graceful_shutdown=1)
        self._server = _Server(config)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._server.serve([listening]), name="stand-in")
            try:
                yield self
            finally:
                self._server.should_exit = True

    async def caller(self, number: int = 1) -> Caller:
        """The `number`-th session there ever was, once it is there."""
        async with asyncio.timeout(PATIENCE_S):
            async with self._arrived:
                await self._arrived.wait_for(lambda: len(self.callers) >= number)
            caller = self.callers[number - 1]
            await caller.connected.wait()
        return caller

    def drop(self, caller: Caller, *, forget_ms: int = 0) -> None:
        """Cut the wire without a word, and lose the last `forget_ms` of what had come, as a dying gateway does."""
        assert self._server is not None
        assert caller.websocket is not None
        client = caller.websocket.client
        caller.websocket = None
        caller.connected.clear()
        kept_ms = max(0, int(caller.uplink_ms) - forget_ms)
        del caller.uplink[kept_ms * BYTES_PER_MS :]
        for connection in list(self._server.server_state.connections):
            if getattr(connection, "client", None) == tuple(client or ()):
                connection.transport.abort()

    async def _page(self, _request: Request) -> FileResponse:
        return FileResponse(CONSOLE / "index.html")

    async def _door(self, websocket: WebSocket) -> None:
        if self.away:
            self.refused_s.append(asyncio.get_running_loop().time())
            await websocket.close()
            return
        await websocket.accept()
        start = await websocket.receive_json()
        if self.greet_with:
            error, code = self.greet_with
            await websocket.send_json({"type": "error", "seq": 1, **error})
            await websocket.close(code)
            return
        if token := start.get("resume"):
            caller = next((caller for caller in self.callers if caller.token == token), None)
            if caller is None or self.refuse_tokens:
                await websocket.close(TOKEN_REJECTED)
                return
            caller.starts.append(start)
            if self.lose_answers:
                self.lose_answers -= 1
                self.given_up_with.append(await caller.unheard(websocket))
                return
            await caller.attach(websocket, resumed=True)
            return
        caller = Caller(start)
        async with asyncio.TaskGroup() as tasks:
            self.callers.append(caller)
            script = tasks.create_task(self._play(caller))
            try:
                await caller.attach(websocket, resumed=False)
            finally:
                if self._script:
                    script.cancel()

    async def _play(self, caller: Caller) -> None:
        await caller.connected.wait()
        async with self._arrived:
            self._arrived.notify_all()
        if self._script:
            await self._script(caller)


class _Policy:
    """Adds the headers that the gateway sends with its pages."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", POLICY.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        await self._app(scope, receive, with_policy if scope["type"] == "http" else send)


def babble(seconds: float, seed: int = 7) -> bytes:
    """Something with the rhythm of speech: a gliding voice in syllables."""
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    rng = np.random.default_rng(seed)
    pitch = np.interp(t, np.arange(0, seconds + 0.3, 0.3), 120 + 40 * rng.random(len(np.arange(0, seconds + 0.3, 0.3))))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE_HZ
    voice = sum(np.sin(phase * k) / k for k in range(1, 8))
    syllables = np.clip(np.sin(2 * np.pi * 2.1 * t + np.sin(3.1 * t)) * 1.4, 0, 1)
    return (voice * syllables * 5000).astype("<i2").tobytes()


async def demo(caller: Caller) -> None:
    """A conversation to look at: a question, an answer that is interrupted, another answer."""
    await caller.send(
        "backend",
        backend="Cascade on this machine (nothing leaves it)",
        providers={
            "stt": "PocketSphinx, local: small vocabulary, makes mistakes",
            "llm": "Rule-based stand-in, local: not a language model",
            "tts": "eSpeak NG, local: a robotic voice",
        },
    )
    await caller.send("state", state="listening")
    await asyncio.sleep(1.2)
    await exchange(caller, 1, "Hello, can you tell me when you are open tomorrow?", OPEN, cut_at=None)
    await ask(caller, "show_page", page="opening hours")
    await asyncio.sleep(1.5)
    await exchange(caller, 3, "And could I book a table for four people?", BOOK, cut_at=0.55)
    await caller.send("tool_result", call_id="c-2", tool="book_table", ok=False, ms=1840)
    await exchange(caller, 5, "Sorry, for five people.", FIVE, cut_at=None)
    for turn in itertools.count(7, 2):
        while not (typed := [message for message in caller.messages if message["type"] == "text"]):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        caller.messages.clear()
        await exchange(caller, turn, "", f"You typed: {typed[-1]['text']}", cut_at=None)


OPEN = "Of course. Tomorrow is Sunday, so we open a little later: from ten in the morning until nine in the evening."
BOOK = "Gladly. For tomorrow I still have a table by the window at half past seven, or two tables outside at any time."
FIVE = "No problem at all. Five people tomorrow at half past seven, by the window. May I have a name for the booking?"


async def ask(caller: Caller, tool: str, **arguments: Any) -> Any:
    """Ask a tool of the client's, as a worker does; gives its output."""
    began_s, call_id = asyncio.get_running_loop().time(), f"call-{secrets.token_hex(4)}"
    await caller.send("tool_call", call_id=call_id, tool=tool, arguments=arguments)
    output = (await caller.wait_for("function_call_output", call_id=call_id))["output"]
    ms = round((asyncio.get_running_loop().time() - began_s) * 1000)
    await caller.send("tool_result", call_id=call_id, tool=tool, ok=True, ms=ms)
    return output


async def exchange(caller: Caller, turn: int, question: str, answer: str, *, cut_at: float | None) -> None:
    words = question.split()
    for i, word in enumerate(words):
        await caller.send("transcript_delta", role="user", turn=turn, delta=("" if i == 0 else " ") + word)
        await asyncio.sleep(0.09)
    if question:
        await caller.send("transcript", role="user", turn=turn, text=question)
    await caller.send("state", state="thinking")
    await asyncio.sleep(0.5)
    await caller.send("state", state="speaking")
    parts = [["endpoint", 212], ["transcript", 148], ["first_token", 171], ["first_sentence", 64], ["first_audio", 83]]
    await caller.send("latency", turn=turn + 1, total_ms=sum(int(ms) for _, ms in parts), parts=[*parts])  # type: ignore[call-overload]
    words = answer.split()
    said = words[: int(len(words) * (cut_at or 1))]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(caller.say(turn + 1, babble(0.26 * len(said))))
        for i, word in enumerate(said):
            await caller.send("transcript_delta", role="assistant", turn=turn + 1, delta=("" if i == 0 else " ") + word)
            await asyncio.sleep(0.26)
    if cut_at:
        await caller.clear(turn + 1)
    text = " ".join(said)
    await caller.send(
        "transcript", role="assistant", turn=turn + 1, text=text, **({"interrupted": True} if cut_at else {})
    )
    await caller.send("response_done", turn=turn + 1)
    await caller.send("state", state="listening")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8899)
    async with StandIn(demo).serve(parser.parse_args().port) as stand_in:
        print(stand_in.url, flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
