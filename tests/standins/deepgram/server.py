"""The server: who is let in, what comes and goes on each stream, and what goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections import deque
from collections.abc import Callable
from typing import Any, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from .faults import Close, Drop, Fault, Garbage, Mute, NeverAnswer, Refuse, SessionFault
from .flux import Flux
from .nova import Nova
from .stream import Hangup, Interface, Output

T = TypeVar("T")
PATIENCE_S = 15.0
CLOSE_TIMEOUT_S = 0.5

_REFUSALS = {
    400: ("INVALID_QUERY_PARAMETER", "Failed to deserialize query parameters."),
    401: ("INVALID_AUTH", "Invalid credentials."),
    404: ("NOT_FOUND", "Not found."),
    429: ("TOO_MANY_REQUESTS", "Too many requests. Please try again later."),
    500: ("INTERNAL_SERVER_ERROR", "Internal server error."),
    503: ("SERVICE_UNAVAILABLE", "Try again later."),
}


class Stream:
    """One connection that was let in."""

    def __init__(self, query: dict[str, list[str]], interface: Interface, fault: SessionFault | None) -> None:
        self.query = query
        self.interface = interface
        self.audio = bytearray()
        self.texts: list[dict[str, Any]] = []
        """Text messages that came."""
        self.sent: list[str | bytes] = []
        self.chunks = 0
        """Binary messages that came."""
        self.closed: tuple[int, str] | None = None
        """How it ended: the client's close frame, or (1006, "")."""
        self.fault = fault
        self._rate_hz = int(query["sample_rate"][0])

    @property
    def kinds(self) -> list[str]:
        return [str(message.get("type")) for message in self.texts]

    def take(self, message: str | bytes) -> list[Output]:
        """What is said to it, were nothing to go wrong."""
        if isinstance(message, bytes):
            self.audio += message
            self.chunks += 1
            return self.interface.hear(message)
        try:
            parsed = json.loads(message)
        except ValueError:
            return [self.interface.unreadable(message)]
        self.texts.append(parsed)
        return self.interface.read(parsed)

    def spoiled(self, said: list[Output]) -> list[Output]:
        """What is said instead, once the fault has begun."""
        if self.fault is None or len(self.audio) / 2 / self._rate_hz * 1000 < self.fault.after_ms:
            return said
        match self.fault:
            case Mute():
                return []
            case Drop():
                return [Hangup(0)]
            case Close(_, code, reason):
                return [Hangup(code, reason)]
            case Garbage(_, message):
                return [message]


