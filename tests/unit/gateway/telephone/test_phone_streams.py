"""Who may open a stream, and what may go wrong on it."""

from __future__ import annotations

import contextlib
import json

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway import phone as module
from tests.standins.twilio import Faults, faults
from tests.unit.gateway.phone import Gateway, Start, clean, closed, new_sid, ringing, start
from tests.waiting import until
from trunkline.errors import BusError

# --- who may come in


async def test_a_stream_that_is_not_signed_is_refused(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    for headers, why in (
        ({"x_twilio_signature": "none"}, "not signed"),
        ({"x_twilio_signature": "L/OH5YylLD5NRKLltdqwSvS0BnU="}, "signature is not ours"),
        ({"url": "https://gw.example.com/websocket"}, "signature is not ours"),
        ({"url": "wss://gw.example.com/websocket/"}, "signature is not ours"),
        ({"url": "wss://evil.example/websocket", "host": "evil.example"}, "signature is not ours"),
    ):
        caplog.clear()
        with pytest.raises(InvalidStatus) as refused:
            async with gateway.stream(**headers):
                pass
        assert refused.value.response.status_code == 403
        assert "/websocket refused from 127.0.0.1: " in caplog.text
        assert why in caplog.text
    assert clean(caplog)


async def test_a_stream_signed_with_the_port_it_was_given(gateways: Start) -> None:
    gateway = await gateways(public_url="https://gw.example.com:8443")
    async with gateway.stream(url="wss://gw.example.com:8443/websocket"):
        pass


async def test_a_stream_without_a_webhook_is_refused(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    for token in ("", "x" * 43, "x" * 1000, "stream-token:x", "\u00e9" * 30):
        async with gateway.stream() as stream:
            await stream.send(start(new_sid(), token))
            assert await closed(stream) == 4401
    assert caplog.text.count("its token is missing, used, too old, or another call's") == 5
    assert len(gateway.sessions) == 0
    assert clean(caplog)


async def test_a_token_is_good_once(gateway: Gateway) -> None:
    form = ringing()
    token = await gateway.token(form)
    async with gateway.stream() as first, gateway.stream() as second:
        await first.send(start(form["CallSid"], token))
        held = await gateway.held(form["CallSid"])
        await second.send(start(form["CallSid"], token))
        assert await closed(second) == 4401
        assert held.bridge.link is not None, "the call goes on"


async def test_a_token_is_good_for_its_own_call_and_burnt_by_another(gateway: Gateway) -> None:
    form, other = ringing(), ringing()
    token = await gateway.token(form)
    await gateway.token(other)
    async with gateway.stream() as stream:
        await stream.send(start(other["CallSid"], token))
        assert await closed(stream) == 4401
    async with gateway.stream() as stream:
        await stream.send(start(form["CallSid"], token))
        assert await closed(stream) == 4401
    assert len(gateway.sessions) == 0


async def test_a_stream_of_another_account_is_refused(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    form = ringing()
    token = await gateway.token(form)
    async with gateway.stream() as stream:
        await stream.send(start(form["CallSid"], token, account_sid="AC" + "6" * 32))
        assert await closed(stream) == 4401
    assert "of account 'AC666" in caplog.text


async def test_a_stream_that_does_not_start_is_closed(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPENING_S", 0.05)
    async with gateway.stream() as stream:
        await stream.send('{"event":"connected"}')
        assert await closed(stream) == 4408


async def test_a_gateway_takes_no_more_than_it_may(gateways: Start) -> None:
    gateway = await gateways(max_connections=1)
    async with gateway.stream():
        with pytest.raises(InvalidStatus) as refused:
            async with gateway.stream():
                pass
    assert refused.value.response.status_code == 503


# --- what may go wrong on the way


async def test_a_message_of_10_mb_ends_its_own_stream_only(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    form = ringing()
    async with gateway.call() as other:
        await other.connected()
        stream = await gateway.stream()  # no `async with`: websockets closes no connection that was lost in a message
        await stream.send(start(form["CallSid"], await gateway.token(form)))
        held = await gateway.held(form["CallSid"])
        with contextlib.suppress(ConnectionClosed):
            await stream.send(faults.huge_message("MZ0a"))
        assert await closed(stream) in (1009, 1006)
        await until(lambda: held.bridge.link is None)
        assert held.bridge.ended is None, "the call may come back"
        assert other.stream is not None
    assert clean(caplog)


async def test_what_is_no_message_is_counted_and_the_call_goes_on(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = Faults(two_starts=True, garble_every=10, wrong_sid_every=15, duplicate_every=5, swap_every=7)
    async with gateway.call(faults=wrong) as call:
        stream = await call.connected()
        held = await gateway.held(call.sid)
        for message in (faults.unknown_event(stream.sid), faults.binary_frame(), "nonsense", "[]"):
            call.inject(message)
        await until(lambda: held.bridge.media_ms > 1000)
        assert call.stream is stream
        await call.hang_up()
    await until(lambda: "wrong messages" in caplog.text)
    assert caplog.text.count(": a wrong message: ") == 1, "the first; the rest is counted"
    assert clean(caplog)


async def test_too_much_that_is_wrong_ends_the_call(gateway: Gateway) -> None:
    async with gateway.call(faults=Faults(garble_every=1)) as call:
        stream = await call.connected()
        await call.until(lambda: call.ended)
        assert stream.close_code == 4400
        assert call.ended == "hung up by TwiML"


async def test_a_stolen_start_gets_no_audio(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    async with gateway.call() as call:
        stolen = (await call.connected()).start
        await gateway.held(call.sid)
        async with gateway.call(faults=Faults(replayed_start=stolen)) as thief:
            stream = await thief.connected()
            await thief.until(lambda: stream.ended_s)
            assert stream.close_code == 4401
        assert call.stream is not None
    assert clean(caplog)


async def test_media_before_its_start_is_none(gateway: Gateway) -> None:
    async with gateway.stream() as stream:
        message = {"event": "media", "streamSid": "MZ0a", "media": {"chunk": "1", "timestamp": "1", "payload": "/w=="}}
        await stream.send(json.dumps(message))
        assert await closed(stream) == 4400


async def test_while_redis_is_away_a_stream_is_closed_and_its_call_asks_again(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    form = ringing()
    token = await gateway.token(form)

    async def away(*command: object) -> None:
        raise BusError("Redis: away")

    with monkeypatch.context() as patch:
        patch.setattr(gateway.redis, "ask", away)
        async with gateway.stream() as stream:
            await stream.send(start(form["CallSid"], token))
            assert await closed(stream) == 4500
    async with gateway.stream() as stream:
        await stream.send(start(form["CallSid"], await gateway.token(form, "/twiml/return")))
        await gateway.held(form["CallSid"])
    assert clean(caplog)
