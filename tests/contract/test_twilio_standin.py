"""The Twilio stand-in, held to the official twilio package and to what PROTOCOLS section 6 says of the wire.

A small gateway answers it: TwiML by the package's builders, every signature checked by its validator.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client
from twilio.twiml.voice_response import Dial, VoiceResponse
from websockets.utils import accept_key

from tests.standins.twilio import ACCOUNT_SID, AUTH_TOKEN, Call, CallOver, Faults, TwilioApi, TwimlError, stream, twiml
from tests.standins.twilio.edge import sign
from tests.standins.twilio.faults import HUGE_BYTES, binary_frame, huge_message, unknown_event
from tests.standins.twilio.gateway import MEDIA, PUBLIC, Gateway, Message, answer, running, silent
from tests.standins.twilio.playout import FRAME_BYTES, MAX_BUFFERED, Heard, Playout
from trunkline.audio.g711 import pcm_to_ulaw, ulaw_to_pcm

LOUD = bytes([0x80]) * FRAME_BYTES
"""20 ms of the loudest mu-law."""


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with running(Gateway()) as gateway:
        yield gateway


def dial(gateway: Gateway, **options: Any) -> Call:
    return Call(f"{gateway.origin}/twiml", public_origin=PUBLIC, **options)


def played(call: Call) -> bytes:
    """All mu-law of the gateway's that was heard, without the silence in between: a busy machine makes gaps."""
    return b"".join(frame.ulaw[: frame.queued] for frame in call.heard.frames())


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


# ---- The REST API, by the official client.


class Rewritten:
    """The official HTTP client, led to the stand-in."""

    is_async = False

    def __init__(self, url: str) -> None:
        self.inner = TwilioHttpClient()
        self._url = url

    def request(self, method: str, url: str, **options: Any) -> Any:
        return self.inner.request(method, url.replace("https://api.twilio.com", self._url), **options)


class Rest:
    """The official client, in threads. (Its asynchronous client uses what aiohttp 3.14 warns of.)"""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def update(self, call_sid: str, **update: str) -> Any:
        return await asyncio.to_thread(self._client.calls(call_sid).update, **update)

    async def fetch(self, call_sid: str) -> Any:
        return await asyncio.to_thread(self._client.calls(call_sid).fetch)


@contextlib.contextmanager
def rest(api: TwilioApi, token: str = AUTH_TOKEN) -> Iterator[Rest]:
    http = Rewritten(api.url)
    with http.inner.session:
        yield Rest(Client(ACCOUNT_SID, token, http_client=http))


@contextlib.asynccontextmanager
async def rest_of(call: Call) -> AsyncIterator[tuple[TwilioApi, Rest]]:
    """The API of one call, and a client of it."""
    async with call, TwilioApi(calls=[call]) as api:
        with rest(api) as client:
            yield api, client


async def test_a_transfer_by_the_api(gateway: Gateway) -> None:
    gateway.pages["/twiml"] = answer(action="/return")
    response, transfer = VoiceResponse(), Dial(timeout=20, caller_id="+15550100")
    transfer.number("+15550001")
    response.append(transfer)
    call = dial(gateway)
    async with rest_of(call) as (api, client):
        record = await call.connected()
        updated = await client.update(call.sid, twiml=str(response))
        assert (updated.sid, updated.status, updated.to) == (call.sid, "in-progress", call.to)
        assert updated.date_created.tzinfo is not None
        await call.until(lambda: call.ended)
        with pytest.raises(TwilioRestException, match="not in-progress") as refused:
            await client.update(call.sid, status="completed")
    assert refused.value.code == 21220
    assert call.dialled == ["+15550001"]
    assert record.ended_by == "api"
    assert gateway.sockets[0].messages[-1]["event"] == "stop"
    assert not gateway.at("/return"), "the new TwiML replaces the action"
    assert api.requests[0].form == {"Twiml": str(response)}


async def test_a_call_is_sent_elsewhere_and_ended_by_the_api(gateway: Gateway) -> None:
    call = dial(gateway)
    async with rest_of(call) as (_, client):
        first = await call.connected()
        await client.update(call.sid, url=f"{PUBLIC}/return?why=moved", method="GET")
        second = await call.connected(number=2)
        assert gateway.at("/return")[0]["why"] == "moved"
        assert gateway.at("/return")[0]["CallSid"] == call.sid
        await client.update(call.sid, status="completed")
        await call.until(lambda: call.ended)
        fetched = await client.fetch(call.sid)
    assert fetched.status == "completed"
    assert (first.ended_by, second.ended_by, call.ended) == ("api", "api", "completed by the API")
    assert not gateway.forged


