"""The simulated loudspeaker: what is heard when, and the account of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.speaker import MOST_QUEUED_MS, Speaker

RATE_HZ = 8000


def tone(ms: float, value: int = 1000) -> bytes:
    return np.full(round(ms * RATE_HZ / 1000), value, "<i2").tobytes()


def ramp(ms: int) -> bytes:
    return np.arange(1, ms * RATE_HZ // 1000 + 1, dtype="<i2").tobytes()


def speaker() -> Speaker:
    return Speaker(RATE_HZ, 0.0)


def test_a_turn_begins_once_60_ms_of_it_are_here() -> None:
    played = speaker()
    for number in range(5):
        played.push(1, number * 20, tone(20), 1.0 + number * 0.01)
    played.advance(2.0)
    assert played.first_heard_s == {1: 1.02}
    assert played.heard_ms(1) == 100


def test_a_shorter_turn_begins_120_ms_after_it_came() -> None:
    played = speaker()
    played.push(1, 0, tone(40), 1.0)
    played.advance(1.1)
    assert played.heard == []
    played.advance(2.0)
    assert played.first_heard_s == {1: 1.12}


def test_a_shorter_turn_that_is_known_to_be_complete_begins_at_once() -> None:
    played = speaker()
    played.push(1, 0, tone(40), 1.0)
    played.finish(1, 1.01)
    played.advance(2.0)
    assert played.first_heard_s == {1: 1.01}


def test_the_track_is_silence_and_then_exactly_what_came() -> None:
    played = speaker()
    played.push(1, 0, ramp(200), 0.5)
    played.advance(1.0)
    assert played.track() == bytes(8000) + ramp(200) + bytes(16000 - 8000 - 3200)


def test_turns_follow_each_other_without_a_gap() -> None:
    played = speaker()
    played.push(1, 0, tone(100, 1), 0.0)
    played.push(2, 0, tone(100, 2), 0.01)
    played.advance(1.0)
    assert played.track()[: 2 * 1600] == tone(100, 1) + tone(100, 2)
    assert played.gaps() == []


def test_a_dry_edge_is_a_gap_as_long_as_the_silence() -> None:
    played = speaker()
    played.push(1, 0, tone(400), 0.0)
    played.push(1, 400, tone(400), 1.0)
    played.advance(2.0)
    (gap,) = played.gaps(1)
    assert (gap.at_s, gap.turn, gap.offset_ms, gap.ms) == (0.4, 1, 400, 600)
    assert played.gaps(2) == []
    assert played.missing_ms == {}


def test_an_ordered_pause_is_no_gap() -> None:
    played = speaker()
    played.push(1, 0, tone(400), 0.0)
    played.pause(1, 0.1)
    played.advance(0.5)
    assert played.heard_ms(1) == 100
    played.resume(1, 0.6)
    played.advance(2.0)
    assert played.heard_ms(1) == 400
    assert played.gaps() == []


def test_a_resume_of_another_turn_changes_nothing() -> None:
    played = speaker()
    played.push(2, 0, tone(400), 0.0)
    played.pause(2, 0.1)
    played.resume(1, 0.2)
    played.advance(1.0)
    assert played.heard_ms(2) == 100


def test_a_clear_drops_the_turn_and_what_still_comes_of_it() -> None:
    played = speaker()
    played.push(1, 0, tone(400), 0.0)
    played.clear(1, 0.15)
    played.push(1, 400, tone(400), 0.2)
    played.push(2, 0, tone(100), 0.3)
    played.advance(1.0)
    assert (played.heard_ms(1), played.heard_ms(2)) == (150, 100)


def test_a_clear_is_always_answered() -> None:
    played = speaker()
    played.push(1, 0, tone(400), 0.0)
    played.advance(0.1)
    assert played.take_reports() == {1: 100}
    played.clear(1, 0.1)
    assert played.take_reports() == {1: 100}
    played.clear(7, 0.1)
    assert played.take_reports() == {7: 0}


def test_played_is_reported_every_100_ms_and_at_the_end() -> None:
    played = speaker()
    played.push(1, 0, tone(250), 0.0)
    reports = []
    for tick in range(1, 20):
        played.advance(tick * 0.02)
        reports += list(played.take_reports().items())
    assert reports == [(1, 100), (1, 200), (1, 250)]


def test_the_end_of_a_turn_is_reported_though_the_next_has_begun() -> None:
    played = speaker()
    played.push(1, 0, tone(130), 0.0)
    played.push(2, 0, tone(500), 0.0)
    played.advance(0.3)
    assert played.take_reports() == {1: 130, 2: 170}


def test_what_comes_twice_is_played_once() -> None:
    played = speaker()
    played.push(1, 0, ramp(200), 0.0)
    played.push(1, 100, ramp(200)[1600:] + tone(100), 0.05)
    played.advance(1.0)
    assert played.track()[:4800] == ramp(200) + tone(100)
    assert played.repeated_ms == 100


def test_what_never_came_is_counted() -> None:
    played = speaker()
    played.push(1, 0, tone(100), 0.0)
    played.push(1, 300, tone(100), 0.05)
    played.push(2, 50, tone(100), 0.06)
    assert played.missing_ms == {1: 200, 2: 50}


def test_offsets_rounded_to_whole_ms_are_neither_gap_nor_overlap() -> None:
    played = speaker()
    played.push(1, 0, ramp(100)[:-2], 0.0)
    played.push(1, 100, tone(100), 0.05)
    played.push(1, 199, tone(100), 0.06)
    played.advance(1.0)
    assert (played.missing_ms, played.repeated_ms) == ({}, 0)
    assert played.heard_ms(1) == pytest.approx(299.875)


def test_more_than_a_minute_is_refused() -> None:
    played = speaker()
    played.push(1, 0, tone(MOST_QUEUED_MS), 0.0)
    played.push(1, MOST_QUEUED_MS, tone(20), 0.0)
    assert played.overflow_ms == 20


def test_another_session_numbers_its_turns_anew() -> None:
    played = speaker()
    played.push(1, 0, tone(200), 0.0)
    played.clear(3, 0.1)
    played.reset(0.2)
    played.push(1, 0, tone(200), 5.0)
    played.advance(6.0)
    assert played.heard_ms(1) == 200
    assert played.gaps() == []
    assert np.count_nonzero(np.frombuffer(played.track(), "<i2")) == 300 * RATE_HZ // 1000


def test_the_account_is_the_same_without_the_sound() -> None:
    full, lean = speaker(), Speaker(RATE_HZ, 0.0, keep_pcm=False)
    for played in (full, lean):
        for number in range(20):
            played.push(1, number * 20, tone(20), number * 0.05)
            played.advance(number * 0.05)
        played.advance(3.0)
    assert lean.gaps() == full.gaps()
    assert lean.heard_ms(1) == full.heard_ms(1) == 400
    assert len(lean.heard) < len(full.heard)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 400)), min_size=1, max_size=20))
def test_all_that_comes_is_heard_in_order_whatever_the_timing(pieces: list[tuple[int, int]]) -> None:
    played = speaker()
    now_s, offset_ms, whole = 0.0, 0, b""
    for ms, wait_ms in pieces:
        now_s += wait_ms / 1000
        pcm = tone(ms, len(whole) % 30_000 + 1)
        played.push(1, offset_ms, pcm, now_s)
        whole += pcm
        offset_ms += ms
    played.advance(now_s + 60)
    samples = np.frombuffer(played.track(), "<i2")
    assert samples[samples != 0].tobytes() == whole
    first, last = played.heard[0], played.heard[-1]
    silent_ms = (last.at + last.length - first.at) * 1000 / RATE_HZ - offset_ms
    assert sum(gap.ms for gap in played.gaps()) == pytest.approx(silent_ms)
