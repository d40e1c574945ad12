"""The real faster-whisper and CTranslate2, on a model that was made for this."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

pytest.importorskip("faster_whisper")

from tests.contract import tiny_whisper
from tests.standins import tones
from tests.waiting import until
from trunkline.errors import ProviderError, SettingsError
from workers.providers.base import Transcript
from workers.providers.batch import BatchSpeech
from workers.providers.faster_whisper import RATE_HZ, speech_to_text

SENTENCE = " ".join(tiny_whisper.SENTENCE)
AFTERWARDS = " ".join(tiny_whisper.AFTERWARDS)
SOUND = tones.speak("is tuesday free", RATE_HZ)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_whisper.write(tmp_path_factory.mktemp("whisper"))


@pytest.fixture
async def stt(model: Path) -> AsyncIterator[BatchSpeech]:
    made = speech_to_text({"model": str(model), "device": "cpu", "threads": 1, "segment_s": 2})
    yield made
    await made.close()


async def heard(stt: BatchSpeech) -> Transcript:
    utterance = stt.utterance()
    utterance.push(SOUND)
    return await utterance.finish()


async def test_transcribes(stt: BatchSpeech) -> None:
    transcript = await heard(stt)
    assert transcript.text == SENTENCE
    assert transcript.confidence is not None
    assert 0 < transcript.confidence < 1
    assert transcript.transcribed_s == pytest.approx(0.6)
    assert stt.description.startswith("faster-whisper: model ")


async def test_the_text_is_there_before_the_end(stt: BatchSpeech) -> None:
    utterance = stt.utterance()
    utterance.push(SOUND)
    utterance.pause()
    assert stt.transcribed_s == 0, "not at each breath"
    utterance.push(bytes(RATE_HZ * 2 * 160 // 1000))
    await until(lambda: utterance.interim == SENTENCE)
    utterance.push(bytes(RATE_HZ))
    assert (await utterance.finish()).transcribed_s == pytest.approx(0.76), "it was not transcribed again"


async def test_a_segment_is_told_what_came_before_it(stt: BatchSpeech) -> None:
    utterance = stt.utterance()
    utterance.push(SOUND * 4)
    utterance.pause()
    utterance.push(bytes(RATE_HZ * 2 * 160 // 1000))
    await until(lambda: utterance.interim == SENTENCE)
    utterance.push(SOUND)
    assert (await utterance.finish()).text == f"{SENTENCE} {AFTERWARDS}"


async def test_several_at_once_wait_in_line(stt: BatchSpeech) -> None:
    found = await asyncio.gather(*(heard(stt) for _ in range(6)))
    assert [transcript.text for transcript in found] == [SENTENCE] * 6


async def test_silence_does_not_reach_the_model(stt: BatchSpeech) -> None:
    utterance = stt.utterance()
    utterance.push(bytes(RATE_HZ * 2))
    utterance.pause()
    assert await utterance.finish() == Transcript("")


@pytest.mark.parametrize("after_s", [0, 0.02, 0.1])
async def test_cancel_leaves_it_usable(stt: BatchSpeech, after_s: float) -> None:
    waiting = asyncio.ensure_future(heard(stt))
    await asyncio.sleep(after_s)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert (await heard(stt)).text == SENTENCE


async def test_closing_ends_what_is_waited_for(model: Path) -> None:
    stt = speech_to_text({"model": str(model), "device": "cpu"})
    waiting = [asyncio.ensure_future(heard(stt)) for _ in range(3)]
    await asyncio.sleep(0)
    await stt.close()
    for result in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(result, ProviderError | Transcript), "done already, or told that it will not be"


def test_a_directory_that_holds_no_model_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not load"):
        speech_to_text({"model": str(tmp_path)})
