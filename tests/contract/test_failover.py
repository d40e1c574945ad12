"""Chains of our real providers, against stand-ins of their vendors: Deepgram and Groq, Groq twice, Cartesia and OpenAI.

Silence costs these tests its deadline; what must not be taken for silence on a busy machine has a long one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.standins import groq, openai, tones
from tests.standins.cartesia import Cartesia
from tests.standins.cartesia.behaviour import Fault
from tests.standins.deepgram import Close, Deepgram, Mute, Refuse
from tests.standins.deepgram.faults import SessionFault
from trunkline.tenants import Stage
from workers.failover import chains
from workers.providers.base import ChatMessage, SpeechToText, Word
from workers.providers.registry import Providers

PATIENT_S = 20.0
TEXT = "is tuesday free or wednesday then"
HELLO = [ChatMessage("user", "hello")]
FRAME_MS = 20


@pytest.fixture
async def providers() -> AsyncIterator[Providers]:
    made = Providers()
    yield made
    await made.close()


@pytest.fixture
async def standin() -> AsyncIterator[groq.Groq]:
    async with groq.serve() as served:
        yield served


def by_groq(standin: groq.Groq, **options: Any) -> dict[str, Any]:
    return {"provider": "groq", "base_url": standin.url, "api_key": groq.KEY, "deadline_s": PATIENT_S, **options}


async def understood(stt: SpeechToText, frame_s: float = 0.0) -> str:
    """What comes of TEXT, said frame by frame, `frame_s` apart."""
    utterance = stt.utterance()
    pcm = tones.speak(TEXT, stt.rate_hz)
    frame = stt.rate_hz * FRAME_MS // 1000 * 2
    for at in range(0, len(pcm), frame):
        utterance.push(pcm[at : at + frame])
        await asyncio.sleep(frame_s)
    utterance.pause()
    return " ".join(tones.words_of((await utterance.finish()).text))


@pytest.mark.parametrize(
    "fault", [Refuse(401), Refuse(429), Refuse(503), Close(after_ms=300), Mute(after_ms=300)], ids=str
)
async def test_groq_hears_all_of_what_deepgram_did_not(
    fault: Refuse | SessionFault, standin: groq.Groq, providers: Providers
) -> None:
    async with Deepgram() as deepgram:
        deepgram.fault = fault
        deadline_s = 0.3 if isinstance(fault, Mute) else PATIENT_S
        deaf = {"provider": "deepgram", "url": deepgram.url, "api_key": "key", "ready": 0, "rate_hz": 8000}
        stage = Stage.model_validate({**deaf, "deadline_s": deadline_s, "fallback": by_groq(standin)})
        assert await understood(chains.speech_to_text(stage, providers), frame_s=0.001) == TEXT
        await providers.close()
    [heard] = [asked for asked in standin.transcriptions if asked.text == TEXT]
    assert heard.duration_ms == pytest.approx(len(TEXT.split()) * tones.WORD_MS, abs=1)


async def test_deepgram_hears_at_once_what_groq_did_not(standin: groq.Groq, providers: Providers) -> None:
    standin.fault = "broken"
    async with Deepgram() as deepgram:
        fallback = {"provider": "deepgram", "url": deepgram.url, "api_key": "key", "deadline_s": PATIENT_S}
        stage = Stage.model_validate(by_groq(standin, fallback=fallback))
        assert await understood(chains.speech_to_text(stage, providers)) == TEXT
        await providers.close()


@pytest.mark.parametrize("fault", ["broken", "rate_limited", "cut", "torn", "garbage", "told", "stalled"])
async def test_another_model_goes_on_with_what_the_first_said(
    fault: groq.Fault, standin: groq.Groq, providers: Providers
) -> None:
    standin.fault = fault
    async with groq.serve() as second:
        first = by_groq(standin, deadline_s=0.5 if fault == "stalled" else PATIENT_S, fallback=by_groq(second))
        model = chains.language_model(Stage.model_validate(first), providers)
        async with contextlib.aclosing(model.reply(HELLO)) as parts:
            said = "".join([str(part) async for part in parts])
        await providers.close()
    # The stand-in begins each answer anew, as some models do; none of that is said twice.
    assert said == "Hello there, this is the stand-in."


@pytest.mark.parametrize("fault", ["unauthorized", "rate_limited", "dropped", "mute", "stalled", "failed", "garbage"])
async def test_openai_says_the_rest_of_what_cartesia_began(fault: Fault, providers: Providers) -> None:
    said = "one two three four five six seven eight nine ten"
    async with Cartesia() as cartesia, openai.serve() as other:
        cartesia.behaviour.fault = fault
        cartesia.behaviour.word_ms = tones.WORD_MS
        fallback = {"provider": "openai", "base_url": other.url, "api_key": openai.KEY, "deadline_s": PATIENT_S}
        first = {"provider": "cartesia", "url": cartesia.url, "api_key": cartesia.behaviour.api_key}
        deadline_s = 0.5 if fault in ("mute", "stalled") else PATIENT_S
        stage = Stage.model_validate({**first, "deadline_s": deadline_s, "fallback": fallback})
        chain = chains.text_to_speech(stage, providers)
        voice = chain.voice()
        parts = [part async for part in voice.speak(said, last=False)]
        more = [part async for part in voice.speak("goodbye", last=True)]
        await voice.close()
        await providers.close()
    pcm = b"".join(part for part in [*parts, *more] if not isinstance(part, Word))
    heard = tones.hear(pcm, chain.rate_hz)
    assert heard == f"{said} goodbye"
    assert [request["input"] for request in other.spoken][-1] == "goodbye"
