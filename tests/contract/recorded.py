"""What the tests of vendors that take whole recordings share: somebody who speaks in tones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from tests.standins import tones
from workers.providers.batch import BatchSpeech, BatchTranscriber

TEXT = "is tuesday free or wednesday then"


class Closes(Protocol):
    async def close(self) -> None: ...


Provider = TypeVar("Provider", bound=Closes)


@asynccontextmanager
async def closing(provider: Provider) -> AsyncIterator[Provider]:
    """A provider for as long as the block lasts."""
    try:
        yield provider
    finally:
        await provider.close()


def begun(stt: BatchSpeech, text: str = TEXT) -> BatchTranscriber:
    utterance = stt.utterance()
    utterance.push(tones.speak(text, stt.rate_hz))
    return utterance


async def heard(stt: BatchSpeech) -> str:
    return (await begun(stt).finish()).text
