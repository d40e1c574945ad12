"""The gateway process: its listening socket, what uvicorn lacks for live calls, and its end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from types import FrameType

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from adapters.websocket.protocol import MAX_MESSAGE_BYTES
from gateway.app import FAREWELL_S, build
from gateway.doors import WebSocketDoor
from gateway.sessions import Sessions
from trunkline.bus.connection import Redis
from trunkline.errors import SettingsError
from trunkline.loop import settle
from trunkline.settings import Settings

log = logging.getLogger(__name__)

USER_TIMEOUT_MS = 5000
"""A peer that acknowledges nothing for this long is dropped by the kernel: uvicorn itself never would."""
HEADER_S = 5.0
"""A request's headers must be complete by then."""


class HeaderDeadline(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which would wait for ever for a request that never comes or never ends."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_headers()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_headers()

    def on_headers_complete(self) -> None:
        self._headers_are_here()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_are_here()
        super().connection_lost(exc)

    def _await_headers(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEADER_S, self.transport.abort)

    def _headers_are_here(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Server(uvicorn.Server):
    """uvicorn closes every WebSocket at the first signal; this one sends the callers away first, so that they come back
    to another gateway, and stops when they have gone (or after `FAREWELL_S`, or at a second signal)."""

    def __init__(self, config: uvicorn.Config, door: WebSocketDoor) -> None:
        super().__init__(config)
        self._door = door

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._door.draining:
            super().handle_exit(sig, frame)
            return
        asyncio.get_running_loop().call_soon_threadsafe(self._depart, sig, frame)

    def _depart(self, sig: int, frame: FrameType | None) -> None:
        log.info("%s: sending callers to other gateways", signal.Signals(sig).name)
        self._door.send_away()
        asyncio.get_running_loop().call_later(FAREWELL_S / 4, super().handle_exit, sig, frame)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket set up for voice. Raises SettingsError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another TRUNKLINE_PORT"
        ) from error
    return listener


def configure(sessions: Sessions, door: WebSocketDoor) -> uvicorn.Config:
    """uvicorn, set up for live calls."""
    return uvicorn.Config(
        build(sessions, door),
        ws="websockets-sansio",
        http=HeaderDeadline,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=5.0,
        ws_ping_timeout=5.0,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=int(FAREWELL_S),
        log_config=None,
        access_log=False,
    )


async def serve(settings: Settings, listener: socket.socket, process_id: str | None) -> None:
    """Be a gateway on this socket until told to stop. Raises BusError."""
    redis = Redis(settings.redis_url)
    sessions = Sessions(settings, redis, process_id)
    door = WebSocketDoor(settings, sessions)
    settle()
    try:
        await Server(configure(sessions, door), door).serve(sockets=[listener])
    finally:
        await redis.close()
