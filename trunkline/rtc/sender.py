"""What goes out: queued PCM to RTP packets of 20 ms, each at its time, and which words left when. Pure but for the
encoder; time is an argument.

A stream like one with DTX (RFC 6716, 2.1.9; RFC 7587, 3.1.3): while there is nothing to say, next to nothing is sent,
and timestamps stay true to time. The first packet after a pause has the marker bit and leaves at once.
"""

from __future__ import annotations

import secrets
from collections import deque
from dataclasses import dataclass
from itertools import islice

import numpy as np

from trunkline.audio.frame import FRAME_MS, SAMPLE_BYTES, bytes_in, check_whole, samples_of
from trunkline.rtc import opus, rtp
from trunkline.rtc.opus import CLOCK_HZ, TICKS_PER_MS

PACKET_TICKS = FRAME_MS * TICKS_PER_MS
COMFORT_MS = 400
"""In silence, a packet this often: what libopus's own DTX does, so that the other side sees life."""
TAIL_PACKETS = 5
"""Silent packets right after speech. A receiver fills what does not come with more of the last it had: let that be
silence."""
BEHIND_PACKETS = 3
"""What a late loop may send at once. If it is later than that, what follows is later too."""
PATIENCE_MS = 20
"""Speech that stops at a packet's end may only be late: who makes it in real time is now and then. Until silence goes
out instead, what comes is sent as if it had come in time."""
FADE_MS = 5
"""Speech that is cut off ends in a slope this long, for a click is heard louder than the word."""
QUEUED_MS = 30_000
"""More is not queued but dropped, and counted: whoever plays has a clock, or credit, and is nowhere near."""
HEARD_TICKS = 30_000 * TICKS_PER_MS
"""A timestamp older than that is not asked for, or not ours."""
HEARD_RUNS = 3000
"""Stretches of speech that are remembered: one a turn or pause, and at worst two a packet."""


@dataclass(slots=True)
class _Piece:
    turn: int
    at_ticks: int
    """Of the turn, at `start`."""
    pcm: bytes
    start: int = 0
    """In bytes: what is before it was sent."""


@dataclass(slots=True)
class _Run:
    """From timestamp `start` to `end` (both count on without wrapping), a turn was said from `at_ticks` on."""

    start: int
    end: int
    turn: int
    at_ticks: int


