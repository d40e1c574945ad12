"""RTP and RTCP (RFC 3550) as one audio stream each way needs them: packets, what was received, what is reported. Pure.

Media packets have a parser of our own: aiortc's builds an object with its extensions for each, and takes 2.5 times as
long (`python -m benchmarks rtc_media`). RTCP, a few packets a second, is aiortc's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from aiortc.rtp import (
    RtcpByePacket,
    RtcpPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSourceInfo,
    RtcpSrPacket,
    clamp_packets_lost,
    is_rtcp,
)

__all__ = [
    "Packet",
    "ReceiveStatistics",
    "Reports",
    "RtcpReceiverInfo",
    "RtcpSenderInfo",
    "compose",
    "compose_reports",
    "is_rtcp",
    "ntp_of",
    "parse",
    "parse_reports",
    "round_trip_ms",
    "sequence_delta",
    "timestamp_delta",
]

_HEADER = Struct("!BBHLL")
_EXTENSION = Struct("!HH")
_SDES_CNAME = 1
_VERSION_2 = 0x80


class Packet(NamedTuple):
    """One RTP packet without what we have no use for: contributing sources, extensions, padding."""

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


def parse(data: bytes) -> Packet:
    """An RTP packet (5.1; extensions of 5.3.1 and RFC 8285 are skipped); ValueError says why it is none."""
    size = len(data)
    if size < _HEADER.size:
        raise ValueError(f"an RTP packet has at least {_HEADER.size} bytes, not {size}")
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
    if first & 0xC0 != _VERSION_2:
        raise ValueError(f"RTP has version 2, not {first >> 6}")
    start = _HEADER.size
    if first != _VERSION_2:
        start, size = _payload_bounds(data, first)
    return Packet(second & 0x7F, second > 0x7F, sequence, timestamp, ssrc, data[start:size])


def _payload_bounds(data: bytes, first: int) -> tuple[int, int]:
    start, end = _HEADER.size + 4 * (first & 0x0F), len(data)
    if first & 0x10:
        if start + _EXTENSION.size > end:
            raise ValueError("an RTP packet ends before its extension")
        start += _EXTENSION.size + 4 * _EXTENSION.unpack_from(data, start)[1]
    if start > end:
        raise ValueError("an RTP packet ends inside its header")
    if first & 0x20:
        padding = data[-1]
        if not 0 < padding <= end - start:
            raise ValueError(f"an RTP packet of {end - start} bytes behind its header cannot have {padding} of padding")
        end -= padding
    return start, end


def compose(packet: Packet) -> bytes:
    """The packet's bytes, without contributing sources, extensions and padding."""
    second = packet.payload_type | (0x80 if packet.marker else 0)
    return _HEADER.pack(_VERSION_2, second, packet.sequence, packet.timestamp, packet.ssrc) + packet.payload


def sequence_delta(later: int, earlier: int) -> int:
    """How far `later` is ahead of `earlier`, -32768 to 32767: sequence numbers wrap at 16 bits."""
    return ((later - earlier + 0x8000) & 0xFFFF) - 0x8000


