"""What changing the sample rate costs a call: delay, noise, aliasing and CPU, for our filter and every soxr setting.

`python -m benchmarks resampler [--json FILE]`; about 3 seconds. Everything is pushed in frames of 20 ms.

- onset: the least constant delay at which a player of the output never runs dry (the most that was ever held back),
  plus how much later a burst begins in the output than in the input. In ms.
- framed: the same when the output is cut into frames of 20 ms, as every transport wants it.
- snr: the worst of five tones at -6 dBFS, 0.02 to 0.44 of the lower rate, against all that is not the tone, in dB.
- alias: the loudest that a tone above 0.6 of the target rate comes through when going down, in dB.
- cpu: milliseconds of one core for a second of audio.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from trunkline.audio.frame import FRAME_MS, samples_in, samples_of, saturate
from trunkline.audio.resample import Resampler

PAIRS_HZ = (
    *((8000, 16000), (16000, 8000), (8000, 24000), (24000, 8000), (16000, 24000), (24000, 16000)),
    *((16000, 48000), (48000, 16000), (24000, 48000), (48000, 24000), (48000, 8000)),
    *((22050, 16000), (22050, 8000), (22050, 24000)),
)
SETTINGS = ("ours", "QQ", "LQ", "MQ", "HQ", "VHQ")
TONE = 16384.0  # -6 dBFS

Push = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Result:
    """One pair and setting; see the head of this file for the figures."""

    source_hz: int
    target_hz: int
    setting: str
    onset_ms: float
    framed_ms: float
    snr_db: float
    alias_db: float | None  # None when going up
    cpu_ms_per_s: float


def stream(source_hz: int, target_hz: int, setting: str) -> Push:
    """A fresh stream's push: ours, or soxr's of that quality."""
    if setting == "ours":
        return Resampler(source_hz, target_hz).push
    resampler = soxr.ResampleStream(source_hz, target_hz, 1, dtype="int16", quality=setting)
    return lambda pcm: np.asarray(resampler.resample_chunk(samples_of(pcm))).tobytes()


def frames(samples: NDArray[np.float64], rate_hz: int) -> Iterator[bytes]:
    size = samples_in(FRAME_MS, rate_hz)
    for start in range(0, samples.size - size + 1, size):
        yield saturate(samples[start : start + size])


def through(samples: NDArray[np.float64], pair: tuple[int, int], setting: str) -> NDArray[np.float64]:
    push = stream(*pair, setting)
    return samples_of(b"".join(push(frame) for frame in frames(samples, pair[0]))).astype(np.float64)


def onset(pair: tuple[int, int], setting: str) -> tuple[float, float]:
    """(onset, framed) in ms; a burst after one second of silence, two seconds in all."""
    source_hz, target_hz = pair
    clock = np.arange(2 * source_hz) / source_hz
    burst = np.where(clock < 1, 0.0, TONE * np.cos(2 * np.pi * 400 * (clock - 1)))
    push = stream(source_hz, target_hz, setting)
    frame_samples = samples_in(FRAME_MS, target_hz)
    due = got = 0
    held_ms = held_framed_ms = 0.0
    output = bytearray()
    for frame in frames(burst, source_hz):
        output += push(frame)
        due, got = due + FRAME_MS, len(output) // 2
        held_ms = max(held_ms, due - got * 1000 / target_hz)
        held_framed_ms = max(held_framed_ms, due - got // frame_samples * FRAME_MS)
    loud = np.flatnonzero(np.abs(samples_of(bytes(output)).astype(np.float64)) > TONE / 2)
    shift_ms = float(loud[0]) * 1000 / target_hz - 1000
    return held_ms + shift_ms, held_framed_ms + shift_ms


def tone(hz: float, rate_hz: int) -> NDArray[np.float64]:
    """One and a half seconds, long enough for VHQ to begin."""
    return TONE * np.sin(2 * np.pi * hz * np.arange(rate_hz * 3 // 2) / rate_hz)


def snr_db(pair: tuple[int, int], setting: str) -> float:
    worst = np.inf
    for part in (0.02, 0.1, 0.2, 0.3, 0.44):
        hz = part * min(pair) + 3
        output = through(tone(hz, pair[0]), pair, setting)[pair[1] // 2 :]
        angle = 2 * np.pi * hz * np.arange(output.size) / pair[1]
        basis = np.stack((np.sin(angle), np.cos(angle)), axis=1)
        fitted = basis @ np.linalg.lstsq(basis, output, rcond=None)[0]
        worst = min(worst, 10 * np.log10(np.mean(fitted**2) / np.mean((output - fitted) ** 2)))
    return float(worst)


def alias_db(pair: tuple[int, int], setting: str) -> float | None:
    source_hz, target_hz = pair
    if target_hz > source_hz:
        return None
    power = 0.0
    for hz in np.linspace(0.6 * target_hz, 0.49 * source_hz, 5):
        output = through(tone(hz, source_hz), pair, setting)[target_hz // 2 :]
        power = max(power, float(np.mean(output**2)))
    return float(10 * np.log10(max(power, 1e-3) / (TONE**2 / 2)))


def cpu_ms_per_s(pair: tuple[int, int], setting: str) -> float:
    """The best of three runs over two seconds of noise: the machine may be busy with other things."""
    noise = list(frames(np.random.default_rng(1).normal(0, 3000, 2 * pair[0]), pair[0]))
    best = np.inf
    for _ in range(3):
        push = stream(*pair, setting)
        began = time.process_time()
        for frame in noise:
            push(frame)
        best = min(best, time.process_time() - began)
    return best * 1000 / 2


def measure(pair: tuple[int, int], setting: str) -> Result:
    return Result(
        *pair,
        setting,
        *onset(pair, setting),
        snr_db(pair, setting),
        alias_db(pair, setting),
        cpu_ms_per_s(pair, setting),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks resampler", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results there")
    wanted = parser.parse_args(arguments)
    results = []
    print(f"{'pair':<16}{'setting':<8}{'onset ms':>10}{'framed ms':>11}{'snr dB':>9}{'alias dB':>10}{'cpu ms/s':>10}")
    for pair in PAIRS_HZ:
        for setting in SETTINGS:
            result = measure(pair, setting)
            results.append(result)
            alias = "" if result.alias_db is None else f"{result.alias_db:.0f}"
            print(
                f"{f'{pair[0]}->{pair[1]}':<16}{setting:<8}{result.onset_ms:>10.2f}{result.framed_ms:>11.2f}"
                f"{result.snr_db:>9.0f}{alias:>10}{result.cpu_ms_per_s:>10.2f}"
            )
    if wanted.json:
        wanted.json.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")


if __name__ == "__main__":
    main()
