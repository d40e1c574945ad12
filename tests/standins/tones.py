"""A voice for tests that survives telephone lines: every word of a small vocabulary is a tone of its own.

`speak` turns text into audio and `hear` turns audio back into text, also after mu-law, A-law, resampling between 8 and
48 kHz, a change of level, cutting and joining. So a test can say word by word what a caller heard.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

VOCABULARY: tuple[str, ...] = tuple(
    """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty twentyone twentytwo twentythree twentyfour twentyfive twentysix twentyseven twentyeight
    twentynine thirty
    a acme ada again all am an and answer anything appointment are ask at be blue book booked booking by bye call
    caller can day dental do done error find fine for free friday from go good goodbye had has have he hear hello help
    here hold how i in is it king later light lighthouse listen long me minute moment monday morning my name no not
    nothing now of ok on once open or order our over park please press queen question rain ready red repeat said
    saturday say sea see ship ships slot sorry speak star still stop story summer sun sunday sure talk tea tell thank
    thanks that the them then there they this thursday time tired to today tom tomorrow transfer tuesday until upon
    wait was we weather wednesday welcome well went what when where which who why will winter with word yes yesterday
    you your
    """.split()
)
LOWEST_HZ, HIGHEST_HZ = 300.0, 3300.0
"""What a telephone line carries."""

WORD_MS = 200
PAUSE_MS = 20
"""Silence at the end of each word: what makes two words of a word said twice."""

FADE_MS = 5
PEAK = 8000
"""About -12 dBFS: where mu-law has its full 38 dB, and a resampler's overshoot is not cut off."""

SHORTEST_WORD_MS = 80

_STEP_HZ = (HIGHEST_HZ - LOWEST_HZ) / (len(VOCABULARY) - 1)
_PLACES = {word: place for place, word in enumerate(VOCABULARY)}

_WINDOW_MS, _HOP_MS = 20, 5
_QUIET_PEAK = 300.0
"""A tone below this (-40 dBFS) is silence; also one that is below a tenth of the loudest."""

_PURITY = 0.85
"""The share of a window's energy that must lie around its peak; where two words meet it is less."""

_BATCH = 512
"""Windows analysed at once: minutes of audio in one piece would take gigabytes."""

_PRESENT = 0.6
"""The share of a word's tone that must be there for the word to be heard."""


def words_of(text: str) -> list[str]:
    """The words of `text` in lower case, without punctuation, whether they are in the vocabulary or not."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.lower())


def known(text: str) -> str:
    """The words of `text` that can be spoken, joined by spaces; the others are left out."""
    return " ".join(word for word in words_of(text) if word in _PLACES)


def respelled(text: str) -> str:
    """As many words as `text` has, all of which can be spoken: one outside the vocabulary is always the same other."""
    return " ".join(
        word if word in _PLACES else VOCABULARY[zlib.crc32(word.encode()) % len(VOCABULARY)] for word in words_of(text)
    )


def frequency_of(word: str) -> float:
    """The tone of `word`, in Hz; ValueError if it is not in the vocabulary."""
    if word not in _PLACES:
        raise ValueError(f"{word!r} is not in the vocabulary of tests/standins/tones.py")
    return LOWEST_HZ + _PLACES[word] * _STEP_HZ


def speak(text: str, rate_hz: int, word_ms: int = WORD_MS) -> bytes:
    """`text` as s16le mono PCM, `word_ms` a word, 20 ms of it silence at its end; ValueError names an unknown word."""
    return b"".join(_spoken(word, rate_hz, word_ms) for word in words_of(text))


@lru_cache(maxsize=1024)
def _spoken(word: str, rate_hz: int, word_ms: int) -> bytes:
    if word_ms < SHORTEST_WORD_MS:
        raise ValueError(f"a word of {word_ms} ms is too short to be heard: {SHORTEST_WORD_MS} ms is the shortest")
    total, sounding = (rate_hz * ms // 1000 for ms in (word_ms, word_ms - PAUSE_MS))
    times_s = np.arange(sounding) / rate_hz
    edge = np.minimum(times_s, times_s[::-1]) * 1000 / FADE_MS
    tone = PEAK * np.sin(2 * np.pi * frequency_of(word) * times_s) * np.minimum(edge, 1.0)
    pcm: bytes = np.rint(np.pad(tone, (0, total - sounding))).astype("<i2").tobytes()
    return pcm


def hear(pcm: bytes, rate_hz: int, word_ms: int = WORD_MS) -> str:
    """The words in s16le mono PCM, joined by spaces; `word_ms` is how long the speaker makes a word.

    A word counts when about 60 % of its tone is there, in one piece or in two with a gap of up to a word between.
    """
    least_ms = _PRESENT * (word_ms - PAUSE_MS)
    heard: list[str] = []
    fragment: _Run | None = None
    for run in _runs(_places_in(pcm, rate_hz)):
        begun_ms = fragment.lasts_ms if fragment and run.continues(fragment, word_ms) else 0
        if run.lasts_ms + begun_ms >= least_ms:
            heard.append(VOCABULARY[run.place])
            fragment = None
        else:
            fragment = run
    return " ".join(heard)


@dataclass(slots=True)
class _Run:
    """A stretch of one tone: the word's place in the vocabulary, and when it sounds."""

    place: int
    from_ms: int
    until_ms: int

    @property
    def lasts_ms(self) -> int:
        return self.until_ms - self.from_ms

    def continues(self, earlier: _Run, gap_ms: int) -> bool:
        return self.place == earlier.place and self.from_ms - earlier.until_ms <= gap_ms


