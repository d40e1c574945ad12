"""Whole calls by the stand-in: how they come, come back and end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from gateway import phone as module
from gateway.calls import KEEP_ENDED_S
from gateway.signatures import Account
from gateway.twilio_rest import TwilioApi as RestApi
from tests.standins.twilio import ACCOUNT_SID, AUTH_TOKEN, TwilioApi
from tests.unit.gateway.phone import Gateway, Start, clean, closed, ringing, start
from tests.waiting import until
from trunkline.audio.frame import silence
from trunkline.audio.g711 import ULAW_SILENCE
from trunkline.bus import keys
from trunkline.bus.codec import encode
from trunkline.bus.messages import Attached, Clear, Close, Control, DownlinkAudio, TurnEnd


async def test_a_call_from_webhook_to_hang_up(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    async with gateway.call() as call:
        stream = await call.connected()
        held = await gateway.held(call.sid)
        record = await gateway.record(call.sid)
        assert (record.tenant, record.transport, record.rate_hz, record.conversation_id) == (
            "acme",
            "twilio",
            8000,
            call.sid,
        )
        assert await gateway.redis.ask("XLEN", keys.dispatch("echo")) == 1
        await until(lambda: held.bridge.media_ms >= 100)
        await call.hang_up()
        assert call.ended == "caller hung up"
        assert call.errors == []
    await until(lambda: not len(gateway.sessions))
    known = await gateway.calls.read(call.sid)
    assert known is not None
    assert known.ended in ("hung_up", "completed")
    for wanted in (
        f"call {call.sid} rings: tenant acme",
        f"call {call.sid}, stream {stream.sid} is session {held.record.session}, tenant acme",
        f"call {call.sid}, stream {stream.sid}, session {held.record.session}: hung_up",
    ):
        assert wanted in caplog.text
    assert clean(caplog)


def speak(gateway: Gateway, session: str, *messages: Any) -> None:
    """As the session's worker, which has attached."""
    held = gateway.sessions._held[session]
    if not held.bridge.worker:
        held.bridge.receive(Attached(session, 1, "lane:w", 0))
    for message in messages:
        held.bridge.receive(message)


async def test_what_was_said_is_heard_and_what_was_heard_is_known(gateway: Gateway) -> None:
    async with gateway.call() as call:
        stream = await call.connected()
        held = await gateway.held(call.sid)
        session = held.record.session
        speak(
            gateway,
            session,
            *(DownlinkAudio(session, 1, n, 1, n * 200, b"\x00\x10" * 1600) for n in range(3)),
            TurnEnd(session, 1, 3, 1),
        )
        await call.until(lambda: len([mark for mark in stream.marks if mark.echoed_s]) == 6)
        await until(lambda: held.bridge.heard.done)
        assert (held.bridge.heard.turn, held.bridge.heard.played_ms) == (1, 600)
        assert stream.media_bytes == 600 * 8
        assert bytes([ULAW_SILENCE]) * 160 not in call.heard_pcm()
    assert call.errors == []


async def test_what_is_cleared_was_not_heard(gateway: Gateway) -> None:
    async with gateway.call() as call:
        stream = await call.connected()
        held = await gateway.held(call.sid)
        session = held.record.session
        speak(gateway, session, *(DownlinkAudio(session, 1, n, 1, n * 200, silence(200, 8000)) for n in range(10)))
        await call.until(lambda: len([mark for mark in stream.marks if mark.echoed_s]) >= 2)
        speak(gateway, session, Clear(session, 1, 10, 1))
        await call.until(lambda: stream.clears)
        assert call.buffered_ms == 0
        await call.until(lambda: all(mark.echoed_s for mark in stream.marks))
        heard_ms = held.bridge.heard.played_ms
        cleared = [int(mark.name.split(":")[2]) for mark in stream.marks if mark.cleared]
        assert cleared, "the lead was not heard yet"
        assert 100 <= heard_ms <= max(cleared), "the second mark may still be on its way"
        assert not held.bridge.active


