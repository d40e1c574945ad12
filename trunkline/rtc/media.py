"""The audio of one call: SRTP to PCM in the datagram's own callback, PCM to SRTP at its time, RTCP every 2 s or so.

No task, no thread and no queue: one timer for what is due next, be it a packet to send or a hole to give up, and one
for reports. Until `start` it only queues what is to be said.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import pylibsrtp

from trunkline.rtc import rtp
from trunkline.rtc.receiver import Receiver, ReceiverStats
from trunkline.rtc.sdp import OPUS
from trunkline.rtc.sender import Sender

REPORT_S = 2.0
"""RFC 3550 section 6.2: randomised by 0.5 to 1.5. Its minimum of 5 s is for conferences (6.2: "reduced")."""

LOSS_MEMORY = 0.75
"""How much of the loss reported before the encoder still expects at the next report: loss comes in bursts."""


@dataclass(frozen=True, slots=True)
class MediaStats:
    received: ReceiverStats
    malformed: int
    packets_sent: int
    remote_lost: int
    round_trip_ms: float | None


class Media:
    """One voice each way. `heard` is given what the other side said next, as s16le mono at `rate_hz`."""

    def __init__(self, rate_hz: int, heard: Callable[[bytes], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self.ssrc = secrets.randbits(32)
        self.cname = secrets.token_urlsafe(12)
        self._rate_hz = rate_hz
        self._heard = heard
        self._receiver = Receiver(rate_hz, {OPUS: "opus"})
        self._sender = Sender(rate_hz, OPUS, self.ssrc)
        self._incoming: pylibsrtp.Session | None = None
        self._outgoing: pylibsrtp.Session | None = None
        self._transmit: Callable[[bytes], None] = _nowhere
        self._may_speak = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0.0
        self._report_timer: asyncio.TimerHandle | None = None
        self._malformed = 0
        self._remote_lost = 0
        self._expected_loss = 0.0
        self._round_trip_ms: float | None = None

    def start(
        self,
        incoming: pylibsrtp.Session,
        outgoing: pylibsrtp.Session,
        transmit: Callable[[bytes], None],
        *,
        opus: int,
        may_speak: bool,
    ) -> None:
        """Both sessions have their keys. `opus` is its payload type, `may_speak`: the other side wants to hear us."""
        if opus != OPUS:
            self._receiver = Receiver(self._rate_hz, {opus: "opus"})
            self._sender.payload_type = opus
        self._incoming, self._outgoing, self._transmit = incoming, outgoing, transmit
        self._may_speak = may_speak
        self._report_timer = self._loop.call_later(self._report_delay_s(), self._report)
        self._arm(self._now_ms())

    def stop(self) -> None:
        """Says BYE if it can; nothing is sent or heard after that."""
        for timer in (self._timer, self._report_timer):
            if timer is not None:
                timer.cancel()
        if self._outgoing is not None:
            self._send_report(leaving=True)
        self._incoming = self._outgoing = None
        self._transmit, self._heard = _nowhere, _nowhere

    def take(self, data: bytes) -> bool:
        """A datagram that looks like SRTP or SRTCP. Whether it is of the other side, by its keys."""
        incoming = self._incoming
        if incoming is None:
            return False
        now_ms = self._now_ms()
        try:
            if rtp.is_rtcp(data):
                self._reported(incoming.unprotect_rtcp(data), now_ms)
                return True
            packet = incoming.unprotect(data)
        except pylibsrtp.Error:
            self._malformed += 1
            return False
        pcm = self._receiver.take(packet, now_ms)
        self._arm(now_ms)
        if pcm:
            self._heard(pcm)
        return True

    def play(self, turn: int, offset_ms: int, pcm: bytes) -> None:
        self._sender.put(turn, offset_ms, pcm)
        self._arm(self._now_ms())

    def hold(self) -> None:
        self._sender.hold()
        self._arm(self._now_ms())

    def resume(self) -> None:
        self._sender.resume()
        self._arm(self._now_ms())

    def clear(self) -> None:
        self._sender.clear()
        self._arm(self._now_ms())

    @property
    def sent(self) -> tuple[int, int]:
        return self._sender.sent

    def heard(self, rtp_timestamp: int) -> tuple[int, int] | None:
        return self._sender.heard(rtp_timestamp)

    @property
    def stats(self) -> MediaStats:
        received = self._receiver.stats
        return MediaStats(
            received=received,
            malformed=self._malformed + received.malformed,
            packets_sent=self._sender.packets,
            remote_lost=self._remote_lost,
            round_trip_ms=self._round_trip_ms,
        )

    def _now_ms(self) -> float:
        return self._loop.time() * 1000

    def _arm(self, now_ms: float) -> None:
        """Sets the timer to what is due next, if it would ring too late for that. Ringing too early does no harm."""
        if self._outgoing is None:
            return
        due_ms = self._receiver.due_ms()
        if self._may_speak:
            send_ms = self._sender.next_due_ms(now_ms)
            due_ms = send_ms if due_ms is None or send_ms < due_ms else due_ms
        if due_ms is None or (self._timer is not None and self._timer_ms <= due_ms):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ms = due_ms
        self._timer = self._loop.call_at(due_ms / 1000, self._due)

    def _due(self) -> None:
        self._timer = None
        now_ms = self._now_ms()
        if self._outgoing is None:
            return
        if self._may_speak:
            while (packet := self._sender.take(now_ms)) is not None:
                self._transmit(self._outgoing.protect(packet))
        pcm = self._receiver.poll(now_ms)
        self._arm(now_ms)
        if pcm:
            self._heard(pcm)

    def _report(self) -> None:
        self._report_timer = self._loop.call_later(self._report_delay_s(), self._report)
        self._send_report()

    def _send_report(self, *, leaving: bool = False) -> None:
        assert self._outgoing is not None
        now_ms = self._now_ms()
        block = self._receiver.report(now_ms)
        data = rtp.compose_reports(
            self.ssrc, self.cname, [block] if block is not None else [], self._sender.report(now_ms), leaving=leaving
        )
        self._transmit(self._outgoing.protect_rtcp(data))

    def _report_delay_s(self) -> float:
        return REPORT_S * random.uniform(0.5, 1.5)  # noqa: S311 - so that calls do not report all at once

    def _reported(self, data: bytes, now_ms: float) -> None:
        try:
            reports = rtp.parse_reports(data)
        except ValueError:
            self._malformed += 1
            return
        if reports.sender is not None:
            self._receiver.sender_reported(reports.sender[1], now_ms)
        for block in reports.blocks:
            if block.ssrc == self.ssrc:
                self._remote_lost = block.packets_lost
                self._expected_loss = max(block.fraction_lost * 100 / 256, self._expected_loss * LOSS_MEMORY)
                self._sender.expect_loss(round(self._expected_loss))
                trip_ms = rtp.round_trip_ms(block, now_ms)
                self._round_trip_ms = trip_ms if trip_ms is not None else self._round_trip_ms


def _nowhere(data: bytes) -> None:
    """Where everything goes before the start and after the end."""