async def test_what_the_api_refuses(gateway: Gateway) -> None:
    async with TwilioApi() as api:
        with rest(api) as client, rest(api, "wrong") as stranger:
            assert await refusal(client, status="completed") == (404, 20404)
            assert await refusal(stranger, status="completed") == (401, 20003)
            api.rate_limited = True
            assert await refusal(client, status="completed") == (429, 20429)
            api.rate_limited = False
            async with dial(gateway, call_sid="CA0") as call:
                api.attach(call)
                await call.connected()
                assert await refusal(client, url="no-address") == (400, 21205)
                assert await refusal(client, status="canceled") == (400, 20001)
                assert await refusal(client, status="completed", twiml="<Response/>") == (400, 20001)
                assert call.stream is not None, "nothing of this touched the call"
    assert [request.status for request in api.requests] == [404, 401, 429, 400, 400, 400]


async def refusal(client: Rest, **update: str) -> tuple[int, int]:
    with pytest.raises(TwilioRestException) as refused:
        await client.update("CA0", **update)
    return refused.value.status, refused.value.code


# ---- Faults, as the gateway sees them.


async def media_under(gateway: Gateway, faults: Faults, count: int = 12) -> list[Message]:
    gateway.reply = silent
    async with dial(gateway, faults=faults) as call:
        await call.connected()
        await call.until(lambda: len(gateway.sockets[0].of("media")) >= count)
    return gateway.sockets[0].of("media")[:count]


async def test_media_twice(gateway: Gateway) -> None:
    media = await media_under(gateway, Faults(duplicate_every=3))
    assert [message["media"]["chunk"] for message in media[:8]] == ["1", "2", "3", "3", "4", "5", "6", "6"]
    assert media[2] == media[3]


async def test_media_out_of_order(gateway: Gateway) -> None:
    media = await media_under(gateway, Faults(swap_every=3))
    assert [message["media"]["chunk"] for message in media[:7]] == ["1", "2", "4", "3", "5", "7", "6"]
    assert [message["sequenceNumber"] for message in media[:4]] == ["2", "3", "5", "4"]
    assert [message["media"]["timestamp"] for message in media[:4]] == ["0", "20", "60", "40"]


async def test_media_with_holes(gateway: Gateway) -> None:
    media = await media_under(gateway, Faults(hole_every=2, hole_ms=100))
    assert [message["media"]["timestamp"] for message in media[:5]] == ["0", "20", "140", "160", "280"]
    assert [message["media"]["chunk"] for message in media[:5]] == ["1", "2", "3", "4", "5"]


async def test_counters_that_are_words_and_another_streams_name(gateway: Gateway) -> None:
    media = await media_under(gateway, Faults(garble_every=2, wrong_sid_every=3))
    assert media[1]["sequenceNumber"] == "next"
    assert (media[1]["media"]["chunk"], media[1]["media"]["timestamp"]) == ("first", "soon")
    assert media[2]["sequenceNumber"] == "4"
    assert media[2]["streamSid"] != gateway.sockets[0].sid == media[0]["streamSid"]


async def test_marks_that_never_come_back(gateway: Gateway) -> None:
    gateway.reply = silent
    async with dial(gateway, faults=Faults(never_echo_marks=True)) as call:
        record = await call.connected()
        await call.until(lambda: gateway.sockets[0].sid)
        await gateway.sockets[0].mark("at once")
        await gateway.sockets[0].play(LOUD)
        await gateway.sockets[0].mark("played")
        await gateway.sockets[0].clear()
        await call.until(lambda: record.clears)
    assert [mark.echoed_s for mark in record.marks] == [None, None]
    assert not gateway.sockets[0].of("mark")


async def test_a_late_start_and_two_starts(gateway: Gateway) -> None:
    async with dial(gateway, faults=Faults(late_start_s=0.3, two_starts=True)) as call:
        record = await call.connected()
        await call.until(lambda: gateway.sockets[0].of("media"))
    assert record.opened_s is not None
    assert record.opened_s - record.began_s > 0.29
    assert [message["event"] for message in gateway.sockets[0].messages[:4]] == ["connected", "start", "start", "media"]
    assert [message["sequenceNumber"] for message in gateway.sockets[0].messages[1:4]] == ["1", "2", "3"]


