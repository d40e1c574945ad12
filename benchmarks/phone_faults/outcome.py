"""What the faults of one kind did, counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.figures import Result
from benchmarks.phone_faults.hearing import Words


@dataclass
class Outcome:
    """`times_ms` has one figure a fault: silence in an answer, or from the end of a question to its answer;
    infinite for a call that did not get there."""

    fault: str
    where: str
    goal_ms: float | None
    times_ms: list[float] = field(default_factory=list)
    missing: int = 0
    twice: int = 0
    strange: int = 0
    calls: int = 0
    calls_with_context: int = 0
    complaints: list[str] = field(default_factory=list)

    def count(self, words: Words, heard: Sequence[str]) -> None:
        self.missing += words.missing
        self.twice += words.twice
        self.strange += words.strange
        if words.disordered or words.strange:
            self.complaints.append("heard: " + " ".join(heard))

    def result(self) -> Result:
        return {
            "fault": self.fault,
            "where": self.where,
            "faults": len(self.times_ms),
            **{f"p{share}_ms": self._percentile(share) for share in (50, 95, 100)},
            "goal_ms": self.goal_ms,
            "words_missing": self.missing,
            "words_twice": self.twice,
            "words_strange": self.strange,
            "calls": self.calls,
            "calls_with_context": self.calls_with_context,
            "complaints": self.complaints,
            "times_ms": [round(time_ms, 1) for time_ms in self.times_ms],
        }

    def _percentile(self, share: int) -> float:
        """One of the figures, not between two: the smallest that `share` % of them do not exceed."""
        ordered = sorted(self.times_ms)
        return round(ordered[max(0, -(-share * len(ordered) // 100) - 1)], 1) if ordered else float("inf")
