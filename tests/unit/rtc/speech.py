"""Audio for the tests of the RTP plane: tones that a decoder should give back, and what they look like on the wire."""

from __future__ import annotations

import numpy as np

from trunkline.audio.frame import samples_of
from trunkline.rtc import rtp
from trunkline.rtc.opus import Encoder

PACKET_TICKS = 960


def tone(ms: int, rate_hz: int, hz: float = 300.0, level: float = 8000.0) -> bytes:
    clock = np.arange(ms * rate_hz // 1000) / rate_hz
    return bytes((level * np.sin(2 * np.pi * hz * clock)).astype("<i2").tobytes())


def packets_of(pcm: bytes, rate_hz: int, loss_percent: int = 0) -> list[bytes]:
    """Its Opus packets of 20 ms."""
    encoder = Encoder(rate_hz)
    encoder.expect_loss(loss_percent)
    size = rate_hz // 25
    return [encoder.encode(pcm[start : start + size]) for start in range(0, len(pcm), size)]


def stream(
    payloads: list[bytes], *, sequence: int = 0, timestamp: int = 0, ssrc: int = 7, payload_type: int = 111
) -> list[bytes]:
    """These as the RTP packets of one source."""
    return [
        rtp.compose(
            rtp.Packet(
                payload_type,
                number == 0,
                (sequence + number) & 0xFFFF,
                (timestamp + number * PACKET_TICKS) & 0xFFFF_FFFF,
                ssrc,
                payload,
            )
        )
        for number, payload in enumerate(payloads)
    ]


def likeness(pcm: bytes, reference: bytes, rate_hz: int, up_to_ms: float = 20.0) -> float:
    """The best correlation of `pcm` with the reference, 1.0 for the same shape, at any delay up to `up_to_ms`."""
    heard, said = samples_of(pcm).astype(np.float64), samples_of(reference).astype(np.float64)
    best = -1.0
    for lag in range(int(up_to_ms * rate_hz / 1000)):
        size = min(heard.size - lag, said.size)
        left, right = heard[lag : lag + size], said[:size]
        best = max(best, float(left @ right / np.sqrt((left @ left) * (right @ right) + 1e-9)))
    return best
