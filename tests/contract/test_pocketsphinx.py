"""PocketSphinx beyond the contract: what it understands of espeak's speech, and what happens when its process dies."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from trunkline.errors import ProviderError, SettingsError
from trunkline.tenants import Stage
from workers.providers import registry
from workers.providers.base import SpeechToText
from workers.providers.pocketsphinx import PocketsphinxUtterance

pytest.importorskip("espeakng_loader")
pytest.importorskip("pocketsphinx")

from tests.contract.speech import heard, spoken

PHRASES = (
    "hello there|what is my name|what time is it|what day is it today|what can you do|who are you|are you a robot|"
    "what is trunk line|count to ten|how many questions did i ask|how are you today|what did i say|say that again|"
    "thank you very much|goodbye|see you later|my name is tom tell me a story|hello what time is it"
).split("|")
OTHERS = (
    "where is the train station|my cat is sleeping on the sofa|please book an appointment for next tuesday|"
    "i want to speak with a manager|do you know any good restaurants|one million dollars"
).split("|")


@pytest.fixture(scope="module")
def pocketsphinx() -> Iterator[SpeechToText]:
    made = registry.speech_to_text(Stage.model_validate({"provider": "pocketsphinx"}))
    yield made
    asyncio.run(made.close())


async def test_the_demo_phrases_come_out_exactly(pocketsphinx: SpeechToText) -> None:
    wrong = {}
    for text in PHRASES:
        if (got := await heard(pocketsphinx, await spoken(text, 16000))) != text:
            wrong[text] = got
    assert wrong == {}


async def test_other_speech_is_not_forced_into_a_phrase(pocketsphinx: SpeechToText) -> None:
    for text in OTHERS:
        got = (await heard(pocketsphinx, await spoken(text, 16000))).split()
        assert len(set(got) & set(text.split())) >= len(text.split()) / 2, (text, got)


async def test_a_pause_is_decoded_before_the_utterance_is_over(pocketsphinx: SpeechToText) -> None:
    utterance = cast(PocketsphinxUtterance, pocketsphinx.utterance())
    pcm = await spoken("what time is it", 16000)
    for at in range(0, len(pcm), 640):
        utterance.push(pcm[at : at + 640])
    assert utterance._decoding is None
    utterance.push(bytes(16000))
    decoding = utterance._decoding
    assert decoding is not None
    assert (await asyncio.wrap_future(decoding)).text == "what time is it"
    assert utterance._decoding is decoding, "what finish takes its text from"
    assert (await utterance.finish()).text == "what time is it"


async def test_speech_after_a_pause_counts(pocketsphinx: SpeechToText) -> None:
    pause = bytes(2 * 16000 * 4 // 10)
    pcm = await spoken("who are you", 16000) + pause + await spoken("what time is it", 16000)
    assert await heard(pocketsphinx, pcm) == "who are you what time is it"


def decoders() -> set[int]:
    """Process ids of this process's decoders. (Not by `ps`: it cuts long lines off.)"""
    found = set()
    for children in Path("/proc/self/task").glob("*/children"):
        for child in children.read_text().split():
            if b"pocketsphinx.process" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.add(int(child))
    return found


async def test_a_dead_decoder_is_an_error_once() -> None:
    others = decoders()
    made = registry.speech_to_text(Stage.model_validate({"provider": "pocketsphinx", "processes": 1}))
    pcm = await spoken("what time is it", 16000)
    try:
        [decoder] = decoders() - others
        os.kill(decoder, signal.SIGKILL)
        with pytest.raises(ProviderError):
            await heard(made, pcm)
        assert await heard(made, pcm) == "what time is it"
    finally:
        await made.close()


def test_wrong_phrases_are_named() -> None:
    for phrase, named in (("(open", "closed"), ("say xyzzyq", "xyzzyq")):
        with pytest.raises(SettingsError, match=named):
            registry.speech_to_text(Stage.model_validate({"provider": "pocketsphinx", "grammar": [phrase]}))
