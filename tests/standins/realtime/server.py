"""The stand-in itself: servers on loopback with a session for each WebSocket and each call, and a control page."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Self, TypeVar
from urllib.parse import parse_qsl, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.standins.twilio.serving import serving

from .clock import now_ms
from .control import Control
from .faults import Fault, NeverAnswer, NoCandidates, Refuse, SessionFault, SlowHandshake
from .options import Options
from .refusal import not_let_in
from .session import Session
from .wire import Deafen, HangUp, Output

T = TypeVar("T")
PATIENCE_S = 15.0
LARGEST_MESSAGE_BYTES = 21 << 20
"""15 MiB of audio as base64, and the JSON around it."""

CLOSE_TIMEOUT_S = 0.5
"""A client that does not answer our close frame holds up a test's end for no longer."""


class Realtime:
    """`async with Realtime() as standin:` serves `standin.url`, the official SDK's websocket_base_url.

    `Realtime(webrtc=True)` serves `standin.http_url` too, the SDK's base_url: calls over WebRTC, and client secrets.

    Options are those of `Options`, by name. What went wrong inside (a script's error, an event that the SDK does not
    know, with `verify`) is raised when it closes.
    """

    def __init__(self, *, port: int = 0, http_port: int = 0, **options: Any) -> None:
        self.options = Options(**options)
        self.sessions: list[Session] = []
        """One for each connection that was let in, the newest last."""

        self.refused: list[int] = []
        """The statuses of the upgrades that were not let in."""

        self.url = ""
        self.http_url = ""
        """With `webrtc`: the official SDK's base_url."""

        self._port, self._http_port = port, http_port
        self._run = secrets.token_hex(3)
        self._numbers = itertools.count(1)
        self._faults: deque[Fault] = deque()
        self._to_inject: dict[ServerConnection, SessionFault] = {}
        """Faults of connections that have been let in and are not sessions yet."""

        self._news: asyncio.Event | None = None
        """There while somebody waits for it."""

        self.closing = asyncio.Event()
        """Set when the stand-in is about to go."""

        self.errors: list[Exception] = []
        self._deaf: set[ServerConnection] = set()
        self._control = Control(self)
        self._server: Server | None = None
        self._http = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            self._port,
            process_request=self._admit,
            compression=None,
            max_size=LARGEST_MESSAGE_BYTES,
            open_timeout=None,
            ping_interval=None,
            close_timeout=CLOSE_TIMEOUT_S,
        )
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        if self.options.webrtc:
            await self._serve_calls()
        return self

    async def _serve_calls(self) -> None:
        # Half a second of imports, and 100 ms to end: not for the many that speak WebSocket only.
        from .calls import Calls

        calls = await self._http.enter_async_context(Calls(self))
        self.http_url = await self._http.enter_async_context(serving(calls.app, self._http_port)) + "/v1"

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self.closing.set()
        await self._http.aclose()
        for connection in self._deaf:
            connection.transport.abort()
        self._server.close()
        await self._server.wait_closed()
        if self.errors:
            raise ExceptionGroup("inside the Realtime stand-in", self.errors)

    @property
    def session(self) -> Session:
        """The newest."""
        return self.sessions[-1]

    def inject(self, fault: Fault, connections: int = 1) -> None:
        """Let each of the next connections go wrong, in the order of the calls."""
        self._faults.extend([fault] * connections)

    async def wait_for(self, predicate: Callable[[Realtime], T], within_s: float = PATIENCE_S) -> T:
        """The first true value of the predicate, asked again whenever something came or went; TimeoutError if none."""
        try:
            async with asyncio.timeout(within_s):
                while not (value := predicate(self)):
                    self._news = self._news or asyncio.Event()
                    await self._news.wait()
        except TimeoutError:
            seen = [{"received": [each["type"] for each in s.received], "sent": s.sent[-20:]} for s in self.sessions]
            raise TimeoutError(f"not within {within_s} s; refused {self.refused}, sessions {seen}") from None
        return value

    # For those who serve the sessions.

    def admits(self, authorization: str) -> bool:
        """Whether the header names a key that is let in."""
        scheme, _, key = authorization.partition(" ")
        return scheme == "Bearer" and bool(key) and self.options.api_key in (None, key)

    def refuse(self, status: int) -> None:
        """Somebody was not let in."""
        self.refused.append(status)
        self.changed()

    def next_fault(self) -> Fault | None:
        return self._faults.popleft() if self._faults else None

    def next_refusal(self) -> Refuse | None:
        """The next fault, if it is one that any request may meet."""
        fault = self._faults[0] if self._faults else None
        if not isinstance(fault, Refuse):
            return None
        self._faults.popleft()
        return fault

    def new_id(self) -> str:
        return f"{self._run}_{next(self._numbers)}"

    def begin(self, model: str, *, call: dict[str, Any] | None = None) -> Session:
        """A session over WebSocket; over WebRTC with what the `call` asks for, Refused if it may not."""
        session = Session(self.new_id(), model, self.options, now_ms(), time.time(), webrtc=call is not None)
        if call is not None:
            session.set_up(call)
        self.sessions.append(session)
        return session

    def changed(self) -> None:
        """Something came or went: ask who waits."""
        if self._news is not None:
            self._news.set()
            self._news = None

    async def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """The answer to a request that is not let in; none for one that becomes a session."""
        split = urlsplit(request.path)
        query = dict(parse_qsl(split.query))
        if split.path.startswith("/control/"):
            status, body = self._control.answer(split.path, query)
            return _json(connection, status, body)
        if split.path != "/v1/realtime" or "model" not in query:
            return self._refuse(connection, Refuse(404))
        if not self.admits(request.headers.get("Authorization", "")):
            return self._refuse(connection, Refuse(401))
        fault = self.next_fault()
        match fault:
            case None | NoCandidates():
                pass
            case Refuse():
                return self._refuse(connection, fault)
            case NeverAnswer():
                await self.closing.wait()
            case SlowHandshake(ms):
                await asyncio.sleep(ms / 1000)
            case _:
                self._to_inject[connection] = fault
        return None

    def _refuse(self, connection: ServerConnection, fault: Refuse) -> Response:
        self.refuse(fault.status)
        response = _json(connection, fault.status, not_let_in(fault.status))
        if fault.status == HTTPStatus.TOO_MANY_REQUESTS:
            response.headers["Retry-After"] = str(fault.retry_after_s)
        return response

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        query = dict(parse_qsl(urlsplit(connection.request.path).query))
        session = self.begin(query["model"])
        if fault := self._to_inject.pop(connection, None):
            session.inject(fault)
        try:
            await _Wired(session, connection, self.changed, self._deaf).run()
        except Exception as error:  # raised again when the stand-in closes: here it would only be logged
            self.errors.append(error)
            await connection.close(1011)
        finally:
            session.closed = (connection.close_code or 1006, connection.close_reason or "")
            self.changed()


