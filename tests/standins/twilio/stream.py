"""One media stream of a call: its WebSocket, the playout buffer behind it, and the record of what came and went."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from tests.standins.twilio import protocol
from tests.standins.twilio.faults import Faults
from tests.standins.twilio.playout import Playout

CONNECT_S = 5.0
CLOSE_S = 2.0
"""How long a gateway may take to answer our closing handshake, before the connection is aborted."""

MAX_UNSENT = 500
"""Messages (10 s of media) that wait for a gateway which does not read; what comes beyond is lost (31930)."""

POLICY_VIOLATION = 1008
MAX_CLOSE_REASON = 123
"""Bytes; a control frame has room for 125, two of which are the code (RFC 6455, 5.5)."""


@dataclass(slots=True)
class MarkRecord:
    """A mark of the gateway's; times are the event loop's. `cleared`: echoed by a clear, so not heard."""

    name: str
    received_s: float
    echoed_s: float | None = None
    cleared: bool = False


@dataclass(slots=True)
class StreamRecord:
    """What became of one stream; times are the event loop's."""

    sid: str
    url: str
    """As in the TwiML."""
    name: str | None
    parameters: Mapping[str, str]
    began_s: float
    """When it was asked for; `opened_s` is when `start` had been sent, `media_began_s` when the first media was."""
    opened_s: float | None = None
    media_began_s: float | None = None
    ended_s: float | None = None
    ended_by: str = ""
    """`gateway`, `caller`, `api`, `drop`, `error` (of the gateway's protocol), or `refused` (never opened)."""
    start: str = ""
    """The `start` message as it went out."""
    refused_status: int | None = None
    close_code: int | None = None
    close_reason: str = ""
    error_code: int | None = None
    """Twilio's, of what ended the stream or last went wrong on it."""
    errors: list[str] = field(default_factory=list)
    marks: list[MarkRecord] = field(default_factory=list)
    clears: list[float] = field(default_factory=list)
    media_times: list[float] = field(default_factory=list)
    """When each media message came."""
    media_bytes: int = 0
    discarded_bytes: int = 0
    sent: int = 0
    """Messages that went to the gateway."""
    lost_uplink: int = 0
    """Messages that a gateway which did not read never got."""

    @property
    def open(self) -> bool:
        return self.opened_s is not None and self.ended_s is None

    def fail(self, code: int, reason: str) -> None:
        self.error_code = code
        self.errors.append(f"{code}: {reason}")


