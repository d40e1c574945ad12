"""When what the worker asks about left for the wire, or fell silent there, on the clock of the caller's audio. Pure.

A caller's speech has a place in their audio, in ms of media time. To say how long they waited after it, the moment of
the answer must be told by the same clock; only the edge, where both pass, can do that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from adapters.playout import Chunk
from trunkline.audio.frame import duration_ms
from trunkline.bus.messages import UNKNOWN_MS, DownlinkAudio, Left, Silenced

SHIFT_MS = 100
"""Audio that is later than that does not come late: the caller's clock stood still (a closed microphone, a lost wire).
Should it have been a network in trouble, what it held back comes at once after it, and sets the clock right."""
DRIFT = 1 / 500
"""Of how late a frame is, so much is taken for the clock: enough for crystals (100 ppm keep it 1 ms behind), too little
for jitter."""
TIMED_KEPT = 16
"""Pieces that are asked about and did not leave yet; there are one or two a turn."""


class MediaClock:
    """The caller's audio as a clock that goes on between its frames, and while none come.

    Frames come late by what the network adds; the one that came earliest tells best what time it is.
    """

    def __init__(self) -> None:
        self._lag_ms: float | None = None
        """From a moment of the caller's audio to its arrival, at best, by the process's clock."""

    def heard(self, media_ms: int, now_ms: float) -> None:
        """The caller's audio has come up to here."""
        lag_ms = now_ms - media_ms
        if self._lag_ms is None:
            self._lag_ms = lag_ms
            return
        late_ms = lag_ms - self._lag_ms
        self._lag_ms += late_ms * DRIFT if 0 < late_ms <= SHIFT_MS else late_ms

    def at(self, now_ms: float) -> int:
        """The media time now; UNKNOWN_MS while no audio has come."""
        return UNKNOWN_MS if self._lag_ms is None else max(0, round(now_ms - self._lag_ms))


class Timing:
    """What one session's worker wants to know of its answers at the edge."""

    def __init__(self, session: str, rate_hz: int) -> None:
        self.clock = MediaClock()
        self._session = session
        self._rate_hz = rate_hz
        self._timed: deque[tuple[int, int, float]] = deque(maxlen=TIMED_KEPT)
        """Turn, place in it (ms), and when it came, of pieces that are asked about."""
        self._paused: tuple[int, int] | None = None
        """The turn that is held, and the media time since which."""

    def came(self, audio: DownlinkAudio, now_ms: float) -> None:
        """A piece of an answer came from the worker."""
        if audio.timed:
            self._timed.append((audio.turn, audio.offset_ms, now_ms))

    @property
    def asked(self) -> bool:
        """Whether there is anything to look for in what leaves."""
        return bool(self._timed)

    def went(self, chunks: Sequence[Chunk], ahead_ms: float, epoch: int, now_ms: float) -> list[Left]:
        """These were put on the wire, and with them it is so far ahead of what is heard. Returns what to tell."""
        result = []
        lengths_ms = [duration_ms(len(chunk.pcm), self._rate_hz) for chunk in chunks]
        before_ms = ahead_ms - sum(lengths_ms)
        for chunk, length_ms in zip(chunks, lengths_ms, strict=True):
            while self._timed and (chunk.turn, chunk.offset_ms + length_ms) > self._timed[0][:2]:
                turn, offset_ms, came_ms = self._timed.popleft()
                if turn != chunk.turn:
                    continue  # it was cleared
                heard_ms = now_ms + max(0.0, before_ms + offset_ms - chunk.offset_ms)
                waited_ms = max(0, round(heard_ms - came_ms))
                result.append(Left(self._session, epoch, turn, offset_ms, self.clock.at(heard_ms), waited_ms))
            before_ms += length_ms
        return result

    def held(self, turn: int, now_ms: float) -> None:
        """`turn` is silent, for now."""
        if self._paused is None or self._paused[0] != turn:
            self._paused = turn, self.clock.at(now_ms)

    def released(self) -> None:
        """It goes on."""
        self._paused = None

    def silenced(self, turn: int, epoch: int, now_ms: float) -> Silenced:
        """`turn` was cleared. Returns what to tell."""
        cleared_ms = self.clock.at(now_ms)
        silent_ms = self._paused[1] if self._paused is not None and self._paused[0] == turn else cleared_ms
        self._paused = None
        return Silenced(self._session, epoch, turn, silent_ms, cleared_ms)
