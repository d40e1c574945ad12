"""What the caller waited for before an answer, in parts that sum."""

from __future__ import annotations

from typing import Any


class Latency:
    """The wait for one answer. `endpoint_ms` is media time; the rest is a clock's, in s, from `decided_s` on."""

    def __init__(self, decided_s: float, endpoint_ms: int | None = None) -> None:
        self._decided_s = decided_s
        self._endpoint_ms = endpoint_ms
        self._marks: dict[str, float] = {}

    def mark(self, part: str, now_s: float) -> None:
        """`part` was over at `now_s`. Only the first mark of a part counts."""
        self._marks.setdefault(part, now_s)

    def report(self) -> dict[str, Any]:
        """`total_ms`, and `parts` as [name, ms] which sum to it exactly."""
        parts: list[list[Any]] = []
        total_ms = 0
        if self._endpoint_ms is not None:
            parts.append(["endpoint", self._endpoint_ms])
            total_ms = self._endpoint_ms
        clock_ms = 0
        for name, at_s in self._marks.items():
            until_ms = max(clock_ms, round((at_s - self._decided_s) * 1000))
            parts.append([name, until_ms - clock_ms])
            clock_ms = until_ms
        return {"total_ms": total_ms + clock_ms, "parts": parts}
