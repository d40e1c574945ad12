from __future__ import annotations

import contextlib
import struct

import pytest
from aiortc import rtp as theirs
from hypothesis import example, given
from hypothesis import strategies as st

from trunkline.rtc import rtp
from trunkline.rtc.rtp import Packet, ReceiveStatistics, compose, parse, sequence_delta, timestamp_delta

U16, U32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF)
PACKETS = st.builds(Packet, st.integers(0, 127), st.booleans(), U16, U32, U32, st.binary(max_size=100))
PLAIN = Packet(111, True, 65535, 0xFFFF_FFFF, 0x01020304, b"opus")


@given(PACKETS)
def test_what_is_composed_is_parsed(packet: Packet) -> None:
    assert parse(compose(packet)) == packet


@given(
    PACKETS,
    st.lists(U32, max_size=15),
    st.one_of(st.none(), st.binary(max_size=64).map(lambda value: value + bytes(-len(value) % 4))),
    st.integers(0, 255),
)
def test_sources_extensions_and_padding_are_skipped(
    packet: Packet, sources: list[int], extension: bytes | None, padding: int
) -> None:
    data = bytearray(compose(packet)[:12])
    data[0] |= len(sources) | (0x10 if extension is not None else 0) | (0x20 if padding else 0)
    data += struct.pack(f"!{len(sources)}L", *sources)
    if extension is not None:
        data += struct.pack("!HH", 0xBEDE, len(extension) // 4) + extension
    data += packet.payload
    if padding:
        data += bytes(padding - 1) + bytes((padding,))
    assert parse(bytes(data)) == packet


@given(PACKETS)
def test_aiortc_reads_the_same(packet: Packet) -> None:
    parsed = theirs.RtpPacket.parse(compose(packet))
    assert packet == (
        *(parsed.payload_type, bool(parsed.marker), parsed.sequence_number, parsed.timestamp),
        *(parsed.ssrc, parsed.payload),
    )


@given(st.binary(max_size=64))
@example(b"")
@example(compose(PLAIN)[:11])
@example(b"\x90" + compose(PLAIN)[1:13])
@example(b"\xa0" + compose(PLAIN)[1:])
def test_anything_else_is_a_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        packet = parse(data)
        assert data[0] >> 6 == 2
        assert packet.payload in data[12:]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "at least 12 bytes, not 0"),
        (b"\x40" + compose(PLAIN)[1:], "version 2, not 1"),
        (b"\x8f" + compose(PLAIN)[1:], "inside its header"),
        (b"\x90" + compose(PLAIN)[1:12] + b"\xbe", "before its extension"),
        (b"\x90" + compose(PLAIN)[1:12] + b"\xbe\xde\x00\x02four", "inside its header"),
        (b"\xa0" + compose(PLAIN)[1:12] + b"\x00", "cannot have 0 of padding"),
        (b"\xa0" + compose(PLAIN)[1:12] + b"\x02", "cannot have 2 of padding"),
    ],
)
def test_what_is_malformed_is_named(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(data)


@given(U16, st.integers(-32768, 32767))
def test_sequence_numbers_wrap(earlier: int, ahead: int) -> None:
    assert sequence_delta(earlier + ahead & 0xFFFF, earlier) == ahead


@given(U32, st.integers(-(2**31), 2**31 - 1))
def test_timestamps_wrap(earlier: int, ahead: int) -> None:
    assert timestamp_delta(earlier + ahead & 0xFFFF_FFFF, earlier) == ahead


def arrive(statistics: ReceiveStatistics, numbers: range | list[int], start: int = 0) -> None:
    for number in numbers:
        statistics.arrived(start + number & 0xFFFF, (start + number) * 960 & 0xFFFF_FFFF, number * 20.0)


def test_loss_is_counted_over_the_wrap_and_reported_since_the_last_report() -> None:
    statistics = ReceiveStatistics(7, 48000)
    arrive(statistics, [number for number in range(100) if number % 4], start=65500)
    report = statistics.report()
    assert (statistics.expected, statistics.received, statistics.lost) == (99, 75, 24), "number 0 is not known of"
    assert (report.ssrc, report.packets_lost, report.highest_sequence) == (7, 24, 65500 + 99)
    assert report.fraction_lost == 24 * 256 // 99
    arrive(statistics, range(100, 200), start=65500)
    report = statistics.report()
    assert (report.fraction_lost, report.packets_lost, report.highest_sequence) == (0, 24, 65500 + 199)
    assert statistics.report().fraction_lost == 0, "nothing came since"


def test_what_comes_late_is_no_loss_and_what_comes_twice_makes_it_negative() -> None:
    statistics = ReceiveStatistics(7, 48000)
    arrive(statistics, [0, 2, 1, 3, 3, 3])
    assert statistics.lost == -2
    report = statistics.report()
    assert (report.packets_lost, report.fraction_lost, report.highest_sequence) == (-2, 0, 3)
    assert rtp.parse_reports(rtp.compose_reports(1, "c", [report], None)).blocks == (report,)


def test_jitter_is_that_of_the_rfc() -> None:
    """A.8: J += (|D| - J) / 16. Every second packet is 8 ms late: |D| is 8 ms for ever, and so will J be."""
    statistics = ReceiveStatistics(7, 48000)
    for number in range(200):
        statistics.arrived(number, 2**32 - 48000 + number * 960 & 0xFFFF_FFFF, number * 20.0 + number % 2 * 8)
    assert statistics.jitter_ms == pytest.approx(8, abs=0.01)
    assert statistics.report().jitter == pytest.approx(8 * 48, abs=1)


def test_a_compound_packet_is_what_aiortc_makes_of_it() -> None:
    statistics = ReceiveStatistics(0xAABBCCDD, 48000)
    arrive(statistics, range(10))
    sent = rtp.RtcpSenderInfo(ntp_timestamp=rtp.ntp_of(1500.0), rtp_timestamp=5, packet_count=6, octet_count=7)
    block = statistics.report(0x12345678, delay_s=0.5)
    assert block.dlsr == 32768
    data = rtp.compose_reports(99, "name", [block], sent, leaving=True)
    assert rtp.is_rtcp(data)
    assert not rtp.is_rtcp(compose(PLAIN))
    report, name, goodbye = theirs.RtcpPacket.parse(data)
    assert isinstance(report, theirs.RtcpSrPacket)
    assert (report.ssrc, report.sender_info, report.reports) == (99, sent, [block])
    assert isinstance(name, theirs.RtcpSdesPacket)
    assert name.chunks == [theirs.RtcpSourceInfo(99, [(1, b"name")])]
    assert isinstance(goodbye, theirs.RtcpByePacket)
    assert rtp.parse_reports(data) == rtp.Reports((99, sent), (block,), frozenset({99}))


def test_a_receiver_that_sends_nothing_makes_a_receiver_report() -> None:
    data = rtp.compose_reports(99, "name", [], None)
    assert rtp.parse_reports(data) == rtp.Reports(None, (), frozenset())
    assert data[1] == theirs.RTCP_RR


@given(st.binary(max_size=200))
def test_malformed_reports_are_a_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert len(rtp.parse_reports(data).blocks) <= len(data) / 24


@given(
    st.lists(
        st.tuples(st.sampled_from([200, 201, 202, 203, 205, 206, 207]), st.integers(0, 31), st.binary(max_size=60)),
        max_size=4,
    )
)
def test_headers_of_reports_with_anything_behind_are_a_value_error_too(parts: list[tuple[int, int, bytes]]) -> None:
    data = b""
    for kind, count, body in parts:
        whole = body + bytes(-len(body) % 4)
        data += struct.pack("!BBH", 0x80 | count, kind, len(whole) // 4) + whole
    with contextlib.suppress(ValueError):
        assert len(rtp.parse_reports(data).blocks) <= len(data) / 24


@given(st.floats(0, 1e10), st.integers(0, 5000), st.integers(0, 2000))
def test_a_round_trip_is_what_is_left_of_the_time_without_the_delay_there(
    sent_ms: float, trip_ms: int, delay_ms: int
) -> None:
    block = ReceiveStatistics(1, 48000).report(rtp.ntp_of(sent_ms) >> 16 & 0xFFFF_FFFF, delay_ms / 1000)
    trip = rtp.round_trip_ms(block, sent_ms + trip_ms + delay_ms)
    if block.lsr:
        assert trip == pytest.approx(trip_ms, abs=0.1)
    else:
        assert trip is None


def test_a_round_trip_is_unknown_before_a_report_of_ours_was_seen_and_never_negative() -> None:
    statistics = ReceiveStatistics(1, 48000)
    assert rtp.round_trip_ms(statistics.report(), 1000.0) is None
    block = statistics.report(rtp.ntp_of(1000.0) >> 16 & 0xFFFF_FFFF, delay_s=0.2)
    assert rtp.round_trip_ms(block, 1100.0) == 0.0
