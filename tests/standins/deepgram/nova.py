"""One stream of v1: audio and messages in, what Deepgram says out. Pure."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from tests.standins import tones

from .stream import Hangup, Output

INTERIM_MS = 400
"""Audio between interim results."""

LONGEST_SEGMENT_MS = 4000
"""Then a result becomes final by itself."""

NOTICEABLE_MS = 60
"""With less than this waiting, Finalize is not answered: Deepgram's own words are "no significant amount of audio"."""

QUIET_PEAK = 300


class Nova:
    """What it has heard, and what of that is final."""

    idle_s: float | None = 10.0

    def __init__(self, request_id: str, query: dict[str, list[str]]) -> None:
        self._request_id = request_id
        self._rate_hz = int(query["sample_rate"][0])
        self._model = query["model"][0]
        self._interim_results = query.get("interim_results") == ["true"]
        self._punctuate = "true" in query.get("punctuate", []) + query.get("smart_format", [])
        pause = query.get("endpointing", ["10"])[0]
        self._endpointing_ms = None if pause == "false" else max(int(pause), 20)
        self._segment = bytearray()
        self._start_ms = 0.0
        self._told_ms = 0.0

    def open(self) -> list[Output]:
        return []

    def hear(self, pcm: bytes) -> list[Output]:
        self._segment += pcm
        if self._paused():
            return [self._final(speech_final=True)]
        if self._segment_ms >= LONGEST_SEGMENT_MS:
            return [self._final()]
        if self._interim_results and self._segment_ms - self._told_ms >= INTERIM_MS:
            self._told_ms = self._segment_ms
            return [self._results(is_final=False)]
        return []

    def read(self, message: dict[str, Any]) -> list[Output]:
        match message.get("type"):
            case "KeepAlive":
                return []
            case "Finalize":
                return [self._final(from_finalize=True)] if self._segment_ms >= NOTICEABLE_MS else []
            case "CloseStream":
                last = [self._final()] if self._segment else []
                return [*last, json.dumps(self._metadata()), Hangup(1000)]
            case "Configure":
                answer = {"type": "ConfigureSuccess", "request_id": self._request_id}
                return [json.dumps({**answer, "keyterms": message.get("keyterms", [])})]
        return [self.unreadable(json.dumps(message))]

    def unreadable(self, text: str) -> Output:
        error = {"type": "Error", "variant": "SchemaError", "description": "could not parse", "message": text}
        return json.dumps(error)

    @property
    def _segment_ms(self) -> float:
        return len(self._segment) / 2 / self._rate_hz * 1000

    def _paused(self) -> bool:
        if self._endpointing_ms is None or not self._segment:
            return False
        samples = np.abs(np.frombuffer(bytes(self._segment), "<i2"))
        tail = samples[-self._rate_hz * self._endpointing_ms // 1000 :]
        return bool(samples.max() > QUIET_PEAK and tail.max() <= QUIET_PEAK)

    def _final(self, *, speech_final: bool = False, from_finalize: bool = False) -> Output:
        result = self._results(is_final=True, speech_final=speech_final, from_finalize=from_finalize)
        self._start_ms += self._segment_ms
        self._segment.clear()
        self._told_ms = 0.0
        return result

    def _results(self, *, is_final: bool, speech_final: bool = False, from_finalize: bool = False) -> Output:
        words = tones.hear(bytes(self._segment), self._rate_hz).split() if self._segment else []
        text = " ".join(words)
        if self._punctuate and text:
            text = text[0].upper() + text[1:] + ("." if is_final else "")
        confidence = 0.98 if is_final else 0.9
        alternative = {"transcript": text, "confidence": confidence if words else 0.0, "words": self._timed(words)}
        return json.dumps(
            {
                "type": "Results",
                "channel_index": [0, 1],
                "duration": self._segment_ms / 1000,
                "start": self._start_ms / 1000,
                "is_final": is_final,
                "speech_final": speech_final,
                "channel": {"alternatives": [alternative]},
                "metadata": {
                    "request_id": self._request_id,
                    "model_info": {"name": f"general-{self._model}", "version": "2025-04-17.0", "arch": "nova-3"},
                    "model_uuid": "u1",
                },
                "from_finalize": from_finalize,
            }
        )

    def _timed(self, words: list[str]) -> list[dict[str, Any]]:
        """As if they were spread evenly."""
        each_s = self._segment_ms / 1000 / max(len(words), 1)
        starts = [self._start_ms / 1000 + each_s * place for place in range(len(words))]
        return [
            {"word": word, "start": start, "end": start + each_s, "confidence": 0.98, "punctuated_word": word}
            for word, start in zip(words, starts, strict=True)
        ]

    def _metadata(self) -> dict[str, Any]:
        return {
            "type": "Metadata",
            "transaction_key": "deprecated",
            "request_id": self._request_id,
            "sha256": "00ff",
            "created": "2026-11-21T04:00:00.000Z",
            "duration": (self._start_ms + self._segment_ms) / 1000,
            "channels": 1,
        }
