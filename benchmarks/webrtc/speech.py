"""What a caller says, encoded beforehand: callers share the machine with what they measure, so they must be cheap."""

from __future__ import annotations

import fractions
from dataclasses import dataclass

import numpy as np
from av import AudioFrame, CodecContext, Packet
from av.audio.codeccontext import AudioCodecContext

from benchmarks.webrtc import marks
from benchmarks.webrtc.talk import SPEECH_FRAMES

OPUS_HZ = 48_000
FRAME_SAMPLES = OPUS_HZ // 50
BITRATE = 32_000
"""What Chromium sends at."""
FRAMES_PER_MARK = marks.MARK_MS // 20
_SETTLED_FRAMES = 10
"""By then an encoder's silence is always the same packet, and a decoder has forgotten what was before."""
TIME_BASE = fractions.Fraction(1, OPUS_HZ)


@dataclass(frozen=True)
class Speech:
    """Opus packets of 20 ms."""

    tones: list[int]
    """Of its marks, in their order. Mark n begins in packet `n * FRAMES_PER_MARK`: an encoder is 6.5 ms late."""
    packets: list[bytes]
    """The speech, and how it dies away."""
    silence: bytes


def speech(caller: int) -> Speech:
    """What this caller says each time, and nobody else."""
    order = marks.tones(caller)
    tones = [order[number % marks.TONES] for number in range(SPEECH_FRAMES // FRAMES_PER_MARK)]
    spoken = np.frombuffer(b"".join(marks.mark(tone) for tone in tones), "<i2")
    quiet = np.zeros(_SETTLED_FRAMES * FRAME_SAMPLES, np.int16)
    packets = encode(np.concatenate((quiet, np.repeat(spoken, OPUS_HZ // marks.RATE_HZ), quiet)))
    return Speech(tones, packets[_SETTLED_FRAMES:-1], packets[-1])


def encode(pcm: marks.Pcm) -> list[bytes]:
    """Opus packets of s16 mono at 48 kHz."""
    encoder = CodecContext.create("libopus", "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.bit_rate = BITRATE
    encoder.format = "s16"
    encoder.layout = "mono"
    encoder.sample_rate = OPUS_HZ
    encoder.time_base = TIME_BASE
    encoder.options = {"application": "voip"}
    packets = []
    for start in range(0, len(pcm), FRAME_SAMPLES):
        frame = AudioFrame.from_ndarray(pcm[start : start + FRAME_SAMPLES].reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = OPUS_HZ
        frame.time_base = TIME_BASE
        frame.pts = start
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return packets


class Decoder:
    """What a stream of Opus packets sounds like, s16 mono at 24 kHz."""

    def __init__(self) -> None:
        decoder = CodecContext.create("libopus", "r")
        assert isinstance(decoder, AudioCodecContext)
        decoder.format = "s16"
        decoder.layout = "mono"
        decoder.sample_rate = OPUS_HZ
        self._decoder = decoder

    def decode(self, packet: bytes) -> marks.Pcm:
        frames = [frame.to_ndarray().reshape(-1) for frame in self._decoder.decode(Packet(packet))]
        return np.concatenate(frames)[:: OPUS_HZ // marks.RATE_HZ].astype(np.int16, copy=False)
