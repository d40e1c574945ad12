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

_SURROUNDINGS = np.array([1, 2, 3, 4, 5, 6, 7, 6, 5, 4, 3, 2, 1], np.float64)


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
        levels: list[float] = np.sqrt(np.einsum("ij,ij->i", frames, frames) / frames.shape[1]).tolist() if whole else []
        self.rms += levels
        return levels

    def quiet_rms(self) -> float:
        """Below this a frame is silence, as far as the audio so far can tell."""
        if not self.rms:
            return QUIETEST_RMS
        loudest = max(self.rms)
        noise = sorted(self.rms)[len(self.rms) // 10]  # np.percentile imports numpy.ma: 50 ms at the first pause
        return max(QUIETEST_RMS, _QUIET_SHARE * loudest, min(_OVER_NOISE * noise, _LOUDEST_NOISE * loudest))

    def sounds(self, start: int, end: int) -> bool:
        """Whether there is any sound between bytes `start` and `end`; of a frame that is not whole nothing is known,
        and it counts as silence."""
        return any(rms >= QUIETEST_RMS for rms in self.rms[start // self.frame_bytes : -(-end // self.frame_bytes)])

    def quietest(self, start: int, end: int) -> int:
        """The middle, in bytes, of the frame between bytes `start` and `end` that is quietest with its surroundings:
        120 ms either side count, the nearer the more. So it is in the middle of a long silence rather than in a short
        one, and in a gap between two words rather than in a word.

        The last one of equals, so that what is cut there is long. `end` when there is too little to choose from.
        """
        first, last = -(-start // self.frame_bytes), min(end // self.frame_bytes, len(self.rms))
        if last - first < len(_SURROUNDINGS):
            return end
        power = np.convolve(np.square(self.rms[first:last]), _SURROUNDINGS, "valid")[::-1]
        frame = first + len(power) - 1 - int(np.argmin(power)) + len(_SURROUNDINGS) // 2
        return frame * self.frame_bytes + self.frame_bytes // 4 * 2
