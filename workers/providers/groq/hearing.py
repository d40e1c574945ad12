"""Groq's Whisper: whole recordings in, text out in a few hundred ms."""

from __future__ import annotations

import asyncio
import math

import groq
from pydantic import BaseModel, Field, field_validator

from trunkline.audio.frame import bytes_in
from trunkline.audio.wav import wav_bytes
from workers.providers.base import Transcript
from workers.providers.batch import BatchOptions
from workers.providers.groq.access import Access, client, mapped, or_omit

RATE_HZ = 16_000
"""What Whisper hears; Groq brings everything else down to it."""

LEAST_BILLED_S = 10.0
"""Groq's pricing page: a shorter request is billed as this."""

SHORTEST_MS = 10
"""A recording shorter than this is refused: it is filled up with silence."""

PROMPT_BYTES = 896
"""A longer prompt is refused: Whisper reads 224 tokens, and Groq counts 4 bytes for each."""


class HearingOptions(Access, BatchOptions):
    """A tenant's options for Groq's speech-to-text."""

    model: str = Field(default="whisper-large-v3-turbo", description="or whisper-large-v3")
    language: str | None = Field(default="en", pattern=r"^[a-z]{2,3}$", description="none: whatever is heard")
    prompt: str = Field(default="", description="names and terms that the callers use, in their language")
    first_s: float = Field(default=3.0, gt=0, le=60, description="longest wait for the text")
    no_speech_prob: float = Field(
        default=0.6, ge=0, le=1, description="a segment above this is left out if it is also below avg_logprob"
    )
    avg_logprob: float = Field(default=-1.0, le=0, description="see no_speech_prob; both are Whisper's own thresholds")

    @field_validator("prompt")
    @classmethod
    def _leaves_room(cls, prompt: str) -> str:
        if len(prompt.encode()) > PROMPT_BYTES // 2:
            raise ValueError(f"has more than {PROMPT_BYTES // 2} bytes: the rest is for what was said before")
        return prompt


class _Segment(BaseModel):
    """Of a transcription; what is not known of one speaks for it."""

    text: str
    avg_logprob: float = 0.0
    no_speech_prob: float = 0.0


class _Transcription(BaseModel):
    """The answer in the format `verbose_json`, as far as it is used."""

    text: str
    segments: list[_Segment] | None = None


class Hearing:
    """Groq's Whisper as a `Batch`."""

    rate_hz = RATE_HZ

    def __init__(self, options: HearingOptions) -> None:
        self._options = options
        self._client = client(options, "speech-to-text 'groq'")

    @property
    def description(self) -> str:
        return f"Groq: {self._options.model} at {self._client.base_url.host}"

    async def transcribe(self, pcm: bytes, context: str) -> Transcript:
        """Raises ProviderError: a refusal, an answer that is none, or silence beyond the deadline."""
        recording = wav_bytes(pcm.ljust(bytes_in(SHORTEST_MS, RATE_HZ), b"\0"), RATE_HZ)
        async with mapped("no text came within the deadline"), asyncio.timeout(self._options.first_s):
            answer = await self._client.audio.transcriptions.with_raw_response.create(
                file=("utterance.wav", recording, "audio/wav"),
                model=self._options.model,
                language=or_omit(self._options.language),
                prompt=_told(self._options.prompt, context) or groq.omit,
                response_format="verbose_json",
            )
            # The SDK's own type knows the text only.
            return self._believed(_Transcription.model_validate_json(await answer.read()))

    def _believed(self, heard: _Transcription) -> Transcript:
        """The text without what Whisper makes up where nobody speaks, by the rule of its own decoder (openai/whisper,
        transcribe.py): a segment that is likely no speech counts only if its words are likely."""
        if not heard.segments:
            return Transcript(heard.text.strip())
        speech = [segment for segment in heard.segments if not self._is_made_up(segment)]
        text = heard.text if len(speech) == len(heard.segments) else "".join(segment.text for segment in speech)
        logarithms = [segment.avg_logprob for segment in speech]
        confidence = math.exp(min(sum(logarithms) / len(logarithms), 0.0)) if logarithms else None
        return Transcript(text.strip(), confidence)

    def _is_made_up(self, segment: _Segment) -> bool:
        options = self._options
        return segment.no_speech_prob > options.no_speech_prob and segment.avg_logprob < options.avg_logprob

    async def close(self) -> None:
        await self._client.close()


def _told(prompt: str, context: str) -> str:
    """`prompt` and then as much of the end of `context` as there is room for, from a word's beginning on."""
    room = PROMPT_BYTES - len(prompt.encode()) - 1
    if len(context.encode()) > room:
        _, _, context = context.encode()[-room:].decode(errors="ignore").partition(" ")
    return " ".join(part for part in (prompt, context) if part)
