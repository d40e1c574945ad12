from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.audio.frame import (
    RATES_HZ,
    SOURCE_RATES_HZ,
    Framer,
    bytes_in,
    check_rate,
    duration_ms,
    mix,
    peak,
    rms,
    samples_in,
    silence,
)
from trunkline.errors import AudioError


def pcm(*samples: int) -> bytes:
    return struct.pack(f"<{len(samples)}h", *samples)


@pytest.mark.parametrize(("rate_hz", "size"), [(8000, 320), (16000, 640), (22050, 882), (24000, 960), (48000, 1920)])
def test_twenty_milliseconds_at_every_rate(rate_hz: int, size: int) -> None:
    assert bytes_in(20, rate_hz) == len(silence(20, rate_hz)) == size
    assert samples_in(20, rate_hz) == size // 2
    assert duration_ms(size, rate_hz) == 20


def test_every_allowed_rate_has_whole_frames() -> None:
    assert all(rate_hz * 20 % 1000 == 0 for rate_hz in SOURCE_RATES_HZ)


def test_a_rate_out_of_the_list_is_refused_by_number() -> None:
    assert check_rate(22050) == 22050
    with pytest.raises(AudioError, match="11025 Hz is not one of 8000, 16000"):
        check_rate(11025)
    with pytest.raises(AudioError, match="22050"):
        check_rate(22050, RATES_HZ)


def test_a_negative_duration_is_refused() -> None:
    with pytest.raises(AudioError, match="negative"):
        silence(-1, 8000)


def test_levels() -> None:
    assert rms(b"") == peak(b"") == 0
    assert rms(pcm(3000, -3000, 3000, -3000)) == 3000
    assert rms(pcm(-32768)) == peak(pcm(1, -32768, 5)) == 32768
    assert peak(pcm(7, 2)) == 7


def test_mix_sums_saturates_and_takes_the_longest() -> None:
    assert mix(pcm(1000, 30000, -30000), pcm(-400, 30000, -30000, 5)) == pcm(600, 32767, -32768, 5)
    assert mix() == b""


@pytest.mark.parametrize("measure", [rms, peak, mix, Framer(8000).push])
def test_half_a_sample_is_refused(measure: object) -> None:
    assert callable(measure)
    with pytest.raises(AudioError, match="3 bytes are not whole"):
        measure(b"abc")


@given(st.binary(max_size=3000), st.lists(st.integers(0, 1500), max_size=8))
def test_frames_do_not_depend_on_how_the_stream_was_cut(stream: bytes, cuts: list[int]) -> None:
    stream = stream[: len(stream) // 2 * 2]
    edges = [0, *sorted(min(cut * 2, len(stream)) for cut in cuts), len(stream)]
    framer = Framer(8000)
    frames = [f for a, b in pairwise(edges) for f in framer.push(stream[a:b])]
    assert all(len(frame) == 320 for frame in frames)
    rest = stream[len(frames) * 320 :]
    assert b"".join(frames) == stream[: len(frames) * 320]
    assert len(rest) < 320
    assert framer.flush() == (rest + bytes(320 - len(rest)) if rest else b"")
    assert framer.flush() == b""


def test_a_refused_piece_changes_nothing() -> None:
    framer = Framer(8000)
    framer.push(b"\1" * 100)
    with pytest.raises(AudioError):
        framer.push(b"\2" * 221)
    assert framer.push(b"\3" * 220) == [b"\1" * 100 + b"\3" * 220]
