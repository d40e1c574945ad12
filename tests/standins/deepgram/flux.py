"""One stream of v2: audio and messages in, turns out. Pure.

The states are those of developers.deepgram.com/docs/flux/state. It believes in the end of a turn by silence alone, the
more the longer: 0.7 after 350 ms.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from tests.standins import tones

from .stream import Hangup, Output

STEP_MS = 80
UPDATE_MS = 240
CERTAIN_MS = 500
"""Silence after which the confidence would be 1."""

QUIET_PEAK = 300


class Flux:
    """One stream's turns."""

    idle_s: float | None = None

    def __init__(self, request_id: str, query: dict[str, list[str]], *, close_frame: bool = True) -> None:
        """`close_frame`: whether there is one (without a status) after CloseStream."""
        self._request_id = request_id
        self._close_frame = close_frame
        self._rate_hz = int(query["sample_rate"][0])
        self._eot = float(query.get("eot_threshold", ["0.7"])[0])
        eager = query.get("eager_eot_threshold")
        self._eager = float(eager[0]) if eager else None
        self._timeout_ms = int(query.get("eot_timeout_ms", ["5000"])[0])
        self._sequence = -1
        self._turn_index = 0
        self._speaking = self._announced = False
        self._waiting = bytearray()
        """Audio that does not fill a step yet."""
        self._turn = bytearray()
        self._text = ""
        self._heard_ms = 0
        self._turn_ms = 0
        """Where the turn's audio begins."""
        self._told_ms = 0
        self._silent_ms = 0

    def open(self) -> list[Output]:
        return [self._message("Connected", request_id=self._request_id)]

    def hear(self, pcm: bytes) -> list[Output]:
        self._waiting += pcm
        size = self._rate_hz * STEP_MS // 1000 * 2
        said: list[Output] = []
        while len(self._waiting) >= size:
            step, self._waiting = bytes(self._waiting[:size]), self._waiting[size:]
            said += self._advance(step)
        return said

    def read(self, message: dict[str, Any]) -> list[Output]:
        match message.get("type"):
            case "CloseStream":
                self._turn += self._waiting
                self._heard_ms += len(self._waiting) * 500 // self._rate_hz
                return [self._told("Update"), Hangup(None if self._close_frame else 0)]
            case "ForceEndTurn":
                return [self._end("manual")] if self._speaking else []
            case "Configure":
                thresholds = {"eot_threshold": self._eot, "eager_eot_threshold": self._eager}
                chosen = {**thresholds, "eot_timeout_ms": self._timeout_ms, **message.get("thresholds", {})}
                self._eot = chosen["eot_threshold"]
                keyterms = message.get("keyterms", [])
                id_ = self._request_id
                return [self._message("ConfigureSuccess", request_id=id_, thresholds=chosen, keyterms=keyterms)]
        return [self.unreadable(json.dumps(message)), Hangup(1008, "unparsable")]

    def unreadable(self, text: str) -> Output:
        return self._message("Error", code="UNPARSABLE_CLIENT_MESSAGE", description=f"could not parse {text}")

    def _advance(self, step: bytes) -> list[Output]:
        loud = bool(np.abs(np.frombuffer(step, "<i2")).max() > QUIET_PEAK)
        self._turn += step
        self._heard_ms += STEP_MS
        self._silent_ms = 0 if loud else self._silent_ms + STEP_MS
        if not self._speaking:
            return self._maybe_begin()
        if loud and self._announced:
            self._announced = False
            return [self._told("TurnResumed")]
        if self._silent_ms >= self._timeout_ms:
            return [self._end("timeout")]
        if self._confidence >= self._eot:
            return [self._end("model")]
        if self._eager is not None and not self._announced and self._confidence >= self._eager:
            self._announced = True
            return [self._told("EagerEndOfTurn")]
        return self._maybe_update()

    def _maybe_begin(self) -> list[Output]:
        said = self._maybe_update(event="StartOfTurn")
        if said and self._text:
            self._speaking = True
        elif said:
            return [str(said[0]).replace("StartOfTurn", "Update")]
        return said

    def _maybe_update(self, event: str = "Update") -> list[Output]:
        if self._heard_ms - self._told_ms < UPDATE_MS:
            return []
        return [self._told(event)]

    @property
    def _confidence(self) -> float:
        return min(0.99, self._silent_ms / CERTAIN_MS)

    def _end(self, trigger: str) -> Output:
        said = self._told("EndOfTurn", trigger=trigger)
        self._turn_index += 1
        self._turn.clear()
        self._turn_ms = self._heard_ms
        self._speaking = self._announced = False
        self._text = ""
        return said

    def _told(self, event: str, **more: Any) -> Output:
        self._told_ms = self._heard_ms
        if not self._announced or event == "TurnResumed":  # what was announced stays
            self._text = tones.hear(bytes(self._turn), self._rate_hz) if self._turn else ""
        words = [
            {"word": word, "confidence": 0.95, "start": self._turn_ms / 1000, "end": self._heard_ms / 1000}
            for word in self._text.split()
        ]
        return self._message(
            "TurnInfo",
            request_id=self._request_id,
            event=event,
            turn_index=self._turn_index,
            audio_window_start=self._turn_ms / 1000,
            audio_window_end=self._heard_ms / 1000,
            transcript=self._text,
            words=words,
            end_of_turn_confidence=self._confidence,
            **more,
        )

    def _message(self, kind: str, **fields: Any) -> str:
        self._sequence += 1
        return json.dumps({"type": kind, "sequence_id": self._sequence, **fields})
