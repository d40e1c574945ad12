"""Who listens to Cartesia's text-to-speech in the contract suites."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.standins import tones
from tests.standins.cartesia import Cartesia
from trunkline.errors import ProviderError
from workers.providers.base import Word
from workers.providers.cartesia import CartesiaSpeech, text_to_speech

RATE_HZ = 16000
WORD_MS = 100
LONG = "one two three four five six seven eight nine ten"


def provider(vendor: Cartesia, **options: Any) -> CartesiaSpeech:
    return text_to_speech({"url": vendor.url, "api_key": vendor.behaviour.api_key, **options})


def heard(pcm: bytes, rate_hz: int = RATE_HZ) -> str:
    return tones.hear(pcm, rate_hz, WORD_MS)


async def said(parts: AsyncIterator[bytes | Word]) -> tuple[bytes, list[Word]]:
    pcm, words = b"", []
    async for part in parts:
        if isinstance(part, Word):
            words.append(part)
        else:
            assert part
            assert len(part) % 2 == 0
            pcm += part
    return pcm, words


async def spoken(speech: CartesiaSpeech, text: str) -> str:
    return heard((await said(speech.speak(text)))[0], speech.rate_hz)


async def failure(parts: AsyncIterator[bytes | Word]) -> tuple[bytes, ProviderError]:
    """What was said before it failed, and how."""
    pcm = b""
    try:
        async for part in parts:
            pcm += part if isinstance(part, bytes) else b""
    except ProviderError as error:
        return pcm, error
    pytest.fail(f"it did not fail, and said {heard(pcm)!r}")
