"""Providers of a cascade that hear and speak tones, as the Realtime model's stand-in does."""

from __future__ import annotations

from array import array

from tests.standins import tones
from tests.standins.voices import RATE_HZ, LoudnessVad, ScriptedStt, ScriptedTts

LOUD_PEAK = 200


class ToneVad(LoudnessVad):
    """A tone swings: its peaks are loud."""

    def is_loud(self, samples: array[int]) -> bool:
        return max(samples) > LOUD_PEAK


class ToneStt(ScriptedStt):
    def words(self, pcm: bytes) -> str:
        return tones.hear(pcm, RATE_HZ)


class ToneTts(ScriptedTts):
    def sound(self, text: str) -> bytes:
        return tones.speak(tones.known(text), RATE_HZ, self.WORD_MS)
