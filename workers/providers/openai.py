"""OpenAI's speech-to-text and text-to-speech by REST; its language models are in `openai_compatible`.

The official SDK is the client, without its retries (they would sleep unheard while a caller waits) and with deadlines
of our own: to connect, to the first result, and between results.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, TypeVar

import httpx2
import openai
from openai.types.audio import SpeechCreateParams, Transcription, TranscriptionTextDoneEvent
from pydantic import BaseModel, ConfigDict, Field, field_validator

from trunkline.audio.frame import bytes_in
from trunkline.audio.wav import wav_bytes
from trunkline.errors import ProviderError, SettingsError
from workers.providers.base import Transcript
from workers.providers.batch import BatchOptions, BatchSpeech
from workers.providers.openai_client import client
from workers.providers.options import read_options
from workers.providers.refusals import refused
from workers.providers.separate import Separate

HEARING_HZ = 16_000
SPEAKING_HZ = 24_000
"""Of `response_format: pcm`: s16le mono without a header."""

SHORTEST_MS = 100
"""A recording shorter than this is refused: it is filled up with silence."""

CONTEXT_CHARACTERS = 600
"""The end of what was said before that a model is told: Whisper reads 224 tokens of it."""

_NO_TRANSCRIBERS = {"gpt-4o-transcribe-diarize": "it takes no context; it tells speakers apart, and there is one"}

Item = TypeVar("Item")


class _Access(BaseModel):
    """How OpenAI is reached, and how long it is waited for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api_key: str | None = Field(default=None, description="none: OPENAI_API_KEY")
    base_url: str | None = Field(default=None, description="with its /v1; none: OPENAI_BASE_URL, OpenAI itself")
    connect_s: float = Field(default=2.0, gt=0, le=30, description="longest wait for a connection")
    next_s: float = Field(default=2.0, gt=0, le=60, description="longest wait between results")


class HearingOptions(_Access, BatchOptions):
    """A tenant's options for OpenAI's speech-to-text."""

    model: str = Field(default="gpt-transcribe", description="also whisper-1 and gpt-4o-*transcribe, until 2027-02-26")
    language: str | None = Field(default="en", pattern=r"^[a-z]{2,3}$", description="none: whatever is heard")
    prompt: str | None = Field(default=None, max_length=2000, description="what the callers speak of")
    keywords: tuple[str, ...] = Field(default=(), max_length=100, description="names and terms; gpt-transcribe only")
    first_s: float = Field(default=3.0, gt=0, le=60, description="longest wait for the first text")

    @field_validator("model")
    @classmethod
    def _transcribes_calls(cls, model: str) -> str:
        if model in _NO_TRANSCRIBERS:
            raise ValueError(f"{model} is not for calls: {_NO_TRANSCRIBERS[model]}; use gpt-transcribe")
        return model


class SpeakingOptions(_Access):
    """A tenant's options for OpenAI's text-to-speech."""

    model: str = Field(default="gpt-4o-mini-tts", description="also tts-1, tts-1-hd; all until 2027-01-06")
    voice: str = Field(default="marin", pattern=r"^[A-Za-z0-9_-]{1,80}$", description="a built-in voice, or voice_...")
    instructions: str | None = Field(default=None, max_length=4000, description="how to speak; not for tts-1")
    speed: float | None = Field(default=None, ge=0.25, le=4)
    first_s: float = Field(default=3.0, gt=0, le=60, description="longest wait for the first audio")


def _client(options: _Access, whose: str) -> openai.AsyncOpenAI:
    """One client, with its connections, for one provider. Raises SettingsError when there is no key for OpenAI."""
    api_key = options.api_key or os.environ.get("OPENAI_API_KEY")
    base_url = options.base_url or os.environ.get("OPENAI_BASE_URL")
    if api_key is None and base_url is None:
        raise SettingsError(f"{whose} needs OPENAI_API_KEY, or its option api_key")
    return client(base_url, api_key, options.connect_s)


class Hearing:
    """OpenAI's transcriptions as a `Batch`."""

    rate_hz = HEARING_HZ

    def __init__(self, options: HearingOptions) -> None:
        self._options = options
        self._client = _client(options, "speech-to-text 'openai'")

    @property
    def description(self) -> str:
        return f"OpenAI: {self._options.model} at {self._client.base_url.host}"

    async def transcribe(self, pcm: bytes, context: str) -> Transcript:
        """Raises ProviderError: a refusal, a broken stream, or silence beyond the deadlines."""
        recording = wav_bytes(pcm.ljust(bytes_in(SHORTEST_MS, HEARING_HZ), b"\0"), HEARING_HZ)
        async with _mapped("within the deadline, no text came"):
            if self._options.model == "whisper-1":  # the one that does not stream
                return await self._at_once(recording, context)
            return await self._streamed(recording, context)

    async def _at_once(self, recording: bytes, context: str) -> Transcript:
        async with asyncio.timeout(self._options.first_s):
            result = await self._client.audio.transcriptions.create(
                file=("utterance.wav", recording, "audio/wav"),
                model=self._options.model,
                language=_or_omit(self._options.language),
                prompt=self._prompt(context),
                response_format="json",
            )
        if not isinstance(result, Transcription):  # the SDK passes on what is no JSON
            raise ProviderError("openai", "the answer is no transcription")
        return Transcript(result.text)

    async def _streamed(self, recording: bytes, context: str) -> Transcript:
        """The text of the last event. Those before it say only that the model is at work, and so may go on."""
        first_by = asyncio.get_running_loop().time() + self._options.first_s
        async with contextlib.AsyncExitStack() as cleanup:
            async with asyncio.timeout_at(first_by):
                stream = await self._client.audio.transcriptions.create(
                    file=("utterance.wav", recording, "audio/wav"),
                    model=self._options.model,
                    language=_or_omit(self._options.language),
                    keywords=list(self._options.keywords) or openai.omit,
                    prompt=self._prompt(context),
                    response_format="json",
                    stream=True,
                )
            cleanup.push_async_callback(stream.close)
            async with contextlib.aclosing(_paced(stream, first_by, self._options.next_s)) as events:
                async for event in events:
                    if isinstance(event, TranscriptionTextDoneEvent):
                        return Transcript(event.text)
        raise ProviderError("openai", "the stream ended in the middle of a transcription")

    def _prompt(self, context: str) -> str | openai.Omit:
        told = [self._options.prompt or "", context[-CONTEXT_CHARACTERS:]]
        return " ".join(part for part in told if part) or openai.omit

    async def close(self) -> None:
        await self._client.close()


