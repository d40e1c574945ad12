"""uvicorn's HTTP and WebSocket protocols, with bounds on what a client can make them hold, and for how long.

uvicorn itself waits for ever for a request or for a client that does not read, keeps headers and pongs without end, and
takes a client that sends faster than we read for a dead one.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request
from websockets.protocol import State

from adapters.wire import EXTENSION
from gateway.frames import BINARY, OTHER, TEXT, Cutter, frame_of

REQUEST_S = 5.0
"""A request must be complete by then, counted from the connection's start or the end of the last response."""
MAX_REQUEST_BYTES = 96 * 1024
"""Headers and body, the longest of which brings an SDP offer."""
MAX_REST_BYTES = 2 * 1024 * 1024
"""Of a longer request so much is read and thrown away: the reset of a socket closed with data unread may hide our
answer."""
STALL_S = 5.0
"""A client that takes nothing of what waits for it is dropped then."""
LINGER_S = 5.0
"""After our close, a client may take this long for its own."""
READ_BYTES = 16 * 1024
"""Read at once from one socket. asyncio's 256 KiB may hold 40,000 messages, and nobody else is served meanwhile."""
ASKED = b"heard?"
"""What our own ping carries; uvicorn's have four bytes."""
_READ_INTO = memoryview(bytearray(READ_BYTES))
"""For all sockets: what is read into it is taken out before the event loop turns to the next."""


