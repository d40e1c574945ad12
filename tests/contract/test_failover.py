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
from trunkline.errors import ProviderError, ProvidersExhausted
from trunkline.tenants import Stage
from workers.breaker import LONGEST_COOL_DOWN_S
from workers.failover import chains
from workers.providers.base import ChatMessage, SpeechToText, Word
from workers.providers.cartesia import protocol as cartesia_protocol
from workers.providers.groq import hearing as groq_hearing
from workers.providers.groq import thinking as groq_thinking
from workers.providers.registry import Providers

PATIENT_S = 20.0
TEXT = "is tuesday free or wednesday then"
HELLO = [ChatMessage("user", "hello")]
FRAME_MS = 20
OPENAI_RETRY_AFTER_S = 20
FAULT = "KeyError: 'a field that the vendor has left out'"


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


# --- alone: nobody replaces them

VOICES = ["openai", "cartesia"]


@contextlib.asynccontextmanager
async def voiced(vendor: str, fault: Any, providers: Providers) -> AsyncIterator[tuple[Stage, Any]]:
    """A stage for a voice of `vendor`, which has this fault until it is unset; and the stand-in's setting for that."""
    async with Cartesia() as cartesia, openai.serve() as other:
        cartesia.behaviour.fault = other.fault = fault
        cartesia.behaviour.retry_after_s, cartesia.behaviour.word_ms = OPENAI_RETRY_AFTER_S, tones.WORD_MS
        access: dict[str, dict[str, Any]] = {
            "openai": {"base_url": other.url, "api_key": openai.KEY},
            "cartesia": {"url": cartesia.url, "api_key": cartesia.behaviour.api_key},
        }
        stage = Stage.model_validate({"provider": vendor, **access[vendor], "deadline_s": PATIENT_S})
        yield stage, cartesia.behaviour if vendor == "cartesia" else other
        await providers.close()


async def spoken(stage: Stage, providers: Providers) -> str:
    chain = chains.text_to_speech(stage, providers)
    return tones.hear(
        b"".join([part async for part in chain.speak("one two") if not isinstance(part, Word)]), chain.rate_hz
    )


@pytest.mark.parametrize(
    ("fault", "wait_s"), [("rate_limited", OPENAI_RETRY_AFTER_S), ("unauthorized", LONGEST_COOL_DOWN_S)]
)
@pytest.mark.parametrize("vendor", VOICES)
async def test_a_voice_that_refuses_is_left_alone_for_as_long_as_it_says(
    vendor: str, fault: str, wait_s: float, providers: Providers
) -> None:
    async with voiced(vendor, fault, providers) as (stage, standin):
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(ProvidersExhausted, match=r"429|401"):
            await spoken(stage, providers)
        standin.fault = None
        with pytest.raises(ProvidersExhausted, match="is left alone"):
            await spoken(stage, providers)
        breaker = providers.breaker("text_to_speech", stage)
        with pytest.raises(ProviderError):
            breaker.permit(began_s + wait_s - 0.1)
        breaker.permit(asyncio.get_running_loop().time() + wait_s).dropped()
        assert await spoken(stage, providers) == "one two", "once it may be asked"


async def test_a_voice_that_refuses_one_text_is_asked_for_the_next(providers: Providers) -> None:
    async with voiced("openai", None, providers) as (stage, _):
        chain = chains.text_to_speech(stage, providers)
        with pytest.raises(ProvidersExhausted, match="HTTP 400"):
            [part async for part in chain.speak("x" * (openai.LONGEST_INPUT + 1))]
        assert await spoken(stage, providers) == "one two"


async def test_a_model_that_has_too_many_requests_is_left_alone_for_as_long_as_it_says(
    standin: groq.Groq, providers: Providers
) -> None:
    standin.fault, standin.retry_after_s = "rate_limited", 3
    stage = Stage.model_validate(by_groq(standin))
    model = chains.language_model(stage, providers)
    began_s = asyncio.get_running_loop().time()
    with pytest.raises(ProvidersExhausted, match="429"):
        [part async for part in model.reply(HELLO)]
    standin.fault = None
    with pytest.raises(ProvidersExhausted, match="is left alone"):
        [part async for part in model.reply(HELLO)]
    breaker = providers.breaker("language_model", stage)
    with pytest.raises(ProviderError):
        breaker.permit(began_s + 2.9)
    breaker.permit(asyncio.get_running_loop().time() + 3).dropped()
    assert "".join([str(part) async for part in model.reply(HELLO)]) == "Hello there, this is the stand-in."


# --- faults in our own code for a vendor


def faulty(*_: object, **__: object) -> None:
    raise KeyError("a field that the vendor has left out")


async def test_deepgram_hears_what_a_fault_in_our_code_for_groq_did_not(
    standin: groq.Groq, providers: Providers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(groq_hearing.Hearing, "_believed", faulty)
    async with Deepgram() as deepgram:
        fallback = {"provider": "deepgram", "url": deepgram.url, "api_key": "key", "deadline_s": PATIENT_S}
        stage = Stage.model_validate(by_groq(standin, fallback=fallback))
        assert await understood(chains.speech_to_text(stage, providers)) == TEXT
        assert providers.breaker("speech_to_text", stage).tally.failed == 1
        await providers.close()
    assert FAULT in caplog.text


async def test_another_model_answers_for_a_fault_in_our_code_for_groq(
    standin: groq.Groq, providers: Providers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(groq_thinking._Answer, "take", faulty)
    address = {"base_url": f"{standin.url}/openai/v1", "api_key": groq.KEY, "model": "openai/gpt-oss-20b"}
    fallback = {"provider": "openai_compatible", **address, "deadline_s": PATIENT_S}
    stage = Stage.model_validate(by_groq(standin, fallback=fallback))
    async with contextlib.aclosing(chains.language_model(stage, providers).reply(HELLO)) as parts:
        said = "".join([str(part) async for part in parts])
    assert said == "Hello there, this is the stand-in."
    assert providers.breaker("language_model", stage).tally.failed == 1
    assert FAULT in caplog.text


async def test_openai_speaks_for_a_fault_in_our_code_for_cartesia(
    providers: Providers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cartesia_protocol, "generation", faulty)
    async with voiced("cartesia", None, providers) as (first, _), voiced("openai", None, providers) as (second, _):
        stage = first.model_copy(update={"fallback": second})
        assert await spoken(stage, providers) == "one two"
        assert providers.breaker("text_to_speech", stage).tally.failed == 1
    assert FAULT in caplog.text
