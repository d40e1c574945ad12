"""Clients that do what no client should: each is told what is wrong, or cut off in bounded time; nobody else notices.

Against real processes; see `clients.py` for what must hold around every test.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import random
import socket
import time
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.system.hostile.clients import (
    BINARY,
    PING,
    SECOND,
    TEXT,
    closed,
    is_clear,
    masked,
    start,
    told,
    upgraded,
)
from tests.system.hostile.target import LATE_S, MB, PATIENCE_S, Target

log = logging.getLogger(__name__)

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("innocent_by_websocket")]


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
