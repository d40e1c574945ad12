"""Whisper's features: the log-mel spectrogram that its encoder, and models made from it, take.

80 triangular mel bands (Slaney's scale and norm, 0 to 8000 Hz) of the power of 25 ms Hann windows every 10 ms, as log10
with 8 decades of range. Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022), 2.2; the
scale as in Slaney's "Auditory Toolbox" (1998): linear to 1 kHz, then logarithmic, 27 bands from there to 6.4 kHz.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

RATE_HZ = 16_000
WINDOW_S = 8
BANDS = 80
FRAMES = 800

_SAMPLES = RATE_HZ * WINDOW_S
_FFT = 400
_HOP = 160
_FLOOR = np.float32(1e-10)
_DECADES = np.float32(8)

Float = NDArray[np.float32]


def _mel(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * float(np.log(hz / 1000) / np.log(6.4))


def _hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


def _filters() -> Float:
    """(BANDS, _FFT // 2 + 1): how much of each frequency belongs to each band. Every triangle has the same area."""
    corners = _hz(np.linspace(0, _mel(RATE_HZ / 2), BANDS + 2))
    low, centre, high = (corners[shift : shift + BANDS, None] for shift in range(3))
    frequencies = np.linspace(0, RATE_HZ / 2, _FFT // 2 + 1)
    rising = (frequencies - low) / (centre - low)
    falling = (high - frequencies) / (high - centre)
    filters: Float = (np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)).astype(np.float32)
    return filters


_FILTERS = _filters()
_HANN = np.hanning(_FFT + 1)[:-1].astype(np.float32)


def log_mel(samples: Float) -> Float:
    """The features (BANDS, FRAMES) of the last WINDOW_S of mono audio at RATE_HZ, of any scale: it is brought to mean 0
    and variance 1. Shorter audio has silence in front."""
    samples = samples[-_SAMPLES:]
    padding = _SAMPLES - samples.size
    wave = np.zeros(_SAMPLES, np.float32)
    wave[padding:] = samples
    wave = (wave - wave.mean()) / np.sqrt(wave.var() + np.float32(1e-7))
    same = max(0, (padding - _FFT // 2) // _HOP)  # so many frames hold nothing but padding, as does the one after them
    padded = np.pad(wave, _FFT // 2, mode="reflect")[same * _HOP :]
    frames = sliding_window_view(padded, _FFT)[::_HOP][: FRAMES - same] * _HANN
    spectrum = np.fft.rfft(frames, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    bands = np.log10(np.maximum(_FLOOR, _FILTERS @ power.T))
    bands = (np.maximum(bands, bands.max() - _DECADES) + 4) / 4
    features = np.empty((BANDS, FRAMES), np.float32)
    features[:, :same] = bands[:, :1]
    features[:, same:] = bands
    return features
