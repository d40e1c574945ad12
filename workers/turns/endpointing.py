"""Where speech begins and ends: voice probabilities in, edges with their real media time out.

All times are ms of media time, so a recording fed in at any speed gives the same edges as the live call did.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from trunkline.bus.messages import UplinkAudio

CHUNK_MS = 32
"""What one voice probability covers: Silero's only size, 256 samples at 8 kHz or 512 at 16 kHz."""

HYSTERESIS = 0.15
"""Speech that has begun goes on down to this much under the threshold (Silero's own `neg_threshold`)."""

PRE_ROLL_MS = 300
"""Audio kept from before the first sound of speech: unvoiced first consonants score as silence."""

BREATH_MS = 96
"""A silence in which speech may be cut without cutting a word: stops within words (the t of "auto") are shorter."""

CUT_EARLY = 0.6
"""From this part of the longest utterance on, the next breath cuts it; at its end it is cut wherever it is."""


class Thresholds(Protocol):
    """What a tenant may choose: `trunkline.tenants.TurnSettings`, which imports too much for this module."""

    @property
    def vad_threshold(self) -> float: ...
    @property
    def start_ms(self) -> int: ...
    @property
    def stop_ms(self) -> int: ...
    @property
    def longest_utterance_ms(self) -> int: ...
    @property
    def longest_turn_ms(self) -> int: ...


class EdgeKind(Enum):
    STARTED = "started"
    FELL_SILENT = "fell_silent"
    WENT_ON = "went_on"
    CUT = "cut"
    """It is long: what was said until now is an utterance of its own, and the speaker goes on."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Edge:
    """Something changed at `media_ms`; it was certain at `decided_ms`. Both in ms of media time."""

    kind: EdgeKind
    media_ms: int
    decided_ms: int
    speech_ms: int = field(default=0, compare=False)
    """How much speech the utterance had until then, silences not counted."""


class Endpointing:
    """One caller's speech edges. `push` takes probabilities in order, one a CHUNK_MS."""

    def __init__(self, settings: Thresholds) -> None:
        self._settings = settings
        self._talked_out = False
        """Somebody spoke for as long as a turn may be. They are heard again once they have been silent."""
        self._quiet_ms = 0
        self.reset()

    def reset(self) -> None:
        """Forget the utterance: what comes next must begin anew."""
        self.speaking = False
        """Whether an utterance is open (it may be in a silence that has not ended it yet)."""
        self.quiet = False
        """Whether the open utterance is in such a silence."""
        self.speech_ms = 0
        """How much speech the open (or possible) utterance has, silences not counted."""
        self.stop_ms = self._settings.stop_ms
        """Silence this long ends the utterance. Whoever knows more (`workers.turns.patience`) may set it in a silence;
        when the speaker goes on, it is the tenant's again."""
        self.start_ms = 0
        """Where the utterance began."""
        self.speech_end_ms = 0
        """Where its last speech ended."""
        self._cut_ms = 0
        """Where it was last cut, or began."""

    @property
    def has_new_speech(self) -> bool:
        """Whether anything was said since the utterance was last cut."""
        return self.speech_end_ms > self._cut_ms

    def push(self, end_ms: int, probability: float) -> Edge | None:
        """Take the chunk of CHUNK_MS that ends at media time `end_ms`. At most one thing can change in a chunk."""
        going_on = self.speech_ms > 0 and not self.quiet
        threshold = self._settings.vad_threshold - (HYSTERESIS if going_on else 0.0)
        if self._talked_out:
            self._wait_for_silence(probability >= threshold)
            return None
        edge = self._speech(end_ms) if probability >= threshold else self._silence(end_ms)
        return self._bound(end_ms) if self.speaking and edge is None else edge

    def _bound(self, end_ms: int) -> Edge | None:
        """What is long is cut; and what is too long, stopped."""
        if end_ms - self.start_ms >= self._settings.longest_turn_ms:
            self._talked_out, self._quiet_ms = True, 0
            return self._stop(end_ms, end_ms)
        longest_ms = self._settings.longest_utterance_ms
        breath = end_ms - self.speech_end_ms >= BREATH_MS
        if self.has_new_speech and end_ms - self._cut_ms >= longest_ms * (CUT_EARLY if breath else 1.0):
            self._cut_ms = end_ms
            return Edge(EdgeKind.CUT, end_ms, end_ms, self.speech_ms)
        return None

    def _wait_for_silence(self, speech: bool) -> None:
        self._quiet_ms = 0 if speech else self._quiet_ms + CHUNK_MS
        self._talked_out = self._quiet_ms < self._settings.stop_ms

    def _speech(self, end_ms: int) -> Edge | None:
        if self.speech_ms == 0:
            self.start_ms = self._cut_ms = end_ms - CHUNK_MS
        self.speech_ms += CHUNK_MS
        self.speech_end_ms = end_ms
        if not self.speaking:
            if self.speech_ms < self._settings.start_ms:
                return None
            self.speaking = True
            return Edge(EdgeKind.STARTED, self.start_ms, end_ms, self.speech_ms)
        if self.quiet:
            self.quiet = False
            self.stop_ms = self._settings.stop_ms
            return Edge(EdgeKind.WENT_ON, end_ms - CHUNK_MS, end_ms, self.speech_ms)
        return None

    def _silence(self, end_ms: int) -> Edge | None:
        if not self.speaking:
            self.speech_ms = 0
            return None
        if end_ms - self.speech_end_ms >= self.stop_ms:
            return self._stop(self.speech_end_ms, end_ms)
        if not self.quiet:
            self.quiet = True
            return Edge(EdgeKind.FELL_SILENT, self.speech_end_ms, end_ms, self.speech_ms)
        return None

    def _stop(self, media_ms: int, decided_ms: int) -> Edge:
        edge = Edge(EdgeKind.STOPPED, media_ms, decided_ms, self.speech_ms)
        self.reset()
        return edge


class PreRoll:
    """The last frames heard, `keep_ms` of them: speech is known to have begun only after it began."""

    def __init__(self, keep_ms: int) -> None:
        self._keep_ms = keep_ms
        self._frames: deque[UplinkAudio] = deque()

    def push(self, frame: UplinkAudio) -> None:
        self._frames.append(frame)
        while self._frames[0].media_ms < frame.media_ms - self._keep_ms:
            self._frames.popleft()

    @property
    def first_seq(self) -> int | None:
        """The oldest kept frame's number; None while there is none."""
        return self._frames[0].seq if self._frames else None

    def since(self, media_ms: int) -> list[UplinkAudio]:
        """The kept frames from `media_ms` on: also the one in which that is, which may be long."""
        frames = list(self._frames)
        while len(frames) > 1 and frames[1].media_ms <= media_ms:
            del frames[0]
        return frames

    def clear(self) -> None:
        """Forget them: they belong to something that has been dealt with."""
        self._frames.clear()
