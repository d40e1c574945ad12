"""Sockets that do not become calls, and requests that are none: closed in bounded time; no caller notices.

Against real processes; see `clients.py` for what must hold around every test.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.system.hostile.clients import UPGRADE, closed, is_clear, read_all, told
from tests.system.hostile.target import LATE_S, MB, PATIENCE_S, Target

log = logging.getLogger(__name__)

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("innocent_by_websocket")]


async def test_silent_sockets_are_closed(target: Target) -> None:
    """200 of them; half have become WebSockets, and are told why. One more sends its headers a byte a second."""
    async with asyncio.TaskGroup() as group:
        mute = [group.create_task(_until_closed(target.dial())) for _ in range(100)]
        silent = [group.create_task(_say_nothing(target)) for _ in range(100)]
        slow = group.create_task(_drip(target, UPGRADE))
        trickle = group.create_task(
            _drip(target, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + b"\r\n" * 40, at_once=37)
        )
        body = b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
        posted = group.create_task(_drip(target, body + bytes(100), at_once=len(body)))
    assert all(took_s < 5 + LATE_S for took_s, _ in (task.result() for task in mute))
    for took_s, error, code in (task.result() for task in silent):
        assert 10 < took_s < 10 + LATE_S
        assert (error["code"], error["fatal"], is_clear(error), code) == ("silent", True, True, 4408)
    for name, task in (("headers", slow), ("between requests", trickle), ("body", posted)):
        log.info("slow %s: closed after %.1f s", name, task.result())
        assert task.result() < 6 + LATE_S, name


async def _say_nothing(target: Target) -> tuple[float, dict[str, Any], int | None]:
    began_s = time.monotonic()
    async with target.client() as client:
        error = await told(client, "error", 20)
        return time.monotonic() - began_s, error, await closed(client)


async def _until_closed(dialled: socket.socket) -> tuple[float, bytes]:
    began_s = time.monotonic()
    answer = await read_all(dialled, 20)
    return time.monotonic() - began_s, answer


async def _drip(target: Target, request: bytes, at_once: int = 0) -> float:
    """Send a byte a second until it is closed. Returns how long that took."""
    loop, dialled, began_s = asyncio.get_running_loop(), target.dial(), time.monotonic()
    with dialled, suppress(ConnectionError):
        await loop.sock_sendall(dialled, request[:at_once])
        for byte in request[at_once:]:
            await loop.sock_sendall(dialled, bytes([byte]))
            await asyncio.sleep(1)
            if time.monotonic() - began_s > 15:
                break
    return time.monotonic() - began_s


async def test_headers_without_end_are_cut_off(target: Target) -> None:
    before = target.rss
    loop, dialled, sent = asyncio.get_running_loop(), target.dial(), 0
    with dialled, suppress(ConnectionError):
        dialled.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)  # else the kernel takes megabytes ahead of it
        await loop.sock_sendall(dialled, UPGRADE)
        async with asyncio.timeout(PATIENCE_S):
            while sent < 100 * MB:
                await loop.sock_sendall(dialled, b"X-Y: " + bytes(b"a" * 1000) + b"\r\n")
                sent += 1007
    log.info("%.2f MB of headers, %.1f MB more", sent / MB, (target.rss - before) / MB)
    assert sent < 5 * MB
    assert target.rss - before < 5 * MB


STRANGE = {
    "a long header": (UPGRADE + b"X-Y: " + b"a" * 9000 + b"\r\n\r\n", 431),
    "many headers": (UPGRADE + b"X-Y: a\r\n" * 200 + b"\r\n", 431),
    "a header that is no ASCII": (UPGRADE + b"X-Y: \xff\xfe\r\n\r\n", 101),
    "a header with a control character": (UPGRADE + b"X-Y: a\x01b\r\n\r\n", 400),
    "a wrong key": (UPGRADE.replace(b"MDEy", b"????") + b"\r\n", 400),
    "another version": (UPGRADE.replace(b"Version: 13", b"Version: 8") + b"\r\n", 400),
    "a POST": (UPGRADE.replace(b"GET", b"POST") + b"\r\n", 405),
    "a path that is no ASCII": (UPGRADE.replace(b"/ws", b"/\xff\xfe") + b"\r\n", 400),
    "another path": (UPGRADE.replace(b"/ws", b"/nowhere") + b"\r\n", 403),
    "another protocol": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), 400),
    "a URL that is none": (b"GET //[::1 HTTP/1.1\r\nHost: x\r\n\r\n", 404),
}


async def test_a_strange_request_is_answered_or_closed(target: Target) -> None:
    loop = asyncio.get_running_loop()
    for name, (request, status) in STRANGE.items():
        with target.dial() as dialled:
            await loop.sock_sendall(dialled, request)
            async with asyncio.timeout(PATIENCE_S):
                answer = await loop.sock_recv(dialled, 65536)
        assert int(answer.split(b" ", 2)[1]) == status, name


@pytest.mark.parametrize("at_once", [1, 500], ids=["one by one", "pipelined"])
async def test_requests_for_what_is_not_there(target: Target, at_once: int) -> None:
    loop, dialled, answers = asyncio.get_running_loop(), target.dial(), b""
    before = target.rss
    with dialled:
        async with asyncio.timeout(PATIENCE_S):
            for first in range(0, 500, at_once):
                requests = [f"GET /{n}/../%2e%2e HTTP/1.1\r\nHost: x\r\n\r\n" for n in range(first, first + at_once)]
                await loop.sock_sendall(dialled, "".join(requests).encode())
                while answers.count(b"HTTP/1.1 404") < first + at_once:
                    answers += await loop.sock_recv(dialled, 65536)
    assert target.rss - before < 5 * MB


HOSTILE_ORIGINS = ["https://evil.example", "null", "http://[::1", "http://127.0.0.1", "http://x@127.0.0.1", "x", "//"]


async def test_a_page_of_another_site_may_not_call(target: Target) -> None:
    for origin in HOSTILE_ORIGINS:
        with pytest.raises(InvalidStatus) as refusal:
            async with target.client(additional_headers={"Origin": origin}):
                pass
        assert refusal.value.response.status_code == 403, origin
        body = json.loads(refusal.value.response.body or b"")
        assert (body["code"], is_clear(body)) == ("origin", True), origin
