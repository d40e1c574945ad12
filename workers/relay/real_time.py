"""The caller's audio on a wire that takes it in real time only. Pure: `now_ms` is of a clock that only goes forward.

What comes faster, because a new session with the model must hear it again, waits its turn, and what is said meanwhile
behind it. Silence is left out to catch up, but for as much as the model needs to know that somebody is silent. So is
steady noise: otherwise a caller in a car would be heard late as long as the call lasts.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from trunkline.audio.frame import FRAME_MS, duration_ms, peak
from workers.relay.output_buffer import QUIET_PEAK

BEHIND_MS = 50.0
"""Who is less behind than this need not catch up: frames do not come in step."""
SILENCE_MS = 1500.0
"""So much of each silence is sent all the same: voice detection ends an utterance after 0.5 s, unless the tenant says
otherwise."""
AT_FIRST_MS = 500.0
"""Where nobody spoke before, this is enough, and tells what noise is there."""
OVER_NOISE = 2.5
"""Speech has peaks so much above the softest moment of the last SILENCE_MS."""
SLACK_MS = 60.0
"""A frame that comes so late belongs to those before it."""
KEPT_STRETCHES = 64


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Audio without a hole: from `wire_ms` of the wire's clock on it is the caller's from `heard_ms` on."""

    wire_ms: float
    heard_ms: float


class RealTime:
    """One call's uplink."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._began_ms = 0.0
        """When the wire's clock began."""
        self._ends_ms = 0.0
        """When the last of what is on its way will have gone."""
        self._heard_ms = 0.0
        """All that was taken, sent or not."""
        self._silent_ms = SILENCE_MS - AT_FIRST_MS
        self._peaks: deque[int] = deque(maxlen=round(SILENCE_MS / FRAME_MS))
        self._stretches: deque[_Stretch] = deque([_Stretch(0.0, 0.0)], KEPT_STRETCHES)
        self._skipped = False

    def begin(self, now_ms: float) -> None:
        """The wire takes audio from now on; where there is none, it is silent, and its clock goes on."""
        self._began_ms = self._ends_ms = now_ms

    def takes(self, pcm: bytes, now_ms: float) -> bool:
        """Whether this, the next of the caller's audio, is to be sent; otherwise it is a silence to be left out."""
        length_ms = duration_ms(len(pcm), self._rate_hz)
        if self._is_needless(pcm, length_ms, now_ms):
            self._heard_ms += length_ms
            self._skipped = True
            return False
        late = now_ms > self._ends_ms + SLACK_MS
        if late:
            self._ends_ms = now_ms
        if late or self._skipped:
            self._skipped = False
            self._stretches.append(_Stretch(self._ends_ms - self._began_ms, self._heard_ms))
        self._ends_ms += length_ms
        self._heard_ms += length_ms
        return True

    def _is_needless(self, pcm: bytes, length_ms: float, now_ms: float) -> bool:
        if self.behind_ms(now_ms) <= BEHIND_MS:
            if self._peaks:
                self._silent_ms = 0.0
                self._peaks.clear()
            return False
        self._peaks.append(peak(pcm))
        noise = min(self._peaks) if len(self._peaks) * FRAME_MS >= AT_FIRST_MS else 0
        loud = self._peaks[-1] >= max(QUIET_PEAK, noise * OVER_NOISE)
        self._silent_ms = 0.0 if loud else self._silent_ms + length_ms
        return self._silent_ms > SILENCE_MS

    def behind_ms(self, now_ms: float) -> float:
        """How long until all that is to be sent has gone."""
        return max(0.0, self._ends_ms - now_ms)

    def heard_ms(self, wire_ms: float) -> int:
        """Where in all that was taken the wire was at its `wire_ms`. In a hole: where it goes on."""
        found, end_ms = self._stretches[0], self._heard_ms
        for stretch in self._stretches:
            if stretch.wire_ms > wire_ms:
                end_ms = stretch.heard_ms
                break
            found = stretch
        return round(min(found.heard_ms + max(0.0, wire_ms - found.wire_ms), end_ms))