async def test_a_dropped_stream_comes_back_with_its_session(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    async with gateway.call() as call:
        await call.connected()
        held = await gateway.held(call.sid)
        call.drop()
        second = await call.connected(number=2)
        await until(lambda: f"stream {second.sid} resumes session {held.record.session}" in caplog.text)
        assert await gateway.held(call.sid) is held
        assert held.record.link == 1
        assert len({stream.parameters["token"] for stream in call.streams}) == 2


async def test_a_call_comes_back_to_another_gateway_when_its_own_goes(gateways: Start) -> None:
    first, second = await gateways(), await gateways()
    async with first.call(behind=[first.origin, second.origin]) as call:
        await call.connected()
        session = (await first.held(call.sid)).record.session
        call.edge.behind = [second.origin]
        first.admission.draining = True
        first.door.send_away()
        with pytest.raises(InvalidStatus) as refused:
            async with first.stream():
                pass
        assert refused.value.response.status_code == 503
        await call.connected(number=2)
        assert (await second.held(call.sid)).record.session == session
        assert call.streams[0].close_code == 1012


async def test_a_newer_stream_takes_the_place_of_the_older(gateway: Gateway) -> None:
    form = ringing()
    first_token, second_token = await gateway.token(form), await gateway.token(form)
    async with gateway.stream() as first:
        await first.send(start(form["CallSid"], first_token))
        held = await gateway.held(form["CallSid"])
        async with gateway.stream() as second:
            await second.send(start(form["CallSid"], second_token))
            assert await closed(first) == 4409
            await until(lambda: held.bridge.link is not None)
            assert held.bridge.ended is None
            await second.send('{"event":"stop","streamSid":"MZ0a"}')
            assert await closed(second) == 1000
    assert held.bridge.ended == "hung_up"


async def test_a_session_moved_to_another_gateway_ends_the_stream_but_not_the_call(gateway: Gateway) -> None:
    form = ringing()
    async with gateway.stream() as stream:
        await stream.send(start(form["CallSid"], await gateway.token(form)))
        session = (await gateway.held(form["CallSid"])).record.session
        moved = encode([Control(session, "moved", {"link": 1})])
        await gateway.redis.ask("XADD", keys.lane(gateway.sessions.process_id), "*", b"b", moved)
        assert await closed(stream) == 4409
    known = await gateway.calls.read(form["CallSid"])
    assert known is not None
    assert known.ended == ""


async def test_a_session_that_redis_forgot_is_begun_anew(gateways: Start) -> None:
    first, second = await gateways(), await gateways()
    async with first.call(behind=[first.origin, second.origin]) as call:
        await call.connected()
        session = (await first.held(call.sid)).record.session
        await first.redis.ask("DEL", keys.session(session))
        call.edge.behind = [second.origin]
        call.drop()
        await call.connected(number=2)
        assert (await second.held(call.sid)).record.session != session


async def test_a_call_is_kept_known_when_redis_comes_back_empty(
    gateways: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_S", 0.01)
    gateway = await gateways()
    async with gateway.call() as call:
        await call.connected()
        session = (await gateway.held(call.sid)).record.session
        await gateway.redis.ask("DEL", keys.call(call.sid))
        async with asyncio.timeout(15):
            while (known := await gateway.calls.read(call.sid)) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (known.tenant, known.session) == ("acme", session)


# --- how it ends


async def test_a_transfer_is_dialled_once_and_by_the_action_alone(gateways: Start) -> None:
    async with TwilioApi() as api:
        gateway = await gateways(api_url=api.url)
        async with gateway.call() as call:
            api.attach(call)
            await call.connected()
            session = (await gateway.held(call.sid)).record.session
            speak(gateway, session, Close(session, 1, 0, "transferred", transfer_to="+15550123"))
            await call.until(lambda: call.ended)
        assert call.dialled == ["+15550123"]
        assert api.requests == []
        assert call.errors == []


async def test_a_transfer_whose_action_got_no_answer_is_dialled_when_the_call_rings_again(gateway: Gateway) -> None:
    """Twilio may be told to fall back on the number's own webhook."""
    async with gateway.call() as call:
        await call.connected()
        await gateway.calls.end(call.sid, "transferred", "+15550123")
        call.redirect(call.webhook_url)
        await call.until(lambda: call.ended)
    assert call.dialled == ["+15550123"]
    assert len(call.streams) == 1


async def test_what_is_said_last_is_heard_before_the_call_ends(gateway: Gateway) -> None:
    async with gateway.call() as call:
        stream = await call.connected()
        session = (await gateway.held(call.sid)).record.session
        last = (DownlinkAudio(session, 1, 0, 1, 0, b"\x00\x10" * 3200), TurnEnd(session, 1, 1, 1))
        speak(gateway, session, *last, Close(session, 1, 2, "assistant_ended"))
        await call.until(lambda: call.ended)
        assert call.ended == "hung up by TwiML"
        assert [mark.cleared for mark in stream.marks] == [False] * 4
        assert all(mark.echoed_s for mark in stream.marks)
    known = await gateway.calls.read(call.sid)
    assert known is not None
    assert known.ended == "assistant_ended"


async def test_where_an_account_is_configured_a_call_is_hung_up_by_rest(gateways: Start) -> None:
    async with TwilioApi() as api:
        gateway = await gateways(api_url=api.url)
        async with gateway.call() as call:
            api.attach(call)
            await call.connected()
            session = (await gateway.held(call.sid)).record.session
            speak(gateway, session, Close(session, 1, 0, "assistant_ended"))
            await call.until(lambda: call.ended)
            assert call.ended == "completed by the API"
        assert [(request.method, dict(request.form)) for request in api.requests] == [("POST", {"Status": "completed"})]


async def test_a_call_that_is_being_hung_up_is_not_kept_known(gateways: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_S", 0.01)
    async with TwilioApi() as api:
        gateway = await gateways(api_url=api.url)
        hang_up, ttl = RestApi.hang_up, list[int]()

        async def slowly(client: RestApi, call_sid: str) -> None:
            await asyncio.sleep(0.1)
            ttl.append(await gateway.redis.ask("TTL", keys.call(call_sid)))
            await hang_up(client, call_sid)

        monkeypatch.setattr(RestApi, "hang_up", slowly)
        async with gateway.call() as call:
            api.attach(call)
            await call.connected()
            session = (await gateway.held(call.sid)).record.session
            speak(gateway, session, Close(session, 1, 0, "assistant_ended"))
            await call.until(lambda: call.ended)
    assert 0 < ttl[0] <= KEEP_ENDED_S


async def test_a_rest_api_that_refuses_is_logged_and_the_call_ends_all_the_same(
    gateways: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async with TwilioApi() as api:
        gateway = await gateways(api_url=api.url, account=Account(ACCOUNT_SID, AUTH_TOKEN))
        api.rate_limited = True
        async with gateway.call() as call:
            api.attach(call)
            await call.connected()
            session = (await gateway.held(call.sid)).record.session
            speak(gateway, session, Close(session, 1, 0, "assistant_ended"))
            await call.until(lambda: call.ended)
            assert call.ended == "hung up by TwiML"
    assert "not hung up by REST, but by closing its stream" in caplog.text
    assert clean(caplog)


async def test_a_rest_api_out_of_reach_is_logged_too(gateways: Start, caplog: pytest.LogCaptureFixture) -> None:
    gateway = await gateways(api_url="http://127.0.0.1:1")
    async with gateway.call() as call:
        await call.connected()
        session = (await gateway.held(call.sid)).record.session
        speak(gateway, session, Close(session, 1, 0, "assistant_ended"))
        await call.until(lambda: call.ended)
        assert call.ended == "hung up by TwiML"
    assert "not hung up by REST" in caplog.text
    assert clean(caplog)


async def test_a_call_that_twilio_ends_is_not_hung_up_again(gateways: Start) -> None:
    async with TwilioApi() as api:
        gateway = await gateways(api_url=api.url)
        form = ringing()
        async with gateway.stream() as stream:
            await stream.send(start(form["CallSid"], await gateway.token(form)))
            await gateway.held(form["CallSid"])
            await gateway.post("/twiml/status", {**form, "CallStatus": "completed"})
            assert await closed(stream) == 1000
        assert api.requests == []


async def test_a_caller_whom_nobody_serves_hears_so_and_is_hung_up(
    gateways: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.sessions.SWEEP_S", 0.02)
    gateway = await gateways(attach_timeout_s=1)
    monkeypatch.setattr("gateway.sessions.apology", lambda rate_hz: b"\x00\x10" * 1600)
    async with gateway.call() as call:
        stream = await call.connected()
        await call.until(lambda: call.ended)
        assert call.ended == "hung up by TwiML"
        assert stream.media_bytes == 1600
    known = await gateway.calls.read(call.sid)
    assert known is not None
    assert known.ended == "no_worker"
