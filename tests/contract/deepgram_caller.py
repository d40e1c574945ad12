"""What the tests of Deepgram share: how they speak, and the provider at the stand-in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.standins import tones
from tests.standins.deepgram import Deepgram
from workers.providers.deepgram import DeepgramSpeech, speech_to_text
from workers.providers.deepgram.utterance import DeepgramUtterance

RATE_HZ = 16_000
FRAME_BYTES = RATE_HZ // 50 * 2
NOVA, FLUX = "nova-3", "flux-general-en"
PATIENCE_S = 15.0

both = pytest.mark.parametrize("model", [NOVA, FLUX])


def silence(ms: int) -> bytes:
    return bytes(RATE_HZ * ms // 1000 * 2)


def speech(text: str, silence_ms: int = 0) -> bytes:
    return tones.speak(text, RATE_HZ) + silence(silence_ms)


def push(utterance: DeepgramUtterance, pcm: bytes) -> None:
    for at in range(0, len(pcm), FRAME_BYTES):
        utterance.push(pcm[at : at + FRAME_BYTES])


def begun(stt: DeepgramSpeech, text: str = "hello") -> DeepgramUtterance:
    """An utterance in which this was said."""
    utterance = stt.utterance()
    push(utterance, speech(text))
    return utterance


@contextlib.asynccontextmanager
async def provider(standin: Deepgram, **options: Any) -> AsyncIterator[DeepgramSpeech]:
    """Without connections in reserve, so that each of the stand-in's streams is an utterance."""
    made = speech_to_text({"url": standin.url, "api_key": "key", "ready": 0, **options})
    try:
        yield made
    finally:
        await made.close()


async def finish(utterance: DeepgramUtterance) -> str:
    """The words of its text."""
    async with asyncio.timeout(PATIENCE_S):
        return " ".join(tones.words_of((await utterance.finish()).text))
