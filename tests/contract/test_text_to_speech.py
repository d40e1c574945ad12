"""What every text-to-speech provider must do, run over those that this machine has."""

import asyncio
import contextlib
import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract import tiny_piper
from tests.standins.cartesia import Cartesia
from trunkline.errors import SettingsError
from trunkline.tenants import Stage
from workers.providers import registry
from workers.providers.base import TextToSpeech

TEXT = "Good day. This is a test."


@pytest.fixture(params=["espeak", "piper", "local", "cartesia"])
async def speech(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TextToSpeech]:
    settings = {"provider": request.param}
    if request.param == "cartesia":
        async with Cartesia() as vendor:
            made = registry.text_to_speech(
                Stage.model_validate({**settings, "url": vendor.url, "api_key": vendor.behaviour.api_key})
            )
            yield made
            await made.close()
        return
    if request.param == "piper":
        pytest.importorskip("piper")
        pytest.importorskip("onnx")
        settings["voice"] = str(tiny_piper.write(tmp_path))
    elif importlib.util.find_spec("espeakng_loader") is None:
        pytest.skip("espeakng_loader is not installed")
    made = registry.text_to_speech(Stage.model_validate(settings))
    yield made
    await made.close()


async def spoken(speech: TextToSpeech, text: str) -> bytes:
    return b"".join([chunk async for chunk in speech.speak(text) if isinstance(chunk, bytes)])


async def test_gives_whole_samples_of_sound(speech: TextToSpeech) -> None:
    chunks = [chunk async for chunk in speech.speak(TEXT) if isinstance(chunk, bytes)]
    assert all(chunks)
    assert all(len(chunk) % 2 == 0 for chunk in chunks)
    assert 0.5 < sum(map(len, chunks)) / 2 / speech.rate_hz < 10
    assert speech.description
    assert any(b"".join(chunks))


async def test_nothing_to_say(speech: TextToSpeech) -> None:
    assert await spoken(speech, "") == b""


async def test_an_answer_has_a_voice(speech: TextToSpeech) -> None:
    voice = speech.voice()
    said = [
        b"".join([chunk async for chunk in voice.speak(text, last=last) if isinstance(chunk, bytes)])
        for text, last in (("Good day.", False), ("This is a test.", True))
    ]
    assert all(said)
    await voice.close()
    await voice.close()
    assert await spoken(speech, TEXT), "only this answer's voice was closed"


async def test_several_at_once(speech: TextToSpeech) -> None:
    results = await asyncio.gather(*(spoken(speech, TEXT) for _ in range(4)))
    assert all(results)


async def test_closing_early_leaves_it_usable(speech: TextToSpeech) -> None:
    async with contextlib.aclosing(speech.speak(TEXT * 20)) as chunks:
        await anext(chunks)
    assert await spoken(speech, TEXT)


async def test_cancelling_the_listener_leaves_it_usable(speech: TextToSpeech) -> None:
    listener = asyncio.ensure_future(spoken(speech, TEXT * 50))
    await asyncio.sleep(0.005)
    listener.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listener
    assert await spoken(speech, TEXT)


def test_piper_without_a_voice_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TRUNKLINE_PIPER_VOICE", raising=False)
    with pytest.raises(SettingsError, match="download_voices"):
        registry.text_to_speech(Stage.model_validate({"provider": "piper"}))
    with pytest.raises(SettingsError, match="no file"):
        registry.text_to_speech(Stage.model_validate({"provider": "piper", "voice": str(tmp_path / "none.onnx")}))
