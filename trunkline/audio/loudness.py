"""How loud an utterance is, frame by frame: tells sound from silence where a detector's word is not at hand. Pure."""

from __future__ import annotations

import numpy as np

from trunkline.audio.frame import FRAME_MS, bytes_in

QUIETEST_RMS = 50.0
"""Of 32768: what is below -56 dBFS is silence in any call."""

_QUIET_SHARE = 0.05
"""Silence is 26 dB below the loudest frame ..."""
_OVER_NOISE = 2.0
"""... or within 6 dB of the call's own noise, which is its quietest tenth ..."""
_LOUDEST_NOISE = 0.25
"""... unless that is within 12 dB of the loudest: then it is speech without a gap."""


class Loudness:
    """The RMS of each FRAME_MS of one utterance, s16le mono at `rate_hz`."""

    def __init__(self, rate_hz: int) -> None:
        self.frame_bytes = bytes_in(FRAME_MS, rate_hz)
        self.rms: list[float] = []
        self._begun = b""

    def push(self, pcm: bytes) -> list[float]:
        """Take audio of any length; return the RMS of the frames that it completed."""
        audio = self._begun + pcm
        whole = len(audio) - len(audio) % self.frame_bytes
        self._begun = audio[whole:]
        frames = np.frombuffer(audio, "<i2", whole // 2).astype(np.float32).reshape(-1, self.frame_bytes // 2)
        levels: list[float] = np.sqrt(np.square(frames).mean(axis=1)).tolist() if whole else []
        self.rms += levels
        return levels

    def quiet_rms(self) -> float:
        """Below this a frame is silence, as far as the audio so far can tell."""
        if not self.rms:
            return QUIETEST_RMS
        loudest = max(self.rms)
        noise = float(np.percentile(self.rms, 10))
        return max(QUIETEST_RMS, _QUIET_SHARE * loudest, min(_OVER_NOISE * noise, _LOUDEST_NOISE * loudest))

    def sounds(self, start: int, end: int) -> bool:
        """Whether there is any sound between bytes `start` and `end`; of a frame that is not whole nothing is known,
        and it counts as silence."""
        return any(rms >= QUIETEST_RMS for rms in self.rms[start // self.frame_bytes : -(-end // self.frame_bytes)])

    def quietest(self, start: int, end: int, window_ms: int = 200) -> int:
        """The middle, in bytes at a frame's beginning, of the quietest `window_ms` between bytes `start` and `end`.

        The last one of equals, so that what is cut there is long. `end` when there is no such window.
        """
        first, last = -(-start // self.frame_bytes), min(end // self.frame_bytes, len(self.rms))
        size = window_ms // FRAME_MS
        if last - first < size:
            return end
        power = np.cumsum(np.pad(np.square(self.rms[first:last]), (1, 0)))
        windows = (power[size:] - power[:-size])[::-1]
        place = len(windows) - 1 - int(np.argmin(windows))
        return (first + place + size // 2) * self.frame_bytes
