"""What was heard of an answer, measured: the silence in it, and the words that are missing or came twice. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tests.standins.tones import PAUSE_MS

RATE_HZ = 8000
HOP_MS = 5
QUIET_PEAK = 300
"""-40 dBFS: below this is silence, as for `tones.hear`."""
LEAST_MS = PAUSE_MS + 4 * HOP_MS
"""A quiet stretch up to this long is the pause between two words, measured to two hops."""


class Stretch(NamedTuple):
    """Quiet between two sounds, in ms of the audio it is in."""

    start_ms: int
    length_ms: int


def silences(pcm: bytes) -> list[Stretch]:
    """Where s16le at 8 kHz is silent for longer than between two words; what is before the first sound and after the
    last is no silence of it."""
    size = RATE_HZ * HOP_MS // 1000
    samples = np.abs(np.frombuffer(pcm, "<i2").astype(np.int32))
    loud = np.flatnonzero(samples[: len(samples) // size * size].reshape(-1, size).max(axis=1) >= QUIET_PEAK)
    gaps = np.diff(loud) - 1
    found = [
        Stretch((int(loud[at]) + 1) * HOP_MS, int(gaps[at]) * HOP_MS) for at in np.flatnonzero(gaps * HOP_MS > LEAST_MS)
    ]
    return found


def silence_ms(stretches: Sequence[Stretch], from_ms: float, to_ms: float) -> float:
    """How much longer than a pause between words the silences are that begin in a span, together."""
    return float(sum(each.length_ms - PAUSE_MS for each in stretches if from_ms <= each.start_ms < to_ms))


def begins_ms(pcm: bytes) -> float | None:
    """When the first sound begins; None for none."""
    samples = np.abs(np.frombuffer(pcm, "<i2").astype(np.int32))
    loud = np.flatnonzero(samples >= QUIET_PEAK)
    return float(loud[0]) * 1000 / RATE_HZ if loud.size else None


class Words(NamedTuple):
    """How what was heard differs from what should have been."""

    missing: int
    twice: int
    strange: int
    """Heard, and not of the answer."""
    disordered: bool


def compare(expected: Sequence[str], heard: Sequence[str]) -> Words:
    """`expected` has no word twice, so that each can be told from the others."""
    wanted, counts = set(expected), Counter(heard)
    firsts = [word for word in dict.fromkeys(heard) if word in wanted]
    return Words(
        missing=len(wanted - counts.keys()),
        twice=sum(counts[word] - 1 for word in wanted if counts[word] > 1),
        strange=sum(count for word, count in counts.items() if word not in wanted),
        disordered=firsts != [word for word in expected if word in counts],
    )