def timestamp_delta(later: int, earlier: int) -> int:
    """The same for timestamps, which wrap at 32 bits."""
    return ((later - earlier + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000


class ReceiveStatistics:
    """What one source's packets tell of the way here, as RFC 3550 A.1, A.3 and A.8 count; for one clock rate."""

    def __init__(self, ssrc: int, clock_hz: int) -> None:
        self.ssrc = ssrc
        self.received = 0
        self._ticks_per_ms = clock_hz / 1000
        self._base: int | None = None
        self._highest = 0
        """The highest sequence number, with the number of wraps above its 16 bits."""
        self._jitter = 0.0
        self._transit: float | None = None
        self._reported = (0, 0)

    def arrived(self, sequence: int, timestamp: int, now_ms: float) -> None:
        """Count a packet, whatever becomes of it."""
        self.received += 1
        if self._base is None:
            self._base = self._highest = sequence
        else:
            self._highest = max(self._highest, self._highest + sequence_delta(sequence, self._highest))
        transit = now_ms * self._ticks_per_ms - timestamp
        if self._transit is not None:
            wander = abs((transit - self._transit + 2.0**31) % 2.0**32 - 2.0**31)
            self._jitter += (wander - self._jitter) / 16
        self._transit = transit

    @property
    def expected(self) -> int:
        return self._highest - self._base + 1 if self._base is not None else 0

    @property
    def lost(self) -> int:
        """Packets missing so far; less than none if some came twice."""
        return self.expected - self.received

    @property
    def jitter_ms(self) -> float:
        return self._jitter / self._ticks_per_ms

    def report(self, last_sender_report: int = 0, delay_s: float = 0.0) -> RtcpReceiverInfo:
        """The block that tells the other side (6.4.1), with the loss since the block before. `last_sender_report` is
        the middle of the NTP timestamp of its last SR, which came `delay_s` ago; 0 if none did."""
        expected, received = self.expected - self._reported[0], self.received - self._reported[1]
        self._reported = (self.expected, self.received)
        missing = expected - received
        return RtcpReceiverInfo(
            ssrc=self.ssrc,
            fraction_lost=missing * 256 // expected if expected > 0 and missing > 0 else 0,
            packets_lost=clamp_packets_lost(self.lost),
            highest_sequence=self._highest & 0xFFFF_FFFF,
            jitter=int(self._jitter) & 0xFFFF_FFFF,
            lsr=last_sender_report,
            dlsr=min(int(delay_s * 65536), 0xFFFF_FFFF),
        )


@dataclass(frozen=True, slots=True)
class Reports:
    """What a compound RTCP packet says of a stream each way."""

    sender: tuple[int, RtcpSenderInfo] | None
    """Whose sender report it is, and what it sends."""
    blocks: tuple[RtcpReceiverInfo, ...]
    """What was received, by whomever."""
    left: frozenset[int]
    """The sources that said goodbye."""


def compose_reports(
    ssrc: int, cname: str, blocks: Sequence[RtcpReceiverInfo], sender: RtcpSenderInfo | None, *, leaving: bool = False
) -> bytes:
    """A compound packet (6.1): SR, or RR while we have sent nothing, then SDES, then BYE if we are `leaving`."""
    report = RtcpSrPacket(ssrc, sender, list(blocks)) if sender is not None else RtcpRrPacket(ssrc, list(blocks))
    name = RtcpSdesPacket([RtcpSourceInfo(ssrc, [(_SDES_CNAME, cname.encode())])])
    return bytes(report) + bytes(name) + (bytes(RtcpByePacket([ssrc])) if leaving else b"")


def parse_reports(data: bytes) -> Reports:
    """A compound packet's SR, report blocks and BYE; the rest is skipped. ValueError says what is malformed."""
    sender = None
    blocks: list[RtcpReceiverInfo] = []
    left: set[int] = set()
    for packet in RtcpPacket.parse(data):
        if isinstance(packet, RtcpSrPacket):
            sender = (packet.ssrc, packet.sender_info)
        if isinstance(packet, RtcpSrPacket | RtcpRrPacket):
            blocks += packet.reports
        elif isinstance(packet, RtcpByePacket):
            left.update(packet.sources)
    return Reports(sender, tuple(blocks), frozenset(left))


def ntp_of(now_ms: float) -> int:
    """`now_ms`, of any clock that only goes forward, as a 64-bit NTP timestamp: 6.4.1 allows that, as nobody
    compares it with another clock's."""
    return int(now_ms / 1000 * 2**32) & 0xFFFF_FFFF_FFFF_FFFF


def round_trip_ms(block: RtcpReceiverInfo, now_ms: float) -> float | None:
    """The way there and back by a block about us (6.4.1); None while its sender has had no report of ours."""
    if not block.lsr:
        return None
    units = (ntp_of(now_ms) >> 16) - block.lsr - block.dlsr & 0xFFFF_FFFF
    return units * 1000 / 65536 if units < 2**31 else 0.0  # a clock that is coarse there makes it less than none
