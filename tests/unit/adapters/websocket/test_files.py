from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest

from adapters.websocket import files
from trunkline.audio.wav import read_wav


def tone(rate_hz: int, ms: int) -> bytes:
    places = np.arange(rate_hz * ms // 1000)
    return (8000 * np.sin(2 * np.pi * 440 * places / rate_hz)).astype("<i2").tobytes()


@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 48000])
def test_a_sentence_as_wav_is_the_sentence(rate_hz: int, tmp_path: Path) -> None:
    pcm = tone(rate_hz, 300)
    file = tmp_path / "sentence.wav"
    file.write_bytes(files.encode(pcm, rate_hz, "wav"))
    assert read_wav(file) == (pcm, rate_hz)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 48000])
@pytest.mark.parametrize("ms", [20, 1500])
def test_a_sentence_as_mp3_is_all_there(rate_hz: int, ms: int) -> None:
    encoded = files.encode(tone(rate_hz, ms), rate_hz, "mp3")
    with av.open(io.BytesIO(encoded), mode="r") as container:
        decoded = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    heard_ms = len(decoded) * 1000 / rate_hz
    assert ms <= heard_ms <= ms + 200, "an MP3 has some padding at both ends"
    if ms > 1000:
        middle = decoded[len(decoded) // 4 : len(decoded) // 2].astype(np.float64)
        loud = np.sqrt(np.mean(middle**2)) * (1 if np.issubdtype(decoded.dtype, np.integer) else 32768)
        assert loud == pytest.approx(8000 / np.sqrt(2), rel=0.1)
