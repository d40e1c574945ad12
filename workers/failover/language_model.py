"""A chain of language models as one: who is mute or fails in the middle of an answer is gone on for by the next."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from functools import partial

from trunkline.errors import ProviderError
from workers.failover import foreign
from workers.failover.chain import Course, Link, Told, described, unasked
from workers.failover.continuing import Continuation, cut_off, messages_after
from workers.failover.race import Entry, race
from workers.providers.base import ChatMessage, LanguageModel, ToolCall, ToolSchema

Part = str | ToolCall
Parts = AsyncGenerator[Part, None]


class LanguageModelChain:
    """Implements `LanguageModel`."""

    def __init__(self, links: Sequence[Link[LanguageModel]], served: Told = unasked) -> None:
        """One link at least."""
        self._links = links
        self._served = served

    @property
    def description(self) -> str:
        return described(self._links)

    async def reply(self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema] = ()) -> Parts:
        """Stream the answer. After a fault the next model is told what was said so far, and goes on. Raises
        ProvidersExhausted."""
        course = Course("language model", self._links)
        begun, said, called = cut_off(messages), "", False
        while True:
            asked = messages_after(messages, said)
            entry, opened = await race(self._entries(course, asked, tools), course)
            self._served(entry.link.label)
            try:
                async with aclosing(_continued(opened, begun + said)) as parts:
                    async for part in parts:
                        if isinstance(part, str):
                            said += part
                        else:
                            called = True
                        yield part
            except ProviderError as error:
                course.failed(entry.link, entry.permit, error)
                if called:  # the rest is asked for when these calls are answered; asked for now, they would come again
                    return
            else:
                course.succeeded(entry.link, entry.permit)
                return
            finally:
                entry.permit.dropped()

    async def close(self) -> None:
        """Nothing of its own to close: whoever made the providers closes them."""

    def _entries(
        self, course: Course[LanguageModel], messages: Sequence[ChatMessage], tools: Sequence[ToolSchema]
    ) -> Iterator[Entry[_Opened]]:
        first = self._links[0]
        # Without a fallback, a hedge is the same model asked once more.
        order = [first, first] if len(self._links) == 1 and first.hedge_s is not None else self._links
        for link, permit in course.left(order):
            parts = foreign.reply(link, messages, tools)
            yield Entry(link, permit, partial(_open, link, parts), parts.aclose)


class _Opened:
    """An answer that has begun."""

    def __init__(self, link: Link[LanguageModel], parts: Parts, first: Part | None) -> None:
        self.link = link
        self.parts = parts
        self.first = first


async def _open(link: Link[LanguageModel], parts: Parts) -> _Opened:
    """Wait for its first part; an answer may have none."""
    return _Opened(link, parts, await anext(parts, None))


async def _continued(opened: _Opened, said: str) -> Parts:
    """The parts of an answer, as they follow what was said. Raises ProviderError, also for silence."""
    continuation = Continuation(said)
    async with aclosing(opened.parts) as parts:
        part = opened.first
        while part is not None:
            text = continuation.push(part) if isinstance(part, str) else continuation.flush()
            if text:
                yield text
            if isinstance(part, ToolCall):
                yield part
            part = await opened.link.next(parts)
    if text := continuation.flush():
        yield text