class Speaking:
    """OpenAI's speech as a `TextToSpeech`. The same text sounds different each time; it knows no times of words."""

    rate_hz = SPEAKING_HZ

    def __init__(self, options: SpeakingOptions) -> None:
        self._options = options
        self._client = _client(options, "text-to-speech 'openai'")

    @property
    def description(self) -> str:
        return f"OpenAI: {self._options.model}, voice {self._options.voice}, at {self._client.base_url.host}"

    async def speak(self, text: str) -> AsyncGenerator[bytes, None]:
        """Stream `text`, as it comes. Closing the generator hangs up. Raises ProviderError: a refusal, a broken stream,
        or silence beyond the deadlines."""
        if not text.strip():
            return
        first_by = asyncio.get_running_loop().time() + self._options.first_s
        async with _mapped("within the deadline, no audio came"), contextlib.AsyncExitStack() as cleanup:
            async with asyncio.timeout_at(first_by):
                request = self._client.audio.speech.with_streaming_response.create(**self._arguments(text))
                response = await cleanup.enter_async_context(request)
            _check_is_audio(response.headers)
            chunks = _paced(response.iter_bytes(), first_by, self._options.next_s)
            async with contextlib.aclosing(_samples(chunks)) as samples:
                async for pcm in samples:
                    yield pcm

    def _arguments(self, text: str) -> SpeechCreateParams:
        options = self._options
        arguments: SpeechCreateParams = {
            "input": text,
            "model": options.model,
            "voice": {"id": options.voice} if options.voice.startswith("voice_") else options.voice,
            "response_format": "pcm",
        }
        if options.instructions is not None:
            arguments["instructions"] = options.instructions
        if options.speed is not None:
            arguments["speed"] = options.speed
        return arguments

    def voice(self) -> Separate:
        return Separate(self)

    async def close(self) -> None:
        await self._client.close()


async def _paced(items: AsyncIterator[Item], first_by: float, next_s: float) -> AsyncGenerator[Item, None]:
    """`items`, the first by the loop's time `first_by`, each other in `next_s`. Raises TimeoutError."""
    loop = asyncio.get_running_loop()
    until = first_by
    while True:
        async with asyncio.timeout_at(until):
            try:
                item = await anext(items)
            except StopAsyncIteration:
                return
        yield item
        until = loop.time() + next_s


async def _samples(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Whole samples of `chunks`, which are cut anywhere. Raises ProviderError when there is not even one."""
    half, came = b"", False
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            audio = half + chunk
            whole = len(audio) // 2 * 2
            half = audio[whole:]
            if whole:
                came = True
                yield audio[:whole]
    if not came:
        raise ProviderError("openai", "the answer holds no audio")


def _check_is_audio(headers: Mapping[str, str]) -> None:
    kind = headers.get("content-type", "")
    if kind.startswith(("text/", "application/json")):
        raise ProviderError("openai", f"the answer is {kind}, and no audio")


@contextlib.asynccontextmanager
async def _mapped(late: str) -> AsyncIterator[None]:
    """Whatever the SDK raises, as ProviderError; `late` says what a TimeoutError means."""
    try:
        yield
    except TimeoutError as error:
        raise ProviderError("openai", late) from error
    except openai.APIStatusError as error:
        raise refused("openai", error.status_code, error.message, error.response.headers) from error
    # In the middle of a stream come httpx2's own errors, and ValueError for JSON that is none.
    except (openai.OpenAIError, httpx2.HTTPError, ValueError) as error:
        raise ProviderError("openai", f"{type(error).__name__}: {error}") from error


def _or_omit(value: Item | None) -> Item | openai.Omit:
    return openai.omit if value is None else value


def speech_to_text(options: dict[str, Any]) -> BatchSpeech:
    """Raises SettingsError for wrong options or a missing key."""
    read = read_options(HearingOptions, options, "speech-to-text 'openai'")
    return BatchSpeech(Hearing(read), read)


def text_to_speech(options: dict[str, Any]) -> Speaking:
    """Raises SettingsError for wrong options or a missing key."""
    return Speaking(read_options(SpeakingOptions, options, "text-to-speech 'openai'"))
