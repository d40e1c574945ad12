"""Data channels beside plain aiortc, and what somebody sends who has the keys and no manners."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiortc import RTCSctpTransport
from aiortc.rtcsctptransport import WEBRTC_DCEP, WEBRTC_STRING, DataChunk, ForwardTsnChunk, tsn_plus_one

from tests.unit.rtc.calls import Call, a_call, within
from trunkline.rtc.channels import MAX_BUFFERED, MAX_CHANNELS, MAX_KEPT, MAX_LABEL_CHARS, MAX_STREAMS, Association


@pytest.fixture
async def call() -> AsyncIterator[Call]:
    async with a_call() as connected:
        yield connected


def ours(call: Call) -> Association:
    assert call.peer._channels is not None
    return call.peer._channels.association


def theirs(call: Call) -> RTCSctpTransport:
    sctp = call.line.connection.sctp
    assert sctp is not None
    return sctp


async def talks_on(call: Call) -> None:
    call.line.send("are you there?")
    await call.owner.until("oai-events: are you there?")
    assert call.peer.send("oai-events", "yes")
    await call.until(lambda: call.told[-1:] == ["yes"])


async def test_text_both_ways_is_in_order_and_whole(call: Call) -> None:
    texts = ["", "ä€𝄞", "x" * 60_000, *map(str, range(50))]
    for text in texts:
        call.line.send(text)
        assert call.peer.send("oai-events", text)
    await call.owner.until(f"oai-events: {texts[-1]}")
    await call.until(lambda: len(call.told) == len(texts))
    assert call.told == texts
    assert [event for event in call.owner.events if event.startswith("oai-events: ")] == [
        f"oai-events: {text}" for text in texts
    ]


async def test_binary_is_not_for_us(call: Call) -> None:
    call.line.channel.send(b"audio, perhaps")
    await talks_on(call)
    assert [event for event in call.owner.events if "audio" in event] == []


async def test_what_cannot_be_sent_is_refused(call: Call) -> None:
    assert not call.peer.send("trunkline", "there is no such channel")
    assert not call.peer.send("oai-events", "x" * 300_000), "it takes 262,144 bytes"
    call.line.cut(True)
    sent = 0
    while call.peer.send("oai-events", "x" * 50_000):
        sent += 50_000
    assert MAX_BUFFERED - 50_000 <= sent <= MAX_BUFFERED + 100_000
    call.line.cut(False)
    call.line.channel.close()
    await call.owner.watch.until(lambda: not call.peer.send("oai-events", ""), 20)


async def test_a_second_channel_has_a_label_of_its_own(call: Call) -> None:
    second = call.line.connection.createDataChannel("trunkline")
    await call.owner.until("opened trunkline")
    await within(lambda: second.readyState == "open")
    second.send("hello")
    await call.owner.until("trunkline: hello")
    again = call.line.connection.createDataChannel("trunkline")
    await within(lambda: again.readyState == "closed")
    long = call.line.connection.createDataChannel("x" * (MAX_LABEL_CHARS + 1))
    await within(lambda: long.readyState == "closed")
    await talks_on(call)
    assert call.owner.events.count("opened trunkline") == 1


async def test_a_channel_that_is_closed_is_noticed_and_may_be_opened_again(call: Call) -> None:
    call.line.send("the last words")
    call.line.channel.close()
    await call.owner.until("closed oai-events")
    assert call.owner.events[-2:] == ["oai-events: the last words", "closed oai-events"]
    assert not call.peer.send("oai-events", "too late")
    assert call.owner.why is None, "the call goes on"
    again = call.line.connection.createDataChannel("oai-events")
    await within(lambda: again.readyState == "open")
    again.send("I am back")
    await call.owner.until("oai-events: I am back")


async def test_a_call_that_we_end_closes_no_channels(call: Call) -> None:
    await call.peer.close()
    assert [event for event in call.owner.events if event.startswith(("closed", "gone"))] == []


async def test_channels_are_few(call: Call) -> None:
    for number in range(100):
        call.line.connection.createDataChannel(f"number {number}")
    await call.owner.until(f"opened number {MAX_CHANNELS - 2}")
    await talks_on(call)
    assert len(ours(call)._data_channels) == MAX_CHANNELS
    assert ours(call).malformed == 100 - (MAX_CHANNELS - 1)


async def test_what_fails_assertions_ends_no_call(call: Call) -> None:
    """An OPEN of a channel that is open, an ACK of none, text that is none, and packets of nonsense."""
    sctp = theirs(call)
    for protocol, data in (
        (WEBRTC_DCEP, b"\x03\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00x"),
        (WEBRTC_DCEP, b"\x03\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff"),
        (WEBRTC_STRING, b"\xff\xfe"),
    ):
        await sctp._send(call.line.channel.id or 0, protocol, data)
    await sctp._send(4711, WEBRTC_DCEP, b"\x02")
    await sctp._send(4712, WEBRTC_DCEP, b"\x03\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\xff\xff")
    for data in (b"", b"\x13\x88\x13\x88", bytes(200), b"\x13\x88\x13\x88" + bytes(8) + b"\xff" * 100):
        await sctp.transport._send_data(data) if data else None
    await talks_on(call)
    assert ours(call).malformed >= 4


async def test_chunks_that_wait_for_one_before_them_are_few(call: Call) -> None:
    """The first never comes. aiortc would keep the rest, and look at all of it for each that comes."""
    sctp = theirs(call)
    sctp._local_tsn = tsn_plus_one(sctp._local_tsn)
    await put(call, [chunk(number + 1, b"x", WHOLE) for number in range(2 * MAX_KEPT)])
    assert len(ours(call)._sack_misordered) == MAX_KEPT
    assert kept(call) == MAX_KEPT
    assert ours(call).malformed == MAX_KEPT
    assert call.owner.why is None


async def test_a_message_that_never_ends_does_not_grow_for_ever(call: Call) -> None:
    await put(call, [chunk(0, b"x" * 1000, FIRST), *(chunk(0, b"x" * 1000, MIDDLE) for _ in range(3 * MAX_KEPT))])
    assert kept(call) == 2 * MAX_KEPT
    assert ours(call).malformed == MAX_KEPT + 1
    assert call.owner.why is None


async def test_streams_are_few(call: Call) -> None:
    """aiortc keeps something for each, and looks at all of them for each FORWARD TSN: of 65,536 it takes 10 ms."""
    sctp = theirs(call)
    assert sctp._outbound_streams_count == MAX_STREAMS, "who is honest uses no other"
    for stream_id in (MAX_STREAMS - 1, MAX_STREAMS, 0xFFFF):
        await sctp._send(stream_id, WEBRTC_STRING, b"x")
    forward = ForwardTsnChunk()
    forward.cumulative_tsn = sctp._local_tsn
    forward.streams = [(stream_id, 0) for stream_id in range(MAX_STREAMS, MAX_STREAMS + 200)]
    await within(lambda: ours(call).malformed >= 2)
    await sctp._send_chunk(forward)
    await within(lambda: ours(call).malformed >= 3)
    assert max(ours(call)._inbound_streams) == MAX_STREAMS - 1
    assert call.owner.why is None


WHOLE, FIRST, MIDDLE = 3, 2, 0


def chunk(sequence: int, data: bytes, flags: int) -> DataChunk:
    made = DataChunk(flags=flags)
    made.stream_id, made.stream_seq, made.protocol, made.user_data = 77, sequence, WEBRTC_STRING, data
    return made


def kept(call: Call) -> int:
    return sum(len(stream.reassembly) for stream in ours(call)._inbound_streams.values())


async def put(call: Call, chunks: list[DataChunk]) -> None:
    """Past all that keeps an SCTP from sending too much; not faster than they are taken, or the network loses some."""
    sctp = theirs(call)
    for start in range(0, len(chunks), 50):
        for each in chunks[start : start + 50]:
            each.tsn, sctp._local_tsn = sctp._local_tsn, tsn_plus_one(sctp._local_tsn)
            await sctp._send_chunk(each)
        sent = min(start + 50, len(chunks))
        await within(lambda: kept(call) + ours(call).malformed == sent)  # noqa: B023 - awaited in this turn
