"""What a gateway may not do with the Twilio stand-in, and how it buffers what it is sent."""

from __future__ import annotations

import pytest

from tests.contract.twilio.caller import LOUD, dial
from tests.standins.twilio import TwimlError, twiml
from tests.standins.twilio.gateway import MEDIA, Gateway, answer
from tests.standins.twilio.playout import FRAME_BYTES, MAX_BUFFERED, Heard, Playout
from trunkline.audio.g711 import pcm_to_ulaw

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


# --- the playout buffer by itself


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
