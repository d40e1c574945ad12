"""What comes in: RTP packets, already unprotected, to the PCM that was said next. Pure but for the decoder; time is an
argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trunkline.audio.frame import SAMPLE_BYTES
from trunkline.errors import AudioError
from trunkline.rtc import opus, rtp
from trunkline.rtc.jitter import Item, JitterBuffer, Lost, Piece, Silence
from trunkline.rtc.opus import CLOCK_HZ, TICKS_PER_MS


@dataclass(frozen=True, slots=True)
class ReceiverStats:
    """Since the beginning, all sources together; `jitter_ms` and `buffer_ms` are of now."""

    packets_received: int
    packets_lost: int
    """Never came."""
    concealed_ms: int
    silence_ms: int
    """Pauses of the sender, and what was lost in a row and is beyond concealment."""
    discarded_late: int
    duplicates: int
    excess: int
    """More audio than time: dropped."""
    ignored: int
    """Of a payload type that is not Opus: telephone-event, comfort noise, what nobody negotiated."""
    malformed: int
    jitter_ms: float
    buffer_ms: float


class Receiver:
    """One peer's voice. `payload_types` says what the negotiated numbers are: {111: "opus", 110: "telephone-event"}."""

    def __init__(self, rate_hz: int, payload_types: Mapping[int, str]) -> None:
        self._rate_hz = rate_hz
        self._opus_types = frozenset(number for number, codec in payload_types.items() if codec.lower() == "opus")
        self._decoder = opus.Decoder(rate_hz)
        self._buffer = JitterBuffer()
        self._statistics: rtp.ReceiveStatistics | None = None
        self._received_before = self._ignored = self._malformed = self._spoilt_ticks = 0
        self._fraction = 0
        """Of a sample, in 1/CLOCK_HZ, that silences left over: they may end between two samples."""
        self._sender_report: tuple[int, float] | None = None

    def take(self, data: bytes, now_ms: float) -> bytes:
        """The PCM that this packet completes: often its own 20 ms, nothing if it has to wait or is of no use."""
        try:
            packet = rtp.parse(data)
            ticks = opus.packet_ticks(packet.payload) if packet.payload else 0
        except ValueError:  # AudioError is one
            self._malformed += 1
            return b""
        if packet.payload_type not in self._opus_types:
            self._ignored += 1
            return b""
        pcm = b""
        statistics = self._statistics
        if statistics is None or statistics.ssrc != packet.ssrc:
            pcm, statistics = self._new_source(packet.ssrc)
        statistics.arrived(packet.sequence, packet.timestamp, now_ms)
        items = self._buffer.push(packet.sequence, packet.timestamp, ticks, packet.payload, now_ms)
        if len(items) == 1 and not pcm:
            return self._pcm(items[0])
        return pcm + self._decoded(items)

    def poll(self, now_ms: float) -> bytes:
        """The PCM that waited for something which is late, when that is given up."""
        return self._decoded(self._buffer.poll(now_ms))

    def due_ms(self) -> float | None:
        """When to poll; None if nothing waits."""
        return self._buffer.due_ms()

    def sender_reported(self, info: rtp.RtcpSenderInfo, now_ms: float) -> None:
        """An SR of the source came; the next report says so, and the other side learns its round trip."""
        self._sender_report = (info.ntp_timestamp >> 16 & 0xFFFF_FFFF, now_ms)

    def report(self, now_ms: float) -> rtp.RtcpReceiverInfo | None:
        """The block about what was received since the last one; None if nothing ever was."""
        if self._statistics is None:
            return None
        if self._sender_report is None:
            return self._statistics.report()
        middle, came_ms = self._sender_report
        return self._statistics.report(middle, (now_ms - came_ms) / 1000)

    @property
    def stats(self) -> ReceiverStats:
        counts, current = self._buffer.counts, self._statistics
        return ReceiverStats(
            packets_received=self._received_before + (current.received if current else 0),
            packets_lost=counts.missing - counts.late,
            concealed_ms=(counts.concealed_ticks + self._spoilt_ticks) // TICKS_PER_MS,
            silence_ms=counts.silent_ticks // TICKS_PER_MS,
            discarded_late=counts.late + counts.stray,
            duplicates=counts.duplicate,
            excess=counts.excess,
            ignored=self._ignored,
            malformed=self._malformed,
            jitter_ms=current.jitter_ms if current else 0.0,
            buffer_ms=self._buffer.held_ticks / TICKS_PER_MS,
        )

    def _new_source(self, ssrc: int) -> tuple[bytes, rtp.ReceiveStatistics]:
        """What was held of the source before, and the counts of this one."""
        pcm = self._decoded(self._buffer.flush())
        if self._statistics is not None:
            self._received_before += self._statistics.received
            self._decoder = opus.Decoder(self._rate_hz)
        self._sender_report = None
        self._statistics = rtp.ReceiveStatistics(ssrc, CLOCK_HZ)
        return pcm, self._statistics

    def _decoded(self, items: list[Item]) -> bytes:
        return b"".join(map(self._pcm, items))

    def _pcm(self, item: Item) -> bytes:
        match item:
            case Piece(payload, ticks):
                try:
                    return self._decoder.decode(payload)
                except AudioError:
                    self._malformed += 1
                    self._spoilt_ticks += ticks
                    return self._decoder.conceal(ticks / TICKS_PER_MS)
            case Lost(ticks, following):
                return self._lost(ticks, following)
            case Silence(ticks):
                samples, self._fraction = divmod(ticks * self._rate_hz + self._fraction, CLOCK_HZ)
                return bytes(samples * SAMPLE_BYTES)

    def _lost(self, ticks: int, following: bytes | None) -> bytes:
        ms = ticks / TICKS_PER_MS
        if following is not None:
            try:
                return self._decoder.decode_fec(following, ms)
            except AudioError:  # counted when its own turn comes
                pass
        return self._decoder.conceal(ms)