async def test_messages_no_gateway_expects(gateway: Gateway) -> None:
    gateway.reply = silent
    async with dial(gateway) as call:
        record = await call.connected()
        for message in (unknown_event(record.sid), huge_message(record.sid), binary_frame()):
            call.inject(message)
        await call.until(lambda: gateway.sockets[0].binary)
    socket = gateway.sockets[0]
    assert socket.of("weather")[0]["streamSid"] == record.sid
    assert any(len(text) > HUGE_BYTES for text in socket.texts)
    assert socket.binary == [binary_frame()]


@pytest.mark.parametrize("signature", ["bad", "missing"])
async def test_signatures_that_must_be_refused(gateway: Gateway, signature: Any) -> None:
    async with dial(gateway, faults=Faults(webhook_signature=signature)) as call:
        with pytest.raises(CallOver, match="403"):
            await call.connected()
    assert gateway.forged == ["/twiml"]
    gateway.pages["/twiml"] = answer(action="/bye", status_callback=f"{PUBLIC}/stream-status")
    async with dial(gateway, faults=Faults(upgrade_signature=signature)) as call:
        await call.until(lambda: call.ended)
    assert gateway.forged == ["/twiml", "/media"]
    assert (call.streams[0].refused_status, call.streams[0].ended_by) == (403, "refused")
    assert call.ended == "hung up by TwiML", "a refused stream goes on like one that has ended"
    assert [(form["StreamEvent"], form["StreamError"]) for form in gateway.at("/stream-status")] == [
        ("stream-error", "31920")
    ]


async def test_a_replayed_start_and_a_stream_without_a_webhook(gateway: Gateway) -> None:
    async with dial(gateway) as call:
        first = await call.connected()
    async with dial(gateway, twiml_text=answer(), faults=Faults(replayed_start=first.start)) as thief:
        second = await thief.connected()
        await thief.until(lambda: gateway.sockets[1].of("media"))
    assert len(gateway.at("/twiml")) == 1
    assert thief.sid != call.sid
    assert second.sid == first.sid == gateway.sockets[1].of("media")[0]["streamSid"]
    assert gateway.sockets[0].texts[1] == gateway.sockets[1].texts[1] == first.start


# ---- What a gateway may not do.

BREACHES: dict[str, tuple[int, str | bytes]] = {
    "binary": (31924, b"\xff" * FRAME_BYTES),
    "not json": (31951, "hello"),
    "a long word": (31951, '{"event":"' + "\u00fc" * 200 + '"}'),
    "unknown event": (31951, '{"event":"pause","streamSid":"SID"}'),
    "another stream": (31951, '{"event":"clear","streamSid":"MZ0"}'),
    "no stream": (31951, '{"event":"clear"}'),
    "more keys": (31951, '{"event":"clear","streamSid":"SID","turn":1}'),
    "a track": (31951, '{"event":"media","streamSid":"SID","media":{"track":"outbound","payload":"fw=="}}'),
    "bad base64": (31951, '{"event":"media","streamSid":"SID","media":{"payload":"f?=="}}'),
    "no payload": (31951, '{"event":"media","streamSid":"SID","media":{}}'),
    "a wav file": (31951, '{"event":"media","streamSid":"SID","media":{"payload":"UklGRiQAAABXQVZF"}}'),
    "a mark without name": (31951, '{"event":"mark","streamSid":"SID","mark":{"name":7}}'),
}


@pytest.mark.parametrize("breach", BREACHES)
async def test_a_breach_of_the_protocol_closes_the_socket(gateway: Gateway, breach: str) -> None:
    gateway.pages["/twiml"] = answer(action="/bye")
    code, message = BREACHES[breach]
    async with dial(gateway) as call:
        record = await call.connected()
        await call.until(lambda: gateway.sockets[0].sid)
        websocket = gateway.sockets[0].websocket
        if isinstance(message, bytes):
            await websocket.send_bytes(message)
        else:
            await websocket.send_text(message.replace("SID", record.sid))
        await call.until(lambda: call.ended)
    assert (record.error_code, record.ended_by) == (code, "error")
    assert record.errors == call.errors
    assert len(record.errors) == 1
    assert gateway.sockets[0].close_code == 1008
    assert call.ended == "hung up by TwiML"


