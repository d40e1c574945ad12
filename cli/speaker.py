"""A simulated loudspeaker: plays what arrives in order and in real time, and keeps account of what was heard when.

Pure: `now_s` is an argument and only ever grows. Like the console's, it has a small jitter buffer: a turn begins
once 60 ms of it are here, or 120 ms after its first audio when there is less than that.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from trunkline.audio.frame import SAMPLE_BYTES, check_whole, peak, samples_in

START_MS = 60
START_WAIT_MS = 120
REPORT_MS = 100
AUDIBLE_PEAK = 500
"""A piece with a sample this loud (of 32768) is more than a line's noise."""
MOST_QUEUED_MS = 60_000
"""More than a server may ever send ahead; what comes beyond it is dropped and counted."""


class Heard(NamedTuple):
    """One piece of the heard track. `at` is its place on the track, `start` in the turn; all in samples."""

    at: int
    turn: int
    start: int
    length: int
    pcm: bytes


class Gap(NamedTuple):
    """Silence inside an answer: the edge had run dry. `at_s` on the track, `offset_ms` in the turn."""

    at_s: float
    turn: int
    offset_ms: float
    ms: float


@dataclass(slots=True)
class _Chunk:
    turn: int
    start: int
    pcm: bytes
    read: int = 0

    @property
    def left(self) -> int:
        return len(self.pcm) // SAMPLE_BYTES - self.read