class _Bounded(asyncio.BufferedProtocol):
    """Small reads, and an end to a peer that does not read."""

    transport: asyncio.Transport
    _stalled: asyncio.TimerHandle | None = None

    def get_buffer(self, sizehint: int) -> memoryview:
        return _READ_INTO

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(_READ_INTO[:nbytes].tobytes())

    def data_received(self, data: bytes) -> None:
        raise NotImplementedError

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = asyncio.get_running_loop().call_later(STALL_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._not_stalled()

    def eof_received(self) -> None:
        pass

    def connection_lost(self, exc: Exception | None) -> None:
        self._not_stalled()
        super().connection_lost(exc)

    def _not_stalled(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


class HttpProtocol(_Bounded, HttpToolsProtocol):
    """HTTP, until a request becomes a WebSocket."""

    _deadline: asyncio.TimerHandle | None = None
    _request_bytes = 0
    _lingering: asyncio.TimerHandle | None = None
    """Set once the request is refused by its size."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        HttpToolsProtocol.connection_made(self, cast(asyncio.Transport, transport))
        self._await_request()

    def data_received(self, data: bytes) -> None:
        self._request_bytes += len(data)
        if self._lingering is not None:
            if self._request_bytes > MAX_REQUEST_BYTES + MAX_REST_BYTES:
                self.transport.abort()
            return
        HttpToolsProtocol.data_received(self, data)
        if self._request_bytes > MAX_REQUEST_BYTES and not self.transport.is_closing():
            self._refuse_size()

    def on_headers_complete(self) -> None:
        length = next((value for name, value in self.headers if name == b"content-length"), b"")
        if length.isdigit() and int(length[:9]) > MAX_REQUEST_BYTES:
            self._refuse_size()
        elif self._lingering is None:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._lingering is None:
            super().on_body(body)

    def _refuse_size(self) -> None:
        """Say that it is too long, unless it was answered already; and read on until the client has seen that."""
        if self._lingering is not None:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self._lingering = self.loop.call_later(LINGER_S, self.transport.abort)
        self.flow.resume_reading()
        cycle: RequestResponseCycle | None = self.cycle
        asked = cycle is not None and cycle.scope is self.scope  # else it is an older request's
        if cycle is None or not (asked and cycle.response_started):
            self.transport.write(_too_large())
        if asked and cycle is not None:  # nobody is to wait for the rest
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.write_eof()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_request()

    def on_message_complete(self) -> None:
        self._request_is_here()
        if self._lingering is None:
            super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._request_is_here()
        self._not_stalled()
        super().handle_websocket_upgrade()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._deadline is None and not self.pipeline and not self.transport.is_closing():
            self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._request_is_here()
        if self._lingering is not None:
            self._lingering.cancel()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(REQUEST_S, self.transport.abort)

    def _request_is_here(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._request_bytes = 0


class _Events(asyncio.Queue[ASGIReceiveEvent]):
    """What uvicorn has for the application. Who listens to a wire takes it by call instead of by `get`."""

    taker: Callable[[ASGIReceiveEvent], None] | None = None

    def put_nowait(self, item: ASGIReceiveEvent) -> None:
        if self.taker is None:
            super().put_nowait(item)
        else:
            self.taker(item)


class WebSocketProtocol(_Bounded, WebSocketsSansIOProtocol):
    """A WebSocket, from its upgrade on; for whom ASGI costs too much, it is an `adapters.wire.Wire`."""

    queue: _Events
    _lingering: asyncio.TimerHandle | None = None
    _on_close: Callable[[int], None] | None = None
    _on_pong: Callable[[], None] | None = None
    _held: asyncio.TimerHandle | None = None

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.queue = _Events()
        self._cutter = Cutter(config.ws_max_size)
        self._waiting: deque[str | bytes | int] = deque()
        """While held: messages, and last the close code."""
        self._on_message: Callable[[str | bytes], None] = self._queue_message
        self._take: Callable[[str | bytes], None] = self._on_message
        """Where a message goes now: to the listener, or what waits."""

    # --- adapters.wire.Wire

    def listen(self, on_message: Callable[[str | bytes], None], on_close: Callable[[int], None]) -> None:
        self._on_message, self._on_close = on_message, on_close
        earlier = [_content(self.queue.get_nowait()) for _ in range(self.queue.qsize())]
        self._waiting.extendleft(reversed(earlier))
        self.queue.taker = self._take_event
        if self._held is None:
            self._go_on()

    def hold(self, for_s: float) -> None:
        if self._held is not None:
            self._held.cancel()
        self._held = self.loop.call_later(for_s, self._go_on)
        self._take = self._waiting.append
        self._pause_reading()

    def _go_on(self) -> None:
        self._held = None
        while self._waiting and self._held is None:
            self._deliver(self._waiting.popleft())
        if self._held is None:
            self._take = self._on_message
            if self.read_paused and not self.transport.is_closing():
                self.read_paused = False
                self.transport.resume_reading()

    def write(self, *payloads: str | bytes) -> bool:
        if not self.writable.is_set() or self.conn.state is not State.OPEN or self.transport.is_closing():
            return False
        self.transport.write(b"".join([frame_of(payload) for payload in payloads]))
        return True

    def ask(self, on_answer: Callable[[], None]) -> None:
        if self.conn.state is State.OPEN and not self.transport.is_closing():
            self._on_pong = on_answer
            self.conn.send_ping(ASKED)
            self.transport.write(b"".join(self.conn.data_to_send()))

    def _take_event(self, event: ASGIReceiveEvent) -> None:
        """What uvicorn still has for a listener: the end."""
        if self._held is not None:
            self._waiting.append(_content(event))
        else:
            self._deliver(_content(event))

    def _deliver(self, content: str | bytes | int) -> None:
        if not isinstance(content, int):
            self._on_message(content)
        elif self._on_close is not None:
            on_close, self._on_close = self._on_close, None
            on_close(content)

    def _pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def _queue_message(self, message: str | bytes) -> None:
        """For `receive`, while nobody listens. No more is read than what is asked for."""
        if isinstance(message, str):
            self.queue.put_nowait({"type": "websocket.receive", "text": message})
        else:
            self.queue.put_nowait({"type": "websocket.receive", "bytes": message})
        self._pause_reading()

    # --- from the client

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            cast(dict[str, Any], self.scope["extensions"])[EXTENSION] = {"wire": self}

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated:
            WebSocketsSansIOProtocol.data_received(self, data)
            if not self.handshake_initiated:
                self._refuse_upgrade()
            return
        if self._refused():
            return
        for opcode, content in self._cutter.cut(data):
            if opcode != OTHER:
                self._message(opcode, content)
            elif not self._refused():
                WebSocketsSansIOProtocol.data_received(self, content)

    def _refused(self) -> bool:
        """What it sent was wrong, or it said goodbye, and it is still talking."""
        return self.conn.parser_exc is not None or self.transport.is_closing()

    def _refuse_upgrade(self) -> None:
        """The request that HTTP took is none for a WebSocket: too long, or not to be read."""
        self.handshake_initiated = self.handshake_complete = self.close_sent = True
        answer = b"".join(self.conn.data_to_send())
        self.transport.write(answer or b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        self.transport.close()
        self._linger()

    def send_receive_event_to_app(self) -> None:
        data, self.frames = b"".join(self.frames), []
        self._message(TEXT if self.curr_msg_data_type == "text" else BINARY, data)

    def _message(self, opcode: int, data: bytes) -> None:
        if self.close_sent:
            return
        if opcode == BINARY:
            self._take(data)
            return
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self.conn.fail(CloseCode.INVALID_DATA, "text that is no UTF-8")
            self.handle_parser_exception()
        else:
            self._take(text)

    def handle_parser_exception(self) -> None:
        """Close with its code, and read on for a moment: the reset of a socket closed with data unread may hide it."""
        if self.close_sent or self.conn.close_sent is None:
            self.transport.close()
            return
        code, reason = self.conn.close_sent.code, self.conn.close_sent.reason
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.close_sent = True
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.write_eof()
        self.read_paused = False
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(LINGER_S, self.transport.abort)

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            self.handshake_complete = True  # else every refusal is logged as an error of ours

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()  # who reads nothing gets no pong

    def handle_pong(self, event: Frame) -> None:
        if self._on_pong is not None and bytes(event.data) == ASKED:
            on_pong, self._on_pong = self._on_pong, None
            on_pong()
        else:
            super().handle_pong(event)

    def keepalive_timeout(self) -> None:
        """No pong came; but while we read slower than the client sends, its pong waits behind its audio."""
        if self.read_paused:
            assert self.ping_timeout is not None
            self.pong_timer = self.loop.call_later(self.ping_timeout, self.keepalive_timeout)
            return
        super().keepalive_timeout()
        self._linger()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self._linger()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        super().connection_lost(exc)

    def _linger(self) -> None:
        if self._lingering is None and not self.disconnected:
            self._lingering = self.loop.call_later(LINGER_S, self.transport.abort)


def _too_large() -> bytes:
    hint = f"at most {MAX_REQUEST_BYTES} bytes, headers and body"
    told = json.dumps({"code": "too_large", "message": "a request too large", "hint": hint}).encode()
    lines = ("HTTP/1.1 413 Content Too Large", "connection: close", "content-type: application/json")
    return "\r\n".join((*lines, f"content-length: {len(told)}", "", "")).encode() + told


def _content(event: ASGIReceiveEvent) -> str | bytes | int:
    """A message, or a close code."""
    if event["type"] != "websocket.receive":
        return cast(int, event.get("code", CloseCode.ABNORMAL_CLOSURE))
    text = event.get("text")
    return (event.get("bytes") or b"") if text is None else text
