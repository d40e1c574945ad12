"""Turns what callers and vendors saw into figures: what a caller waited for that was neither silence nor a vendor."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.cascade.levels import holds
from benchmarks.cascade.speeches import RATE_HZ, Frame, Speech
from benchmarks.figures import Result, percentiles
from benchmarks.phone.account import Window
from benchmarks.phone.times import Times
from trunkline.audio.frame import FRAME_MS
from trunkline.audio.g711 import ulaw_to_pcm
from workers.turns.endpointing import CHUNK_MS, EdgeKind, Endpointing, Thresholds
from workers.turns.vad import VoiceActivity

LATE_MS = 150.0
LATE = 0.01
"""A system that adds LATE_MS to more than this share of the answers, has not kept up."""

Book = Mapping[str, Result]
"""What a vendor wrote, by the question's number."""


@dataclass(frozen=True)
class Call:
    """One caller: what he sent and heard."""

    frames: Sequence[Frame]
    said: Sequence[tuple[int, Speech]]
    """And with which frame (from 0) each speech began."""
    sent: Times
    """One for each frame."""
    heard: Times


@dataclass(frozen=True)
class Wait:
    """What one answer took, in ms."""

    at_s: float
    """When the question was over, and known to be."""
    uplink: float
    """From the frame that told it, or from the text if that came later, to the language model's having the request."""
    between: float
    """From the token that made a clause whole to the voice's having its text."""
    downlink: float
    """From the first audio to its being at the caller."""

    @property
    def added(self) -> float:
        return self.uplink + self.between + self.downlink


def decided(frames: Sequence[Frame], settings: Thresholds) -> list[int]:
    """Which frames told that a question was over, found as a worker finds it: by the same model in the same audio."""
    activity, endpointing = VoiceActivity(RATE_HZ), Endpointing(settings)
    ends: list[int] = []
    for number, probability in enumerate(activity.push(ulaw_to_pcm(b"".join(frame.ulaw for frame in frames))), 1):
        edge = endpointing.push(number * CHUNK_MS, probability)
        if edge is not None and edge.kind is EdgeKind.STOPPED:
            ends.append(-(-edge.decided_ms // FRAME_MS) - 1)
    return ends


def waits(call: Call, ends: Sequence[int], vendors: Mapping[str, Book]) -> tuple[list[Wait], int]:
    """What each of his answers took; and how many answers were to what he never said."""
    sent_s = [at_s for _, at_s in call.sent]
    ended_s = [sent_s[frame] for frame in ends if frame < len(sent_s)]
    first_heard: dict[int, float] = {}
    for key, at_s in call.heard:
        number, piece = key >> 6, key & 63
        if piece == 0:
            first_heard.setdefault(number, at_s)
    found, wrong = [], 0
    for number, heard_s in first_heard.items():
        heard, thought, spoken = (vendors[one].get(str(number)) for one in ("heard", "thought", "spoken"))
        if heard is None or thought is None or spoken is None or "clause_s" not in thought or "first_s" not in spoken:
            wrong += 1
            continue
        last = bisect.bisect_right(ended_s, thought["asked_s"]) - 1
        if last < 0 or not _is_his(heard["levels"], call, ends[last]):
            wrong += 1
            continue
        known_s = max(ended_s[last], heard["told_s"])
        found.append(
            Wait(
                ended_s[last],
                (thought["asked_s"] - known_s) * 1000,
                (spoken["asked_s"] - thought["clause_s"]) * 1000,
                (heard_s - spoken["first_s"]) * 1000,
            )
        )
    return found, wrong


def _is_his(heard: Sequence[int], call: Call, end: int) -> bool:
    """Whether what was understood is what he had said last before frame `end`."""
    before = [speech for begin, speech in call.said if begin < end]
    return bool(before) and holds(heard, before[-1].levels)


def figures(calls: Sequence[Call], vendors: Mapping[str, Book], settings: Thresholds, window: Window) -> Result:
    """All of one run that is of answers."""
    all_waits, wrong, utterances, ends_found = [], 0, 0, 0
    for call in calls:
        ends = decided(call.frames, settings)
        found, strange = waits(call, ends, vendors)
        all_waits += [wait for wait in found if window[0] <= wait.at_s <= window[1]]
        wrong += strange
        utterances += len(call.said)
        ends_found += len(ends)
    added = [wait.added for wait in all_waits]
    return {
        "added_ms": percentiles(added),
        "uplink_ms": percentiles([wait.uplink for wait in all_waits]),
        "between_ms": percentiles([wait.between for wait in all_waits]),
        "downlink_ms": percentiles([wait.downlink for wait in all_waits]),
        "samples": len(added),
        "answers_late": round(sum(ms > LATE_MS for ms in added) / max(1, len(added)), 5),
        "wrong": wrong,
        "utterances": utterances,
        "utterances_ended": ends_found,
    }


def kept_up(found: Result, late_p99_ms: float) -> bool:
    """Whether every answer came, to the right caller and in time, and the generator itself was in time."""
    in_time = found["answers_late"] < LATE and late_p99_ms < FRAME_MS
    return (
        in_time
        and found["samples"] > 0
        and not any(found[name] for name in ("wrong", "unanswered", "uncleared", "lost_calls"))
    )
