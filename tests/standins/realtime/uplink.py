"""The input audio buffer: what was appended and not yet committed, counted in milliseconds since the session began."""

from __future__ import annotations

from typing import Any

from .formats import FORMATS, Format
from .vad import Edge, LoudnessVad

_SEMANTIC_SILENCE_MS = {"low": 800, "medium": 500, "auto": 500, "high": 300}
"""The vendor's model decides by the words and waits 8, 4 or 2 s at most; here the eagerness is a length of silence."""

_SPARE_MS = 1000
"""Held beyond the prefix while nobody speaks."""


class Uplink:
    def __init__(self, *, vad_floor_ms: int, keep: bool) -> None:
        self.appended_ms = 0.0
        self.all = bytearray()
        """All audio since the format was last set (if it is kept)."""

        self._floor_ms, self._keep = vad_floor_ms, keep
        self.format_name = "audio/pcm"
        self._held = bytearray()
        self._vad: LoudnessVad | None = None
        self._detection: dict[str, Any] | None = None
        self.prefix_ms = 0

    @property
    def format(self) -> Format:
        return FORMATS[self.format_name]

    @property
    def held_ms(self) -> float:
        return len(self._held) / self.format.bytes_per_ms

    @property
    def speaking(self) -> bool:
        return self._vad is not None and self._vad.speaking

    def configure(self, format_name: str, detection: dict[str, Any] | None) -> None:
        """A new format begins with an empty buffer; new turn detection begins in silence."""
        if format_name != self.format_name:
            self.format_name = format_name
            self._held.clear()
            self.all.clear()
        elif detection == self._detection:
            return
        self._detection = detection
        self.restart()

    def restart(self) -> None:
        """Voice detection begins anew, in silence."""
        detection = self._detection
        if detection is None:
            self._vad = None
            return
        silence_ms = detection.get("silence_duration_ms") or _SEMANTIC_SILENCE_MS[detection.get("eagerness", "auto")]
        self.prefix_ms = detection.get("prefix_padding_ms", 300)
        threshold = detection.get("threshold", 0.5)
        self._vad = LoudnessVad(self.format, self._floor_ms, silence_ms, threshold, self.appended_ms)

    def append(self, audio: bytes) -> list[Edge]:
        self._held += audio
        self.appended_ms += len(audio) / self.format.bytes_per_ms
        if self._keep:
            self.all += audio
        if self._vad is None:
            return []
        edges = self._vad.push(audio)
        if not self._vad.speaking and not edges:
            self._trim()
        return edges

    def take(self, from_ms: float = 0, until_ms: float | None = None) -> bytes:
        """Commit: the audio from `from_ms` to `until_ms` (session time); what stands before goes too."""
        begin_ms = self.appended_ms - self.held_ms
        first = self._place(max(0.0, from_ms - begin_ms))
        last = len(self._held) if until_ms is None else self._place(max(0.0, until_ms - begin_ms))
        audio = bytes(self._held[first:last])
        del self._held[:last]
        return audio

    def clear(self) -> None:
        self._held.clear()
        self.restart()

    def _place(self, ms: float) -> int:
        return round(ms) * self.format.bytes_per_ms

    def _trim(self) -> None:
        if self.held_ms > self.prefix_ms + 2 * _SPARE_MS:
            del self._held[: -self._place(self.prefix_ms + _SPARE_MS)]
