"""What the tests of vendors that take whole recordings share: somebody who speaks in tones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.standins import tones
from workers.providers.batch import BatchSpeech, BatchTranscriber

TEXT = "is tuesday free or wednesday then"


def begun(stt: BatchSpeech, text: str = TEXT) -> BatchTranscriber:
    utterance = stt.utterance()
    utterance.push(tones.speak(text, stt.rate_hz))
    return utterance


async def heard(stt: BatchSpeech) -> str:
    return (await begun(stt).finish()).text


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
