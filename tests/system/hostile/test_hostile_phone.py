"""Those who would like to be Twilio, or to have somebody else's call: each is refused, and why is in the log.

Against real processes; see `innocent.py` for what must hold around every test.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress

import pytest
from websockets.exceptions import InvalidStatus

from tests.standins.twilio import ACCOUNT_SID, Faults, twiml
from tests.system.hostile.target import LATE_S, MB, Target, closed, message
from tests.unit.gateway.phone import PUBLIC, new_sid, ringing, signature, start
from tests.waiting import until
from trunkline.bus import keys

NOT_OURS = "the signature is not ours for "
NO_TOKEN = "its token is missing, used, too old, or another call's"
REFUSED = 4401


pytestmark = [pytest.mark.system, pytest.mark.usefixtures("innocent_by_phone")]


# --- webhooks that are not Twilio's

UNSIGNED: dict[str, tuple[dict[str, str], int, str]] = {
    "no signature": ({"x_twilio_signature": "none"}, 403, "not signed"),
    "an empty one": ({"x_twilio_signature": ""}, 403, "not signed"),
    "a wrong one": ({"x_twilio_signature": "L/OH5YylLD5NRKLltdqwSvS0BnU="}, 403, NOT_OURS),
    "one that is no ASCII": ({"x_twilio_signature": "\xe9" * 28}, 403, NOT_OURS),
    "for another path": ({"url": f"{PUBLIC}/twiml/status"}, 403, NOT_OURS),
    "for a trailing slash": ({"url": f"{PUBLIC}/twiml/"}, 403, NOT_OURS),
    "for http": ({"url": "http://gw.example.com/twiml"}, 403, NOT_OURS),
    "for another port": ({"url": f"{PUBLIC}:8443/twiml"}, 403, NOT_OURS),
    "for a query": ({"url": f"{PUBLIC}/twiml?try=1"}, 403, NOT_OURS),
    "for the host it names": ({"url": "https://evil.example/twiml", "host": "evil.example"}, 403, NOT_OURS),
    "for a path in its Host": ({"url": f"{PUBLIC}/x", "host": "gw.example.com/x#"}, 403, NOT_OURS),
    "for a host it was forwarded for": (
        {"url": "https://evil.example/twiml", "x_forwarded_host": "evil.example", "x_forwarded_proto": "https"},
        403,
        NOT_OURS,
    ),
    "for http that was forwarded": (
        {"url": "http://gw.example.com/twiml", "x_forwarded_proto": "http", "forwarded": "proto=http;host=evil"},
        403,
        NOT_OURS,
    ),
    "for a path that was forwarded": (
        {"url": f"{PUBLIC}/voice/twiml", "x_forwarded_prefix": "/voice", "x_original_url": "/voice/twiml"},
        403,
        NOT_OURS,
    ),
    "JSON": ({"content_type": "application/json", "body": "{}"}, 415, "not application/x-www-form-urlencoded"),
    "multipart": (
        {"content_type": "multipart/form-data; boundary=x", "body": "--x\r\n\r\n\r\n--x--"},
        415,
        "not application/x-www-form-urlencoded",
    ),
    "no content type": ({"content_type": "none"}, 415, "not application/x-www-form-urlencoded"),
}


async def test_a_webhook_that_is_not_twilios_is_refused(target: Target) -> None:
    before = await target.keys("call:*")
    for name, (changes, status, why) in UNSIGNED.items():
        for path in ("/twiml", "/twiml/return", "/twiml/status"):
            options = {**changes}
            if "url" in options:
                options["url"] = options["url"].replace("/twiml", path, 1) if name != "for another path" else PUBLIC
            logged = target.log.count(f"{path} refused from 127.0.0.1: {why}")
            answer = await target.post(path, ringing(), **options)
            assert (answer.status_code, answer.text) == (status, "refused\n"), name
            await until(
                lambda: _more(target, f"{path} refused from 127.0.0.1: {why}", logged),  # noqa: B023 (awaited here)
                f"a line about {name}",
            )
    assert await target.keys("call:*") == before


async def _more(target: Target, text: str, than: int) -> bool:
    return target.log.count(text) > than


async def test_a_form_that_was_changed_is_refused(target: Target) -> None:
    """Also where the values run together as before: nothing but what was signed, cut as it was signed, makes a call."""
    form = ringing()
    signed = signature(f"{PUBLIC}/twiml", form)
    sid = form["CallSid"]
    changed = {
        "another number": {**form, "To": "+15550101"},
        "another call": {**form, "CallSid": new_sid()},
        "a field more": {**form, "New": "1"},
        "a field less": {name: value for name, value in form.items() if name != "From"},
    }
    for name, fields in changed.items():
        answer = await target.post("/twiml", fields, x_twilio_signature=signed)
        assert answer.status_code == 403, name
    twice = "&".join(f"{name}={value.replace('+', '%2B')}" for name, value in [*form.items(), ("CallSid", new_sid())])
    assert (await target.post("/twiml", form, body=twice)).status_code == 403
    assert not await target.ttl_s(keys.call(sid)) > 0
    assert target.log.count(f"/twiml refused from 127.0.0.1: {NOT_OURS}") == 5


NO_CALL: dict[str, tuple[dict[str, str], int, str]] = {
    "another account": ({"AccountSid": "AC" + "6" * 32}, 403, "of account 'AC666"),
    "no account": ({"AccountSid": ""}, 403, "of account ''"),
    "a call without a name": ({"CallSid": ""}, 400, "CallSid ''"),
    "a call that is a key": ({"CallSid": "x:*\r\nDEL"}, 400, "CallSid 'x:*"),
    "a call with a long name": ({"CallSid": "C" * 65}, 400, "CallSid 'CCC"),
    "a call in another script": ({"CallSid": "CA\u0661\u0662"}, 400, "CallSid 'CA"),
}
NOBODYS = ["+15550999", "", "client:joe", "*", "x" * 5000, "+15550100\x00", "sip:+15550100@evil.example", "\ufffd"]


async def test_a_webhook_that_is_signed_and_makes_no_sense_is_refused(target: Target) -> None:
    for name, (changes, status, why) in NO_CALL.items():
        answer = await target.post("/twiml", ringing(**changes))
        assert answer.status_code == status, name
        await target.logged(f"/twiml refused from 127.0.0.1: {why}")
    for number in NOBODYS:
        answer = await target.post("/twiml", form := ringing(To=number))
        assert twiml.parse(answer.text) == (twiml.Reject("rejected"),), number
        await target.logged(f"call {form['CallSid']} rejected: ")


async def test_a_webhook_too_large_or_of_another_kind_is_refused(target: Target) -> None:
    form = ringing()
    before = target.rss
    many = "&".join(f"f{number}=" for number in range(10_000))
    assert (await target.post("/twiml", form, body=many)).status_code in (400, 413)
    fields = "&".join(f"f{number}=" for number in range(300))
    assert (await target.post("/twiml", form, body=fields)).status_code == 400
    await target.logged("/twiml refused from 127.0.0.1: Too many fields")
    assert (await target.post("/twiml", form, body="x=" + "y" * 20_000)).status_code == 413
    for head in (b"Content-Length: 10485760", b"Transfer-Encoding: chunked"):
        await _pour(target, head, 10 * MB)
    for request, status in (
        (b"GET /twiml HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"PUT /twiml HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405),
        (b"POST /websocket HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 404),
        (b"POST /twiml?\xff\xfe HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 400),
        (b"POST /twiml HTTP/1.1\r\nHost: [::1\r\nContent-Length: 0\r\n\r\n", 415),
        (b"POST /twiml HTTP/1.1\r\nHost: x\xff/y\r\nContent-Length: 0\r\n\r\n", 415),
        (b"POST /twiml HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 415),
    ):
        assert await _answered(target, request) == status, request
    assert target.rss - before < 10 * MB


async def _pour(target: Target, head: bytes, size: int) -> None:
    """A form without end: cut off long before."""
    loop, sent = asyncio.get_running_loop(), 0
    request = b"POST /twiml HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n" + head
    piece = b"1000\r\n" + b"a" * 4096 + b"\r\n" if b"chunked" in head else b"a" * 4096
    with target.dial() as dialled, suppress(ConnectionError):
        dialled.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)  # else the kernel takes megabytes ahead of it
        await loop.sock_sendall(dialled, request + b"\r\n\r\n")
        async with asyncio.timeout(10):
            while sent < size:
                await loop.sock_sendall(dialled, piece)
                sent += 4096
    assert sent < 5 * MB, head


async def _answered(target: Target, request: bytes) -> int:
    """The status of the answer."""
    loop = asyncio.get_running_loop()
    with target.dial() as dialled:
        await loop.sock_sendall(dialled, request)
        async with asyncio.timeout(5):
            answer = await loop.sock_recv(dialled, 65536)
    return int(answer.split(b" ", 2)[1])


async def test_a_form_that_comes_byte_by_byte_is_cut_off(target: Target) -> None:
    """Fifty of them at once; and fifty that stop in the middle."""
    head = b"POST /twiml HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 500"
    drips = [_drip(target, head + b"\r\n\r\nCallSid=", drip_s) for drip_s in [0.5] * 50 + [60.0] * 50]
    assert max(await asyncio.gather(*drips)) < 6 + LATE_S


async def _drip(target: Target, request: bytes, drip_s: float) -> float:
    """Send `request`, then a byte at times, until it is closed; how long that took."""
    loop, began_s = asyncio.get_running_loop(), time.monotonic()

    async def send() -> None:
        while True:
            await loop.sock_sendall(dialled, b"C")
            await asyncio.sleep(drip_s)

    with target.dial() as dialled:
        await loop.sock_sendall(dialled, request)
        sending = asyncio.create_task(send())
        with suppress(ConnectionError):
            async with asyncio.timeout(20):
                while await loop.sock_recv(dialled, 65536):
                    pass
        sending.cancel()
        await asyncio.wait((sending,))
    return time.monotonic() - began_s


# --- streams that are not Twilio's, or not this call's

UPGRADES = {
    "no signature": ({"x_twilio_signature": "none"}, "not signed"),
    "a wrong one": ({"x_twilio_signature": "L/OH5YylLD5NRKLltdqwSvS0BnU="}, NOT_OURS),
    "for https": ({"url": f"{PUBLIC}/websocket"}, NOT_OURS),
    "for ws": ({"url": "ws://gw.example.com/websocket"}, NOT_OURS),
    "for a trailing slash": ({"url": "wss://gw.example.com/websocket/"}, NOT_OURS),
    "for another path": ({"url": "wss://gw.example.com/twiml"}, NOT_OURS),
    "for the host it names": ({"url": "wss://evil.example/websocket", "host": "evil.example"}, NOT_OURS),
    "for a host it was forwarded for": (
        {"url": "wss://evil.example/websocket", "x_forwarded_host": "evil.example"},
        NOT_OURS,
    ),
}


async def test_a_stream_that_is_not_twilios_is_refused(target: Target) -> None:
    for name, (changes, why) in UPGRADES.items():
        logged = target.log.count(f"/websocket refused from 127.0.0.1: {why}")
        with pytest.raises(InvalidStatus) as refusal:
            async with target.stream(**changes):
                pass
        assert refusal.value.response.status_code == 403, name
        assert target.log.count(f"/websocket refused from 127.0.0.1: {why}") == logged + 1, name


async def test_a_call_whose_twilio_signs_nothing_gets_no_stream(target: Target) -> None:
    """The whole call of somebody without our token: its webhook, and its stream with TwiML of its own."""
    async with target.call(faults=Faults(webhook_signature="bad")) as call:
        await call.until(lambda: call.ended)
        assert (call.streams, call.requests[0].status) == ([], 403)


async def test_a_stream_without_a_webhook_is_refused(target: Target) -> None:
    for token in ("", "x", "x" * 43, "*" * 43, "x" * 1000, "stream-token:x"):
        async with target.stream() as stream:
            await stream.send(start(sid := new_sid(), token))
            assert await closed(stream) == REFUSED, token
        await target.logged(f"call {sid}, stream MZ0a refused: {NO_TOKEN}")
        assert await target.keys(keys.call(sid)) == set(), token


async def test_a_token_is_good_once_for_its_own_call_and_for_30_s(target: Target) -> None:
    form, other, late = ringing(), ringing(), ringing()
    token = await target.token(form)
    async with target.stream() as first:
        await first.send(start(form["CallSid"], token))
        await target.logged(f"call {form['CallSid']}, stream MZ0a is session")
        async with target.stream() as second:
            await second.send(start(form["CallSid"], token))
            assert await closed(second) == REFUSED
        await first.send(message("stop", {}))
        assert await closed(first) == 1000
    token = await target.token(other)
    for sid in (form["CallSid"], other["CallSid"]):  # who guesses wrong burns it
        async with target.stream() as stream:
            await stream.send(start(sid, token))
            assert await closed(stream) == REFUSED
    token = await target.token(late)
    assert 0 < await target.ttl_s(keys.stream_token(token)) <= 30
    await target.redis.ask("PEXPIRE", keys.stream_token(token), 1)
    await asyncio.sleep(0.01)
    async with target.stream() as stream:
        await stream.send(start(late["CallSid"], token))
        assert await closed(stream) == REFUSED
    for sid, times in ((form["CallSid"], 2), (other["CallSid"], 1), (late["CallSid"], 1)):
        assert target.log.count(f"call {sid}, stream MZ0a refused: {NO_TOKEN}") == times


async def test_a_stream_of_another_account_is_refused_and_keeps_its_token(target: Target) -> None:
    form = ringing()
    token = await target.token(form)
    async with target.stream() as stream:
        await stream.send(start(form["CallSid"], token, account_sid="AC" + "6" * 32))
        assert await closed(stream) == REFUSED
    await target.logged(f"call {form['CallSid']}, stream MZ0a refused: of account 'AC666")
    async with target.stream() as stream:
        await stream.send(start(form["CallSid"], token, account_sid=ACCOUNT_SID))
        await target.logged(f"call {form['CallSid']}, stream MZ0a is session")
        await stream.send(message("stop", {}))
        assert await closed(stream) == 1000


async def test_a_replayed_webhook_opens_no_second_session(target: Target) -> None:
    """Twilio asks again when it had no answer; whoever has seen a webhook may, too. Four at once, twice."""
    form = ringing()
    sid = form["CallSid"]
    tokens = await asyncio.gather(*(target.token(form) for _ in range(4)))
    assert len(set(tokens)) == 4
    streams = [await target.stream() for _ in tokens]
    asking = [asyncio.create_task(target.token(form)) for _ in range(4)]
    await asyncio.gather(
        *(stream.send(start(sid, token)) for stream, token in zip(streams, tokens, strict=True)), *asking
    )
    await until(lambda: target.has_sessions(2), "one session beside the innocent caller's")
    for stream in streams:
        await stream.close()
    assert target.log.count(f"call {sid}, stream MZ0a is session") == 1
    over = {**form, "CallStatus": "completed"}
    assert (await target.post("/twiml/status", over)).status_code == 204


async def test_a_number_decides_whose_call_it_is(target: Target) -> None:
    """What a stream says of its tenant is nobody's business: the number that was signed counts."""
    form = ringing(To="+15550101")
    token = await target.token(form)
    async with target.stream() as stream:
        text = start(form["CallSid"], token).replace('"token":', '"tenant": "echo", "token":')
        await stream.send(text)
        await target.logged(f"call {form['CallSid']}, stream MZ0a is session")
        line = next(line for line in target.log.splitlines() if f"{form['CallSid']}, stream MZ0a is session" in line)
        assert line.endswith(", tenant other")
        await stream.send(message("stop", {}))
        assert await closed(stream) == 1000