_SILENT, _UNCLEAR = -1, -2


def _runs(places: NDArray[np.int64]) -> list[_Run]:
    """Windows of the same word in a row; an unclear window (a lost packet's seam) does not end a word, silence does."""
    runs: list[_Run] = []
    current: _Run | None = None
    for at_ms, place in zip(range(0, places.size * _HOP_MS, _HOP_MS), places.tolist(), strict=True):
        if place == _UNCLEAR:
            continue
        if current is not None and place == current.place and at_ms - current.until_ms <= _WINDOW_MS:
            current.until_ms = at_ms + _HOP_MS
            continue
        current = _Run(place, at_ms, at_ms + _HOP_MS) if place != _SILENT else None
        if current is not None:
            runs.append(current)
    return runs


def _places_in(pcm: bytes, rate_hz: int) -> NDArray[np.int64]:
    """For each 20 ms window, 5 ms apart: the place of the word that sounds in it, _SILENT or _UNCLEAR."""
    size, hop = rate_hz * _WINDOW_MS // 1000, rate_hz * _HOP_MS // 1000
    samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2")
    # Half a window on both sides, so that a tone's first and last 5 ms have a window of their own.
    samples = np.pad(samples, (size // 2, size // 2 + hop))
    windows = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop]
    batches = [_tones(windows[at : at + _BATCH].astype(np.float64), rate_hz) for at in range(0, len(windows), _BATCH)]
    places, peaks = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return np.where(peaks < max(_QUIET_PEAK, peaks.max() / 10), _SILENT, places)


def _tones(windows: NDArray[np.float64], rate_hz: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Each window's word, or _UNCLEAR, and the amplitude of its strongest tone.

    The peak's frequency comes from a parabola through the logarithms of three bins (J. O. Smith, Spectral Audio Signal
    Processing, "Quadratic interpolation of spectral peaks"); zero-padding to four windows keeps its error below 1 Hz.
    """
    size = windows.shape[1]
    padded = 1 << (4 * size - 1).bit_length()
    spectra = np.abs(np.fft.rfft(windows * np.hanning(size), padded, axis=1)) + 1e-9
    bin_hz = rate_hz / padded
    within = spectra[:, : int(4000 / bin_hz)]
    rows = np.arange(within.shape[0])
    peaks = np.clip(within.argmax(axis=1), 1, within.shape[1] - 2)
    left, top, right = (np.log(within[rows, peaks + offset]) for offset in (-1, 0, 1))
    curve = left - 2 * top + right
    shift = np.where(curve < 0, 0.5 * (left - right) / np.where(curve < 0, curve, 1.0), 0.0)
    place = ((peaks + shift) * bin_hz - LOWEST_HZ) / _STEP_HZ
    nearest = np.rint(place).astype(np.int64)
    clear = (np.abs(place - nearest) < 0.4) & (nearest >= 0) & (nearest < len(VOCABULARY))
    clear &= _purity(spectra, peaks, padded // size) > _PURITY
    amplitudes = within[rows, peaks] * 4 / size  # a Hann window's gain is a quarter of its length for a real sine
    return np.where(clear, nearest, _UNCLEAR), amplitudes


def _purity(spectra: NDArray[np.float64], peaks: NDArray[np.int64], bins_per_window: int) -> NDArray[np.float64]:
    """The share of each window's energy inside the main lobe of its peak (a Hann window's is two bins each way)."""
    energy = np.cumsum(np.pad(spectra**2, ((0, 0), (1, 0))), axis=1)
    reach = 2 * bins_per_window
    rows = np.arange(spectra.shape[0])
    low, high = np.maximum(peaks - reach, 0), np.minimum(peaks + reach + 1, spectra.shape[1])
    share: NDArray[np.float64] = (energy[rows, high] - energy[rows, low]) / energy[:, -1]
    return share
