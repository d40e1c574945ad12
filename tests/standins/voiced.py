"""Somebody who speaks in tones with a human voice behind them: words that can be checked, and speech that a voice
activity detector takes for speech (Silero hears nothing in bare tones).

    person = await Person.at(8000)
    call.say(person.says("what is the time"))

The words are those of `tests.standins.tones`, 10 dB above eSpeak, which talks evenly on: quiet enough for `tones.hear`,
loud enough for Silero, which finds 90 % of it or more at 8 kHz in mu-law and at 16 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.standins import tones
from trunkline.audio.resample import Resampler
from workers.providers.espeak import text_to_speech

LEAD_MS = 160
"""Voice alone, before the first word: a detector is sure by then."""

_BABBLE = "the quick brown fox jumps over the lazy dog and then we talk about something else for a while"
_BABBLE_FROM_S = 1.3
"""Where in it the voice goes on without a pause. Found by trying."""

_BELOW_DB = -10.0
_LEVEL = 0.9
_EVEN_MS = 60
"""Louder and softer than its mean of so long the voice is not: in no word is it missed, and none does it drown."""


@dataclass(frozen=True, slots=True)
class Person:
    """A voice at `rate_hz`."""

    rate_hz: int
    _voice: NDArray[np.float64]
    """Of an RMS of 1."""

    @classmethod
    async def at(cls, rate_hz: int) -> Person:
        speech = text_to_speech({})
        resampler = Resampler(speech.rate_hz, rate_hz)
        parts = [part async for part in speech.speak(_BABBLE) if isinstance(part, bytes)]
        pcm = b"".join(map(resampler.push, parts))
        await speech.close()
        samples = np.frombuffer(pcm + resampler.flush(), "<i2").astype(np.float64)
        length = rate_hz * _EVEN_MS // 1000
        loudness = np.sqrt(np.convolve(samples**2, np.full(length, 1 / length), "same")) + 50
        even = np.roll(samples / loudness, -int(_BABBLE_FROM_S * rate_hz))
        return cls(rate_hz, even / np.sqrt(np.mean(even**2)))

    def says(self, text: str, word_ms: int = tones.WORD_MS) -> bytes:
        """`text` as s16le mono: LEAD_MS, then `word_ms` a word. ValueError names a word that is none of `tones`."""
        lead = self.rate_hz * LEAD_MS // 1000
        words = np.frombuffer(tones.speak(text, self.rate_hz, word_ms), "<i2").astype(np.float64)
        voice = np.resize(self._voice, lead + words.size) * (tones.PEAK / np.sqrt(2) * 10 ** (_BELOW_DB / 20))
        voice[:lead] *= 1.5
        mixed = _LEVEL * (voice + np.concatenate([np.zeros(lead), words]))
        pcm: bytes = np.rint(np.clip(mixed, -32768, 32767)).astype("<i2").tobytes()
        return pcm
