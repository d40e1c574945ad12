from __future__ import annotations

import warnings
from types import ModuleType

import numpy as np
import pytest

from trunkline.audio.g711 import ALAW_SILENCE, ULAW_SILENCE, alaw_to_pcm, pcm_to_alaw, pcm_to_ulaw, ulaw_to_pcm
from trunkline.errors import AudioError

EVERY_CODE = bytes(range(256))
EVERY_SAMPLE = np.arange(-32768, 32768).astype("<i2")


@pytest.fixture
def audioop() -> ModuleType:
    """Python's own G.711, gone since 3.13."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module: ModuleType = pytest.importorskip("audioop", reason="left the standard library in Python 3.13")
        return module


def test_every_entry_equals_the_standard_librarys(audioop: ModuleType) -> None:
    pcm = EVERY_SAMPLE.tobytes()
    assert pcm_to_ulaw(pcm) == audioop.lin2ulaw(pcm, 2)
    assert pcm_to_alaw(pcm) == audioop.lin2alaw(pcm, 2)
    assert ulaw_to_pcm(EVERY_CODE) == audioop.ulaw2lin(EVERY_CODE, 2)
    assert alaw_to_pcm(EVERY_CODE) == audioop.alaw2lin(EVERY_CODE, 2)


def decoded(pcm: bytes) -> list[int]:
    return [int(sample) for sample in np.frombuffer(pcm, "<i2")]


def test_values_of_the_recommendation() -> None:
    """G.711 tables 2a and 1a: the ends of the scale, the ends of segments, and zero, scaled to 16 bits."""
    assert decoded(ulaw_to_pcm(bytes([0x80, 0x8F, 0x90, 0xEF, 0xF0, 0xFF, 0x7F, 0x00]))) == [
        *(32124, 16764, 15996, 132, 120, 0, 0, -32124)
    ]
    assert decoded(alaw_to_pcm(bytes([0xAA, 0xA5, 0xD5, 0x55, 0x2A]))) == [32256, 16896, 8, -8, -32256]
    assert decoded(ulaw_to_pcm(bytes([ULAW_SILENCE]))) == [0]
    assert decoded(alaw_to_pcm(bytes([ALAW_SILENCE]))) == [8]


def test_a_code_survives_the_way_to_pcm_and_back() -> None:
    assert pcm_to_alaw(alaw_to_pcm(EVERY_CODE)) == EVERY_CODE
    assert pcm_to_ulaw(ulaw_to_pcm(EVERY_CODE)) == EVERY_CODE.replace(b"\x7f", b"\xff")  # minus zero is zero


@pytest.mark.parametrize(("there", "back"), [(pcm_to_ulaw, ulaw_to_pcm), (pcm_to_alaw, alaw_to_pcm)])
def test_a_sample_loses_at_most_half_a_step(there: object, back: object) -> None:
    assert callable(there)
    assert callable(back)
    returned = np.frombuffer(back(there(EVERY_SAMPLE.tobytes())), "<i2").astype(int)
    samples = EVERY_SAMPLE.astype(int)
    inside = np.abs(samples) < 32000  # beyond it the scale ends
    error = np.abs(returned - samples)[inside]
    assert (error <= (np.abs(samples[inside]) + 132) / 32 + 8).all()  # 16 steps a segment, and the bits dropped first
    assert np.all(np.diff(returned) >= 0)


@pytest.mark.parametrize("encode", [pcm_to_ulaw, pcm_to_alaw])
def test_half_a_sample_is_refused(encode: object) -> None:
    assert callable(encode)
    with pytest.raises(AudioError, match="1 bytes"):
        encode(b"a")
