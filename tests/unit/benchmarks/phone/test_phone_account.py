from __future__ import annotations

import pytest

from benchmarks.phone import account, audio
from benchmarks.phone.talk import Talk
from benchmarks.phone.times import Times

WINDOW = (10.0, 20.0)


def times(*seen: tuple[int, float]) -> Times:
    noted = Times()
    for key, at_s in seen:
        noted.note(key, at_s)
    return noted


def test_what_was_sent_in_the_window_is_looked_for_where_it_first_arrived() -> None:
    sent = times((1, 9.0), (2, 11.0), (3, 12.0))
    arrived = times((1, 11.5), (2, 11.005), (2, 11.5))
    found, lost = account.latencies(sent, arrived, WINDOW)
    assert [(key, at_s, round(ms, 6)) for key, at_s, ms in found] == [(2, 11.0, 5.0)]
    assert lost == 1


def test_both_ways_takes_the_calls_own_last_frame() -> None:
    mine, other = audio.key(1, 0), audio.key(2, 0)
    uplinks = [(mine, 11.0, 1.0), (mine + 1, 12.0, 2.0), (other, 12.1, 50.0)]
    assert account.both_ways(uplinks, [(mine, 12.5, 4.0), (mine, 11.5, 4.0), (mine, 10.5, 4.0)]) == [6.0, 5.0]


def test_only_the_beginning_of_an_answer_counts_as_downlink() -> None:
    spoken = times(*((audio.answer_key(1, 0, piece), 11.0) for piece in range(10)))
    heard = times(*((audio.answer_key(1, 0, piece), 11.0 + piece * 0.01) for piece in range(10)))
    figures = account.latency_figures(times((1, 11.0)), times((1, 11.042)), spoken, heard, WINDOW)
    assert figures["samples"] == {"uplink": 1, "downlink": 3, "first_audio": 1}
    assert figures["downlink_ms"]["p99"] == pytest.approx(20)
    assert figures["first_audio_ms"]["p50"] == pytest.approx(0)
    assert figures["frames_behind"]["share"] == 1
    assert figures["frames_behind"]["worst"] == 2.1


def test_a_run_has_kept_up_only_when_nothing_is_missing() -> None:
    figures = account.talk_figures([Talk(0)], WINDOW) | {
        "frames_lost": 0,
        "lost_calls": [],
        "frames_behind": {"share": 0.001},
    }
    assert account.kept_up(figures, late_p99_ms=2)
    assert not account.kept_up(figures, late_p99_ms=25)
    for wrong in ({"frames_lost": 1}, {"uncleared": 1}, {"lost_calls": ["closed"]}, {"frames_behind": {"share": 0.5}}):
        assert not account.kept_up(figures | wrong, late_p99_ms=2)


def test_spread_is_among_the_values() -> None:
    assert account.spread([float(value) for value in range(1, 101)]) == {"p50": 51, "p95": 96, "max": 100}
