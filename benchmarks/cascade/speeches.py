"""What the callers of the cascade say: sentences by eSpeak over a line that hisses, as frames of mu-law.

The line hisses all the time, as most do, and evenly, of which `workers.turns.vad` spares the detector most: it judges
about 40 % of all chunks here, and would judge 68 % where the noise wavers.
"""

from __future__ import annotations

import base64
import functools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.cascade.levels import levels
from benchmarks.phone import audio
from trunkline.audio.g711 import pcm_to_ulaw, ulaw_to_pcm
from trunkline.audio.resample import Resampler
from workers.providers.espeak import EspeakOptions, synthesize

RATE_HZ = 8000
HISS = 33.0
"""RMS of the line's noise, in s16 units: -60 dBFS."""
PEAK = 12_000
"""Of speech."""
_VOICES = (EspeakOptions(rate_wpm=135), EspeakOptions(voice="en-gb", pitch=35, rate_wpm=160))
_ESPEAK_HZ = 22_050
_SENTENCES = (
    "When does the office open on Tuesday morning?",
    "I would like to change my appointment to Friday.",
    "Could you tell me how much the repair will cost?",
    "Please send the invoice to my new address.",
    "My order has not arrived and I am worried.",
    "Do you have a table for four people tonight?",
    "The washing machine makes a terrible noise again.",
    "What do I need to bring along tomorrow?",
)


@dataclass(frozen=True)
class Frame:
    """20 ms: mu-law, and the same as base64."""

    ulaw: bytes
    text: str


@dataclass(frozen=True)
class Speech:
    """One thing that a caller says."""

    frames: Sequence[Frame]
    levels: Sequence[int]
    """How loud each frame is (levels.py)."""


@functools.cache
def speeches() -> list[Speech]:
    """All that is ever said, between the first and the last loud sample. Takes 0.1 s."""
    noise = np.random.default_rng(1)
    spoken = [(voice, sentence) for sentence in _SENTENCES for voice in _VOICES]
    return [_speech(_said(sentence, voice), noise) for voice, sentence in spoken]


@functools.cache
def hiss() -> list[Frame]:
    """A second of the line when nobody speaks."""
    return _frames(np.zeros(RATE_HZ), np.random.default_rng(2))


def _said(sentence: str, voice: EspeakOptions) -> NDArray[np.float64]:
    parts: list[bytes] = []

    def deliver(pcm: bytes) -> bool:
        parts.append(pcm)
        return True

    synthesize(sentence, voice, deliver)
    resampler = Resampler(_ESPEAK_HZ, RATE_HZ)
    samples = np.frombuffer(resampler.push(b"".join(parts)) + resampler.flush(), "<i2").astype(np.float64)
    samples *= PEAK / np.abs(samples).max()
    loud = np.flatnonzero(np.abs(samples) > audio.LOUD)
    return samples[loud[0] : loud[-1] + 1]


def _speech(samples: NDArray[np.float64], noise: np.random.Generator) -> Speech:
    frames = _frames(samples, noise)
    return Speech(frames, levels(ulaw_to_pcm(b"".join(frame.ulaw for frame in frames)), RATE_HZ))


def _frames(samples: NDArray[np.float64], noise: np.random.Generator) -> list[Frame]:
    whole = np.concatenate([samples, np.zeros(-samples.size % audio.FRAME_BYTES)])
    ulaw = pcm_to_ulaw(np.rint(whole + noise.normal(0, HISS, whole.size)).astype("<i2").tobytes())
    parts = [ulaw[at : at + audio.FRAME_BYTES] for at in range(0, len(ulaw), audio.FRAME_BYTES)]
    return [Frame(part, base64.b64encode(part).decode()) for part in parts]


class Speaker:
    """A caller's mouth (phone/caller.py): says all speeches by turns, in an order of his own."""

    def __init__(self, number: int) -> None:
        self.frames: list[Frame] = []
        """All that he sent."""
        self.said: list[tuple[int, Speech]] = []
        """What he said, and which of `frames` it began with."""
        self._number = number
        self._speeches = self._order()
        self._rest: list[Frame] = []

    def _order(self) -> Iterator[Speech]:
        order = random.Random(self._number)
        while True:
            yield from order.sample(speeches(), len(speeches()))

    def lengths(self) -> Iterator[int]:
        return (len(speech.frames) for speech in self._order())

    def frame(self, key: int, *, speaks: bool) -> str:
        if not speaks:
            frame = hiss()[(len(self.frames) + self._number) % len(hiss())]
        else:
            if not self._rest:
                speech = next(self._speeches)
                self.said.append((len(self.frames), speech))
                self._rest = list(reversed(speech.frames))
            frame = self._rest.pop()
        self.frames.append(frame)
        return frame.text
