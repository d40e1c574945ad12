"""Clients that do what no client should: each is told what is wrong, or cut off in bounded time; nobody else notices.

Against real processes (target, worker, Valkey). In every test an innocent caller speaks noise meanwhile, and must hear
all of it back without a gap; then the gateway must have the sockets and sessions it had, and no traceback in its log.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import random
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cli.client import Caller
from tests.system.hostile.target import GRACE_S, LATE_S, MB, PATIENCE_S, Target
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


@pytest.fixture
async def _nobody_is_hurt(target: Target) -> AsyncIterator[Caller]:
    """An innocent caller during the test; afterwards the gateway must be as it was."""
    before = (target.sockets, await target.sessions())
    logged = len(target.stack.log_text())
    async with _unhurt(target) as innocent:
        yield innocent

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


pytestmark = [pytest.mark.system, pytest.mark.usefixtures("_nobody_is_hurt")]


# --- what a client sends and reads


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


# --- messages

DEEP = "[" * 100_000
WRONG: dict[str, tuple[str | bytes, str]] = {
    "half a sample": (b"123", "odd_audio"),
    "JSON in a binary message": (b'{"type":"stop"}', "odd_audio"),
    "base64 in a text message": (base64.b64encode(bytes(640)).decode(), "bad_json"),
    "broken JSON": ('{"type":"played"', "bad_json"),
    "empty": ("", "bad_json"),
    "deep JSON": (DEEP, "bad_json"),
    "a message with deep JSON": (f'{{"type":"text","text":{DEEP}', "bad_json"),
    "NaN": ('{"type":"played","turn":1,"ms":NaN}', "bad_json"),
    "an infinite number": ('{"type":"played","turn":1,"ms":1e999}', "bad_field"),
    "a number of 100,000 digits": ('{"type":"played","turn":1,"ms":' + "9" * 100_000 + "}", "bad_json"),
    "a negative number": ('{"type":"played","turn":-1,"ms":0}', "bad_field"),
    "an array": ("[1]", "bad_json"),
    "an unknown type": ('{"type":"drop table"}', "unknown_type"),
    "a type that is an object": ('{"type":{}}', "unknown_type"),
    "wrong base64": ('{"type":"audio","data":"?!"}', "bad_audio"),
    "half a sample in base64": ('{"type":"audio","data":"AAAA"}', "odd_audio"),
    "audio without data": ('{"type":"audio"}', "bad_audio"),
    "half of a surrogate pair": ('{"type":"text","text":"\\ud800"}', "bad_text"),
    "a text too long": (json.dumps({"type": "text", "text": "x" * 4001}), "bad_text"),
    "a second start": ('{"type":"start","tenant":"echo"}', "late_start"),
}


async def test_a_wrong_message_is_answered_and_forgiven(target: Target) -> None:
    """One link each, which still works afterwards."""
    seen = {}
    for name, (message, _) in WRONG.items():
        async with target.client() as client:
            await start(client)
            await client.send(message)
            error = await told(client, "error")
            assert is_clear(error), error
            assert not error["fatal"]
            await client.send(bytes(640))
            await told(client, "audio")
            seen[name] = error["code"]
            await client.send('{"type":"stop"}')
            assert await closed(client) == 1000
    assert seen == {name: code for name, (_, code) in WRONG.items()}


async def test_wrong_messages_without_end_are_not(target: Target) -> None:
    messages: list[str | bytes] = [b"123", "no JSON", '{"type":"start"}']
    await asyncio.gather(*(_repeat(target, message) for message in messages))


async def _repeat(target: Target, message: str | bytes) -> None:
    async with target.client() as client:
        await start(client)
        with suppress(ConnectionClosed):
            for _ in range(5000):
                await client.send(message)
        errors = 0
        while not (error := await told(client, "error"))["fatal"]:
            errors += 1
        assert errors == 20
        assert is_clear(error)
        assert await closed(client) == 4400


REFUSED: dict[str, tuple[dict[str, Any], str, int]] = {
    "a wrong rate": ({"audio": {"rate_hz": 44100}}, "bad_rate", 4400),
    "a rate that is no number": ({"audio": {"rate_hz": [16000]}}, "bad_rate", 4400),
    "an unknown encoding": ({"audio": {"encoding": "opus"}}, "bad_field", 4400),
    "an unknown tenant": ({"tenant": "nobody"}, "no_tenant", 4400),
    "a tenant that is a path": ({"tenant": "../../etc/passwd"}, "no_tenant", 4400),
    "a bad token": ({"resume": "ab.0." + "0" * 32}, "bad_token", 4401),
    "a token of strange digits": ({"resume": "ab.²." + "0" * 32}, "bad_token", 4401),
}


async def test_a_wrong_start_is_refused(target: Target) -> None:
    for name, (fields, code, close) in REFUSED.items():
        async with target.client() as client:
            await client.send(json.dumps({"type": "start", "tenant": "echo", **fields}))
            error = await told(client, "error")
            assert (error["code"], error["fatal"], is_clear(error)) == (code, True, True), name
            assert await closed(client) == close, name


async def test_a_token_is_good_until_its_successor_has_arrived(target: Target) -> None:
    """Which the first word on the new wire says: `session_ready` may have been lost."""
    async with target.client() as client:
        token = (await start(client))["resume"]
        client.transport.abort()
    async with target.client() as lost, target.client() as back, target.client() as thief:
        assert (await start(lost, resume=token))["resumed"]
        assert (await start(back, resume=token))["resumed"]
        assert await closed(lost) == 4409
        await back.send(bytes(640))
        await told(back, "audio")
        await thief.send(json.dumps({"type": "start", "resume": token}))
        error = await told(thief, "error")
        assert (error["code"], is_clear(error)) == ("bad_token", True)
        assert await closed(thief) == 4401
        await back.send('{"type":"stop"}')
        assert await closed(back) == 1000


async def test_a_message_too_large_ends_the_session(target: Target) -> None:
    before = target.rss
    for size in (128 * 1024 + 2, 8 * MB):
        for begun in (True, False):
            client = await target.client()  # not `async with`: its second close fails on a socket that was reset
            if begun:
                await start(client)
            with suppress(ConnectionClosed):
                await client.send(bytes(size))
            assert await closed(client) == 1009, (size, begun)
    assert target.rss - before < 4 * MB
    assert await target.sessions() == 1, "their clients never come back"


async def test_a_largest_message_is_taken(target: Target) -> None:
    async with target.client() as client:
        await start(client)
        await client.send(bytes(128 * 1024))
        await told(client, "audio")
        await client.send('{"type":"stop"}')
        assert await closed(client) == 1000


async def test_text_that_is_no_utf8_ends_the_session(target: Target) -> None:
    for begun in (True, False):
        async with target.client() as client:
            if begun:
                await start(client)
            await client.send(b'{"type":"text","text":"\xff\xfe"}', text=True)
            assert await closed(client) == 1007
    assert await target.sessions() == 1, "their clients never come back"


# --- clients that read or send at the wrong pace


async def test_a_client_that_does_not_read_is_cut_off(target: Target) -> None:
    """They speak, in real time or ten times faster, or ping, and take nothing of the answer, or a byte at times."""
    before, stop = target.rss, asyncio.Event()
    async with asyncio.TaskGroup() as group:
        peak = group.create_task(target.peak_rss(stop))
        sockets = [await upgraded(target, receive_buffer=1024) for _ in range(4)]
        sipping = [group.create_task(_sip(dialled)) for dialled in sockets[:2]]
        speaking = [_speak_until_cut(dialled, pace) for dialled, pace in zip(sockets, (1, 10, 1, 10), strict=True)]
        pinging = _ping_until_cut(await upgraded(target, receive_buffer=1024))
        took_s = await asyncio.gather(*speaking, pinging)
        for task in sipping:
            task.cancel()
        stop.set()
    log.info("cut off after %s s, %.1f MB more", [round(s, 1) for s in took_s], (peak.result() - before) / MB)
    assert max(took_s) < 10 + LATE_S
    assert peak.result() - before < 5 * MB


async def _speak_until_cut(dialled: socket.socket, pace: int) -> float:
    loop, began_s, sent = asyncio.get_running_loop(), time.monotonic(), 0
    with dialled, suppress(ConnectionError):
        await loop.sock_sendall(dialled, masked(TEXT, b'{"type":"start"}'))
        async with asyncio.timeout(25):
            while True:
                await loop.sock_sendall(dialled, masked(BINARY, bytes(SECOND // 10)))
                sent += 1
                await asyncio.sleep(began_s + sent * 0.1 / pace - time.monotonic())
    return time.monotonic() - began_s


async def _sip(dialled: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        while await loop.sock_recv(dialled, 1):  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def _ping_until_cut(dialled: socket.socket) -> float:
    """Every ping is owed a pong: nobody may pile them up."""
    loop, began_s = asyncio.get_running_loop(), time.monotonic()
    pings = masked(PING, bytes(125)) * 200
    with dialled, suppress(ConnectionError):
        async with asyncio.timeout(25):
            while True:
                await loop.sock_sendall(dialled, pings)
                await asyncio.sleep(0.01)  # 20,000 a second: more would test what the machine's two cores can do
    return time.monotonic() - began_s


async def test_a_client_at_ten_times_real_time_is_slowed_down(target: Target) -> None:
    """TCP slows it down; nothing of what it said is lost, and a link that is full of audio is not taken for dead."""
    before, stop = target.rss, asyncio.Event()
    dice = random.Random(2)
    said = [dice.randbytes(640) for _ in range(100 * 50)]
    received = bytearray()
    async with target.client(ping_interval=None) as client, asyncio.TaskGroup() as group:
        peak = group.create_task(target.peak_rss(stop))
        await start(client)
        began_s = time.monotonic()

        async def hear() -> None:
            async for message in client:
                if isinstance(message, bytes):
                    received.extend(message)

        async def send() -> None:
            for number, frame in enumerate(said):
                await client.send(frame)
                await asyncio.sleep(began_s + number * 0.002 - time.monotonic())

        hearing, sending = group.create_task(hear()), group.create_task(send())
        await asyncio.sleep(11)  # the first ping is sent at 5 s, and waited for until 10 s
        assert client.close_code is None, client.close_code
        took_s = time.monotonic() - began_s
        heard_s = len(received) / SECOND
        sending.cancel()
        hearing.cancel()
        stop.set()
        client.transport.abort()
    log.info("heard %.1f s in %.1f s, %.1f MB more", heard_s, took_s, (peak.result() - before) / MB)
    assert b"".join(said).startswith(received)
    assert took_s - LATE_S < heard_s < took_s + 3
    assert peak.result() - before < 10 * MB


FLOOD = [
    masked(TEXT, b'{"type":"played","turn":1,"ms":1}'),
    masked(TEXT, b'{"type":"text","text":"x"}'),
    masked(TEXT, b'{"type":"response.cancel"}'),
    masked(BINARY, b"\0\0"),
    masked(BINARY, b""),
]


async def test_a_flood_of_tiny_messages_hurts_nobody(target: Target) -> None:
    """5,000 of them, all at once, from each of two; they are read as fast as messages are, and none is lost."""
    before, began_s = target.rss, time.monotonic()
    await asyncio.gather(_flood(target), _flood(target))
    took_s = time.monotonic() - began_s
    log.info("read in %.1f s, %.1f MB more", took_s, (target.rss - before) / MB)
    assert 7.5 < took_s < 8 + LATE_S, "5,000 messages at 500 a second, 1,000 of them at once"
    assert target.rss - before < 10 * MB


async def _flood(target: Target) -> None:
    loop, answer = asyncio.get_running_loop(), b""
    with await upgraded(target) as dialled:
        flood = [masked(TEXT, b'{"type":"start"}'), *FLOOD * 1000, masked(TEXT, b'{"type":"stop"}')]
        await loop.sock_sendall(dialled, b"".join(flood))
        async with asyncio.timeout(8 + PATIENCE_S):
            while b'"closing"' not in answer:
                data = await loop.sock_recv(dialled, 65536)
                assert data, answer[-200:]
                answer += data
    assert b'"error"' not in answer


# --- sockets that do not become calls


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
