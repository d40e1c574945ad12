"""Sounds that are recognised after any codec: what is marked where it is sent is found where it arrives. Pure.

A mark is 100 ms of one of 16 tones: 50 ms loud, then 50 ms soft. Where a tone becomes loud is known to under a
millisecond, which one it is tells marks apart, and the soft part is still heard: while marks follow each other there is
no silence. Everything is s16 mono at 24 kHz.
"""

from __future__ import annotations

import functools
import random
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Pcm = npt.NDArray[np.int16]

RATE_HZ = 24_000
RATE_PER_MS = RATE_HZ // 1000
TONES = 16
MARK_MS = 100
LOUD_MS = 50
LOUD, SOFT = 12_000, 1_500
"""Peaks, of 32767."""
EDGE = 5_000
"""A sample above this is of a loud part."""
AUDIBLE = 500
"""A sample above this is of a mark, and not of a codec's rest."""

_QUIET_BEFORE_MS = 20
"""There are no loud samples for so long before a mark begins."""
_RISE_MS, _LOOK_MS = 5, 40
"""A codec may colour the beginning of a tone: what it is, the 40 ms after that tell."""
_PURITY = 0.6
"""The share of the power that is the tone's; less is no mark."""


class Found(NamedTuple):
    """A mark in a stream: the sample it begins at, and which tone it is."""

    sample: int
    tone: int


def frequency_hz(tone: int) -> int:
    """Where voices are, and every codec is good."""
    return 500 + 160 * tone


@functools.cache
def mark(tone: int) -> bytes:
    """The sound of a mark."""
    loud = np.arange(MARK_MS * RATE_PER_MS) < LOUD_MS * RATE_PER_MS
    wave = np.sin(2 * np.pi * frequency_hz(tone) / RATE_HZ * np.arange(loud.size))
    sound: Pcm = (wave * np.where(loud, LOUD, SOFT)).astype("<i2")
    return sound.tobytes()


def tones(seed: int) -> list[int]:
    """All tones once, in an order that is this seed's own: to be used round and round."""
    order = list(range(TONES))
    random.Random(seed).shuffle(order)
    return order


def audible(pcm: Pcm) -> bool:
    """Whether anything of a mark is in these samples."""
    return bool(np.max(np.abs(pcm), initial=0) > AUDIBLE)


def find(pcm: Pcm) -> list[Found]:
    """All marks in a stream, in their order."""
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > EDGE)
    if loud.size == 0:
        return []
    begins = np.concatenate(([True], np.diff(loud) > _QUIET_BEFORE_MS * RATE_PER_MS))
    found = []
    for sample in loud[begins].tolist():
        start = sample + _RISE_MS * RATE_PER_MS
        tone = _tone(pcm[start : start + _LOOK_MS * RATE_PER_MS])
        if tone is not None:
            found.append(Found(sample, tone))
    return found


def _tone(pcm: Pcm) -> int | None:
    """The tone that most of the power is in."""
    size = _LOOK_MS * RATE_PER_MS
    if pcm.size < size:
        return None
    samples = pcm.astype(np.float64)
    power = np.abs(_waves() @ samples) ** 2 * 2 / size
    best = int(np.argmax(power))
    return best if power[best] > _PURITY * float(samples @ samples) else None


@functools.cache
def _waves() -> npt.NDArray[np.complex128]:
    """One row a tone: what a window is multiplied with to have its power there."""
    steps = np.arange(_LOOK_MS * RATE_PER_MS)
    angles = np.outer([frequency_hz(tone) for tone in range(TONES)], steps) * (2 * np.pi / RATE_HZ)
    waves: npt.NDArray[np.complex128] = np.exp(-1j * angles)
    return waves
