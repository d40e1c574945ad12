"""What clients of the WebSocket say and are told under attack, and what must hold around it: an innocent caller speaks
noise meanwhile, and hears all of it back without a gap; then the gateway has the sockets and sessions it had, and no
traceback in its log."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from cli.client import Caller
from tests.system.hostile.target import GRACE_S, PATIENCE_S, Target
from tests.system.lateness import watched
from tests.waiting import until

log = logging.getLogger(__name__)

RATE_HZ = 16_000
MOST_GAP_MS = 500.0
SECOND = 2 * RATE_HZ

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
)


@asynccontextmanager
async def nobody_is_hurt(target: Target) -> AsyncIterator[None]:
    """An innocent caller meanwhile; afterwards the gateway must be as it was."""
    before = (target.sockets, await target.sessions())
    logged = len(target.stack.log_text())
    async with _unhurt(target):
        yield

    async def is_back() -> bool:
        return (target.sockets, await target.sessions()) <= before

    await until(is_back, f"no more than {before[0]} sockets and {before[1]} sessions", GRACE_S + PATIENCE_S)
    log = target.stack.log_text()[logged:]
    assert "Traceback" not in log, log[-4000:]


@asynccontextmanager
async def _unhurt(target: Target) -> AsyncIterator[Caller]:
    dice = random.Random(1)
    said: list[bytes] = []
    async with watched() as late, Caller(target.stack.url, tenant="echo") as caller:

        async def speak() -> None:
            while True:
                said.append(dice.randbytes(SECOND // 2))
                await caller.say(said[-1])

        speaking = asyncio.create_task(speak())
        try:
            yield caller
            await caller.until(lambda: len(said) > 2)
        finally:
            speaking.cancel()
            await asyncio.wait((speaking,))
        await until(lambda: said[-2] in caller.speaker.sound_of(1), "what was said last, which is on its way back")
        assert caller.ended is None
        assert not caller.reconnects
        speaker = caller.speaker
        assert not speaker.missing_ms
        assert not speaker.overflow_ms
        assert speaker.repeated_ms == 0
        heard = speaker.sound_of(1)
        places = [heard.find(piece) for piece in said[:-1]]
        assert -1 not in places, f"something was lost: {places}"
        assert places == sorted(places)
        worst = max((gap.ms for gap in speaker.gaps()), default=0.0)
        log.info(
            "the innocent caller's worst gap: %.0f ms of %.1f s; our own clock %.0f ms late",
            worst,
            len(heard) / SECOND,
            late.worst_ms,
        )
        assert worst <= MOST_GAP_MS + late.worst_ms


async def told(client: ClientConnection, kind: str, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
    async with asyncio.timeout(timeout_s):
        while True:
            message = await client.recv()
            if isinstance(message, str) and (data := json.loads(message))["type"] == kind:
                return dict(data)


async def closed(client: ClientConnection, timeout_s: float = PATIENCE_S) -> int | None:
    async with asyncio.timeout(timeout_s):
        with suppress(ConnectionClosed):
            while True:
                await client.recv()
    return client.close_code


async def start(client: ClientConnection, **fields: Any) -> dict[str, Any]:
    await client.send(json.dumps({"type": "start", "tenant": "echo", **fields}))
    return await told(client, "session_ready")


def is_clear(error: dict[str, Any]) -> bool:
    return all(isinstance(error[part], str) and error[part] for part in ("code", "message", "hint"))


def masked(opcode: int, payload: bytes) -> bytes:
    """A client's frame; the mask is 0, which changes nothing."""
    if len(payload) < 126:
        return struct.pack("!BB4x", 0x80 | opcode, 0x80 | len(payload)) + payload
    return struct.pack("!BBH4x", 0x80 | opcode, 0x80 | 126, len(payload)) + payload


TEXT, BINARY, PING = 1, 2, 9


async def upgraded(target: Target, **options: Any) -> socket.socket:
    """A raw socket that has become a WebSocket."""
    dialled = target.dial(**options)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(dialled, UPGRADE + b"\r\n")
    reply = b""
    async with asyncio.timeout(PATIENCE_S):
        while b"\r\n\r\n" not in reply:
            reply += await loop.sock_recv(dialled, 1)
    assert reply.startswith(b"HTTP/1.1 101")
    return dialled


async def read_all(dialled: socket.socket, timeout_s: float) -> bytes:
    """All that comes until the gateway closes. Raises TimeoutError when it does not."""
    read = b""
    loop = asyncio.get_running_loop()
    with dialled, suppress(ConnectionError):
        async with asyncio.timeout(timeout_s):
            while data := await loop.sock_recv(dialled, 65536):
                read += data
    return read