class MediaStream:
    """Runs one stream. `run` is the only task it needs; everything else is called from the call's clock or its test."""

    def __init__(self, record: StreamRecord, uplink: protocol.Uplink, faults: Faults, news: Callable[[], None]) -> None:
        self.record = record
        self._uplink = uplink
        self._faults = faults
        self._news = news
        self._playout = Playout()
        self._unsent: asyncio.Queue[str | bytes | None] = asyncio.Queue(MAX_UNSENT)
        self._websocket: ClientConnection | None = None
        self._forcing: asyncio.TimerHandle | None = None

    @property
    def buffered_ms(self) -> float:
        return self._playout.buffered_ms

    async def run(self, ways: Sequence[str], headers: Mapping[str, str]) -> None:
        """Open the first of `ways` that takes the connection, and serve it until it has ended. Raises nothing."""
        try:
            websocket = await self._connect(ways, headers)
            if websocket is not None:  # or the call ended meanwhile: then it is closed at once
                self._websocket = websocket
                try:
                    if not self.record.ended_by:
                        await self._serve(websocket)
                finally:
                    self._websocket = None
                    if self._forcing is not None:
                        self._forcing.cancel()
                    websocket.transport.abort()
                    await websocket.wait_closed()
        finally:
            self._note_end()

    def advance(self, ulaw: bytes, now_s: float) -> tuple[bytes, int]:
        """20 ms pass: the caller's frame goes out; gives the frame that plays from now, and its bytes of audio."""
        if self.record.media_began_s is None:
            self.record.media_began_s = now_s
        for message in self._uplink.media(ulaw, round((now_s - self.record.media_began_s) * 1000)):
            self._put(message)
        reached, frame, queued = self._playout.advance()
        self._echo(reached, cleared=False)
        return frame, queued

    def dtmf(self, digit: str) -> None:
        self._put(self._uplink.dtmf(digit))

    def inject(self, message: str | bytes) -> None:
        """Send something as it is."""
        self._put(message)

    def finish(self, by: str) -> None:
        """The call or the stream ends properly: `stop`, then the socket is closed; by force if that takes too long."""
        if self.record.ended_by:
            return
        self.record.ended_by = by
        self._put(self._uplink.stop())
        self._put(None)
        if self._websocket is not None:
            self._forcing = asyncio.get_running_loop().call_later(CLOSE_S, self._websocket.transport.abort)

    def drop(self) -> None:
        """The network fails: no `stop`, no closing handshake."""
        if self._websocket is not None:
            self.record.ended_by = self.record.ended_by or "drop"
            self._websocket.transport.abort()

    async def _connect(self, ways: Sequence[str], headers: Mapping[str, str]) -> ClientConnection | None:
        record = self.record
        public = urlsplit(record.url)._replace(scheme="ws").geturl()
        try:
            async with asyncio.timeout(CONNECT_S):
                return await _first_open(public, ways, headers)
        except InvalidStatus as error:
            record.refused_status = error.response.status_code
            record.fail(protocol.HANDSHAKE_REFUSED, f"the handshake was answered {record.refused_status}")
        except (InvalidHandshake, EOFError) as error:
            record.fail(protocol.HANDSHAKE_REFUSED, f"no handshake: {error}")
        except TimeoutError:
            record.fail(protocol.CONNECT_TIMEOUT, f"no handshake within {CONNECT_S:g} s")
        except OSError as error:
            record.fail(protocol.CONNECT_TIMEOUT, f"no connection: {error}")
        record.ended_by = record.ended_by or "refused"
        return None

    async def _serve(self, websocket: ClientConnection) -> None:
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(self._write(websocket), name="twilio-writer")
            await self._read(websocket)
            writing.cancel()

    async def _write(self, websocket: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):  # the reader sees the same, and records it
            await self._greet(websocket)
            while (message := await self._unsent.get()) is not None:
                await websocket.send(message)
                self.record.sent += 1
            await websocket.close()

    async def _greet(self, websocket: ClientConnection) -> None:
        await websocket.send(self._uplink.connected())
        if self._faults.late_start_s:
            await asyncio.sleep(self._faults.late_start_s)
        record = self.record
        record.start = self._faults.replayed_start or self._uplink.start(record.parameters)
        await websocket.send(record.start)
        if self._faults.two_starts:
            await websocket.send(self._uplink.start(record.parameters))
        record.opened_s = asyncio.get_running_loop().time()
        self._news()

    async def _read(self, websocket: ClientConnection) -> None:
        record = self.record
        try:
            async for message in websocket:
                self._take(message)
        except protocol.StreamError as error:
            record.fail(error.code, error.reason)
            record.ended_by = record.ended_by or "error"
            reason = error.reason.encode("ascii", "replace")[:MAX_CLOSE_REASON].decode()
            await websocket.close(POLICY_VIOLATION, reason)
        except ConnectionClosed:
            if not record.ended_by:
                record.fail(protocol.BROKEN_PIPE, "the gateway's connection broke")
        record.close_code, record.close_reason = websocket.close_code, websocket.close_reason or ""

    def _take(self, message: str | bytes) -> None:
        record, now_s = self.record, asyncio.get_running_loop().time()
        match protocol.read(message, record.sid):
            case protocol.Media(ulaw):
                record.media_times.append(now_s)
                record.media_bytes += len(ulaw)
                if not self._playout.push(ulaw):
                    record.discarded_bytes = self._playout.discarded_bytes
                    record.fail(protocol.AUDIO_DISCARDED, "more than ten minutes are buffered")
            case protocol.Mark(name):
                record.marks.append(MarkRecord(name, now_s))
                if self._playout.mark(name):
                    self._echo([name], cleared=False)
            case protocol.Clear():
                record.clears.append(now_s)
                self._echo(self._playout.clear(), cleared=True)
        self._news()

    def _echo(self, names: Sequence[str], *, cleared: bool) -> None:
        if not names or self._faults.never_echo_marks:
            return
        now_s = asyncio.get_running_loop().time()
        for name in names:
            mark = next(mark for mark in self.record.marks if mark.echoed_s is None and mark.name == name)
            mark.echoed_s, mark.cleared = now_s, cleared
            self._put(self._uplink.mark(name))
        self._news()

    def _put(self, message: str | bytes | None) -> None:
        try:
            self._unsent.put_nowait(message)
        except asyncio.QueueFull:
            self.record.lost_uplink += 1
            self.record.error_code = protocol.UPLINK_OVERFLOW

    def _note_end(self) -> None:
        record = self.record
        record.ended_by = record.ended_by or "gateway"
        record.ended_s = asyncio.get_running_loop().time()
        self._news()


async def _first_open(public: str, ways: Sequence[str], headers: Mapping[str, str]) -> ClientConnection:
    """Connect to the first way that takes the connection, with the public address in the Host header, as behind TLS."""
    failed: OSError | None = None
    for way in ways:
        address = urlsplit(way)
        try:
            return await connect(
                public,
                host=address.hostname,
                port=address.port,
                additional_headers=dict(headers),
                user_agent_header="Twilio.TmeWs/1.0",
                compression=None,
                max_size=None,
                ping_interval=None,
                open_timeout=None,
                close_timeout=CLOSE_S,
                proxy=None,
            )
        except OSError as error:
            failed = error
    raise failed or OSError("no gateway is behind the public origin")
