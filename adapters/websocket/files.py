"""One sentence as one self-contained file, for players that want files."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np

from trunkline.audio.wav import wav_bytes


def encode(pcm: bytes, rate_hz: int, output: str) -> bytes:
    """s16le mono PCM as a whole `wav` or `mp3` file. Takes milliseconds: not for the event loop."""
    return wav_bytes(pcm, rate_hz) if output == "wav" else _mp3(pcm, rate_hz)


def _mp3(pcm: bytes, rate_hz: int) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format="mp3") as container:
        stream = container.add_stream("mp3", rate=rate_hz, layout="mono")
        stream.bit_rate = 64_000
        frame = av.AudioFrame.from_ndarray(np.frombuffer(pcm, np.int16)[None, :], format="s16", layout="mono")
        frame.sample_rate = rate_hz
        frame.time_base = Fraction(1, rate_hz)
        frame.pts = 0
        for packet in (*stream.encode(_planar(frame, stream)), *stream.encode(None)):
            container.mux(packet)
    return buffer.getvalue()


def _planar(frame: av.AudioFrame, stream: av.AudioStream) -> av.AudioFrame:
    resampler = av.AudioResampler(format=stream.format, layout="mono", rate=frame.sample_rate)
    return resampler.resample(frame)[0]
