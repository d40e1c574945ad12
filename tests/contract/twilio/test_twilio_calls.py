"""The Twilio stand-in's calls, held to the official twilio package and to what PROTOCOLS section 6 says of the wire."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable

import pytest
from websockets.utils import accept_key

from tests.contract.twilio.caller import LOUD, dial, numbers, played
from tests.standins.twilio import ACCOUNT_SID, Call, CallOver, stream
from tests.standins.twilio.edge import sign
from tests.standins.twilio.gateway import MEDIA, PUBLIC, Gateway, answer, running, silent
from tests.standins.twilio.playout import FRAME_BYTES
from trunkline.audio.g711 import ulaw_to_pcm


async def test_what_the_caller_says_comes_back(gateway: Gateway) -> None:
    async with dial(gateway) as call:
        await call.connected()
        said = call.say(ulaw_to_pcm(LOUD * 10))
        await call.until(lambda: LOUD * 10 in played(call))
    assert said.ended_s - said.began_s == pytest.approx(0.2)
    heard_s = [frame.began_s for frame in call.heard.frames() if frame.ulaw == LOUD]
    assert heard_s[0] > said.began_s + 0.019, "a frame is sent when it has been said"
    assert call.heard_pcm(heard_s[0], heard_s[0] + 0.02) == ulaw_to_pcm(LOUD)
    assert call.ended == "caller hung up"
    assert not call.errors
    assert not gateway.forged


def test_known_signatures() -> None:
    params = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675310",
        "Digits": "1234",
        "From": "+14158675310",
        "To": "+18005551212",
    }
    signed = sign("12345", "https://example.com/myapp.php?foo=1&bar=2", params)
    assert signed == {"X-Twilio-Signature": "L/OH5YylLD5NRKLltdqwSvS0BnU="}
    upgrade = sign("12345", "wss://gw.example.com/twilio/media", {})
    assert upgrade == {"X-Twilio-Signature": "xOtUNom2O6Ixz0xt8ODDv8MkQUY="}
    assert sign("12345", MEDIA, {}, "missing") == {}
    assert sign("12345", MEDIA, {}, "bad") != sign("12345", MEDIA, {})


async def test_the_webhook_is_a_whole_signed_form(gateway: Gateway) -> None:
    async with dial(gateway, to="+15550123", from_="anonymous", fields={"FieldOfTomorrow": "a & b"}) as call:
        await call.connected()
        form = gateway.at("/twiml")[0]
    assert not gateway.forged
    assert form["CallSid"] == call.sid
    assert (form["To"], form["From"], form["CallStatus"]) == ("+15550123", "anonymous", "ringing")
    assert (form["AccountSid"], form["ApiVersion"], form["Direction"]) == (ACCOUNT_SID, "2010-04-01", "inbound")
    assert form["FieldOfTomorrow"] == "a & b"
    assert form["FromCity"] == "", "an empty field is sent, and signed"


async def test_the_stream_begins_as_documented(gateway: Gateway) -> None:
    gateway.pages["/twiml"] = answer(tenant="acme & co", token="t<1>")
    gateway.reply = silent
    async with dial(gateway) as call:
        record = await call.connected()
        call.dtmf("5")
        await call.until(lambda: len(gateway.sockets[0].of("media")) >= 5 and gateway.sockets[0].of("dtmf"))
    socket = gateway.sockets[0]
    assert socket.messages[0] == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert socket.messages[1] == {
        "event": "start",
        "sequenceNumber": "1",
        "streamSid": record.sid,
        "start": {
            "accountSid": ACCOUNT_SID,
            "callSid": call.sid,
            "streamSid": record.sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"tenant": "acme & co", "token": "t<1>"},
        },
    }
    assert [message["sequenceNumber"] for message in socket.messages[1:]] == numbers(1, len(socket.messages) - 1)
    media = [message["media"] for message in socket.of("media")]
    assert [part["chunk"] for part in media] == numbers(1, len(media))
    assert [part["timestamp"] for part in media] == [str(20 * place) for place in range(len(media))]
    assert {base64.b64decode(part["payload"]) for part in media} == {b"\xff" * FRAME_BYTES}, "silence"
    assert socket.of("dtmf")[0]["dtmf"] == {"track": "inbound_track", "digit": "5"}


async def test_a_mark_comes_back_when_its_audio_has_played(gateway: Gateway) -> None:
    gateway.reply = silent
    async with dial(gateway) as call:
        record = await call.connected()
        await call.until(lambda: gateway.sockets[0].sid)
        socket = gateway.sockets[0]
        await socket.mark("at once")
        await call.until(lambda: socket.of("mark"))
        for name in ("first", "second"):
            await socket.play(LOUD * 10)
            await socket.mark(name)
        await call.until(lambda: len(socket.of("mark")) == 3)
    assert [message["mark"]["name"] for message in socket.of("mark")] == ["at once", "first", "second"]
    played = [frame for frame in call.heard.frames() if frame.queued]
    assert b"".join(frame.ulaw for frame in played) == LOUD * 20
    for mark, place in zip(record.marks[1:], (9, 19), strict=True):
        assert mark.echoed_s is not None
        assert mark.echoed_s > played[place].ended_s - 0.001, "not before the end of its last frame"
        assert not mark.cleared


async def test_clear_drops_what_waits_and_sends_every_mark_back(gateway: Gateway) -> None:
    gateway.reply = silent
    after = bytes([0x90]) * FRAME_BYTES * 5
    async with dial(gateway) as call:
        record = await call.connected()
        await call.until(lambda: gateway.sockets[0].sid)
        socket = gateway.sockets[0]
        await socket.play(LOUD * 500)
        await socket.mark("one")
        await socket.play(LOUD * 500)
        await socket.mark("two")
        await call.until(lambda: LOUD in call.heard.ulaw)
        await socket.clear()
        await socket.play(after)
        await call.until(lambda: after in call.heard.ulaw)
        await call.until(lambda: len(socket.of("mark")) == 2)
    assert [message["mark"]["name"] for message in socket.of("mark")] == ["one", "two"]
    assert all(mark.cleared and mark.echoed_s is not None for mark in record.marks)
    assert len(record.clears) == 1
    assert call.heard.ulaw.count(LOUD) < 500, "neither mark was reached"
    assert record.media_bytes == 1005 * FRAME_BYTES


async def test_the_caller_hangs_up(gateway: Gateway) -> None:
    gateway.pages["/twiml"] = answer(action="/return", status_callback=f"{PUBLIC}/stream-status")
    async with dial(gateway, status_url=f"{PUBLIC}/call-status") as call:
        record = await call.connected()
        await call.hang_up()
        assert call.status == "completed"
    socket = gateway.sockets[0]
    assert socket.messages[-1]["event"] == "stop"
    assert socket.messages[-1]["stop"] == {"accountSid": ACCOUNT_SID, "callSid": call.sid}
    assert (record.ended_by, record.close_code, socket.close_code) == ("caller", 1000, 1000)
    events = [(form["StreamEvent"], form["StreamSid"], form["StreamName"]) for form in gateway.at("/stream-status")]
    assert events == [("stream-started", record.sid, "s1"), ("stream-stopped", record.sid, "s1")]
    assert [(form["CallSid"], form["CallStatus"]) for form in gateway.at("/call-status")] == [(call.sid, "completed")]
    assert not gateway.at("/return"), "who hung up is not asked back"
    assert not gateway.forged
    with pytest.raises(CallOver):
        await call.until(lambda: False)


async def test_the_gateway_closes_and_the_action_brings_the_call_back(gateway: Gateway) -> None:
    gateway.pages["/twiml"] = answer(action="/return?try=1")
    gateway.pages["/return"] = answer(action="/bye")
    async with dial(gateway) as call:
        first = await call.connected()
        await gateway.sockets[0].websocket.close(1001)
        second = await call.connected(number=2)
        await call.until(lambda: gateway.sockets[1].of("media"))
        await gateway.sockets[1].websocket.close()
        await call.until(lambda: call.ended)
    assert (first.ended_by, first.close_code) == ("gateway", 1001)
    assert first.sid != second.sid
    assert not gateway.sockets[0].of("stop")
    start = gateway.sockets[1].of("start")[0]
    assert (start["sequenceNumber"], start["start"]["callSid"]) == ("1", call.sid)
    assert gateway.at("/return")[0]["CallStatus"] == "in-progress"
    assert gateway.at("/bye")
    assert call.ended == "hung up by TwiML"
    assert not gateway.forged


async def test_a_dropped_connection_returns_after_twilios_own_time(gateway: Gateway) -> None:
    gateway.reply = silent
    gateway.pages["/twiml"] = (
        f'<Response><Connect><Stream url="{MEDIA}"/></Connect>'
        f'<Redirect method="POST">{PUBLIC}/return</Redirect></Response>'
    )
    async with dial(gateway, return_ms=600) as call:
        first = await call.connected()
        call.drop()
        await call.until(lambda: first.ended_s)
        call.say_ulaw(LOUD * 5)
        second = await call.connected(number=2)
        await call.until(lambda: len(gateway.sockets[1].of("media")) > 5)
    assert first.ended_by == "drop"
    assert first.ended_s is not None
    assert second.began_s - first.ended_s > 0.59
    assert first.close_code == 1006
    assert gateway.sockets[0].close_code in (1005, 1006), "it went without a closing handshake"
    assert not gateway.sockets[0].of("stop")
    spoken = [message["media"]["payload"] for message in gateway.sockets[1].of("media")]
    assert base64.b64encode(LOUD).decode() not in spoken, "what is said to nobody is lost"


async def test_a_request_goes_to_the_gateway_that_is_there(gateway: Gateway) -> None:
    async with (
        running(Gateway()) as other,
        dial(gateway, behind=["http://127.0.0.1:9", gateway.origin, other.origin]) as call,
    ):
        gateway.pages["/twiml"] = answer(action="/return")
        await call.connected()
        call.edge.behind.remove(gateway.origin)
        call.drop()
        await call.connected(number=2)
    assert (len(gateway.sockets), len(other.sockets)) == (1, 1)
    assert other.at("/return")[0]["CallSid"] == call.sid


async def test_nobody_answers() -> None:
    async with Call("http://127.0.0.1:9/twiml") as call:
        with pytest.raises(CallOver, match="no connection"):
            await call.connected()
    assert call.status == "completed"
    assert call.requests[0].status is None


VERBS = {
    "reject": ('<Reject reason="busy"/>', "rejected: busy", "busy"),
    "hangup": ("<Say>Goodbye</Say><Hangup/>", "hung up by TwiML", "completed"),
    "end": ('<Pause length="0"/>', "the TwiML came to its end", "completed"),
    "dial": ("<Dial><Number>+15550001</Number></Dial>", "dialled +15550001", "completed"),
    "loop": ("<Redirect>/twiml</Redirect>", "more than 100 documents", "completed"),
}


@pytest.mark.parametrize("name", VERBS)
async def test_verbs_that_end_a_call(gateway: Gateway, name: str) -> None:
    verbs, ended, status = VERBS[name]
    gateway.pages["/twiml"] = f"<Response>{verbs}</Response>"
    async with dial(gateway, status_url=f"{PUBLIC}/call-status") as call:
        await call.until(lambda: call.ended)
    assert (call.ended, call.status) == (ended, status)
    assert gateway.at("/call-status")[0]["CallStatus"] == status
    assert call.told == (["Goodbye"] if name == "hangup" else [])


async def test_what_answers_a_call(gateway: Gateway) -> None:
    gateway.pages["/2"] = "<Response><Hangup/></Response>"
    for number, verb in enumerate(('<Pause length="0"/>', "<Say>Hi</Say>")):
        gateway.pages[f"/{number}"] = f"<Response>{verb}<Redirect>/{number + 1}</Redirect></Response>"
    async with Call(f"{gateway.origin}/0", public_origin=PUBLIC) as call:
        await call.until(lambda: call.ended)
    assert [gateway.at(f"/{number}")[0]["CallStatus"] for number in range(3)] == ["ringing", "ringing", "in-progress"]


async def test_a_hang_up_at_any_moment(gateway: Gateway) -> None:
    gateway.pages["/twiml"] = answer(action="/return", status_callback=f"{PUBLIC}/stream-status")
    for delay_ms in (0, 1, 2, 3, 5, 8, 13, 21, 34):
        async with dial(gateway) as call:
            await asyncio.sleep(delay_ms / 1000)
            await call.hang_up()
        assert call.ended == "caller hung up"
        assert not call.errors
        assert all(stream.ended_by == "caller" for stream in call.streams)
    assert not gateway.at("/return")


async def test_a_gateway_that_does_not_answer_the_closing_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CLOSE_S", 0.2)
    gone = asyncio.Event()

    async def upgrade_and_hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = re.search(r"Sec-WebSocket-Key: (\S+)", request)
        assert key is not None
        lines = ("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade")
        writer.write("\r\n".join((*lines, f"Sec-WebSocket-Accept: {accept_key(key[1])}", "", "")).encode())
        await gone.wait()
        writer.close()

    async with await asyncio.start_server(upgrade_and_hang, "127.0.0.1", 0) as server:
        origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Call(f"{origin}/twiml", public_origin=PUBLIC, twiml_text=answer()) as call:
            record = await call.connected()
            await call.hang_up()
        gone.set()
    assert (record.ended_by, record.close_code) == ("caller", 1006)


async def test_a_test_that_fails_ends_its_call(gateway: Gateway) -> None:
    async def wait_for(predicate: Callable[[], object]) -> None:
        async with dial(gateway) as call:
            await call.connected()
            await call.until(predicate, 0.1)

    with pytest.raises(ZeroDivisionError):
        await wait_for(lambda: 1 / 0)
    with pytest.raises(TimeoutError, match="in-progress"):
        await wait_for(lambda: False)


# --- many


async def test_twenty_calls_in_one_process(gateway: Gateway) -> None:
    async def talk(number: int) -> Call:
        word = bytes([0x80 + number]) * FRAME_BYTES * 10
        async with dial(gateway) as call:
            await call.connected()
            call.say_ulaw(word)
            await call.until(lambda: word in played(call))
        return call

    calls = await asyncio.gather(*(talk(number) for number in range(20)))
    assert {call.ended for call in calls} == {"caller hung up"}
    assert len({call.sid for call in calls}) == 20
    assert not gateway.forged
