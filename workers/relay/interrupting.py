"""A voice activity detector of ours over the model's answers: it pauses an answer at once when somebody speaks, and
lets it go on when that was nothing. Whether it was, is the model's word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from trunkline.audio.resample import Resampler
from trunkline.bus.messages import UplinkAudio
from workers.backend import Session
from workers.turns.endpointing import CHUNK_MS, EdgeKind, Endpointing

VOICE_RATE_HZ = 16_000
"""The detector's rate; 8 kHz is also fine."""


class VoiceActivity(Protocol):
    """Speech probabilities, one a CHUNK_MS, of one stream of s16le audio."""

    def push(self, pcm: bytes) -> list[float]: ...

    def reset(self) -> None: ...


Detector = Callable[[int], VoiceActivity]
"""Makes one for a rate of 8 or 16 kHz."""


class Interruptions:
    """One session's. It listens only while an answer is audible, and only if there is a detector."""

    def __init__(self, session: Session, voice_activity: Detector | None) -> None:
        self._session = session
        self._voice_activity = voice_activity
        self._endpointing = Endpointing(session.tenant.turn)
        self._detector: VoiceActivity | None = None
        self._resampler: Resampler | None = None
        self._heard_ms = 0
        self._paused_turn: int | None = None

    def hear(self, frame: UplinkAudio, turn: int) -> None:
        """Take the next frame the caller spoke over the answer that is `turn`."""
        if self._voice_activity is None:
            return
        if self._detector is None:
            rate_hz = min(self._session.rate_hz, VOICE_RATE_HZ)
            self._detector = self._voice_activity(rate_hz)
            self._resampler = Resampler(self._session.rate_hz, rate_hz)
        assert self._resampler is not None
        for probability in self._detector.push(self._resampler.push(frame.pcm)):
            self._heard_ms += CHUNK_MS
            edge = self._endpointing.push(self._heard_ms, probability)
            if edge is not None and edge.kind is EdgeKind.STARTED:
                self._paused_turn = turn
                self._session.pause(turn)
            elif edge is not None and edge.kind is EdgeKind.STOPPED:
                self._go_on()

    def _go_on(self) -> None:
        if self._paused_turn is not None:
            self._session.resume(self._paused_turn)
            self._paused_turn = None

    def reset(self) -> None:
        """The answer is over, or was silenced."""
        self._go_on()  # or the edge would hold the next answer, too
        self._endpointing.reset()
        if self._detector is not None:
            self._detector.reset()
