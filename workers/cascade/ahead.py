"""A request to the language model that is made before it is known whether it will be wanted, and leaves no trace if it
is not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from trunkline.errors import ProviderError
from workers.cascade.opening import Opening
from workers.providers.base import ChatMessage, LanguageModel, ToolCall, ToolSchema

PARTS_AHEAD = 256
"""Deltas and calls that an answer may be ahead of who wants it; then the model is read no further."""

LET_GO_S = 0.05
"""How long a model may take to let go of a request, before it is asked another."""


class Request:
    """Asks at once, in a task of `group`. Somebody takes its `parts`, or `drop`s it. `opening`, if there is one, hears
    what the model says as soon as it does, and is dropped with it."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        model: LanguageModel,
        messages: Sequence[ChatMessage],
        tools: Sequence[ToolSchema],
        opening: Opening | None = None,
    ) -> None:
        self.opening = opening
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
                    self._hear(part)
                    await self._parts.put(part)
            self._hear(None)
        except ProviderError as error:
            end, self._failed = error, True
        await self._parts.put(end)

    def _hear(self, part: str | ToolCall | None) -> None:
        if self.opening is not None:
            self.opening.hear(part)

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
            self._task.cancel()

    def drop(self) -> None:
        """Nobody wants it any more: the model's stream is closed."""
        self._task.cancel()
        if self.opening is not None:
            self.opening.drop()

    async def gone(self) -> None:
        """After `drop`: wait until the model has let go of it, but not for long. To a vendor that has just been left
        alone for its failures it was the one request that may be made, and another would be refused."""
        await asyncio.wait([self._task], timeout=LET_GO_S)


def same_words(one: str, other: str) -> bool:
    """Whether two texts differ in case, punctuation and white space only."""
    return _words(one) == _words(other)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
