from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trunkline.audio.frame import bytes_in, silence
from trunkline.audio.resample import Resampler
from trunkline.errors import AudioError

PAIRS_HZ = [
    *((8000, 16000), (16000, 8000), (8000, 24000), (24000, 8000), (16000, 24000), (24000, 16000)),
    *((16000, 48000), (48000, 16000), (24000, 48000), (48000, 24000), (48000, 8000)),
    *((22050, 16000), (22050, 8000), (22050, 24000), (44100, 16000)),
]
every_pair = pytest.mark.parametrize(("source_hz", "target_hz"), PAIRS_HZ)


def pcm(samples: NDArray[np.float64]) -> bytes:
    return np.rint(samples).astype("<i2").tobytes()


def tone(hz: float, rate_hz: int, seconds: float = 0.4) -> bytes:
    return pcm(16000 * np.sin(2 * np.pi * hz * np.arange(int(rate_hz * seconds)) / rate_hz))


def steady(output: bytes, rate_hz: int) -> NDArray[np.float64]:
    """The samples after the first 50 ms."""
    return np.frombuffer(output, "<i2").astype(np.float64)[rate_hz // 20 :]


@every_pair
def test_a_frame_in_is_a_frame_out_from_the_first_on(source_hz: int, target_hz: int) -> None:
    resampler = Resampler(source_hz, target_hz)
    sizes = {len(resampler.push(silence(20, source_hz))) for _ in range(5)}
    assert sizes == {bytes_in(20, target_hz)}
    assert resampler.flush() == b""


@every_pair
def test_a_burst_comes_out_within_half_a_millisecond(source_hz: int, target_hz: int) -> None:
    resampler = Resampler(source_hz, target_hz)
    resampler.push(silence(100, source_hz))
    output = np.frombuffer(resampler.push(pcm(np.full(source_hz // 50, 8000.0))), "<i2")
    assert np.flatnonzero(np.abs(output) > 4000)[0] / target_hz < 0.0005


@every_pair
def test_a_tone_stays_clean_and_as_loud(source_hz: int, target_hz: int) -> None:
    hz = 0.4 * min(source_hz, target_hz)
    output = steady(Resampler(source_hz, target_hz).push(tone(hz, source_hz)), target_hz)
    angle = 2 * np.pi * hz * np.arange(output.size) / target_hz
    basis = np.stack((np.sin(angle), np.cos(angle)), axis=1)
    amplitudes = np.linalg.lstsq(basis, output, rcond=None)[0]
    noise = output - basis @ amplitudes
    assert np.hypot(*amplitudes) == pytest.approx(16000, rel=0.005)
    assert 10 * math.log10(np.mean((basis @ amplitudes) ** 2) / np.mean(noise**2)) > 65


@pytest.mark.parametrize(("source_hz", "target_hz"), [pair for pair in PAIRS_HZ if pair[0] > pair[1]])
def test_what_the_target_cannot_hold_does_not_fold_back(source_hz: int, target_hz: int) -> None:
    hz = min(0.62 * target_hz, 0.49 * source_hz)
    output = steady(Resampler(source_hz, target_hz).push(tone(hz, source_hz)), target_hz)
    assert np.sqrt(np.mean(output**2)) < 16000 / math.sqrt(2) * 10 ** (-65 / 20)


@every_pair
def test_a_constant_stays_exactly_that(source_hz: int, target_hz: int) -> None:
    output = steady(Resampler(source_hz, target_hz).push(pcm(np.full(source_hz // 5, 1234.0))), target_hz)
    assert set(output) == {1234.0}


def test_too_loud_a_result_saturates() -> None:
    square = pcm(np.where(np.arange(1600) % 40 < 20, 32767.0, -32768.0))
    output = np.frombuffer(Resampler(16000, 24000).push(square), "<i2")
    assert (output.min(), output.max()) == (-32768, 32767)
    assert np.abs(np.diff(output.astype(int))).max() < 60000  # nothing wrapped


LENGTH = 6000  # samples: more than the filter takes in one go
NOISE = np.random.default_rng(7).integers(-32768, 32768, LENGTH).astype("<i2").tobytes()
WHOLE = {pair: Resampler(*pair).push(NOISE) for pair in PAIRS_HZ}


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(PAIRS_HZ), st.lists(st.integers(0, LENGTH), max_size=12))
def test_any_split_gives_the_same_bytes(pair: tuple[int, int], cuts: list[int]) -> None:
    resampler = Resampler(*pair)
    edges = [0, *sorted(cuts), LENGTH]
    pieces = [resampler.push(NOISE[2 * start : 2 * end]) for start, end in pairwise(edges)]
    assert b"".join(pieces) == WHOLE[pair]


@every_pair
def test_the_length_is_exact_at_any_moment(source_hz: int, target_hz: int) -> None:
    resampler, taken, given_out = Resampler(source_hz, target_hz), 0, 0
    for size in (1, 1, 2, 3, 160, 7, 441, 99, 0, 1013):
        given_out += len(resampler.push(bytes(2 * size))) // 2
        taken += size
        assert given_out == -(-taken * target_hz // source_hz)
        assert abs(given_out - round(taken * target_hz / source_hz)) <= 1


def test_ten_minutes_do_not_drift() -> None:
    """A click after ten minutes that came in odd pieces, some very long, stands where it should, to the sample."""
    resampler = Resampler(24000, 16000)
    minute = 24000 * 60
    total = sum(len(resampler.push(bytes(2 * (minute + odd)))) // 2 for odd in (1, -2, 3, -4, 5, -6, 7, -8, 9, -5))
    assert total == 16000 * 600
    click = np.frombuffer(resampler.push(pcm(np.r_[np.full(200, 20000.0), np.zeros(280)])), "<i2")
    assert np.argmax(np.abs(click) > 10000) <= 3


def test_flush_begins_a_new_stream() -> None:
    resampler = Resampler(16000, 24000)
    first = resampler.push(NOISE[:1234])
    assert resampler.flush() == b""
    assert resampler.push(NOISE[:1234]) == first


def test_equal_rates_do_no_work() -> None:
    piece = b"\1\2" * 160
    assert Resampler(16000, 16000).push(piece) is piece


@pytest.mark.parametrize(("source_hz", "target_hz"), [(16000, 16000), (8000, 16000)])
def test_half_a_sample_is_refused_and_changes_nothing(source_hz: int, target_hz: int) -> None:
    resampler = Resampler(source_hz, target_hz)
    with pytest.raises(AudioError, match="3 bytes"):
        resampler.push(b"abc")
    assert resampler.push(NOISE) == Resampler(source_hz, target_hz).push(NOISE)


@pytest.mark.parametrize(("source_hz", "target_hz"), [(11025, 8000), (8000, 22050), (0, 8000)])
def test_rates_that_no_session_has_are_refused(source_hz: int, target_hz: int) -> None:
    with pytest.raises(AudioError, match="is not one of"):
        Resampler(source_hz, target_hz)
