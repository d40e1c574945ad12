"""Turns what the callers and the model timed into figures. Pure."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable, Sequence

from benchmarks.figures import Result, percentiles
from benchmarks.phone import audio
from benchmarks.phone.talk import FRAME_S, Talk
from benchmarks.phone.times import Times

HEAD_PIECES = 3
"""Of an answer, the first 300 ms are looked at: a gateway that paces its callers lets those through at once too, and
holds back the rest until it is nearly due. That the rest comes in time, `gaps` tells."""
BEHIND = 0.01
"""A system that brings more than this share of the frames over a frame late, has not kept up."""

Window = tuple[float, float]


def spread(values: Sequence[float]) -> Result:
    """Median, 95th percentile, largest: one of the values each; of none, infinity."""
    if not values:
        return {"p50": float("inf"), "p95": float("inf"), "max": float("inf")}
    ordered = sorted(values)
    picked = {f"p{share}": ordered[min(len(ordered) - 1, len(ordered) * share // 100)] for share in (50, 95)}
    return {name: round(value, 3) for name, value in {**picked, "max": ordered[-1]}.items()}


def latencies(sent: Times, arrived: Times, window: Window) -> tuple[list[tuple[int, float, float]], int]:
    """What was sent in the window: (key, when sent, ms until it arrived), and how many never did."""
    first: dict[int, float] = {}
    for key, at_s in arrived:
        first.setdefault(key, at_s)
    taken = [(key, at_s) for key, at_s in sent if window[0] <= at_s <= window[1]]
    found = [(key, at_s, (first[key] - at_s) * 1000) for key, at_s in taken if key in first]
    return found, len(taken) - len(found)


def both_ways(
    uplinks: Iterable[tuple[int, float, float]], downlinks: Iterable[tuple[int, float, float]]
) -> list[float]:
    """For every downlink of a call, its ms and those of the frame that the call had sent last before it."""
    frames: dict[int, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for key, at_s, ms in uplinks:
        sent_s, took_ms = frames[audio.call_of(key)]
        sent_s.append(at_s)
        took_ms.append(ms)
    sums = []
    for key, at_s, ms in downlinks:
        sent_s, took_ms = frames[audio.call_of(key)]
        before = bisect.bisect_right(sent_s, at_s)
        if before:
            sums.append(took_ms[before - 1] + ms)
    return sums


def latency_figures(sent: Times, appended: Times, spoken: Times, heard: Times, window: Window) -> Result:
    """All that is of single frames."""
    up, lost_up = latencies(sent, appended, window)
    down_all, _ = latencies(spoken, heard, window)
    head = [one for one in down_all if audio.answer_and_piece(one[0])[1] < HEAD_PIECES]
    first = [ms for key, _, ms in head if audio.answer_and_piece(key)[1] == 0]
    up_ms = [ms for _, _, ms in up]
    behind = sum(ms > FRAME_S * 1000 for ms in up_ms) / len(up_ms) if up_ms else 1.0
    return {
        "uplink_ms": percentiles(up_ms),
        "downlink_ms": percentiles([ms for _, _, ms in head]),
        "first_audio_ms": percentiles(first),
        "added_ms": percentiles(both_ways(up, head)),
        "samples": {"uplink": len(up), "downlink": len(head), "first_audio": len(first)},
        "frames_lost": lost_up,
        "frames_behind": {"share": round(behind, 5), "worst": round(max(up_ms, default=0.0) / 1000 / FRAME_S, 1)},
    }


def talk_figures(talks: Sequence[Talk], window: Window) -> Result:
    """All that is of conversations."""
    begins, ends = window
    clears = [took * 1000 for talk in talks for at_s, took in talk.barge_ins_s if begins <= at_s <= ends]
    gaps = [gap * 1000 for talk in talks for at_s, gap in talk.gaps_s if begins <= at_s <= ends]
    return {
        "barge_in_ms": spread(clears),
        "barge_ins": len(clears),
        "answers": sum(talk.answers for talk in talks),
        "unanswered": sum(talk.unanswered for talk in talks),
        "uncleared": sum(talk.uncleared for talk in talks),
        "heard_after_clear": sum(talk.stale for talk in talks),
        "gaps": {"count": len(gaps), "worst_ms": round(max(gaps, default=0.0), 1)},
    }


def kept_up(figures: Result, late_p99_ms: float) -> bool:
    """Whether every frame and answer came, in time, and the generator itself was in time."""
    failures = ("frames_lost", "unanswered", "uncleared", "lost_calls")
    in_time = figures["frames_behind"]["share"] < BEHIND and late_p99_ms < FRAME_S * 1000
    return in_time and not any(figures[name] for name in failures)
