"""What the caller waited for before an answer, in parts that sum: as the worker knows it, and as the edge saw it. Pure.

A worker knows how long each of its own steps took, and where in the caller's audio their speech ended. The edge knows
when, by the clock of that audio, the answer went out on the wire (`trunkline.bus.messages.Left`). The whole is the
edge's; what of it the worker did not spend went by on the bus, at both ends of it, or before there was a worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trunkline.bus.messages import UNKNOWN_MS, Left

TOLERANCE_MS = 5
"""By so much the edge's clock may disagree with the worker's: frames of the caller's audio come late, each a little."""


@dataclass(frozen=True, slots=True)
class Wait:
    """The wait for one answer, as far as its worker knows it: until its first audio was ready to be sent."""

    parts: tuple[tuple[str, int], ...]
    """What came after what, and how many ms it took."""
    speech_end_ms: int | None = None
    """Media time at which the caller's speech ended, if they spoke."""
    decided_ms: int | None = None
    """Media time at which that was certain."""
    filler: bool = False
    """Whether what is heard is no answer yet: a filler, or an apology for there being none."""
    providers: tuple[tuple[str, str], ...] = ()
    """Who made what the caller waited for, stage by stage, as far as this worker knows."""

    @property
    def total_ms(self) -> int:
        return sum(ms for _, ms in self.parts)

    def voice_to_voice_ms(self, left: Left | None) -> int | None:
        """From the end of the caller's speech to the first audio on the wire, by the clock of their audio. None when
        they did not speak, or when the edge cannot tell."""
        if left is None or left.media_ms == UNKNOWN_MS or self.speech_end_ms is None:
            return None
        return left.media_ms - self.speech_end_ms

    def told(self, left: Left | None, since_ms: int = 0, held_ms: int = 0) -> dict[str, Any]:
        """The event `latency`, but for its turn. The worker has had the call since media time `since_ms`, and held the
        audio back for `held_ms`, because the edge had enough that was not heard yet.

        When the edge cannot have seen what it says (it was faster than the worker alone), the worker's part is all
        that is told: `voice_to_voice` is false, as it is when the caller did not speak.
        """
        parts, total_ms = list(self.parts), self.voice_to_voice_ms(left)
        if left is None or total_ms is None or not self.is_plausible(left, held_ms):
            total_ms = None
        else:
            playout_ms = held_ms + left.waited_ms
            rest_ms = max(0, total_ms - self.total_ms - playout_ms)
            if self.decided_ms is not None and self.decided_ms < since_ms:
                parts.insert(1 if parts[:1] and parts[0][0] == "endpoint" else 0, ("takeover", rest_ms))
            else:
                parts.append(("bus", rest_ms))
            parts.append(("playout", playout_ms))
        return {
            "total_ms": sum(ms for _, ms in parts),
            "parts": [list(part) for part in parts],
            "voice_to_voice": total_ms is not None,
            "filler": self.filler,
            "providers": dict(self.providers),
        }

    def is_plausible(self, left: Left, held_ms: int = 0) -> bool:
        """Whether the edge saw at least what the worker did."""
        total_ms = self.voice_to_voice_ms(left)
        return total_ms is None or total_ms - self.total_ms - held_ms - left.waited_ms >= -TOLERANCE_MS


class Latency:
    """The wait for one answer while it lasts. `endpoint_ms` and `speech_end_ms` are media time: how long it took to be
    certain of the end of speech, and where that was. The rest is a clock's, in s, from `decided_s` on."""

    def __init__(self, decided_s: float, endpoint_ms: int | None = None, speech_end_ms: int | None = None) -> None:
        self.speech_end_ms = speech_end_ms
        self.decided_s = decided_s
        """When it was certain that the user was done."""
        self._endpoint_ms = endpoint_ms
        self._marks: dict[str, float] = {}
        self._providers: dict[str, str] = {}

    def mark(self, part: str, now_s: float) -> None:
        """`part` was over at `now_s`. Only the first mark of a part counts."""
        self._marks.setdefault(part, now_s)

    def served(self, stage: str, provider: str | None) -> None:
        """`provider` did what `stage` is for; the last to do so counts. None: it is not known who did."""
        if provider is not None:
            self._providers[stage] = provider

    def until(self, part: str, now_s: float, *, filler: bool = False) -> Wait:
        """The wait, if `part` ends it now. What was over before the end of speech was certain took no time."""
        parts = [] if self._endpoint_ms is None else [("endpoint", self._endpoint_ms)]
        marks = {name: at_s for name, at_s in self._marks.items() if name != part}
        before_ms = 0
        for name, at_s in [*sorted(marks.items(), key=lambda mark: mark[1]), (part, now_s)]:
            until_ms = max(before_ms, round((at_s - self.decided_s) * 1000))
            parts.append((name, until_ms - before_ms))
            before_ms = until_ms
        decided_ms = None if self.speech_end_ms is None else self.speech_end_ms + (self._endpoint_ms or 0)
        return Wait(tuple(parts), self.speech_end_ms, decided_ms, filler, tuple(self._providers.items()))
