"""The Twilio stand-in's faults, as the gateway sees them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.twilio.caller import LOUD, dial
from tests.standins.twilio import CallOver, Faults
from tests.standins.twilio.faults import HUGE_BYTES, binary_frame, huge_message, unknown_event
from tests.standins.twilio.gateway import PUBLIC, Gateway, Message, answer, silent


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
