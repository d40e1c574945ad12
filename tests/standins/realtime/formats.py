"""The three audio formats of the Realtime API, to and from 16-bit PCM, and which of their bytes are loud."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from trunkline.audio import g711


@dataclass(frozen=True, slots=True)
class Format:
    rate_hz: int
    sample_bytes: int
    to_pcm: Callable[[bytes], bytes]
    from_pcm: Callable[[bytes], bytes]

    @property
    def bytes_per_ms(self) -> int:
        return self.rate_hz * self.sample_bytes // 1000

    def ms(self, audio: bytes) -> int:
        """Whole milliseconds that `audio` lasts."""
        return len(audio) // self.bytes_per_ms

    def loudness(self, audio: bytes, peak: int) -> bytes:
        """One byte a sample of whole samples: 1 where its magnitude is at least `peak`, to the nearest 256 for PCM.

        A byte of G.711, and the upper byte of PCM, says enough; numpy takes ten times as long for a frame of 20 ms.
        """
        return audio[self.sample_bytes - 1 :: self.sample_bytes].translate(_loud(self, peak))


@lru_cache
def _loud(form: Format, peak: int) -> bytes:
    codes = bytes(range(256))
    samples = np.frombuffer(form.to_pcm(codes), "<i2") if form.sample_bytes == 1 else _upper_bytes()
    return (np.abs(samples.astype(np.int32)) >= peak).astype(np.uint8).tobytes()


def _upper_bytes() -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    """The sample in the middle of those that share an upper byte."""
    return (np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int16) << 8) + 128


def _same(pcm: bytes) -> bytes:
    return pcm[: len(pcm) // 2 * 2]


FORMATS = {
    "audio/pcm": Format(24_000, 2, _same, _same),
    "audio/pcmu": Format(8_000, 1, g711.ulaw_to_pcm, g711.pcm_to_ulaw),
    "audio/pcma": Format(8_000, 1, g711.alaw_to_pcm, g711.pcm_to_alaw),
}
