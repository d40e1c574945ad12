"""Frames of s16le mono PCM: how long, how many bytes, cut to size, how loud.

PCM here is always signed 16-bit little-endian, one channel, in `bytes`; a rate is in Hz; a frame is 20 ms.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import AudioError

FRAME_MS = 20
"""One frame's length. RFC 3551 (4.2) makes 20 ms the default of telephone and RTP audio; Twilio and WebRTC send it."""

SAMPLE_BYTES = 2
FULL_SCALE = 32768
"""The magnitude of the most negative s16 sample: 0 dBFS."""

RATES_HZ = frozenset({8000, 16000, 24000, 48000})
"""Rates a session may run at."""

SOURCE_RATES_HZ = RATES_HZ | {22050, 44100}
"""Rates audio may come in: the sessions' own, and those of files and some TTS vendors. 20 ms are whole at each."""


def check_rate(rate_hz: int, allowed: frozenset[int] = SOURCE_RATES_HZ) -> int:
    """Give `rate_hz` back; AudioError names the allowed ones if it is not among them."""
    if rate_hz not in allowed:
        raise AudioError(f"sample rate {rate_hz} Hz is not one of {', '.join(map(str, sorted(allowed)))}")
    return rate_hz


def samples_in(ms: float, rate_hz: int) -> int:
    """Samples in `ms` milliseconds, to the nearest; AudioError if the duration is negative."""
    if ms < 0:
        raise AudioError(f"a duration cannot be negative: {ms} ms")
    return round(ms * rate_hz / 1000)


def bytes_in(ms: float, rate_hz: int) -> int:
    """Bytes of s16 mono in `ms` milliseconds, always whole samples: 20 ms at 8 kHz are 320."""
    return samples_in(ms, rate_hz) * SAMPLE_BYTES


def duration_ms(byte_count: int, rate_hz: int) -> float:
    """Milliseconds that `byte_count` bytes of s16 mono last."""
    return byte_count * 1000 / (SAMPLE_BYTES * rate_hz)


def silence(ms: float, rate_hz: int) -> bytes:
    """`ms` milliseconds of zeros."""
    return bytes(bytes_in(ms, rate_hz))


def check_whole(pcm: bytes) -> None:
    """AudioError if `pcm` cuts a sample in half."""
    if len(pcm) % SAMPLE_BYTES:
        raise AudioError(f"{len(pcm)} bytes are not whole 16-bit samples")


def samples_of(pcm: bytes) -> NDArray[np.int16]:
    """The samples of `pcm` as a read-only view, without a copy; AudioError if a sample is cut in half."""
    check_whole(pcm)
    return np.frombuffer(pcm, dtype="<i2")


def saturate(samples: NDArray[np.float64] | NDArray[np.int32]) -> bytes:
    """Samples in s16 units as s16le; fractions go to the nearest even, what is too loud to the limit."""
    limited = np.minimum(np.maximum(np.rint(samples), -FULL_SCALE), FULL_SCALE - 1)  # clip() takes twice as long
    return limited.astype("<i2").tobytes()


def rms(pcm: bytes) -> float:
    """Root mean square in s16 units, 0.0 to 32768.0; 0.0 for no samples. A full-scale sine has 23170."""
    samples = samples_of(pcm).astype(np.float32)
    return math.sqrt(float(samples.dot(samples)) / samples.size) if samples.size else 0.0


def peak(pcm: bytes) -> int:
    """The largest magnitude in s16 units, 0 to 32768; 0 for no samples."""
    samples = samples_of(pcm)
    return max(int(samples.max()), -int(samples.min())) if samples.size else 0


def mix(*parts: bytes) -> bytes:
    """The sum of all parts, as long as the longest (the others end in silence), saturated and never wrapped."""
    total = np.zeros(max((len(part) for part in parts), default=0) // SAMPLE_BYTES, dtype=np.int32)
    for part in parts:
        samples = samples_of(part)
        total[: samples.size] += samples
    return saturate(total)


class Framer:
    """Cuts a stream of PCM, arriving in pieces of any whole number of samples, into frames of exactly 20 ms.

    Holds less than one frame. AudioError for a rate that is not allowed or a piece that cuts a sample in half; a
    refused piece leaves the framer as it was.
    """

    def __init__(self, rate_hz: int) -> None:
        self.frame_bytes = bytes_in(FRAME_MS, check_rate(rate_hz))
        self._rest = b""

    def push(self, pcm: bytes) -> list[bytes]:
        """The frames that `pcm` completes, oldest first; none when there is not enough yet."""
        check_whole(pcm)
        size = self.frame_bytes
        if len(pcm) == size and not self._rest:  # nearly every piece of a live call
            return [pcm]
        held = self._rest + pcm
        whole = len(held) - len(held) % size
        self._rest = held[whole:]
        return [held[start : start + size] for start in range(0, whole, size)]

    def flush(self) -> bytes:
        """The rest as one frame, padded with silence, or b"" if nothing is held. Ready for a new stream afterwards."""
        rest, self._rest = self._rest, b""
        return rest.ljust(self.frame_bytes, b"\0") if rest else b""
