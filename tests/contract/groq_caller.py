"""What the tests of Groq share: our providers on a stand-in, and how they are used."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from tests.contract.recorded import closing
from tests.standins.groq import KEY, Groq
from workers.providers.base import ChatMessage, ToolCall, ToolSchema
from workers.providers.batch import BatchSpeech
from workers.providers.groq import language_model, speech_to_text
from workers.providers.groq.thinking import Thinking

HELLO = (ChatMessage("system", "Be brief."), ChatMessage("user", "hello"))
SLOTS = ToolSchema("find_slot", "Free times of a day.", {"type": "object", "properties": {"day": {"type": "string"}}})


def hearing(standin: Groq, **options: Any) -> AbstractAsyncContextManager[BatchSpeech]:
    return closing(speech_to_text({"base_url": standin.url, "api_key": KEY, **options}))


def thinking(standin: Groq, **options: Any) -> AbstractAsyncContextManager[Thinking]:
    return closing(language_model({"base_url": standin.url, "api_key": KEY, **options}))


async def said(
    model: Thinking, messages: Sequence[ChatMessage] = HELLO, tools: Sequence[ToolSchema] = ()
) -> tuple[str, list[ToolCall]]:
    """The text of an answer, and its calls."""
    parts = [part async for part in model.reply(messages, tools)]
    text = "".join(part for part in parts if isinstance(part, str))
    return text, [part for part in parts if isinstance(part, ToolCall)]
