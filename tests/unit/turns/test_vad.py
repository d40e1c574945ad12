import importlib.metadata
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trunkline.audio.frame import mix
from trunkline.audio.resample import Resampler
from trunkline.errors import AudioError, SettingsError
from trunkline.tenants import TurnSettings
from workers.turns import vad
from workers.turns.endpointing import Edge, EdgeKind, Endpointing
from workers.turns.vad import CHUNK_MS, VoiceActivity, judge

CHUNK_S = 0.032


async def sentence(rate_hz: int) -> bytes:
    pytest.importorskip("espeakng_loader")
    from workers.providers.espeak import text_to_speech

    speech = text_to_speech({})
    parts = [part async for part in speech.speak("hello there, what time is it")]
    pcm = b"".join(part for part in parts if isinstance(part, bytes))
    await speech.close()
    resampler = Resampler(speech.rate_hz, rate_hz)
    return resampler.push(pcm) + resampler.flush()


@pytest.mark.parametrize("rate_hz", [16000, 8000])
async def test_finds_the_edges_of_speech_between_silences(rate_hz: int) -> None:
    speech = await sentence(rate_hz)
    second = bytes(2 * rate_hz)
    probabilities = np.array(VoiceActivity(rate_hz).push(second + speech + second))
    loud = np.flatnonzero(probabilities > 0.5) * CHUNK_S
    speech_s = len(speech) / 2 / rate_hz
    assert 1.0 <= loud[0] < 1.2
    assert speech_s + 0.5 < loud[-1] < speech_s + 1.2
    assert probabilities[: int(0.9 / CHUNK_S)].max() < 0.2
    assert probabilities[-10:].max() < 0.2


async def test_any_cut_of_the_audio_gives_the_same() -> None:
    audio = bytes(3201) + await sentence(16000)
    whole = VoiceActivity(16000).push(audio)
    pieces = VoiceActivity(16000)
    parts = [probability for at in range(0, len(audio), 641) for probability in pieces.push(audio[at : at + 641])]
    assert parts == whole
    assert len(whole) == len(audio) // 1024


async def test_sessions_share_the_model_and_not_their_memory() -> None:
    audio = await sentence(16000)
    alone = VoiceActivity(16000).push(audio)
    one, other = VoiceActivity(16000), VoiceActivity(16000)
    mixed: list[float] = []
    for at in range(0, len(audio), 1024):
        mixed += one.push(audio[at : at + 1024])
        other.push(bytes(1024))
    assert mixed == alone
    one.reset()
    assert one.push(audio) == alone
    assert "torch" not in sys.modules


def noise(rate_hz: int, seconds: float, loudness: float) -> bytes:
    samples = np.random.default_rng(1).normal(0, loudness, int(rate_hz * seconds))
    return samples.astype("<i2").tobytes()


@pytest.mark.parametrize("rate_hz", [16000, 8000])
async def test_streams_run_together_are_judged_as_alone(rate_hz: int) -> None:
    speech = await sentence(rate_hz)
    apart = [noise(rate_hz, 0.032 * number, 3000) + speech for number in range(4)]
    streams = [VoiceActivity(rate_hz) for _ in apart]
    found: list[list[float]] = [[] for _ in apart]
    for chunks in zip(*(stream.cut(audio) for stream, audio in zip(streams, apart, strict=True)), strict=False):
        assert all(stream.load(chunk) for stream, chunk in zip(streams, chunks, strict=True))
        for probabilities, probability in zip(found, judge(streams), strict=True):
            probabilities.append(probability)
    for probabilities, audio in zip(found, apart, strict=True):
        assert probabilities == pytest.approx(VoiceActivity(rate_hz).push(audio)[: len(probabilities)], abs=1e-4)


def edges(probabilities: Iterable[float]) -> list[Edge]:
    endpointing = Endpointing(TurnSettings())
    found = (endpointing.push(number * CHUNK_MS, float(value)) for number, value in enumerate(probabilities, 1))
    return [edge for edge in found if edge is not None and edge.kind in (EdgeKind.STARTED, EdgeKind.STOPPED)]


