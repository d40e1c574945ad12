"""Turns what callers and model saw of marks into figures. Pure."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.figures import Result, percentiles
from benchmarks.phone.account import Window, spread
from benchmarks.webrtc.talk import SPEECH_FRAMES

LONGEST_S = 0.8
"""A mark that comes later is lost. Its tone is sent again after 1.6 s at the earliest."""
SILENCED_S = 1.5
"""An answer that is heard for longer after it was interrupted, was not."""
FRAME_S = 0.02
LATE = 0.01
"""A system that brings more than this share of the marks over 150 ms late, has not kept up."""
LATE_MS = 150.0

Seen = tuple[float, int]
"""When a mark was sent, or its first loud sample came (seconds, monotonic), and its tone."""
Late = tuple[float, float]
"""When a mark was sent, and how many ms it took."""


@dataclass(frozen=True)
class Call:
    """One caller, and the model's session with him."""

    sent: Sequence[Seen]
    heard: Sequence[Seen]
    as_played: Sequence[Seen]
    audible_s: Sequence[float]
    """When packets with sound came."""
    interruptions_s: Sequence[float]
    appended: Sequence[Seen]
    said: Sequence[Seen]
    began: Sequence[Seen]
    """Those of `said` that an answer began with."""


def latencies(sent: Sequence[Seen], seen: Sequence[Seen]) -> tuple[list[Late], list[float]]:
    """For every mark when it was sent, and how many ms it took; and when those were sent that did not come."""
    at_s = [when_s for when_s, _ in seen]
    taken = [False] * len(seen)
    found, lost = [], []
    for sent_s, tone in sent:
        for index in range(bisect.bisect_left(at_s, sent_s), bisect.bisect_right(at_s, sent_s + LONGEST_S)):
            if seen[index][1] == tone and not taken[index]:
                taken[index] = True
                found.append((sent_s, (at_s[index] - sent_s) * 1000))
                break
        else:
            lost.append(sent_s)
    return found, lost


def session_of(sent: Sequence[Seen], sessions: Sequence[Mapping[str, Sequence[Seen]]]) -> int:
    """The session that heard most of what this caller sent: every caller has an order of tones of his own."""
    return max(range(len(sessions)), key=lambda index: len(latencies(sent, sessions[index]["heard"])[0]))


def both_ways(uplink: Sequence[Late], downlink: Sequence[Late]) -> list[float]:
    """For every mark of the model its ms, and those of the mark that the caller had sent last before it."""
    sent_s = [at_s for at_s, _ in uplink]
    sums = []
    for at_s, ms in downlink:
        before = bisect.bisect_right(sent_s, at_s)
        if before:
            sums.append(uplink[before - 1][1] + ms)
    return sums


def interruptions(call: Call, window: Window) -> tuple[list[float], int]:
    """Of each one, ms from its first packet to the last one with sound that came; and how many were not noticed."""
    silenced, unnoticed = [], 0
    for at_s in call.interruptions_s:
        if not window[0] <= at_s <= window[1]:
            continue
        after = [when_s for when_s in call.audible_s if at_s <= when_s <= at_s + SPEECH_FRAMES * FRAME_S]
        stopped_s = max(after, default=at_s) - at_s
        if stopped_s < SILENCED_S:
            silenced.append(stopped_s * 1000)
        else:
            unnoticed += 1
    return silenced, unnoticed


def figures(calls: Sequence[Call], window: Window) -> Result:
    """All of one run."""
    up, down, first, played = [], [], [], []
    both, silenced = [], []
    up_lost = down_lost = unnoticed = 0
    for call in calls:
        up_found, lost = _within(latencies(call.sent, call.appended), window)
        up_lost += lost
        down_found, lost = _within(latencies(call.said, call.heard), window)
        down_lost += lost
        up += up_found
        down += down_found
        first += _within(latencies(call.began, call.heard), window)[0]
        played += _within(latencies(call.said, call.as_played), window)[0]
        both += both_ways(up_found, down_found)
        took, missed = interruptions(call, window)
        silenced += took
        unnoticed += missed
    return {
        "uplink_ms": percentiles(_ms(up)),
        "downlink_ms": percentiles(_ms(down)),
        "added_ms": percentiles(both),
        "first_audio_ms": percentiles(_ms(first)),
        "as_played_ms": percentiles(_ms(played)) if played else None,
        "barge_in_ms": spread(silenced),
        "samples": {"uplink": len(up), "downlink": len(down), "barge_ins": len(silenced)},
        "marks_lost": {"uplink": up_lost, "downlink": down_lost},
        "marks_late": round(sum(ms > LATE_MS for _, ms in [*up, *down]) / max(1, len(up) + len(down)), 5),
        "unnoticed": unnoticed,
    }


def kept_up(found: Result, late_p99_ms: float) -> bool:
    """Whether nothing was lost, all came in time, and the generator itself was in time."""
    in_time = found["marks_late"] < LATE and late_p99_ms < FRAME_S * 1000
    losses = (*found["marks_lost"].values(), found["packets_lost"], found["unanswered"], found["unnoticed"])
    return in_time and not any(losses) and not found["lost_calls"] and min(found["samples"].values()) > 0


def _within(found: tuple[list[Late], list[float]], window: Window) -> tuple[list[Late], int]:
    begins, ends = window
    return (
        [(at_s, ms) for at_s, ms in found[0] if begins <= at_s <= ends],
        sum(begins <= at_s <= ends for at_s in found[1]),
    )


def _ms(found: Sequence[Late]) -> list[float]:
    return [ms for _, ms in found]
