"""What every speech-to-text provider must do, run over those that this machine has; eSpeak is the speaker."""

import asyncio
from collections.abc import Iterator

import pytest

from trunkline.errors import SettingsError
from trunkline.tenants import Stage
from workers.providers import registry
from workers.providers.base import SpeechToText

pytest.importorskip("espeakng_loader")
pytest.importorskip("pocketsphinx")

from tests.contract.speech import heard, spoken
from workers.providers import faster_whisper


@pytest.fixture(scope="module", params=["pocketsphinx", "faster_whisper"])
def stt(request: pytest.FixtureRequest) -> Iterator[SpeechToText]:
    if request.param == "faster_whisper":
        pytest.importorskip("faster_whisper")
        try:
            faster_whisper.model_directory(faster_whisper.DEFAULT_MODEL)
        except SettingsError as error:
            pytest.skip(str(error))
    made = registry.speech_to_text(Stage.model_validate({"provider": request.param}))
    yield made
    asyncio.run(made.close())


async def test_understands_speech(stt: SpeechToText) -> None:
    assert "what time is it" in (await heard(stt, await spoken("what time is it", stt.rate_hz))).lower()
    assert stt.description


async def test_silence_and_nothing_have_no_text(stt: SpeechToText) -> None:
    assert await heard(stt, bytes(32000)) == ""
    assert await heard(stt, b"") == ""


async def test_a_pause_changes_nothing_but_the_time(stt: SpeechToText) -> None:
    pcm = await spoken("what time is it", stt.rate_hz)
    utterance = stt.utterance()
    for at in range(0, len(pcm), 6400):
        utterance.push(pcm[at : at + 6400])
        utterance.pause()
    utterance.push(bytes(stt.rate_hz))
    assert isinstance(utterance.interim, str)
    assert "what time is it" in (await utterance.finish()).text.lower()


async def test_several_at_once(stt: SpeechToText) -> None:
    said = ["what time is it", "who are you", "thank you very much", "what can you do"]
    audio = [await spoken(text, stt.rate_hz) for text in said]
    texts = await asyncio.gather(*(heard(stt, pcm) for pcm in audio))
    assert [text.lower().strip(" .?!") for text in texts] == said


async def test_cancel_at_any_moment(stt: SpeechToText) -> None:
    pcm = await spoken("what time is it", stt.rate_hz)
    utterance = stt.utterance()
    utterance.cancel()
    utterance.cancel()
    utterance = stt.utterance()
    utterance.push(pcm + bytes(16000))
    utterance.cancel()
    utterance = stt.utterance()
    utterance.push(pcm)
    await utterance.finish()
    utterance.cancel()
    for after_s in (0, 0.01, 0.1):
        utterance = stt.utterance()
        utterance.push(pcm)
        waiting = asyncio.ensure_future(utterance.finish())
        await asyncio.sleep(after_s)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled() or after_s > 0, "it may have been quicker"
    assert await heard(stt, pcm)
