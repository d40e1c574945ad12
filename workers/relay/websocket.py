"""The link to a Realtime model by WebSocket: the official SDK dials, the bounds and the mapping of errors are ours.

Once dialled, the socket is used without the SDK around it, whose queue for its own reconnects doubles the cost of a
send, and whose models that of an event tenfold. Nothing is dialled again here: a new connection is a new and empty
session, which only the conversation's owner can bring to where the old one was.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

from openai import AsyncOpenAI, OpenAIError
from openai.types.websocket_connection_options import WebSocketConnectionOptions
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.connection import broadcast
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from trunkline.errors import ProviderError, SettingsError
from workers.relay import protocol, trouble
from workers.relay.link import LIFETIME_S, ModelLost, lifetime_s
from workers.relay.trouble import Kind, Trouble

log = logging.getLogger(__name__)

KEY_VARIABLE = "OPENAI_API_KEY"
URL_VARIABLE = "TRUNKLINE_OPENAI_REALTIME_URL"
OPENAI_URL = "https://api.openai.com/v1"

SEND_S = 4.0
"""A model that takes nothing for so long is gone. websockets would wait for ever: its pings queue behind the data."""

CLOSE_S = 0.8
"""How long the model may take to answer our close frame."""

_WRITE_HIGH = 64 << 10
_WRITE_LOW = 16 << 10
_SMALL = _WRITE_HIGH - _WRITE_LOW - 16
"""Bytes that are written without waiting when no more than _WRITE_LOW are waiting; a frame's header takes up to 14."""

# The SDK's type lacks most of these, but the SDK hands all of them to websockets.
_OPTIONS: dict[str, Any] = {
    "max_size": 16 << 20,
    "max_queue": 256,  # messages read ahead: when they are full, pongs wait behind them, too
    "write_limit": (_WRITE_HIGH, _WRITE_LOW),
    "compression": None,  # base64 of noise: much CPU for a quarter of the bytes
    "ping_interval": 2.0,
    "ping_timeout": 2.0,  # a frozen model is noticed within 5 s; with the defaults it takes 40
    "close_timeout": CLOSE_S,
    "open_timeout": None,  # the deadline is ours, and covers session.created too
}


def make_client(environment: Mapping[str, str]) -> AsyncOpenAI:
    """The SDK's client, to be closed by the caller. Raises SettingsError naming a variable that is missing or wrong."""
    key = environment.get(KEY_VARIABLE, "").strip()
    if not key:
        raise SettingsError(
            f"the relay needs {KEY_VARIABLE}: a key of https://platform.openai.com with access to the Realtime API"
        )
    if not (key.isascii() and key.isprintable()):  # it would be refused as a header, and quoted in the error
        raise SettingsError(f"{KEY_VARIABLE} has characters that no key has: was it copied whole, and alone?")
    try:
        client = AsyncOpenAI(
            api_key=key,
            base_url=_address(environment, "OPENAI_BASE_URL", "https", "http") or OPENAI_URL,
            websocket_base_url=_address(environment, URL_VARIABLE, "wss", "ws"),
            max_retries=0,
        )
        # The SDK imports these when it first connects. In the first call that stopped the loop, on a cold and busy
        # machine for longer than the watchdog allows.
        _ = client.realtime
        importlib.import_module("websockets.sync.client")
        return client
    except ImportError as error:  # a proxy in the environment that needs a package
        raise SettingsError(f"the relay cannot use this proxy: {error}") from error


def _address(environment: Mapping[str, str], variable: str, *schemes: str) -> str | None:
    """The SDK adds /realtime to it, and fails late and obscurely with one that is wrong."""
    url = environment.get(variable, "").strip()
    if not url:
        return None
    try:
        parts = urlsplit(url)
        right = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0 and not parts.fragment
        (parts.hostname or "").encode("idna")
    except ValueError:
        right = False
    if not right:
        raise SettingsError(f"{variable} must be an address like {schemes[0]}://api.openai.com/v1, not {url!r}")
    return url


async def connect(client: AsyncOpenAI, model: str, audio: protocol.AudioFormat, *, timeout_s: float) -> WebSocketModel:
    """Open a session with `model`, to be told to speak `audio`. Raises ModelLost when there is none in time."""
    try:
        async with asyncio.timeout(timeout_s):
            link = WebSocketModel(await _dial(client, model), audio)
            try:
                await link.wait_until_open()
            except BaseException:
                await link.close()
                raise
            return link
    except TimeoutError as error:
        raise ModelLost(f"no session within {timeout_s:g} s", Kind.UNAVAILABLE) from error
    except InvalidStatus as error:
        raise _lost(_refusal(error)) from error
    except (OpenAIError, ImportError) as error:  # before anything was sent: the account, or a proxy's package
        raise ModelLost(f"{type(error).__name__}: {error}", Kind.REFUSED) from error
    except (OSError, EOFError, WebSocketException) as error:
        raise ModelLost(f"cannot be reached: {type(error).__name__}: {error}", Kind.UNAVAILABLE) from error


