import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trunkline.audio.resample import Resampler
from trunkline.errors import AudioError, SettingsError
from workers.turns import vad
from workers.turns.vad import VoiceActivity

CHUNK_S = 0.032


async def sentence(rate_hz: int) -> bytes:
    pytest.importorskip("espeakng_loader")
    from workers.providers.espeak import text_to_speech

    speech = text_to_speech({})
    pcm = b"".join([chunk async for chunk in speech.speak("hello there, what time is it")])
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


def test_other_rates_are_refused() -> None:
    with pytest.raises(AudioError, match="24000"):
        VoiceActivity(24000)


def test_a_missing_model_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(SettingsError, match="pip install --no-deps silero-vad"):
        vad.model_path()
