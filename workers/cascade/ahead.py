"""A request to the language model that is made before it is known whether it will be wanted, and leaves no trace if it
is not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from trunkline.errors import ProviderError
from workers.providers.base import ChatMessage, LanguageModel, ToolCall, ToolSchema

PARTS_AHEAD = 256
"""Deltas and calls that an answer may be ahead of who wants it; then the model is read no further."""


class Request:
    """Asks at once, in a task of `group`. Somebody takes its `parts`, or `drop`s it."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        model: LanguageModel,
        messages: Sequence[ChatMessage],
        tools: Sequence[ToolSchema],
    ) -> None:
        self._messages = messages
        self._tools = tools
        self._parts: asyncio.Queue[str | ToolCall | ProviderError | None] = asyncio.Queue(PARTS_AHEAD)
        self._failed = False
        self._task = group.create_task(self._run(model))

    async def _run(self, model: LanguageModel) -> None:
        end: ProviderError | None = None
        try:
            async with aclosing(model.reply(self._messages, self._tools)) as parts:
                async for part in parts:
                    await self._parts.put(part)
        except ProviderError as error:
            end, self._failed = error, True
        await self._parts.put(end)

    def answers(self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema]) -> bool:
        """Whether it is what would be asked now: the same words to the same history. One that failed answers none."""
        if self._failed or not messages or tools != self._tools or messages[:-1] != self._messages[:-1]:
            return False
        now, then = messages[-1], self._messages[-1]
        return now.role == then.role == "user" and same_words(now.content, then.content)

    async def parts(self) -> AsyncGenerator[str | ToolCall, None]:
        """What the model says. Raises ProviderError. Closing it ends the request."""
        try:
            while (part := await self._parts.get()) is not None:
                if isinstance(part, ProviderError):
                    raise part
                yield part
        finally:
            self.drop()

    def drop(self) -> None:
        """Nobody wants it any more: the model's stream is closed."""
        self._task.cancel()


def same_words(one: str, other: str) -> bool:
    """Whether two texts differ in case, punctuation and white space only."""
    return _words(one) == _words(other)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
