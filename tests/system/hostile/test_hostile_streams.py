"""Media streams that say what no stream should, too much of it, or nothing: forgiven or cut off, and the log says why.

Against real processes; see `innocent.py` for what must hold around every test.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from tests.standins.twilio import Faults
from tests.standins.twilio.faults import huge_message
from tests.system.hostile.target import GRACE_S, MB, PATIENCE_S, Target, closed, message
from tests.unit.gateway.phone import ringing, signature, start
from tests.waiting import until

log = logging.getLogger(__name__)

BAD_INPUT, SILENT = 4400, 4408
FRAME = bytes(range(128, 254)) + bytes(range(128, 162))
"""20 ms of mu-law, of which no sample is written in two ways."""


pytestmark = [pytest.mark.system, pytest.mark.usefixtures("innocent_by_phone")]


def media(ulaw: bytes = FRAME, chunk: object = "1", timestamp: object = "0", **more: object) -> str:
    payload = base64.b64encode(ulaw).decode()
    return message("media", {"track": "inbound", "chunk": chunk, "timestamp": timestamp, "payload": payload, **more})


async def echoed(stream: ClientConnection, ulaw: bytes = FRAME) -> None:
    """Wait until it is heard."""
    heard = b""
    async with asyncio.timeout(PATIENCE_S):
        while ulaw not in heard:
            told = json.loads(await stream.recv())
            if told["event"] == "media":
                heard += base64.b64decode(told["media"]["payload"])


async def over(stream: ClientConnection) -> None:
    await stream.send(message("stop", {}))
    assert await closed(stream) == 1000


# --- single messages

DEEP = "[" * 100_000
COUNTERS: list[object] = ["-1", "x", "", "1.5", "1e3", "9" * 16, "\u00b2", " 1", 2, -1, 2.5, 1e300, None, True, [], {}]
WRONG: dict[str, tuple[str | bytes, str]] = {
    "no JSON": ("hello", "not JSON"),
    "nothing": ("", "not JSON"),
    "half of it": ('{"event":"media"', "not JSON"),
    "deep JSON": (DEEP, "not JSON"),
    "deep JSON in a message": (f'{{"event":"media","media":{DEEP}', "not JSON"),
    "NaN": ('{"event":"media","streamSid":"MZ0a","media":NaN}', "not JSON"),
    "a number of 100,000 digits": ('{"event":' + "9" * 100_000 + "}", "not JSON"),
    "half a surrogate pair": ('{"event":"\\ud800"}', "not JSON"),
    "a mark of half a surrogate pair": (message("mark", {"name": "\ud800"}), "not JSON"),
    "an array": ("[1]", "JSON, but a list"),
    "binary": (FRAME, "a binary frame"),
    "binary JSON": (media().encode(), "a binary frame"),
    "another stream": (message("stop", {}, sid="MZ0b"), "of stream 'MZ0b'"),
    "no stream": ('{"event":"stop"}', "of stream None"),
    "a stream that is an object": (message("stop", {}, sid={}), "of stream {}"),
    "a second start": (start("CA0a", "x"), "a second start"),
    "a start that is none": (message("start", 5), "start is a int"),
    "no media": (message("media", None), "media is a NoneType"),
    "media in a list": (message("media", [1]), "media is a list"),
    "no payload": (message("media", {"chunk": "1", "timestamp": "0"}), "media without a payload"),
    "a payload of numbers": (media(payload=[1, 2]), "media without a payload"),
    "a payload that is no base64": (media(payload="?!"), "the payload is not base64"),
    "base64 of another kind": (media(payload="__--"), "the payload is not base64"),
    "base64 cut off": (media(payload="AAA"), "the payload is not base64"),
    "a payload in another script": (media(payload="\u0661" * 4), "the payload is not base64"),
    "ten seconds at once": (media(FRAME * 500), "80000 bytes of audio at once"),
    "no key": (message("dtmf", {}), "digit None"),
    "two keys": (message("dtmf", {"digit": "12"}), "digit '12'"),
    "a key that is a number": (message("dtmf", {"digit": 1}), "digit 1"),
    "a key of another telephone": (message("dtmf", {"digit": "\u0661"}), "digit '"),
    "no mark": (message("mark", {}), "mark None"),
    "a mark without a name": (message("mark", {"name": ""}), "mark ''"),
    "a mark with a long name": (message("mark", {"name": "x" * 129}), "mark 'xxx"),
    **{f"sequence {count!r}": (message("stop", {}, number=count), "sequenceNumber ") for count in COUNTERS},
    **{f"chunk {count!r}": (media(chunk=count), "chunk ") for count in COUNTERS},
    **{f"time {count!r}": (media(timestamp=count), "timestamp ") for count in COUNTERS},
}


async def test_a_wrong_message_is_logged_and_forgiven(target: Target) -> None:
    """Each on a stream of its own, on which the caller is heard afterwards; ten streams at a time."""
    names = list(WRONG)
    for first in range(0, len(names), 10):
        await asyncio.gather(*(_forgiven(target, name) for name in names[first : first + 10]))


async def _forgiven(target: Target, name: str) -> None:
    wrong, why = WRONG[name]
    form = ringing()
    async with target.begun(CallSid=form["CallSid"]) as stream:
        await stream.send(wrong)
        await stream.send(media())
        await echoed(stream)
        await over(stream)
    await target.logged(f"call {form['CallSid']}, stream MZ0a: a wrong message: {why}")


STRANGE = [
    message("weather", {"sky": "clear"}),
    message("connected", {}),
    '{"event":null}',
    '{"event":{"event":"media"}}',
    "{}",
    media(track="outbound"),
    media(track=5),
    media(b""),
    media(b"\xff", chunk="2", timestamp="0"),
    message("mark", {"name": "0:1:20"}),
    message("mark", {"name": "0:999999999999999:999999999999999"}),
    message("mark", {"name": "somebody's"}),
    message("mark", {"name": "1:1:1"}),
    *(message("dtmf", {"track": "inbound_track", "digit": digit}) for digit in "0123456789*#ABCD"),
]


async def test_what_is_strange_but_not_wrong_is_ignored(target: Target) -> None:
    async with target.begun() as stream:
        for strange in STRANGE * 5:
            await stream.send(strange)
        await stream.send(media(FRAME * 3, chunk="3", timestamp="0"))
        await echoed(stream)
        await over(stream)
    await target.logged("event 'weather' is not for us", "0 wrong messages, 30 not for us")


JUMPS = [0, 20, 3 * 3_600_000, 3 * 3_600_000 + 20, 40, 60, 999_999_999_999_999, 0, 86_400_000, 80, 100]


async def test_time_that_jumps_by_hours_stops_nobody(target: Target) -> None:
    before = target.rss
    async with target.begun() as stream:
        for number, timestamp_ms in enumerate(JUMPS, 1):
            frame = FRAME[number:] + FRAME[:number]
            await stream.send(media(frame, chunk=str(number), timestamp=str(timestamp_ms)))
            await echoed(stream, frame)
        await over(stream)
    assert target.rss - before < 5 * MB


async def test_marks_never_echoed_or_echoed_again_keep_no_call(target: Target) -> None:
    async with target.call(faults=Faults(never_echo_marks=True)) as deaf, target.call() as twice:
        said = FRAME * 100
        for call in (deaf, twice):
            await call.connected()
            call.say_ulaw(said)
        await asyncio.sleep(1)
        for mark in list(twice.streams[0].marks) * 3:
            twice.inject(message("mark", {"name": mark.name}, sid=twice.streams[0].sid))
        for call in (deaf, twice):
            await call.until(lambda: said[: 90 * 160] in call.heard.ulaw.replace(b"\xff", b""))  # noqa: B023 (awaited here)
            await call.hang_up()
            assert call.errors == []


# --- ends


async def test_a_stream_that_does_not_begin_as_it_should_is_closed(target: Target) -> None:
    format_ = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    inner = {"streamSid": "MZ0a", "callSid": "CA0a", "accountSid": "AC0a", "mediaFormat": format_}
    wrong: dict[str, tuple[str, str]] = {
        "media first": (media(), "Media before start"),
        "a key first": (message("dtmf", {"digit": "1"}), "Dtmf before start"),
        "stop first": (message("stop", {}), "Stop before start"),
        "a wide band": (message("start", {**inner, "mediaFormat": {**format_, "sampleRate": 16000}}), "mediaFormat"),
        "a WAV": (message("start", {**inner, "mediaFormat": {**format_, "encoding": "audio/wav"}}), "mediaFormat"),
        "two streams": (message("start", {**inner, "streamSid": "MZ0b"}), "start names two streams"),
        "no call": (message("start", {**inner, "callSid": None}), "callSid None"),
        "a call that is a key": (message("start", {**inner, "callSid": "x:*"}), "callSid 'x:*'"),
        "no account": (message("start", {**inner, "accountSid": 5}), "accountSid 5"),
        "parameters in a list": (message("start", {**inner, "customParameters": ["token"]}), "customParameters"),
        "a token in a list": (message("start", {**inner, "customParameters": {"token": []}}), "customParameters"),
    }
    for name, (first, why) in wrong.items():
        async with target.stream() as stream:
            await stream.send(message("connected"))
            await stream.send(first)
            assert await closed(stream) == BAD_INPUT, name
        await target.logged(f"a stream refused: {why}")


async def test_a_stream_that_does_not_begin_at_all_is_closed(target: Target) -> None:
    """A hundred that say nothing, and one that never comes to its start; beside them, one that says it ever again."""
    silent = [await target.stream() for _ in range(100)]
    endless = await target.stream()
    with suppress(ConnectionClosed):
        for number in range(100_000):
            await endless.send(message("connected"))
            if number == 20_000:
                break
    codes = await asyncio.gather(*(closed(stream, 15) for stream in (*silent, endless)))
    assert set(codes) == {SILENT}
    await target.logged("a stream refused: no start within 5 s")


async def test_a_message_too_large_ends_its_own_stream_only(target: Target) -> None:
    before = target.rss
    for size in (128 * 1024, MB, 10 * MB):
        form = ringing()
        async with target.begun(CallSid=form["CallSid"]) as stream:
            with suppress(ConnectionClosed):
                await stream.send(huge_message("MZ0a", size))
            assert await closed(stream) == 1009, size
        await target.logged(f"call {form['CallSid']}, stream MZ0a: closed with 1009")
    assert target.rss - before < 5 * MB


async def test_too_much_that_is_wrong_ends_the_call(target: Target) -> None:
    form = ringing()
    async with target.begun(CallSid=form["CallSid"]) as stream:
        with suppress(ConnectionClosed):
            for _ in range(1000):
                await stream.send("hello")
        assert await closed(stream) == BAD_INPUT
    await target.logged(f"call {form['CallSid']}, stream MZ0a refused after 21 wrong messages: not JSON")
    assert target.log.count(f"{form['CallSid']}, stream MZ0a: a wrong message") == 1, "one line is enough"


async def test_a_second_goodbye_and_what_follows_it_is_nothing(target: Target) -> None:
    async with target.begun() as stream:
        with suppress(ConnectionClosed):
            for _ in range(50):
                await stream.send(message("stop", {}))
                await stream.send(media())
        assert await closed(stream) == 1000


# --- pace

FLOOD = [
    message("mark", {"name": "0:1:20"}),
    message("mark", {"name": "other"}),
    message("dtmf", {"digit": "1"}),
    message("weather", {}),
    media(b"\xff", chunk="1", timestamp="0"),
]


async def test_thousands_of_messages_a_second_hurt_nobody(target: Target) -> None:
    """5,000 at once on each of two streams: read as fast as messages may be."""
    before, began_s = target.rss, time.monotonic()
    await asyncio.gather(_flood(target, FLOOD * 1000), _flood(target, FLOOD * 1000))
    took_s = time.monotonic() - began_s
    log.info("read in %.1f s, %.1f MB more", took_s, (target.rss - before) / MB)
    assert took_s > 7.5, "5,000 messages at 500 a second, 1,000 of them at once"
    assert target.rss - before < 10 * MB


async def _flood(target: Target, messages: list[str]) -> None:
    async with target.begun() as stream:
        hearing = asyncio.create_task(closed(stream, 60))
        for each in messages:
            await stream.send(each)
        await stream.send(message("stop", {}))
        assert await hearing == 1000


async def test_audio_without_end_is_read_in_its_time(target: Target) -> None:
    """40 s of it at once: 5 s are read now, and the rest as time goes by; nobody closes the stream for that."""
    before = target.rss
    async with _hurrying(target) as stream:
        await asyncio.sleep(12)  # longer than a ping may wait
        assert stream.close_code is None
        stream.transport.abort()
    assert target.rss - before < 10 * MB


async def test_a_worker_lets_go_of_a_caller_who_hurried_away(target: Target) -> None:
    form = ringing()
    async with _hurrying(target, form["CallSid"]) as stream:
        await asyncio.sleep(3)
        stream.transport.abort()
    served = next(line for line in target.log.splitlines() if f"{form['CallSid']}, stream MZ0a is session" in line)
    session = served.split(" is session ")[1].partition(",")[0]
    await target.logged(f"session {session} over here")


@asynccontextmanager
async def _hurrying(target: Target, call_sid: str = "CA0a") -> AsyncIterator[ClientConnection]:
    frames = [media(chunk=str(number), timestamp=str(number * 20)) for number in range(1, 2000)]
    async with target.begun(CallSid=call_sid) as stream:
        hearing = asyncio.create_task(closed(stream, 60))
        sending = asyncio.create_task(_send_all(stream, frames))
        yield stream
        sending.cancel()
        await asyncio.wait((sending, hearing))


async def _send_all(stream: ClientConnection, frames: list[str]) -> None:
    with suppress(ConnectionClosed):
        for frame in frames:
            await stream.send(frame)


async def test_a_twilio_that_does_not_read_is_cut_off(target: Target) -> None:
    """It speaks, and takes nothing of the answer. Another is half open: nobody there answers a ping."""
    before = target.rss
    began_s = time.monotonic()
    await asyncio.gather(_speak_unread(target, speaks=True), _speak_unread(target, speaks=False))
    took_s = time.monotonic() - began_s
    log.info("cut off after %.1f s, %.1f MB more", took_s, (target.rss - before) / MB)
    assert took_s < 30
    assert target.rss - before < 5 * MB
    await until(lambda: target.has_sessions(1), "only the innocent caller's session", GRACE_S + 10)
    assert target.log.count("lost its caller") == 2


async def _speak_unread(target: Target, *, speaks: bool) -> None:
    form = ringing()
    token = await target.token(form)
    loop, dialled = asyncio.get_running_loop(), target.dial(receive_buffer=1024)
    signed = signature("wss://gw.example.com/websocket", {})
    upgrade = (
        "GET /websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
        f"X-Twilio-Signature: {signed}\r\n\r\n"
    )
    with dialled, suppress(ConnectionError):
        await loop.sock_sendall(dialled, upgrade.encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += await loop.sock_recv(dialled, 1)
        await loop.sock_sendall(dialled, masked(start(form["CallSid"], token)))
        number, began_s = 0, time.monotonic()
        async with asyncio.timeout(40):
            while True:
                number += 1
                if speaks:
                    sent = media(FRAME * 5, chunk=str(number), timestamp=str(number * 100))
                    await loop.sock_sendall(dialled, masked(sent))
                elif f"call {form['CallSid']}, stream MZ0a: closed with" in target.log:
                    break
                await asyncio.sleep(began_s + number * 0.1 - time.monotonic())


def masked(text: str) -> bytes:
    """A client's frame."""
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=True)