async def _dial(client: AsyncOpenAI, model: str) -> ClientConnection:
    made: list[ClientConnection] = []  # the last is where redirects ended

    def socket(*args: Any, **options: Any) -> ClientConnection:
        made.append(ClientConnection(*args, **options))
        return made[-1]

    options = cast(WebSocketConnectionOptions, {**_OPTIONS, "create_connection": socket})
    await client.realtime.connect(model=model, websocket_connection_options=options).enter()
    return made[-1]


class WebSocketModel:
    """A ModelLink. Made by `connect`."""

    in_real_time = False

    def __init__(self, socket: ClientConnection, audio: protocol.AudioFormat) -> None:
        self._socket = socket
        self.format = audio
        self.rate_hz = audio.rate_hz
        self._complaint: Trouble | None = None
        """What the last event complained of, if it was an error: the model may hang up for it."""
        self._given_up: ModelLost | None = None
        self._taken_s = 0.0
        """When the model had last taken nearly all that was sent."""
        self.session_id = ""
        self.opened_s = 0.0
        self.expires_s = LIFETIME_S

    async def wait_until_open(self) -> None:
        """Wait for `session.created`. Raises ModelLost for an error instead of it."""
        while (event := await self._receive())["type"] != "session.created":
            if self._complaint is not None:
                raise _lost(self._complaint)
        session = event.get("session")
        if isinstance(session, dict):
            self.session_id = str(session.get("id", ""))
            self.expires_s = lifetime_s(session.get("expires_at"), _date(self._socket))
        self.opened_s = asyncio.get_running_loop().time()

    async def send(self, event: dict[str, Any]) -> None:
        await self._put(json.dumps(event))

    def append(self, pcm: bytes) -> None:
        """By websockets' call for many receivers: without a lock or a deadline it takes half of `send`'s CPU."""
        self._notice_stall()
        broadcast((self._socket,), protocol.append(self.format.encode(pcm)))

    def _notice_stall(self) -> None:
        """What nobody takes must not pile up."""
        now_s = asyncio.get_running_loop().time()
        if self._socket.transport.get_write_buffer_size() <= _WRITE_HIGH:
            self._taken_s = now_s
        elif now_s - self._taken_s > SEND_S:
            self._give_up()

    def _give_up(self) -> ModelLost:
        self._given_up = ModelLost(f"took nothing for {SEND_S:g} s", Kind.UNAVAILABLE)
        self._socket.transport.abort()  # so that whoever waits for events hears of it
        return self._given_up

    async def _put(self, text: str) -> None:
        try:
            if len(text) <= _SMALL and self._socket.transport.get_write_buffer_size() <= _WRITE_LOW:
                await self._socket.send(text)  # does not wait: a deadline would cost a third more
                return
            async with asyncio.timeout(SEND_S):
                await self._socket.send(text)
        except TimeoutError as error:
            raise self._give_up() from error
        except ConnectionClosed as error:
            raise self._ended(error) from error

    def events(self) -> AsyncIterator[dict[str, Any]]:
        return _Events(self)

    async def _receive(self) -> dict[str, Any]:
        try:
            event = protocol.parse(await self._socket.recv(decode=False))
        except ConnectionClosed as error:
            raise self._ended(error) from error
        except ProviderError as error:
            raise ModelLost(str(error), Kind.UNAVAILABLE) from error
        kind = event["type"]
        self._complaint = _complaint(event) if kind == "error" else None
        if kind == "response.output_audio.delta":
            event["delta"] = self._decoded(event.get("delta"))
        return event

    def _decoded(self, delta: object) -> bytes | None:
        if not isinstance(delta, str):
            return None
        try:
            return self.format.decode(delta)
        except ProviderError as error:
            log.warning("model session %s: %s", self.session_id, error)
            return b""

    def _ended(self, error: ConnectionClosed) -> ModelLost:
        if self._given_up is not None:
            return self._given_up
        frame = error.rcvd or error.sent  # ours alone: pings unanswered, or a message that breaks the protocol
        ended = trouble.closed(frame.code if frame else 1006, frame.reason if frame else "", self._complaint)
        return _lost(ended)

    async def close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._socket.close()
        except TimeoutError:
            log.debug("session %s: cut off, it does not read", self.session_id)
        finally:
            self._socket.transport.abort()
            await self._socket.wait_closed()


class _Events:
    """An iterator and no generator: one that is left in the middle needs nobody to clean up behind it."""

    def __init__(self, link: WebSocketModel) -> None:
        self._receive = link._receive

    def __aiter__(self) -> _Events:
        return self

    async def __anext__(self) -> dict[str, Any]:
        return await self._receive()


def _lost(of: Trouble) -> ModelLost:
    return ModelLost(of.text, of.kind, of.retry_after_s)


def _complaint(event: Mapping[str, Any]) -> Trouble:
    error = event.get("error")
    return trouble.classify(error if isinstance(error, dict) else {})


def _refusal(error: InvalidStatus) -> Trouble:
    headers = {name.lower(): value for name, value in error.response.headers.raw_items()}
    return trouble.refused_upgrade(error.response.status_code, bytes(error.response.body or b""), headers)


def _date(socket: ClientConnection) -> str | None:
    dates = socket.response.headers.get_all("Date") if socket.response else []
    return dates[0] if dates else None
