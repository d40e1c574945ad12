"""OpenAI's speech by REST: the official SDK holds the stand-in, then our provider is held to both."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import openai as sdk
import pytest
from openai.types.audio import Transcription, TranscriptionTextDeltaEvent, TranscriptionTextDoneEvent

from tests.contract.openai_caller import hearing, speaking
from tests.contract.recorded import TEXT, heard
from tests.standins import tones
from tests.standins.openai import KEY, SPEAKS_HZ, Fault, Speech, serve
from tests.waiting import until
from trunkline.audio.wav import wav_bytes
from trunkline.errors import ProviderError, SettingsError
from workers.providers.batch import BatchSpeech
from workers.providers.openai import HEARING_HZ, Speaking, speech_to_text, text_to_speech

IMPATIENT = {"first_s": 0.5, "next_s": 0.3}
"""For faults that are nothing but silence. Elsewhere a busy machine must not look like one."""


@pytest.fixture
async def standin() -> AsyncIterator[Speech]:
    async with serve() as speech:
        yield speech


@pytest.fixture
async def official(standin: Speech) -> AsyncIterator[sdk.AsyncOpenAI]:
    async with sdk.AsyncOpenAI(base_url=standin.url, api_key=KEY, max_retries=0) as client:
        yield client


async def spoken(tts: Speaking, text: str = TEXT) -> str:
    return tones.hear(b"".join([pcm async for pcm in tts.speak(text)]), SPEAKS_HZ)


# --- the stand-in, held by the SDK


async def test_the_sdk_transcribes(standin: Speech, official: sdk.AsyncOpenAI) -> None:
    file = ("speech.wav", wav_bytes(tones.speak(TEXT, HEARING_HZ), HEARING_HZ), "audio/wav")
    whole = await official.audio.transcriptions.create(file=file, model="whisper-1", language="en")
    assert isinstance(whole, Transcription)
    assert whole.text == TEXT
    stream = await official.audio.transcriptions.create(file=file, model="gpt-transcribe", keywords=["x"], stream=True)
    events = [event async for event in stream]
    deltas = [event.delta for event in events if isinstance(event, TranscriptionTextDeltaEvent)]
    assert "".join(deltas) == TEXT
    assert isinstance(events[-1], TranscriptionTextDoneEvent)
    assert events[-1].text == TEXT
    assert events[-1].usage is not None


async def test_the_sdk_speaks(official: sdk.AsyncOpenAI) -> None:
    request = official.audio.speech.with_streaming_response.create(
        input=TEXT, model="gpt-4o-mini-tts", voice="marin", response_format="pcm"
    )
    async with request as response:
        pcm = b"".join([chunk async for chunk in response.iter_bytes()])
    assert tones.hear(pcm, SPEAKS_HZ) == TEXT


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("unauthorized", sdk.AuthenticationError),
        ("rate_limited", sdk.RateLimitError),
        ("broken", sdk.InternalServerError),
    ],
)
async def test_the_sdk_knows_the_refusals(
    standin: Speech, official: sdk.AsyncOpenAI, fault: Fault, error: type[sdk.APIStatusError]
) -> None:
    standin.fault = fault
    with pytest.raises(error) as caught:
        await official.audio.speech.create(input="a", model="tts-1", voice="marin", response_format="pcm")
    assert caught.value.response.headers.get("retry-after") == ("20" if fault == "rate_limited" else None)


async def test_what_the_vendor_would_refuse_is_refused(standin: Speech, official: sdk.AsyncOpenAI) -> None:
    wav = wav_bytes(tones.speak("yes", HEARING_HZ), HEARING_HZ)
    create = official.audio.transcriptions.create
    refused: list[Callable[[], Awaitable[object]]] = [
        lambda: create(file=("a.wav", b"no audio", "audio/wav"), model="gpt-transcribe"),
        lambda: create(file=("a.wav", wav_bytes(bytes(100), HEARING_HZ), "audio/wav"), model="gpt-transcribe"),
        lambda: create(file=("a.wav", wav, "audio/wav"), model="whisper-1", keywords=["x"]),
        lambda: create(file=("a.wav", wav, "audio/wav"), model="gpt-transcribe", extra_body={"mood": "good"}),
        lambda: official.audio.speech.create(input="a" * 4097, model="tts-1", voice="marin", response_format="pcm"),
        lambda: official.audio.speech.create(
            input="a", model="tts-1", voice="marin", response_format="pcm", instructions="sing"
        ),
    ]
    for request in refused:
        with pytest.raises(sdk.BadRequestError):
            await request()
    with pytest.raises(sdk.NotFoundError):
        await create(file=("a.wav", wav, "audio/wav"), model="gpt-transcribble")
    with pytest.raises(sdk.AuthenticationError):
        await official.with_options(api_key="wrong").audio.speech.create(input="a", model="tts-1", voice="marin")


# --- our speech-to-text


@pytest.mark.parametrize("model", ["gpt-transcribe", "whisper-1"])
async def test_hears(standin: Speech, model: str) -> None:
    async with hearing(standin, model=model, prompt="A clinic.") as stt:
        assert await heard(stt) == TEXT
        assert stt.description == f"OpenAI: {model} at 127.0.0.1"
    [asked] = standin.transcriptions
    assert (asked.model, asked.prompt, asked.language) == (model, "A clinic.", "en")
    assert asked.streamed is (model != "whisper-1")


async def test_keywords_are_told(standin: Speech) -> None:
    async with hearing(standin, keywords=["acme"]) as stt:
        assert await heard(stt) == TEXT
    assert standin.transcriptions[0].keywords == ["acme"]


async def test_a_sound_shorter_than_the_vendor_takes_is_filled_up(standin: Speech) -> None:
    async with hearing(standin) as stt:
        utterance = stt.utterance()
        utterance.push(tones.speak("yes", HEARING_HZ)[: HEARING_HZ * 2 * 60 // 1000])
        await utterance.finish()
    assert standin.transcriptions[0].duration_ms == 100


# --- our text-to-speech


async def test_speaks_whole_samples_as_they_come(standin: Speech) -> None:
    async with speaking(standin, instructions="Calmly.", speed=1.1) as tts:
        chunks = [pcm async for pcm in tts.speak(TEXT)]
        assert len(chunks) > 3
        assert all(len(pcm) % 2 == 0 and pcm for pcm in chunks)
        assert tones.hear(b"".join(chunks), SPEAKS_HZ) == TEXT
        assert tts.description == "OpenAI: gpt-4o-mini-tts, voice marin, at 127.0.0.1"
        voice = tts.voice()
        said = [pcm async for pcm in voice.speak(TEXT, last=True) if isinstance(pcm, bytes)]
        assert tones.hear(b"".join(said), SPEAKS_HZ) == TEXT
        await voice.close()
    assert standin.spoken[0] == {
        "input": TEXT,
        "model": "gpt-4o-mini-tts",
        "voice": "marin",
        "response_format": "pcm",
        "instructions": "Calmly.",
        "speed": 1.1,
    }


async def test_a_voice_of_one_s_own_is_named_by_its_id(standin: Speech) -> None:
    async with speaking(standin, voice="voice_1234") as tts:
        await spoken(tts)
        assert [pcm async for pcm in tts.speak("  ")] == [], "nothing to say is not asked for"
    assert [asked["voice"] for asked in standin.spoken] == [{"id": "voice_1234"}]


async def test_an_answer_is_asked_for_one_sentence_ahead(standin: Speech) -> None:
    texts = ["good day", "here is one", "thank you"]
    async with speaking(standin) as tts:
        voice = tts.voice()
        asked = [voice.speak(text, last=False) for text in texts]
        said = [await anext(asked[0])]
        await until(lambda: len(standin.spoken) == 2)
        said += [part async for part in asked[0]]
        assert tones.hear(b"".join(part for part in said if isinstance(part, bytes)), SPEAKS_HZ) == texts[0]
        for parts, text in zip(asked[1:], texts[1:], strict=True):
            said = [part async for part in parts]
            assert tones.hear(b"".join(part for part in said if isinstance(part, bytes)), SPEAKS_HZ) == text
        await voice.close()
    assert [asked["input"] for asked in standin.spoken] == texts


@pytest.mark.parametrize("fault", [None, "silent", "stalled"])
async def test_what_was_asked_for_ahead_is_hung_up_with_the_answer(standin: Speech, fault: Fault | None) -> None:
    async with speaking(standin) as tts:
        voice = tts.voice()
        first = voice.speak("good day", last=False)
        await anext(first)
        standin.fault = fault
        voice.speak(TEXT, last=False)
        await until(lambda: len(standin.spoken) == 2)
        await asyncio.sleep(0.02)
        await first.aclose()
        await voice.close()
        if fault is not None:
            await asyncio.wait_for(standin.hung_up.wait(), 10)
        standin.fault = None
        assert await spoken(tts) == TEXT


async def test_closing_the_generator_hangs_up(standin: Speech) -> None:
    standin.fault = "stalled"
    async with speaking(standin) as tts:
        chunks = tts.speak(TEXT)
        assert await anext(chunks)
        await chunks.aclose()
        await asyncio.wait_for(standin.hung_up.wait(), 10)
        standin.fault = None
        assert await spoken(tts) == TEXT


@pytest.mark.parametrize("fault", ["silent", "stalled"])
async def test_cancelling_hangs_up_at_once(standin: Speech, fault: Fault) -> None:
    standin.fault = fault
    async with speaking(standin) as tts:
        listening = asyncio.ensure_future(spoken(tts))
        await until(lambda: standin.spoken)
        await asyncio.sleep(0.05)
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listening
        await asyncio.wait_for(standin.hung_up.wait(), 10)
        standin.fault = None
        assert await spoken(tts) == TEXT


# --- whatever goes wrong, with either

Use = Callable[..., Coroutine[Any, Any, None]]


async def _hear(standin: Speech, **options: Any) -> None:
    async with hearing(standin, **options) as stt:
        await heard(stt)


async def _hear_whole(standin: Speech, **options: Any) -> None:
    async with hearing(standin, model="whisper-1", **options) as stt:
        await heard(stt)


async def _speak(standin: Speech, **options: Any) -> None:
    async with speaking(standin, **options) as tts:
        await spoken(tts)


@pytest.mark.parametrize("use", [_hear, _hear_whole, _speak])
@pytest.mark.parametrize(
    ("fault", "retryable", "retry_after_s", "text"),
    [
        ("unauthorized", False, None, "HTTP 401: .*Incorrect API key"),
        ("rate_limited", True, 20.0, "HTTP 429"),
        ("broken", True, None, "HTTP 500"),
        ("silent", True, None, "within the deadline"),
        ("page", True, None, None),
        ("empty", True, None, None),
    ],
)
async def test_a_fault_from_the_beginning_is_told_as_what_it_is(
    standin: Speech, use: Use, fault: Fault, retryable: bool, retry_after_s: float | None, text: str | None
) -> None:
    standin.fault = fault
    with pytest.raises(ProviderError, match=text) as caught:
        await use(standin, **(IMPATIENT if fault in ("silent", "stalled") else {}))
    assert caught.value.provider == "openai"
    assert (caught.value.retryable, caught.value.retry_after_s) == (retryable, retry_after_s)
    assert standin.requests == 1, "no retries in silence"


@pytest.mark.parametrize("use", [_hear, _speak])
@pytest.mark.parametrize(("fault", "text"), [("stalled", "within the deadline"), ("torn", None)])
async def test_a_fault_in_the_middle_is_an_error(standin: Speech, use: Use, fault: Fault, text: str | None) -> None:
    standin.fault = fault
    with pytest.raises(ProviderError, match=text) as caught:
        await use(standin, **(IMPATIENT if fault in ("silent", "stalled") else {}))
    assert caught.value.retryable


@pytest.mark.parametrize(("fault", "text"), [("cut", "in the middle"), ("garbage", "JSONDecodeError")])
async def test_a_transcription_without_its_end_is_an_error(standin: Speech, fault: Fault, text: str) -> None:
    standin.fault = fault
    with pytest.raises(ProviderError, match=text):
        await _hear(standin)


async def test_a_slow_beginning_within_the_deadline_is_no_fault(standin: Speech) -> None:
    standin.latency_s = 0.4
    async with speaking(standin, first_s=10, next_s=5) as tts:
        assert await spoken(tts) == TEXT


async def test_nobody_listens() -> None:
    async with speaking(Speech(url="http://127.0.0.1:9/v1")) as tts:
        with pytest.raises(ProviderError, match="APIConnectionError"):
            await spoken(tts)


@pytest.mark.parametrize("make", [speech_to_text, text_to_speech])
async def test_settings(
    make: Callable[[dict[str, Any]], BatchSpeech | Speaking], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="OPENAI_API_KEY"):
        make({})
    with pytest.raises(SettingsError, match=r"first: Extra.*first_s"):
        make({"first": 3})
    monkeypatch.setitem(os.environ, "OPENAI_API_KEY", KEY)
    made = make({})
    assert made.description.endswith("at api.openai.com")
    await made.close()


def test_a_model_that_is_not_for_calls_is_refused() -> None:
    with pytest.raises(SettingsError, match="use gpt-transcribe"):
        speech_to_text({"api_key": KEY, "model": "gpt-4o-transcribe-diarize"})