class Sender:
    """One stream to one peer. `sequence` and `timestamp` are where it begins: random (RFC 3550, 5.1), but for tests."""

    def __init__(
        self, rate_hz: int, payload_type: int, ssrc: int, *, sequence: int | None = None, timestamp: int | None = None
    ) -> None:
        self._rate_hz = rate_hz
        self.payload_type = payload_type
        self._ssrc = ssrc
        self._encoder = opus.Encoder(rate_hz)
        self._packet_bytes = bytes_in(FRAME_MS, rate_hz)
        self._ticks_per_byte = CLOCK_HZ // rate_hz / SAMPLE_BYTES
        self._sequence = secrets.randbits(16) if sequence is None else sequence
        self._base = secrets.randbits(32) if timestamp is None else timestamp
        self._queue: deque[_Piece] = deque()
        self._queued_bytes = 0
        self._held = False
        self._slope = b""
        self._tail = 0
        self._speaking = False
        self._begun = False
        self._slot_ms = 0.0
        """When the packet that follows the last one without a pause is due."""
        self._ticks = 0
        """That packet's timestamp, counted from `_base` on without wrapping."""
        self._midway = False
        """The last packet ended inside speech."""
        self._runs: deque[_Run] = deque(maxlen=HEARD_RUNS)
        self._sent = (0, 0)
        self.packets = 0
        self.octets = 0
        self.dropped_ms = 0

    def put(self, turn: int, offset_ms: int, pcm: bytes) -> None:
        """Queue a piece of a turn's audio that begins `offset_ms` into it. AudioError if a sample is cut in half."""
        check_whole(pcm)
        room = bytes_in(QUEUED_MS, self._rate_hz) - self._queued_bytes
        if len(pcm) > room:
            self.dropped_ms += (len(pcm) - room) // bytes_in(1, self._rate_hz)
            pcm = pcm[:room]
        if pcm:
            self._queue.append(_Piece(turn, offset_ms * TICKS_PER_MS, pcm))
            self._queued_bytes += len(pcm)

    def hold(self) -> None:
        """Keep what is queued, and be silent."""
        if not self._held:
            self._cut_off()
            self._held = True

    def resume(self) -> None:
        """Go on with what is queued."""
        self._held = False

    def clear(self) -> None:
        """Forget what is queued, and with it that it was held."""
        if not self._held:
            self._cut_off()
        self._held = False
        self._queue.clear()
        self._queued_bytes = 0

    @property
    def queued_ms(self) -> int:
        return self._queued_bytes // bytes_in(1, self._rate_hz)

    @property
    def sent(self) -> tuple[int, int]:
        """(turn, ms of it) that were handed out."""
        return self._sent

    def next_due_ms(self, now_ms: float) -> float:
        """When to take the next packet: in the past if that is late."""
        if not self._begun:
            return now_ms
        if self._has_speech() or self._slope:
            return self._slot_ms if self._speaking else max(self._slot_ms, now_ms)
        if self._midway and not self._held:
            return self._slot_ms + PATIENCE_MS
        return self._slot_ms if self._speaking else self._slot_ms - FRAME_MS + COMFORT_MS

    def take(self, now_ms: float) -> bytes | None:
        """The next packet if it is due, as RTP; None if none is. To be asked until it is None."""
        if not self._begun:
            self._begun, self._slot_ms = True, now_ms
        elif now_ms < self.next_due_ms(now_ms):
            return None
        speech = self._has_speech() or bool(self._slope)
        paused = self._keep_to_the_clock(now_ms)
        marker = speech and (paused or not self._speaking)
        pcm = self._next_pcm()
        payload = self._encoder.encode(pcm)
        packet = rtp.Packet(
            self.payload_type, marker, self._sequence, self._base + self._ticks & 0xFFFF_FFFF, self._ssrc, payload
        )
        self._tail = TAIL_PACKETS if speech else max(0, self._tail - 1)
        self._speaking = speech or self._tail > 0
        self._sequence = self._sequence + 1 & 0xFFFF
        self._ticks += PACKET_TICKS
        self._slot_ms += FRAME_MS
        self.packets += 1
        self.octets += len(payload)
        return rtp.compose(packet)

    def heard(self, rtp_timestamp: int) -> tuple[int, int] | None:
        """Which (turn, ms of it) this timestamp of ours is, or was the last before it; None if it is none we sent
        within the last 30 s, or nothing was said before it."""
        ago = -rtp.timestamp_delta(rtp_timestamp, self._base + self._ticks)
        if not -COMFORT_MS * TICKS_PER_MS <= ago <= HEARD_TICKS:  # a listener's time goes on while we are silent
            return None
        ticks = self._ticks - ago
        for run in reversed(self._runs):
            if run.start <= ticks:
                return run.turn, (run.at_ticks + min(ticks, run.end) - run.start) // TICKS_PER_MS
        return None

    def expect_loss(self, percent: int) -> None:
        """What the other side reports lost: what the encoder's FEC is made for."""
        self._encoder.expect_loss(percent)

    def report(self, now_ms: float) -> rtp.RtcpSenderInfo | None:
        """What an SR says now; None while nothing was sent."""
        if not self.packets:
            return None
        now_ticks = self._ticks + round((now_ms - self._slot_ms) * TICKS_PER_MS)
        return rtp.RtcpSenderInfo(
            ntp_timestamp=rtp.ntp_of(now_ms),
            rtp_timestamp=self._base + now_ticks & 0xFFFF_FFFF,
            packet_count=self.packets & 0xFFFF_FFFF,
            octet_count=self.octets & 0xFFFF_FFFF,
        )

    def _has_speech(self) -> bool:
        return bool(self._queue) and not self._held

    def _keep_to_the_clock(self, now_ms: float) -> bool:
        """Move the slot up to now after a pause, or when the loop is too late; whether time was left out."""
        earliest_ms = now_ms - (BEHIND_PACKETS - 1) * FRAME_MS if self._speaking else now_ms
        late_ms = earliest_ms - self._slot_ms
        if late_ms <= 0:
            return False
        ticks = round(late_ms * TICKS_PER_MS)
        self._ticks += ticks
        self._slot_ms += ticks / TICKS_PER_MS
        return True

    def _next_pcm(self) -> bytes:
        """20 ms: the slope of what was cut off, then what is queued, then silence."""
        parts = [self._slope]
        filled = len(self._slope)
        self._slope = b""
        self._midway = self._queued_bytes >= self._packet_bytes - filled and not self._held
        while filled < self._packet_bytes and self._has_speech():
            piece = self._queue[0]
            part = piece.pcm[piece.start : piece.start + self._packet_bytes - filled]
            self._remember(piece, filled, len(part))
            parts.append(part)
            filled += len(part)
            piece.start += len(part)
            self._queued_bytes -= len(part)
            if piece.start == len(piece.pcm):
                self._queue.popleft()
        return b"".join(parts).ljust(self._packet_bytes, b"\0")

    def _remember(self, piece: _Piece, filled: int, size: int) -> None:
        """That `size` bytes of this piece are what the packet says from byte `filled` on."""
        start = self._ticks + int(filled * self._ticks_per_byte)
        at_ticks = piece.at_ticks + int(piece.start * self._ticks_per_byte)
        ticks = int(size * self._ticks_per_byte)
        last = self._runs[-1] if self._runs else None
        if last and last.end == start and (last.turn, last.at_ticks + last.end - last.start) == (piece.turn, at_ticks):
            last.end += ticks
        else:
            self._runs.append(_Run(start, start + ticks, piece.turn, at_ticks))
        self._sent = (piece.turn, (at_ticks + ticks) // TICKS_PER_MS)

    def _cut_off(self) -> None:
        """If speech goes on in the queue, let the next packet end it softly."""
        if not self._midway or not self._has_speech():
            return
        next_pieces = b"".join(piece.pcm[piece.start :] for piece in islice(self._queue, 2))
        samples = samples_of(next_pieces[: bytes_in(FADE_MS, self._rate_hz)])
        slope = np.linspace(1.0, 0.0, samples.size, endpoint=False)
        self._slope = (samples * slope).astype("<i2").tobytes()
        self._midway = False
