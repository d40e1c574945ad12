from __future__ import annotations

from typing import Any

import pytest

from benchmarks.webrtc import account

ORDER = [3, 1, 4, 15, 9, 2, 6, 5]
SENT = [(10 + 0.1 * number, tone) for number, tone in enumerate(ORDER)]


def later(seen: list[tuple[float, int]], ms: float) -> list[tuple[float, int]]:
    return [(at_s + ms / 1000, tone) for at_s, tone in seen]


def call(**changes: Any) -> account.Call:
    quiet: dict[str, Any] = {name: [] for name in account.Call.__dataclass_fields__}
    return account.Call(**quiet | changes)


def test_marks_are_known_by_their_tones_whatever_came_between() -> None:
    seen = [(9.99, 3), (10.05, 8), *later(SENT, 140)]
    found, lost = account.latencies(SENT, seen)
    assert [ms for _, ms in found] == pytest.approx([140] * len(ORDER))
    assert lost == []


def test_a_mark_that_comes_too_late_is_lost_and_none_counts_twice() -> None:
    found, lost = account.latencies([(1.0, 7), (1.1, 7), (2.0, 5)], [(1.2, 7), (3.0, 5)])
    assert [at_s for at_s, _ in found] == [1.0]
    assert lost == [1.1, 2.0]


def test_a_callers_session_is_the_one_that_heard_him() -> None:
    other = [(at_s, tone) for (at_s, _), tone in zip(SENT, reversed(ORDER), strict=True)]
    heard: list[list[tuple[float, int]]] = [[], later(other, 60), later(SENT, 60)]
    assert account.session_of(SENT, [{"heard": one} for one in heard]) == 2


def test_what_is_added_is_one_uplink_and_one_downlink_at_about_the_same_time() -> None:
    assert account.both_ways([(1.0, 30.0), (2.0, 50.0)], [(0.5, 9.0), (1.5, 7.0), (2.5, 8.0)]) == [37.0, 58.0]


def test_an_interruption_is_over_with_the_last_sound() -> None:
    heard = [1 + packet * 0.02 for packet in range(60)]  # until 2.18
    one = call(interruptions_s=[2.1, 9.0], audible_s=[*heard, 5.0])
    silenced, unnoticed = account.interruptions(one, (0, 8))
    assert silenced == pytest.approx([80])
    assert unnoticed == 0
    assert account.interruptions(call(interruptions_s=[1.0], audible_s=[2.9]), (0, 8)) == ([], 1)


def test_a_run_without_faults_has_kept_up() -> None:
    said = [(at_s + 0.05, tone) for at_s, tone in SENT]
    one = call(
        sent=SENT,
        appended=later(SENT, 30),
        said=said,
        began=said[:1],
        heard=later(said, 20),
        interruptions_s=[10.0],
        audible_s=[10.1],
    )
    found = account.figures([one], (0, 100))
    assert found["added_ms"] == {"p50": pytest.approx(50), "p99": pytest.approx(50)}
    assert found["first_audio_ms"]["p50"] == pytest.approx(20)
    assert found["barge_in_ms"]["max"] == pytest.approx(100)
    assert found["as_played_ms"] is None
    assert found["marks_lost"] == {"uplink": 0, "downlink": 0}
    told = {"packets_lost": 0, "unanswered": 0, "lost_calls": []}
    assert account.kept_up(found | told, late_p99_ms=1.0)
    assert not account.kept_up(found | told | {"packets_lost": 1}, late_p99_ms=1.0)
    assert not account.kept_up(found | told, late_p99_ms=25.0)
    assert not account.kept_up(account.figures([call()], (0, 100)) | told, late_p99_ms=1.0)
