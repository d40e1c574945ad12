"""Cartesia's text-to-speech: the stand-in is held by the official SDK first, then our provider by the stand-in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import cartesia
import pytest
from cartesia.types.websocket_response import Chunk, Done, Error, FlushDone, Timestamps

from tests.contract.cartesia.caller import RATE_HZ, heard, provider, said, spoken
from tests.standins import tones
from tests.standins.cartesia import VERSION, Cartesia, Fault
from trunkline.errors import SettingsError
from trunkline.tenants import Stage
from workers.providers import registry
from workers.providers.base import Voice, Word
from workers.providers.cartesia import CartesiaSpeech, protocol, text_to_speech

# --- the official SDK and the stand-in


@contextlib.asynccontextmanager
async def sdk(vendor: Cartesia, key: str | None = None) -> AsyncIterator[Any]:
    client = cartesia.AsyncCartesia(
        api_key=key or vendor.behaviour.api_key, websocket_base_url=vendor.url, max_retries=0
    )
    async with client, client.tts.websocket_connect() as connection:
        yield connection


def asked(**changed: Any) -> dict[str, Any]:
    fields = {
        "model_id": "sonic-3.5",
        "voice": "6ccbfb76-1fc6-48f7-b71d-91ac6298247b",
        "language": "en",
        "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": RATE_HZ},
        "add_timestamps": True,
        "max_buffer_delay_ms": 0,
    }
    return {**fields, **changed}


async def test_the_sdk_is_answered(vendor: Cartesia) -> None:
    async with sdk(vendor) as connection:
        context = connection.context("turn-1", timeout=10, **asked())
        await context.push("Good day. ")
        await context.push("Here is one.")
        await context.no_more_inputs()
        events = [event async for event in context.receive()]
    assert {type(event) for event in events} == {Chunk, Timestamps, FlushDone, Done}
    assert heard(b"".join(event.audio or b"" for event in events if isinstance(event, Chunk))) == "good day here is one"
    times = [event.word_timestamps for event in events if isinstance(event, Timestamps)]
    assert [each.start for each in times if each] == [[0.0, 0.1], [0.2, 0.3, 0.4]], "in s of the context"
    assert [event.flush_id for event in events if isinstance(event, FlushDone)] == [1, 2]


async def test_the_sdk_speaks_the_version_that_we_do(vendor: Cartesia) -> None:
    assert cartesia.AsyncCartesia(api_key="none").default_headers["cartesia-version"] == protocol.VERSION == VERSION


async def test_text_is_held_unless_it_is_flushed_or_not_to_be_buffered(vendor: Cartesia) -> None:
    async with sdk(vendor) as connection:
        context = connection.context("turn-1", timeout=10, **asked(max_buffer_delay_ms=3000))
        await context.push("Good day. ")
        await context.push("Here is one.")
        await context.no_more_inputs()
        times = [event async for event in context.receive() if event.type == "timestamps"]
    assert [event.word_timestamps.words for event in times] == ["good day here is one".split()]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"voice": {"mode": "id", "id": "x"}}, "voice: must be an id"),
        ({"output_format": {"container": "wav", "encoding": "pcm_s16le", "sample_rate": RATE_HZ}}, "container"),
        ({"output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 12345}}, "sample_rate"),
        ({"max_buffer_delay_ms": 5001}, "max_buffer_delay_ms"),
    ],
)
async def test_the_sdk_is_told_what_is_wrong(vendor: Cartesia, changed: dict[str, Any], why: str) -> None:
    async with sdk(vendor) as connection:
        context = connection.context("turn-1", timeout=10, **asked(**changed))
        await context.push("Good day.")
        events = [event async for event in context.receive()]
    assert isinstance(events[-1], Error)
    assert events[-1].status_code == 400
    assert why in str(events[-1].message)


async def test_the_sdk_is_refused_with_a_wrong_key(vendor: Cartesia) -> None:
    with pytest.raises(Exception, match="HTTP 401"):
        async with sdk(vendor, key="sk_car_wrong"):
            pass


# --- our provider: sentences


@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000])
async def test_says_a_text_at_the_rate_that_is_wanted(vendor: Cartesia, rate_hz: int) -> None:
    speech = provider(vendor, rate_hz=rate_hz, speed=1.1, emotion="calm")
    assert speech.rate_hz == rate_hz
    pcm, words = await said(speech.speak("Good day. Here is one."))
    assert heard(pcm, rate_hz) == "good day here is one"
    assert words[1:3] == [Word("day", 100, 200), Word("here", 200, 300)]
    assert vendor.contexts[0].fields["generation_config"] == {"speed": 1.1, "emotion": "calm"}
    await speech.close()


async def test_all_answers_share_a_socket(vendor: Cartesia, speech: CartesiaSpeech) -> None:
    texts = [" ".join(tones.VOCABULARY[at : at + 5]) for at in range(0, 100, 5)]
    assert await asyncio.gather(*(spoken(speech, text) for text in texts)) == texts
    assert vendor.sockets == 1
    assert len(vendor.contexts) == len(texts)


async def test_the_socket_is_there_before_the_first_sentence(vendor: Cartesia, speech: CartesiaSpeech) -> None:
    voice = speech.voice()
    await vendor.wait_for_sockets(1)
    await said(voice.speak("Good day.", last=True))
    await voice.close()
    assert vendor.sockets == 1


@pytest.mark.parametrize("fault", [None, "flushes_twice", "torn"])
async def test_sentences_of_an_answer_belong_together(
    vendor: Cartesia, speech: CartesiaSpeech, fault: Fault | None
) -> None:
    vendor.behaviour.fault = fault
    voice = speech.voice()
    sentences = ["Good day.", "Here is one.", "Thank you!"]
    parts = [await said(voice.speak(text, last=text == sentences[-1])) for text in sentences]
    await voice.close()
    assert [heard(pcm) for pcm, _ in parts] == ["good day", "here is one", "thank you"]
    assert [words[0] for _, words in parts] == [Word("good", 0, 100), Word("here", 0, 100), Word("thank", 0, 100)]
    [context] = vendor.contexts
    assert context.texts == ["Good day. ", "Here is one. ", "Thank you!"], "the vendor joins them as they are"
    assert not context.cancelled.is_set(), "it was over"


async def test_languages_without_spaces_get_none(vendor: Cartesia) -> None:
    speech = provider(vendor, language="ja")
    voice = speech.voice()
    await said(voice.speak("now", last=False))
    await voice.close()
    assert vendor.contexts[0].texts == ["now"]
    await speech.close()


async def test_an_answer_that_paused_goes_on_in_another_context(
    vendor: Cartesia, speech: CartesiaSpeech, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.providers.cartesia.speech.CONTINUE_S", 0.0)
    voice = speech.voice()
    await said(voice.speak("Good day.", last=False))
    _, words = await said(voice.speak("Here is one.", last=True))
    await voice.close()
    assert words[0] == Word("here", 0, 100)
    assert [context.texts for context in vendor.contexts] == [["Good day. "], ["Here is one."]]
    assert vendor.contexts[0].cancelled.is_set(), "it would count as one of the account's"


async def test_a_context_that_expired_on_the_way_is_replaced(
    vendor: Cartesia, speech: CartesiaSpeech, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.providers.cartesia.speech.CONTINUE_S", 60.0)
    vendor.behaviour.expire_s = 0.01
    voice = speech.voice()
    await said(voice.speak("Good day.", last=False))
    await vendor.contexts[0].over.wait()
    pcm, _ = await said(voice.speak("Here is one.", last=True))
    await voice.close()
    assert heard(pcm) == "here is one"
    assert len(vendor.contexts) == 2


async def test_what_has_no_sound_is_not_sent(vendor: Cartesia, speech: CartesiaSpeech) -> None:
    assert await said(speech.speak(" … !")) == (b"", [])
    assert vendor.contexts == []


@pytest.mark.parametrize("last", [False, True])
async def test_a_text_without_sound_is_no_error(vendor: Cartesia, last: bool) -> None:
    speech = provider(vendor, first_audio_s=0.2)
    vendor.behaviour.fault, vendor.behaviour.fault_times = "silent", 1
    voice = speech.voice()
    assert await said(voice.speak("Hm.", last=last)) == (b"", [])
    pcm, _ = await said(voice.speak("Good day.", last=True))
    assert heard(pcm) == "good day"
    await voice.close()
    await speech.close()


# --- settings


@pytest.mark.parametrize("model", ["sonic", "sonic-2", "sonic-2-2025-06-11", "sonic-turbo", "sonic-3-2025-10-27"])
def test_a_model_that_was_shut_down_is_named_with_what_replaces_it(model: str) -> None:
    with pytest.raises(SettingsError, match=rf"{model} was shut down; use sonic-3\.5"):
        text_to_speech({"api_key": "k", "model": model})


def test_what_is_missing_or_wrong_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="needs CARTESIA_API_KEY"):
        registry.text_to_speech(Stage.model_validate({"provider": "cartesia"}))
    with pytest.raises(SettingsError, match="characters that no key has"):
        text_to_speech({"api_key": "sk_car\n1"})
    with pytest.raises(SettingsError, match="rate_hz"):
        text_to_speech({"api_key": "k", "rate_hz": 12345})
    with pytest.raises(SettingsError, match=r"like wss://api\.cartesia\.ai, not 'ftp://x'"):
        text_to_speech({"api_key": "k", "url": "ftp://x"})


@pytest.mark.parametrize("variable", ["CARTESIA_BASE_URL", "TRUNKLINE_CARTESIA_WS_URL"])
async def test_found_by_the_environment(vendor: Cartesia, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    scheme = "http" if variable == "CARTESIA_BASE_URL" else "ws"
    monkeypatch.setenv(variable, vendor.url.replace("ws:", f"{scheme}:"))
    monkeypatch.setenv("CARTESIA_API_KEY", vendor.behaviour.api_key)
    made = registry.text_to_speech(Stage.model_validate({"provider": "cartesia"}))
    voice: Voice = made.voice()
    assert heard((await said(voice.speak("Good day.", last=True)))[0]) == "good day"
    assert made.description == "Cartesia: sonic-3.5, voice 6ccbfb76-1fc6-48f7-b71d-91ac6298247b"
    await voice.close()
    await made.close()
