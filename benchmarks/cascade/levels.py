"""How loud each 20 ms of audio is, and whether two such stretches are of the same speech. Pure.

What a vendor was sent is compared with what the caller said, across resampling, pre-roll and a noisy line.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trunkline.audio.frame import FRAME_MS, samples_in

FLOOR_DB = 35
"""dB over one s16 unit: noise of the line (speeches.py) is below, speech above."""
MOST_BEFORE = 50
"""Frames of something else that may come before the speech: pre-roll."""
SAME_DB = 3.0
"""Two stretches whose levels differ by less in the mean are the same."""


def levels(pcm: bytes, rate_hz: int) -> list[int]:
    """dB over one s16 unit (RMS) of each whole frame, at least FLOOR_DB."""
    size = samples_in(FRAME_MS, rate_hz)
    samples = np.frombuffer(pcm, "<i2")
    frames = samples[: samples.size - samples.size % size].reshape(-1, size).astype(np.float32)
    power = np.maximum(np.square(frames).mean(axis=1), 1.0)
    found: list[int] = np.maximum(np.rint(10 * np.log10(power)), FLOOR_DB).astype(int).tolist()
    return found


def holds(heard: Sequence[int], said: Sequence[int]) -> bool:
    """Whether all of what was `said` is in what was `heard`, with no more than MOST_BEFORE frames before it."""
    wanted, given = np.array(said), np.array(heard)
    begins = range(min(MOST_BEFORE, given.size - wanted.size) + 1)
    return any(np.abs(given[begin : begin + wanted.size] - wanted).mean() < SAME_DB for begin in begins)
