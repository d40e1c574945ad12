"""Voice activity of many callers, judged together: the model takes eight chunks in the time of three to five.

All streams of one event loop share a `Company`. A chunk waits for others at most WINDOW_S, or PATIENCE_S when nothing
depends on it, and only where others are to be expected; who is behind its own time (audio heard again after a takeover)
never waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from workers.turns.vad import CHUNK_MS, VoiceActivity, judge

WINDOW_S = 0.003
"""The longest that a chunk waits for company which may begin or end an utterance."""

PATIENCE_S = 0.025
"""The longest that any other does: less than a chunk, so that the next one finds its session free."""

MOST = 16
"""So many are judged without waiting for more, with all else that came in that turn of the loop: larger batches cost
hardly less a chunk (33 us of 35), and hold the loop up for longer (64: 2 ms)."""

_PACE_S = CHUNK_MS / 1000
_WEIGHT = 1 / 32
"""Of the newest gap between arrivals, in their running mean."""


@dataclass(eq=False, slots=True)
class _Waiting:
    activity: VoiceActivity
    found: Callable[[float | Exception], None]


class Company:
    """The chunks that wait to be judged on one event loop, one a session at most, and none longer than PATIENCE_S."""

    def __init__(self) -> None:
        self.runs = 0
        """How often the model was run."""
        self.judged = 0
        """How many chunks it was given in all."""
        self.loop = asyncio.get_running_loop()  # asked once: it is a system call (getpid) in Python 3.11
        self._waiting: list[_Waiting] = []
        self._due: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        self._arrived_s = 0.0
        self._gap_s = 1.0

    def add(
        self, activity: VoiceActivity, found: Callable[[float | Exception], None], now_s: float, wait_s: float
    ) -> None:
        """Have what was loaded into `activity` judged, in `wait_s` at most; `found` is told, in a later turn of the
        loop. It must not be loaded again before."""
        self._gap_s += (min(now_s - self._arrived_s, 1.0) - self._gap_s) * _WEIGHT
        self._arrived_s = now_s
        self._waiting.append(_Waiting(activity, found))
        at_once = self._gap_s >= wait_s or len(self._waiting) >= MOST
        self._judge_by(now_s if at_once else now_s + wait_s)

    def _judge_by(self, due_s: float) -> None:
        """Judge then, or at the end of this turn of the loop when that is now; or sooner, when that was asked for."""
        if self._due is not None:
            if self._due_s <= due_s:
                return
            self._due.cancel()
        self._due, self._due_s = self.loop.call_at(due_s, self._judge), due_s

    def _judge(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        wanted, self._waiting = self._waiting, []
        for rate_hz in {waiting.activity.rate_hz for waiting in wanted}:
            self._run([waiting for waiting in wanted if waiting.activity.rate_hz == rate_hz])

    def _run(self, together: list[_Waiting]) -> None:
        self.runs += 1
        self.judged += len(together)
        found: Sequence[float | Exception]
        try:
            found = judge([waiting.activity for waiting in together])
        except Exception as error:  # onnxruntime's are of no common kind: each session fails by it, on its own
            found = [error] * len(together)
        for waiting, probability in zip(together, found, strict=True):
            waiting.found(probability)


_companies: WeakKeyDictionary[asyncio.AbstractEventLoop, Company] = WeakKeyDictionary()


def company() -> Company:
    """The running event loop's."""
    loop = asyncio.get_running_loop()
    found = _companies.get(loop)
    if found is None:
        found = _companies[loop] = Company()
    return found


class SharedVoiceActivity:
    """As VoiceActivity, of one session among many: `judge` may have to wait for others."""

    def __init__(self, rate_hz: int) -> None:
        """Raises AudioError for another rate than 8 or 16 kHz, SettingsError when the model is not installed."""
        self._activity = VoiceActivity(rate_hz)
        self._judged_s = float("-inf")
        self._company: Company | None = None

    @property
    def hush_rms(self) -> int:
        """The line's own noise is no louder than this (of 32768), as far as that is known."""
        return self._activity.hush_rms

    @property
    def settled(self) -> bool:
        """Whether the model would not be asked about audio that is no louder than that."""
        return self._activity.settled

    def cut(self, pcm: bytes) -> Sequence[bytes]:
        """Take audio of any length; returns the 32 ms chunks that it completed: each is to be judged, in order."""
        return self._activity.cut(pcm)

    def judge(self, chunk: bytes, found: Callable[[float | Exception], None], *, patient: bool) -> float | None:
        """How likely the next chunk holds speech. None if the model must be asked: `found` is told in a few ms, or in
        PATIENCE_S for who is `patient`; with an error, should the model fail. The chunk after it must wait for that."""
        if not self._activity.load(chunk):
            return 0.0
        together = self._company
        if together is None:
            together = self._company = company()
        now_s = together.loop.time()
        late = now_s - self._judged_s < _PACE_S / 2
        self._judged_s = now_s
        together.add(self._activity, found, now_s, 0.0 if late else PATIENCE_S if patient else WINDOW_S)
        return None
