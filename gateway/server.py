"""The gateway process: its listening socket, what uvicorn lacks for live calls, and its end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from adapters.websocket.protocol import MAX_MESSAGE_BYTES
from gateway.admission import Admission
from gateway.app import FAREWELL_S, Door, build
from gateway.doors import WebSocketDoor
from gateway.phone import PhoneDoor
from gateway.protocols import HttpProtocol, WebSocketProtocol
from gateway.sessions import Sessions
from gateway.signatures import Account
from gateway.webrtc import WebRtcDoor
from trunkline.bus.connection import Redis
from trunkline.errors import SettingsError
from trunkline.loop import settle
from trunkline.sessions import Records
from trunkline.settings import Settings

if TYPE_CHECKING:
    from gateway.twilio_rest import TwilioApi

log = logging.getLogger(__name__)

USER_TIMEOUT_MS = 5000
"""A peer that acknowledges nothing for this long is dropped by the kernel: uvicorn itself never would."""
SEND_BUFFER = 64 * 1024
"""What the kernel keeps for a client (it takes it twice). Its own choice, up to 4 MiB, would swallow two minutes of
audio before anybody noticed that the client does not read."""


class Server(uvicorn.Server):
    """uvicorn closes every WebSocket at the first signal; this one sends the callers away first, so that they come back
    to another gateway, and stops when they have gone (or after `FAREWELL_S`, or at a second signal)."""

    def __init__(self, config: uvicorn.Config, admission: Admission, doors: Sequence[Door]) -> None:
        super().__init__(config)
        self._admission = admission
        self._doors = doors

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._admission.draining:
            super().handle_exit(sig, frame)
            return
        asyncio.get_running_loop().call_soon_threadsafe(self._depart, sig, frame)

    def _depart(self, sig: int, frame: FrameType | None) -> None:
        log.info("%s: sending callers to other gateways", signal.Signals(sig).name)
        self._admission.draining = True
        for door in self._doors:
            door.send_away()
        asyncio.get_running_loop().call_later(FAREWELL_S / 4, super().handle_exit, sig, frame)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket set up for voice. Raises SettingsError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another TRUNKLINE_PORT"
        ) from error
    return listener


def configure(sessions: Sessions, admission: Admission, doors: Sequence[Door]) -> uvicorn.Config:
    """uvicorn, set up for live calls."""
    return uvicorn.Config(
        build(sessions, admission, doors),
        ws=WebSocketProtocol,
        http=HttpProtocol,
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
    """Be a gateway on this socket until told to stop. Raises BusError, SettingsError."""
    redis = Redis(settings.redis_url)
    sessions = Sessions(settings, redis, process_id)
    admission = Admission(settings)
    account = Account.read(os.environ)
    api = _api(settings, account)
    try:
        doors: list[Door] = [
            WebSocketDoor(settings, sessions, admission),
            PhoneDoor(settings, sessions, admission, redis, account, api),
            _webrtc(settings, sessions, admission, redis),
        ]
        settle()
        await Server(configure(sessions, admission, doors), admission, doors).serve(sockets=[listener])
    finally:
        if api is not None:
            await api.close()
        await redis.close()


def _webrtc(settings: Settings, sessions: Sessions, admission: Admission, redis: Redis) -> WebRtcDoor:
    """Raises SettingsError."""
    from adapters.webrtc.link import WebRtcLink  # here, for aiortc takes a third of a second
    from trunkline.rtc.ice import Network

    network = Network(
        settings.rtc_bind_addresses, settings.rtc_advertised, settings.rtc_port_range, settings.rtc_private
    )
    return WebRtcDoor(settings, sessions, admission, Records(redis), lambda rate_hz: WebRtcLink(network, rate_hz))


def _api(settings: Settings, account: Account) -> TwilioApi | None:
    if not (account.sid and account.auth_token):
        return None
    from gateway.twilio_rest import TwilioApi

    return TwilioApi(account, settings.twilio_api_url)