class Deepgram:
    """`async with Deepgram() as standin:` serves `standin.url`. See the package."""

    def __init__(
        self, *, port: int = 0, api_key: str = "", answer_ms: float = 0, idle_s: float = 10.0, close_frame: bool = True
    ) -> None:
        """`answer_ms`: how long each message takes to be understood, audio too; they go on being in order. `idle_s`:
        v1's patience with who sends nothing. `close_frame`: whether v2 ends with one."""
        self.streams: list[Stream] = []
        """One for each connection that was let in, the newest last."""
        self.refused: list[int] = []
        self.fault: Fault | None = None
        """Of every connection that no injected one is for, until it is unset."""
        self.url = ""
        self._port, self._api_key, self._answer_ms = port, api_key, answer_ms
        self._idle_s, self._close_frame = idle_s, close_frame
        self._ids = itertools.count(1)
        self._faults: deque[Fault] = deque()
        self._chosen: dict[ServerConnection, SessionFault] = {}
        self._news: asyncio.Event | None = None
        self._closing = asyncio.Event()
        self._errors: list[Exception] = []
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            self._port,
            process_request=self._admit,
            compression=None,
            open_timeout=None,
            ping_interval=None,
            close_timeout=CLOSE_TIMEOUT_S,
        )
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._closing.set()
        self._server.close()
        await self._server.wait_closed()
        if self._errors:
            raise ExceptionGroup("inside the Deepgram stand-in", self._errors)

    def inject(self, *faults: Fault) -> None:
        """Let the next connections go wrong, one fault each."""
        self._faults.extend(faults)

    async def wait_for(self, predicate: Callable[[Deepgram], T]) -> T:
        """The first true value of the predicate, asked again whenever something came or went; TimeoutError if none."""
        async with asyncio.timeout(PATIENCE_S):
            while not (value := predicate(self)):
                self._news = self._news or asyncio.Event()
                await self._news.wait()
        return value

    def _changed(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None

    async def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        parts = urlsplit(request.path)
        query = parse_qs(parts.query)
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if parts.path not in ("/v1/listen", "/v2/listen"):
            return self._refuse(connection, Refuse(404))
        if scheme not in ("Token", "Bearer") or not key or self._api_key not in ("", key):
            return self._refuse(connection, Refuse(401))
        if not _right(parts.path, query):
            return self._refuse(connection, Refuse(400))
        match self._faults.popleft() if self._faults else self.fault:
            case Refuse() as fault:
                return self._refuse(connection, fault)
            case NeverAnswer():
                await self._closing.wait()
            case Mute() | Drop() | Close() | Garbage() as fault:
                self._chosen[connection] = fault
        return None

    def _refuse(self, connection: ServerConnection, fault: Refuse) -> Response:
        self.refused.append(fault.status)
        self._changed()
        code, text = _REFUSALS[fault.status]
        body = {"err_code": code, "err_msg": text, "request_id": f"r{next(self._ids)}"}
        response = connection.respond(fault.status, json.dumps(body))
        if fault.status == 429:
            response.headers["Retry-After"] = str(fault.retry_after_s)
        return response

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        parts = urlsplit(connection.request.path)
        query, request_id = parse_qs(parts.query), f"r{next(self._ids)}"
        interface: Interface
        if parts.path == "/v2/listen":
            interface = Flux(request_id, query, close_frame=self._close_frame)
        else:
            interface = Nova(request_id, query)
            interface.idle_s = self._idle_s
        stream = Stream(query, interface, self._chosen.pop(connection, None))
        self.streams.append(stream)
        self._changed()
        try:
            await self._converse(connection, stream)
        except ConnectionClosed:
            pass  # it is told below how
        except Exception as error:  # raised again when the stand-in closes: here it would only be logged
            self._errors.append(error)
        finally:
            await connection.close()
            received = connection.protocol.close_rcvd
            stream.closed = (received.code, received.reason) if received else (1006, "")
            self._changed()

    async def _converse(self, connection: ServerConnection, stream: Stream) -> None:
        """Raises ConnectionClosed when the client hangs up."""
        says: asyncio.Queue[tuple[float, list[Output]]] = asyncio.Queue()
        now_s = asyncio.get_running_loop().time
        says.put_nowait((now_s(), stream.interface.open()))
        writing = asyncio.create_task(self._say(connection, stream, says))
        try:
            while not writing.done():
                async with asyncio.timeout(stream.interface.idle_s):
                    message = await connection.recv()
                said = stream.spoiled(stream.take(message))
                says.put_nowait((now_s() + self._answer_ms / 1000, said))
                self._changed()
        except TimeoutError:
            await connection.close(1011, "NET-0001")
        finally:
            writing.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
                await writing

    async def _say(
        self, connection: ServerConnection, stream: Stream, says: asyncio.Queue[tuple[float, list[Output]]]
    ) -> None:
        while True:
            due_s, said = await says.get()
            await asyncio.sleep(max(0.0, due_s - asyncio.get_running_loop().time()))
            for each in said:
                if isinstance(each, Hangup):
                    await _hang_up(connection, each)
                    return
                stream.sent.append(each)
                await connection.send(each)
            self._changed()


async def _hang_up(connection: ServerConnection, how: Hangup) -> None:
    if how.code is None:
        connection.protocol.send_close()  # an empty close frame: websockets' own call insists on a code
        connection.send_data()
    elif how.code == 0:
        connection.transport.abort()
    else:
        await connection.close(how.code, how.reason)


def _right(path: str, query: dict[str, list[str]]) -> bool:
    """Whether Deepgram would take this: raw audio needs both an encoding and a rate, and each version has its own."""
    model = query.get("model", [""])[0]
    if query.get("encoding") != ["linear16"] or not query.get("sample_rate", [""])[0].isdigit():
        return False
    foreign = {"interim_results", "endpointing", "channels", "language"} if path == "/v2/listen" else {"eot_threshold"}
    return bool(model) and model.startswith("flux") == (path == "/v2/listen") and not foreign & set(query)