class _Wired:
    """A session on its socket: one task reads, one does what is due and writes."""

    def __init__(
        self, session: Session, connection: ServerConnection, changed: Callable[[], None], deaf: set[ServerConnection]
    ) -> None:
        self._session, self._connection, self._changed, self._deaf = session, connection, changed, deaf
        self._wake = asyncio.Event()

    async def run(self) -> None:
        self._session.changed = self._wake.set
        self._session.open()
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(self._write())
            await self._read()
            writing.cancel()

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):  # raised unless it was closed with 1000 or 1001
            async for message in self._connection:
                self._session.receive(message, now_ms())
                self._changed()
                if self._session.waiting:
                    self._wake.set()

    async def _write(self) -> None:
        with contextlib.suppress(ConnectionClosed):  # the reader sees it too
            while True:
                self._wake.clear()
                self._session.advance(now_ms())
                for output in self._session.take():
                    await self._put(output)
                self._changed()
                await self._rest()

    async def _rest(self) -> None:
        """Until something is due or came."""
        due_ms = self._session.next_due_ms
        wait_s = None if due_ms is None else max(0.0, due_ms - now_ms()) / 1000
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._wake.wait()

    async def _put(self, output: Output) -> None:
        match output:
            case str() | bytes():
                await self._connection.send(output)
            case HangUp(code, reason):
                if code is None:
                    self._connection.transport.abort()
                else:
                    await self._connection.close(code, reason)
            case Deafen():
                self._deaf.add(self._connection)
                self._connection.transport.pause_reading()


def _json(connection: ServerConnection, status: int, body: object) -> Response:
    response = connection.respond(status, json.dumps(body))
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "application/json"
    return response
