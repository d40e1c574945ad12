"""What the tests of Groq share: our providers on a stand-in, and how they are used."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from tests.standins import tones
from tests.standins.groq import KEY, Groq
from workers.providers.base import ChatMessage, ToolCall, ToolSchema
from workers.providers.batch import BatchSpeech, BatchTranscriber
from workers.providers.groq import language_model, speech_to_text
from workers.providers.groq.hearing import RATE_HZ
from workers.providers.groq.thinking import Thinking

TEXT = "is tuesday free or wednesday then"
HELLO = (ChatMessage("system", "Be brief."), ChatMessage("user", "hello"))
SLOTS = ToolSchema("find_slot", "Free times of a day.", {"type": "object", "properties": {"day": {"type": "string"}}})


@contextlib.asynccontextmanager
async def hearing(standin: Groq, **options: Any) -> AsyncIterator[BatchSpeech]:
    stt = speech_to_text({"base_url": standin.url, "api_key": KEY, **options})
    try:
        yield stt
    finally:
        await stt.close()


@contextlib.asynccontextmanager
async def thinking(standin: Groq, **options: Any) -> AsyncIterator[Thinking]:
    model = language_model({"base_url": standin.url, "api_key": KEY, **options})
    try:
        yield model
    finally:
        await model.close()


def begun(stt: BatchSpeech, text: str = TEXT) -> BatchTranscriber:
    utterance = stt.utterance()
    utterance.push(tones.speak(text, RATE_HZ))
    return utterance


async def heard(stt: BatchSpeech) -> str:
    return (await begun(stt).finish()).text


async def said(
    model: Thinking, messages: Sequence[ChatMessage] = HELLO, tools: Sequence[ToolSchema] = ()
) -> tuple[str, list[ToolCall]]:
    """The text of an answer, and its calls."""
    parts = [part async for part in model.reply(messages, tools)]
    text = "".join(part for part in parts if isinstance(part, str))
    return text, [part for part in parts if isinstance(part, ToolCall)]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