class Speaker:
    """The playback of one call at `rate_hz`; its track begins at `start_s`.

    `keep_pcm=False` keeps the account but not the sound: for many callers at once.
    """

    def __init__(self, rate_hz: int, start_s: float, *, keep_pcm: bool = True) -> None:
        self.rate_hz = rate_hz
        self.heard: list[Heard] = []
        self.first_heard_s: dict[int, float] = {}
        """When a turn's first sample sounded, on the clock of `now_s`."""
        self.last_sound_s = 0.0
        """When something audible was last heard."""
        self.missing_ms: dict[int, float] = {}
        """What never arrived of a turn: a later offset came than was due."""
        self.repeated_ms = 0.0
        """What arrived twice, and was played once."""
        self.overflow_ms = 0.0
        self._start_s = start_s
        self._keep_pcm = keep_pcm
        self._at = 0  # the track's end
        self._starts_at = 0
        self._sounding = False
        self._queue: deque[_Chunk] = deque()
        self._queued = 0  # samples in it
        self._end = (-1, 0)  # of what arrived last: turn, sample
        self._cleared = -1
        self._held = -1
        self._pauses: list[tuple[int, int | None]] = []
        self._position = (-1, 0)  # of what was heard last: turn, sample
        self._reported = (-1, 0)
        self._reports: dict[int, int] = {}
        self._session = 0  # pieces heard before this session's

    # --- what happens

    def push(self, turn: int, offset_ms: float, pcm: bytes, now_s: float) -> None:
        """Audio of a turn arrived. What was here already, and what belongs to a cleared turn, is dropped."""
        check_whole(pcm)
        self.advance(now_s)
        if turn <= self._cleared or not pcm:
            return
        start = samples_in(offset_ms, self.rate_hz)
        due = self._end[1] if turn == self._end[0] else 0
        if start > due + self.rate_hz // 500:  # offsets are whole ms: up to 2 ms are rounding
            self.missing_ms[turn] = self.missing_ms.get(turn, 0.0) + self._ms(start - due)
        overlap = max(0, due - start) if turn == self._end[0] else 0
        if overlap <= self.rate_hz // 500:
            overlap = 0
        self.repeated_ms += self._ms(min(overlap, len(pcm) // SAMPLE_BYTES))
        fresh = pcm[overlap * SAMPLE_BYTES :]
        if not fresh:
            return
        if self.queued_ms + self._ms(len(fresh) // SAMPLE_BYTES) > MOST_QUEUED_MS:
            self.overflow_ms += self._ms(len(fresh) // SAMPLE_BYTES)
            return
        if not self._queue and not self._sounding:
            self._starts_at = self._at + samples_in(START_WAIT_MS, self.rate_hz)
        self._queue.append(_Chunk(turn, start + overlap, fresh))
        self._queued += len(fresh) // SAMPLE_BYTES
        self._end = (turn, start + overlap + len(fresh) // SAMPLE_BYTES)
        if self.queued_ms >= START_MS:
            self._starts_at = min(self._starts_at, self._at)

    def clear(self, turn: int, now_s: float) -> None:
        """Throw away what is queued of `turn` and all before it, and whatever of it still arrives."""
        self.advance(now_s)
        self._cleared = max(self._cleared, turn)
        self._queue = deque(chunk for chunk in self._queue if chunk.turn > turn)
        self._queued = sum(chunk.left for chunk in self._queue)
        self._sounding = self._sounding and bool(self._queue)
        if self._held <= turn:
            self._release()
        heard = [piece.start + piece.length for piece in self._of(turn)]
        self._reports[turn] = int(self._ms(max(heard, default=0)))

    def pause(self, turn: int, now_s: float) -> None:
        """Hold `turn` where it is."""
        self.advance(now_s)
        self._release()
        self._held = turn
        self._pauses.append((self._at, None))
        self._report()
        if self._queue and self._queue[0].turn == turn:
            self._sounding = False

    def resume(self, turn: int, now_s: float) -> None:
        """Go on with `turn`."""
        self.advance(now_s)
        if self._held == turn:
            self._release()
            self._starts_at = self._at

    def finish(self, turn: int, now_s: float) -> None:
        """Nothing more will come of `turn`: do not wait for it."""
        self.advance(now_s)
        if self._queue and self._queue[0].turn == turn:
            self._starts_at = min(self._starts_at, self._at)

    def reset(self, now_s: float) -> None:
        """Another session: silence, and turns are numbered from the start again. What was heard stays on the track."""
        self.advance(now_s)
        self._queue.clear()
        self._queued = 0
        self._sounding = False
        self._release()
        self._end = self._position = self._reported = (-1, 0)
        self._cleared = -1
        self._reports.clear()
        self.first_heard_s.clear()
        self._session = len(self.heard)

    def advance(self, now_s: float) -> None:
        """Play up to now."""
        to = max(self._at, round((now_s - self._start_s) * self.rate_hz))
        while self._at < to:
            if not self._queue or self._queue[0].turn == self._held:
                self._sounding = False
                self._at = to
            elif not self._sounding and self._starts_at >= to:
                self._at = to
            else:
                self._at = self._at if self._sounding else max(self._at, self._starts_at)
                self._sounding = True
                self._play(to - self._at)

    def _play(self, most: int) -> None:
        chunk = self._queue[0]
        if chunk.turn != self._position[0]:
            self._report()
        count = min(most, chunk.left)
        begin = chunk.read * SAMPLE_BYTES
        pcm = chunk.pcm[begin : begin + count * SAMPLE_BYTES]
        self._note(Heard(self._at, chunk.turn, chunk.start + chunk.read, count, pcm if self._keep_pcm else b""))
        chunk.read += count
        self._queued -= count
        self._at += count
        if peak(pcm) >= AUDIBLE_PEAK:
            self.last_sound_s = self._start_s + self._at / self.rate_hz
        self._position = (chunk.turn, chunk.start + chunk.read)
        if not chunk.left:
            self._queue.popleft()
            self._sounding = bool(self._queue)
        reported = self._reported[1] if self._reported[0] == chunk.turn else 0
        if not self._sounding or self._ms(self._position[1] - reported) >= REPORT_MS:
            self._report()

    def _report(self) -> None:
        turn, sample = self._position
        if turn >= 0 and self._reported != self._position:
            self._reports[turn] = int(self._ms(sample))
            self._reported = self._position

    def _of(self, turn: int) -> list[Heard]:
        return [piece for piece in self.heard[self._session :] if piece.turn == turn]

    def _note(self, piece: Heard) -> None:
        if piece.turn not in self.first_heard_s:
            self.first_heard_s[piece.turn] = self._start_s + piece.at / self.rate_hz
        last = self.heard[-1] if self.heard else None
        seamless = last and last.turn == piece.turn and last.at + last.length == piece.at
        if last and seamless and not self._keep_pcm and last.start + last.length == piece.start:
            self.heard[-1] = last._replace(length=last.length + piece.length)
        else:
            self.heard.append(piece)

    def _release(self) -> None:
        self._held = -1
        if self._pauses and self._pauses[-1][1] is None:
            self._pauses[-1] = (self._pauses[-1][0], self._at)

    # --- what can be asked

    @property
    def queued_ms(self) -> float:
        """What is here and not yet heard."""
        return self._ms(self._queued)

    def take_reports(self) -> dict[int, int]:
        """Turns and how many ms of them were heard, as far as that is news: every 100 ms, and when the sound stops."""
        reports, self._reports = self._reports, {}
        return reports

    def sound_of(self, turn: int) -> bytes:
        """What sounded of a turn, without the silences in it; s16le at the call's rate."""
        return b"".join(piece.pcm for piece in self._of(turn))

    def heard_ms(self, turn: int) -> float:
        """How much of a turn sounded, in ms."""
        return self._ms(sum(piece.length for piece in self._of(turn)))

    def track(self) -> bytes:
        """All that was heard, as s16le from `start_s` on; silence where nothing was."""
        track = bytearray(self._at * SAMPLE_BYTES)
        for piece in self.heard:
            track[piece.at * SAMPLE_BYTES : piece.at * SAMPLE_BYTES + len(piece.pcm)] = piece.pcm
        return bytes(track)

    def gaps(self, turn: int | None = None) -> list[Gap]:
        """The silences inside answers (or inside one). A pause that was ordered is none."""
        gaps = []
        ends: dict[int, int] = {}
        for piece in self.heard[self._session :]:
            end = ends.get(piece.turn, piece.at)
            silent = piece.at - end - self._paused_between(end, piece.at)
            if silent > 0 and turn in (None, piece.turn):
                at_s, offset_ms = self._start_s + end / self.rate_hz, self._ms(piece.start)
                gaps.append(Gap(at_s, piece.turn, offset_ms, self._ms(silent)))
            ends[piece.turn] = piece.at + piece.length
        return gaps

    def _paused_between(self, start: int, end: int) -> int:
        spans = ((max(start, since), min(end, self._at if until is None else until)) for since, until in self._pauses)
        return sum(max(0, last - first) for first, last in spans)

    def _ms(self, samples: int) -> float:
        return samples * 1000 / self.rate_hz
