"""A connection to Deepgram: how it is opened, what goes over it, and what it means when it fails.

Not by Deepgram's SDK: it stands on the part of `websockets` that is to go (`websockets.legacy`), and has no deadlines.
"""

from __future__ import annotations

import asyncio
import json
from ssl import SSLContext

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.connection import broadcast
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.protocol import State

from trunkline.errors import ProviderError
from workers.providers.deepgram.protocol import NAME, NO_CLOSE_FRAME
from workers.providers.refusals import LOCKED_OUT, retry_after_s

KEEP_ALIVE_S = 4.0
"""Deepgram advises 3 to 5."""

PING_S = 5.0
"""An idle connection whose peer is gone is noticed within twice that. Flux keeps who pings (issue 618 of its SDK)."""

CLOSE_S = 1.0
"""How long Deepgram may take to answer our close frame."""

LARGEST_BACKLOG = 1 << 20
"""Bytes that nobody takes before the connection counts as broken: 32 s of speech at 16 kHz."""

DATA_ERROR = 1008
"""Deepgram's close code for audio that it cannot read (DATA-0000)."""


class Connection:
    """Carries one utterance. Until then, and in its gaps, it is kept alive."""

    def __init__(self, socket: ClientConnection, keep_alive: str) -> None:
        """`keep_alive`: what to send when nothing else is; may be empty."""
        self._socket = socket
        self._keep_alive = keep_alive
        self._idle = True
        self._loop = asyncio.get_running_loop()
        self._beat = self._loop.call_later(KEEP_ALIVE_S, self._on_beat)

    @property
    def usable(self) -> bool:
        return self._socket.state is State.OPEN

    def send(self, message: str | bytes) -> None:
        """Never waits. What cannot be sent any more is dropped: `receive` tells why."""
        self._idle = False
        if self._socket.transport.get_write_buffer_size() > LARGEST_BACKLOG:
            self.abort()
        broadcast((self._socket,), message)  # websockets' only way to send without a task

    def _on_beat(self) -> None:
        if not self.usable:
            return
        if self._idle and self._keep_alive:
            broadcast((self._socket,), self._keep_alive)
        self._idle = True
        self._beat = self._loop.call_later(KEEP_ALIVE_S, self._on_beat)

    async def receive(self) -> bytes:
        """The next message. Raises ConnectionClosed."""
        return await self._socket.recv(decode=False)

    async def close(self) -> None:
        """Hang up, and see it done. Takes CLOSE_S at most."""
        try:
            await self._socket.close()
        finally:
            self.abort()

    def abort(self) -> None:
        """Hang up at once. Safe to call twice."""
        self._beat.cancel()
        self._socket.transport.abort()


async def dial(url: str, key: str, tls: SSLContext | None, keep_alive: str, timeout_s: float) -> Connection:
    """Open a connection. Raises ProviderError when there is none in time."""
    try:
        async with asyncio.timeout(timeout_s):
            socket = await connect(
                url,
                ssl=tls,
                additional_headers={"Authorization": f"Token {key}"},
                compression=None,  # audio does not shrink
                open_timeout=None,
                ping_interval=PING_S,
                ping_timeout=PING_S,
                close_timeout=CLOSE_S,
            )
    except TimeoutError as error:
        raise ProviderError(NAME, f"no connection within {timeout_s:g} s") from error
    except InvalidStatus as error:
        raise _refused(error) from error
    except (OSError, EOFError, WebSocketException) as error:
        raise ProviderError(NAME, f"cannot be reached: {type(error).__name__}: {error}") from error
    return Connection(socket, keep_alive)


def _refused(error: InvalidStatus) -> ProviderError:
    status, headers = (
        error.response.status_code,
        {name.lower(): value for name, value in error.response.headers.raw_items()},
    )
    text = headers.get("dg-error") or _message_in(bytes(error.response.body or b""))
    request = f" (request {headers['dg-request-id']})" if "dg-request-id" in headers else ""
    return ProviderError(
        NAME,
        f"HTTP {status}: {text}{request}",
        retryable=status in (408, 429) or status >= 500,
        retry_after_s=retry_after_s(headers),
        locked_out=status in LOCKED_OUT,
    )


def _message_in(body: bytes) -> str:
    """What Deepgram's JSON says, else the beginning of the body."""
    try:
        parsed = json.loads(body)
        return str(parsed.get("err_msg") or parsed["reason"])
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return body[:200].decode(errors="replace")


def close_code(closed: ConnectionClosed) -> int:
    """The code in the peer's close frame; 1006 without one."""
    return closed.rcvd.code if closed.rcvd else NO_CLOSE_FRAME


def lost(closed: ConnectionClosed) -> ProviderError:
    """What it means that a connection ended in the middle."""
    reason = closed.rcvd.reason if closed.rcvd else "without a close frame"
    code = close_code(closed)
    return ProviderError(NAME, f"hung up ({code}): {reason}", retryable=code != DATA_ERROR)
