"""Cartesia's speech-to-text: the stand-in is held by the official SDK first, then our provider by the stand-in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import cartesia
import pytest

from tests.standins import tones
from tests.standins.cartesia import Behaviour, Cartesia, Fault
from tests.waiting import until
from trunkline.errors import ProviderError, SettingsError
from trunkline.tenants import Stage
from workers.providers import registry
from workers.providers.cartesia import InkSpeech, speech_to_text
from workers.providers.cartesia.ink import InkUtterance

RATE_HZ = 16000
FRAME_BYTES = RATE_HZ // 50 * 2
WORDS = "is tuesday free"
SILENCE = bytes(RATE_HZ * 2 // 5)


@pytest.fixture
async def vendor() -> AsyncIterator[Cartesia]:
    async with Cartesia(Behaviour(word_ms=tones.WORD_MS)) as standin:
        yield standin


@pytest.fixture
async def speech(vendor: Cartesia) -> AsyncIterator[InkSpeech]:
    made = provider(vendor)
    yield made
    await made.close()


def provider(vendor: Cartesia, **options: Any) -> InkSpeech:
    return speech_to_text({"url": vendor.url, "api_key": vendor.behaviour.api_key, **options})


def push(utterance: InkUtterance, pcm: bytes) -> None:
    for at in range(0, len(pcm), FRAME_BYTES):
        utterance.push(pcm[at : at + FRAME_BYTES])


def say(utterance: InkUtterance, text: str = WORDS, rate_hz: int = RATE_HZ) -> None:
    push(utterance, tones.speak(text, rate_hz))


async def failure(utterance: InkUtterance) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await utterance.finish()
    return caught.value


async def test_the_sdk_is_answered(vendor: Cartesia) -> None:
    client = cartesia.AsyncCartesia(
        api_key=vendor.behaviour.api_key, base_url=vendor.url.replace("ws:", "http:"), max_retries=0
    )
    listening = client.stt.manual_finalize.websocket(
        encoding="pcm_s16le", model="ink-2", sample_rate=RATE_HZ, language="en"
    )
    async with client, listening as connection:
        await connection.send_raw(tones.speak(WORDS, RATE_HZ))
        await connection.send("finalize")
        await connection.send("close")
        events = [event async for event in connection]
    assert [event.type for event in events] == ["transcript", "transcript", "flush_done", "done"]
    assert [event.text for event in events if event.type == "transcript"] == [f" {WORDS}"] * 2


@pytest.mark.parametrize("rate_hz", [8000, 16000])
async def test_understands_what_is_said(vendor: Cartesia, rate_hz: int) -> None:
    speech = provider(vendor, rate_hz=rate_hz, keyterms=["Acme", "Hall & Co"])
    utterance = speech.utterance()
    assert utterance.interim == ""
    say(utterance, rate_hz=rate_hz)
    assert (await utterance.finish()).text == WORDS
    [listened] = vendor.listened
    assert listened.query["keyterm"] == ["Acme", "Hall & Co"]
    assert listened.query["sample_rate"] == [str(rate_hz)]
    assert speech.description == "Cartesia: ink-2, as it is spoken"
    await speech.close()


async def test_says_what_it_has_understood_so_far(speech: InkSpeech) -> None:
    utterance = speech.utterance()
    say(utterance, "is tuesday")
    push(utterance, SILENCE)
    await until(lambda: utterance.interim == "is tuesday")
    utterance.cancel()
    utterance.cancel()


async def test_after_a_pause_nothing_is_left_to_wait_for(vendor: Cartesia, speech: InkSpeech) -> None:
    utterance = speech.utterance()
    say(utterance)
    utterance.pause()
    push(utterance, SILENCE)
    await until(lambda: vendor.listened and vendor.listened[0].answered)
    vendor.behaviour.fault = "deaf"
    assert (await utterance.finish()).text == WORDS
    assert vendor.listened[0].commands.count("finalize") == 1


async def test_who_speaks_on_takes_the_pause_back(vendor: Cartesia, speech: InkSpeech) -> None:
    utterance = speech.utterance()
    say(utterance)
    utterance.pause()
    push(utterance, SILENCE)
    say(utterance, "at ten")
    assert (await utterance.finish()).text == f"{WORDS} at ten"
    assert vendor.listened[0].commands.count("finalize") == 2


async def test_a_moment_of_silence_inside_a_word_is_no_pause(vendor: Cartesia, speech: InkSpeech) -> None:
    utterance = speech.utterance()
    pcm = tones.speak("tuesday", speech.rate_hz, vendor.behaviour.word_ms)
    middle = len(pcm) // 4 * 2
    push(utterance, pcm[:middle])
    utterance.pause()
    push(utterance, pcm[middle:])
    assert (await utterance.finish()).text == "tuesday"
    assert vendor.listened[0].commands.count("finalize") == 1


async def test_nothing_was_said(speech: InkSpeech) -> None:
    assert (await speech.utterance().finish()).text == ""


async def test_many_at_once(vendor: Cartesia, speech: InkSpeech) -> None:
    utterances = [speech.utterance() for _ in range(5)]
    for place, utterance in enumerate(utterances):
        say(utterance, tones.VOCABULARY[place])
    finals = await asyncio.gather(*(utterance.finish() for utterance in utterances))
    assert [final.text for final in finals] == list(tones.VOCABULARY[:5])
    await vendor.wait_for_sockets(0)


async def test_an_utterance_that_is_cancelled_hangs_up(vendor: Cartesia, speech: InkSpeech) -> None:
    utterance = speech.utterance()
    await vendor.wait_for_sockets(1)
    say(utterance)
    utterance.cancel()
    await vendor.wait_for_sockets(0)


async def test_a_socket_that_breaks_is_told_everything_again(vendor: Cartesia, speech: InkSpeech) -> None:
    vendor.behaviour.fault, vendor.behaviour.fault_times = "cut_off", 1
    utterance = speech.utterance()
    say(utterance)
    assert (await utterance.finish()).text == WORDS
    assert vendor.sockets == 2


@pytest.mark.parametrize(
    ("fault", "text", "retryable", "retry_after_s"),
    [
        ("unauthorized", "HTTP 401", False, None),
        ("rate_limited", "HTTP 429: concurrency_limited", True, 7),
        ("broken", "HTTP 500", True, None),
        ("no_answer", "no connection within 0.3 s", True, None),
        ("deaf", "no final text within 1 s", True, None),
        ("cut_off", "hung up", True, None),
        ("misheard", "HTTP 500: internal_error", True, None),
        ("gibberish", "cannot be read", True, None),
    ],
)
async def test_what_goes_wrong_is_said(
    vendor: Cartesia, fault: Fault, text: str, retryable: bool, retry_after_s: float | None
) -> None:
    speech = provider(vendor, final_s=1 if fault == "deaf" else 20, connect_s=0.3 if fault == "no_answer" else 20)
    vendor.behaviour.fault = fault
    utterance = speech.utterance()
    say(utterance)
    error = await failure(utterance)
    assert text in str(error)
    assert (error.retryable, error.retry_after_s) == (retryable, retry_after_s)
    await speech.close()


async def test_closing_the_provider_ends_what_is_waited_for(vendor: Cartesia) -> None:
    vendor.behaviour.fault = "deaf"
    speech = provider(vendor, final_s=30)
    utterance = speech.utterance()
    say(utterance)
    waiting = asyncio.ensure_future(failure(utterance))
    await vendor.wait_for_sockets(1)
    await speech.close()
    assert "given up" in str(await waiting)
    await vendor.wait_for_sockets(0)


async def test_who_is_cancelled_in_finish_leaves_nothing(vendor: Cartesia, speech: InkSpeech) -> None:
    vendor.behaviour.fault = "deaf"
    utterance = speech.utterance()
    waiting = asyncio.ensure_future(utterance.finish())
    await vendor.wait_for_sockets(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await vendor.wait_for_sockets(0)


async def test_an_endless_utterance_is_bounded(
    vendor: Cartesia, speech: InkSpeech, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.providers.cartesia.ink.LONGEST_S", 1)
    utterance = speech.utterance()
    say(utterance, "one two three four five six seven")
    assert (await utterance.finish()).text == "one two three four five"


def test_what_is_missing_or_wrong_is_said() -> None:
    with pytest.raises(SettingsError, match="speech-to-text 'cartesia' needs CARTESIA_API_KEY"):
        registry.speech_to_text(Stage.model_validate({"provider": "cartesia"}))
    with pytest.raises(SettingsError, match="model"):
        speech_to_text({"api_key": "k", "model": "whisper"})