@dataclass
class Compared:
    """What was found, and how often the model was asked for it; beside what it finds when it is always asked."""

    found: Sequence[float]
    asked: int
    thorough: Sequence[float]

    @property
    def off_ms(self) -> list[int]:
        """How far each edge of speech was moved."""
        found, wanted = edges(self.found), edges(self.thorough)
        assert [edge.kind for edge in found] == [edge.kind for edge in wanted]
        return [abs(one.media_ms - other.media_ms) for one, other in zip(found, wanted, strict=True)]


def compared(rate_hz: int, audio: bytes, monkeypatch: pytest.MonkeyPatch) -> Compared:
    asked: list[int] = []

    def counted(streams: Sequence[VoiceActivity]) -> list[float]:
        asked.append(len(streams))
        return judge(streams)

    monkeypatch.setattr(vad, "judge", counted)
    found = VoiceActivity(rate_hz).push(audio)
    asked_sparing = len(asked)
    asked.clear()
    monkeypatch.setattr(vad, "FLOOR", -1)
    monkeypatch.setattr(vad, "HUSH", 0)
    thorough = VoiceActivity(rate_hz).push(audio)
    assert len(asked) == len(thorough)
    return Compared(found, asked_sparing, thorough)


@pytest.mark.parametrize("rate_hz", [16000, 8000])
async def test_what_is_as_good_as_silent_asks_no_model_and_changes_nothing(
    rate_hz: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    speech = await sentence(rate_hz)
    audio = speech + noise(rate_hz, 3, 4) + speech + noise(rate_hz, 3, 4) + noise(rate_hz, 2, 200)
    result = compared(rate_hz, audio, monkeypatch)
    assert result.asked < 0.75 * len(result.thorough)
    assert max(result.off_ms) <= 64
    assert max(result.found[-int(2 / CHUNK_S) :]) < 0.35, "the noise after it is no speech"


@pytest.mark.parametrize("rate_hz", [16000, 8000])
@pytest.mark.parametrize("hiss", [33, 200])
async def test_a_line_that_hisses_asks_no_model_and_changes_nothing(
    rate_hz: int, hiss: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    speech = await sentence(rate_hz)
    said = bytes(3 * rate_hz * 2) + speech + bytes(4 * rate_hz * 2) + speech + bytes(3 * rate_hz * 2)
    audio = mix(said, noise(rate_hz, len(said) / 2 / rate_hz, hiss))
    result = compared(rate_hz, audio, monkeypatch)
    assert result.asked < 0.6 * len(result.thorough)
    assert len(result.off_ms) == 4
    assert max(result.off_ms) <= 64


async def test_a_louder_line_is_listened_to_until_it_is_the_lines_own_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    audio = noise(8000, 3, 33) + noise(8000, 6, 100)  # by 10 dB
    result = compared(8000, audio, monkeypatch)
    assert edges(result.found) == []
    assert 1.5 / CHUNK_S < result.asked < 5 / CHUNK_S


@pytest.mark.parametrize("rate_hz", [16000, 8000])
async def test_it_does_not_grow_deaf_in_long_quiet(rate_hz: int) -> None:
    speech = await sentence(rate_hz)
    fresh = sum(probability > 0.5 for probability in VoiceActivity(rate_hz).push(speech))
    long_on = VoiceActivity(rate_hz)
    quiet = long_on.push(noise(rate_hz, 61, 40))
    assert max(quiet) < 0.35, "beginning anew is not heard as speech"
    assert sum(probability > 0.5 for probability in long_on.push(speech)) >= 0.9 * fresh


def test_other_rates_are_refused() -> None:
    with pytest.raises(AudioError, match="24000"):
        VoiceActivity(24000)


def test_a_missing_model_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(SettingsError, match="pip install --no-deps silero-vad"):
        vad.model_path()