BAD_TWIML = {
    "not XML": "Hello",
    "document type": "<!DOCTYPE x><Response/>",
    "root": "<Answer/>",
    "not known": "<Response><Connnect/></Response>",
    "0 nouns": "<Response><Connect/></Response>",
    "2 nouns": '<Response><Connect><Stream url="wss://a/b"/><Stream url="wss://a/b"/></Connect></Response>',
    "<Stream> is not known": '<Response><Stream url="wss://a/b"/></Response>',
    "absolute wss": '<Response><Connect><Stream url="/media"/></Connect></Response>',
    "not wss": '<Response><Connect><Stream url="ws://gw.example.com/b"/></Connect></Response>',
    "query": '<Response><Connect><Stream url="wss://a/b?token=1"/></Connect></Response>',
    "31941": '<Response><Connect><Stream url="wss://a/b" track="both_tracks"/></Connect></Response>',
    "no attribute": '<Response><Connect><Stream url="wss://a/b" sampleRate="8000"/></Connect></Response>',
    "characters": answer(token="x" * 495),
    "needs a name": '<Response><Connect><Stream url="wss://a/b"><Parameter name="t"/></Stream></Connect></Response>',
    "absolute http": '<Response><Connect><Stream url="wss://a/b" statusCallback="/s"/></Connect></Response>',
    "no place": "<Response>Hello</Response>",
    "empty": "<Response><Redirect/></Response>",
    "none of POST, GET": '<Response><Redirect method="PUT">/a</Redirect></Response>',
    "needs a number": "<Response><Dial/></Response>",
    "whole number": '<Response><Pause length="soon"/></Response>',
}


@pytest.mark.parametrize("problem", BAD_TWIML)
def test_twiml_that_twilio_refuses(problem: str) -> None:
    with pytest.raises(TwimlError, match=problem):
        twiml.parse(BAD_TWIML[problem])


async def test_bad_twiml_reaches_the_test(gateway: Gateway) -> None:
    gateway.pages["/twiml"] = "<Response><Connnect/></Response>"
    with pytest.raises(TwimlError, match="Connnect"):
        async with dial(gateway) as call:
            await call.until(lambda: call.ended)
    async with dial(gateway) as call:
        with pytest.raises(TwimlError, match="Connnect"):
            await call.connected()
    assert call.status == "completed"
    gateway.pages["/twiml"] = answer().replace(MEDIA, "wss://elsewhere.example.com/media")
    async with dial(gateway) as call:
        with pytest.raises(TwimlError, match="elsewhere"):
            await call.connected()


def test_a_parameter_of_499_characters_is_taken() -> None:
    (connect,) = twiml.parse(answer(token="x" * 494))
    assert isinstance(connect, twiml.Connect)
    assert connect.stream.parameters == {"token": "x" * 494}


# ---- The playout buffer by itself.


def test_ten_minutes_are_buffered_and_no_more() -> None:
    playout = Playout()
    assert playout.push(bytes(MAX_BUFFERED - 1))
    assert not playout.push(bytes(3))
    assert playout.discarded_bytes == 2
    assert playout.buffered_ms == 600_000


def test_a_mark_inside_a_frame_waits_for_the_frames_end() -> None:
    playout = Playout()
    assert playout.mark("nothing buffered")
    playout.push(bytes(100))
    assert not playout.mark("inside")
    playout.push(bytes(100))
    assert not playout.mark("end")
    assert playout.advance() == ([], bytes(160), 160)
    assert playout.advance() == (["inside"], bytes(40) + b"\xff" * 120, 40)
    assert not playout.mark("while the last frame plays")
    assert playout.advance() == (["end", "while the last frame plays"], b"\xff" * 160, 0)
    assert playout.mark("nothing buffered any more")


def test_gaps_are_between_audio_only() -> None:
    heard = Heard(100.0)
    for queued in (0, 160, 160, 0, 0, 160, 160, 0):
        heard.append(LOUD if queued else b"\xff" * FRAME_BYTES, queued)
    assert [(round(began_s, 3), round(ended_s, 3)) for began_s, ended_s in heard.gaps()] == [(100.06, 100.1)]
    assert heard.gaps(100.09) == []
    assert heard.ended_s == pytest.approx(100.16)
    assert pcm_to_ulaw(heard.pcm(100.02, 100.04)) == LOUD


# ---- Many.


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


def numbers(first: int, last: int) -> list[str]:
    return [str(number) for number in range(first, last + 1)]
