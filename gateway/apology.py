"""What a caller hears when nobody can answer."""

from __future__ import annotations

import functools
from importlib import resources

from trunkline.audio.resample import Resampler
from trunkline.audio.wav import read_wav


@functools.cache
def apology(rate_hz: int) -> bytes:
    """s16le mono at `rate_hz`."""
    pcm, source_hz = read_wav(str(resources.files("gateway") / "assets" / "apology.wav"))
    resampler = Resampler(source_hz, rate_hz)
    return resampler.push(pcm) + resampler.flush()
