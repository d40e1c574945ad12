"""Groq's language models, by chat completions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Any, Literal, Self, TypedDict, cast

import groq
import httpx
from pydantic import Field, model_validator

from trunkline.errors import ProviderError
from workers.providers.base import ChatMessage, ToolCall, ToolSchema
from workers.providers.calls import Calls
from workers.providers.completions import Thoughts, wire_messages, wire_tools
from workers.providers.groq.access import Access, client, mapped

_GPT_OSS, _QWEN = "openai/gpt-oss-", "qwen/qwen3"

_log = logging.getLogger(__name__)

Effort = Literal["none", "low", "medium", "high"]


class _Reasoning(TypedDict, total=False):
    reasoning_effort: Effort
    reasoning_format: Literal["hidden"]
    include_reasoning: bool


class ThinkingOptions(Access):
    """A tenant's options for Groq's language models."""

    model: str = Field(default="openai/gpt-oss-20b", description="openai/gpt-oss-120b thinks better, and is slower")
    reasoning_effort: Effort | None = Field(
        default=None, description="none of these: the least that the model can do with"
    )
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1, le=100_000, description="of an answer, its thoughts included")
    service_tier: Literal["auto", "on_demand", "flex", "performance"] | None = Field(default=None)
    first_token_s: float = Field(default=5.0, gt=0, le=120, description="longest wait for the first word or call")
    next_token_s: float = Field(default=3.0, gt=0, le=120, description="longest wait between tokens")

    @model_validator(mode="after")
    def _thinks_as_it_can(self) -> Self:
        if self.reasoning_effort == "none" and self.model.startswith(_GPT_OSS):
            raise ValueError(f"{self.model} always thinks: its reasoning_effort is low, medium or high")
        return self

    @property
    def reasoning(self) -> _Reasoning:
        """How much the model is to think, and that we do not want to hear it. A model refuses another's words."""
        if self.model.startswith(_GPT_OSS):
            return {"reasoning_effort": self.reasoning_effort or "low", "include_reasoning": False}
        if self.model.startswith(_QWEN):
            return {"reasoning_effort": self.reasoning_effort or "none", "reasoning_format": "hidden"}
        return {} if self.reasoning_effort is None else {"reasoning_effort": self.reasoning_effort}


class _Answer:
    """An answer on its way: pure. Raises ProviderError for what is none."""

    def __init__(self) -> None:
        self.begun = False
        """Whether something came that will be spoken or called."""
        self.finished: str | None = None
        """Why it ended; None while it goes on."""
        self.usage: dict[str, float] = {}
        """What it took, by Groq's names, once it is over."""
        self._calls = Calls()
        self._thoughts = Thoughts()
        self._said = False

    def take(self, chunk: object) -> Iterator[str]:
        """The text in `chunk` that is to be spoken. Thoughts never are. `chunk` may be any JSON."""
        try:
            delta = self._delta(cast("dict[str, Any]", chunk))
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise ProviderError("groq", "what came in the stream is no part of an answer") from error
        yield from self._spoken(self._thoughts.spoken(delta))

    def _delta(self, chunk: dict[str, Any]) -> str:
        told = chunk.get("x_groq") or {}
        if error := told.get("error"):
            raise ProviderError("groq", f"the answer was cut short: {error}")
        self._count(told.get("usage"))
        text = ""
        for choice in chunk["choices"]:
            self.finished = self.finished or choice.get("finish_reason")
            delta = choice["delta"]
            for call in delta.get("tool_calls") or ():
                if function := call.get("function"):
                    self.begun = True
                    self._calls.add(int(call["index"]), call.get("id"), function.get("name"), function.get("arguments"))
            text += delta.get("content") or ""
        return text

    def _count(self, usage: dict[str, Any] | None) -> None:
        """Usage comes with the last chunk."""
        if usage is not None:
            counts = {name: value for name, value in usage.items() if isinstance(value, int | float)}
            self.usage = {name: value for name, value in counts.items() if value < math.inf}

    def end(self) -> Iterator[str | ToolCall]:
        """What is left to say, and the calls. Raises ProviderError when the end never came, or came too soon."""
        if self.finished is None:
            raise ProviderError("groq", "the stream ended in the middle of an answer")
        yield from self._spoken(self._thoughts.rest())
        calls = self._calls.whole()
        if self.finished == "length" and not self._said and not calls:
            text = "the model thought until max_tokens, and said nothing: raise it, or lower reasoning_effort"
            raise ProviderError("groq", text, retryable=False)
        yield from calls

    def _spoken(self, text: str) -> Iterator[str]:
        if text:
            self.begun = self._said = True
            yield text


class Thinking:
    """Groq's chat completions as a `LanguageModel`."""

    def __init__(self, options: ThinkingOptions) -> None:
        self.prompt_tokens = 0
        """Tokens of all prompts so far whose answers came to their end."""
        self.completion_tokens = 0
        """Tokens of those answers, their thoughts included."""
        self._options = options
        self._client = client(options, "language model 'groq'")

    @property
    def description(self) -> str:
        return f"Groq: {self._options.model} at {self._client.base_url.host}"

    async def reply(
        self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema] = ()
    ) -> AsyncGenerator[str | ToolCall, None]:
        """Stream the answer. Raises ProviderError: a refusal, a broken stream, or silence beyond the deadlines."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._options.first_token_s
        answer = _Answer()
        async with mapped("no token came within the deadline"), contextlib.AsyncExitStack() as cleanup:
            async with asyncio.timeout_at(until):
                stream = await self._ask(messages, tools)
            cleanup.push_async_callback(stream.close)
            while answer.finished is None:
                async with asyncio.timeout_at(until):
                    chunk = await anext(stream, None)
                if chunk is None:
                    break
                for text in answer.take(chunk):
                    yield text
                if answer.begun:  # thinking, however long it goes on, does not put off the first word
                    until = loop.time() + self._options.next_token_s
            self._count(answer.usage)
            for part in answer.end():
                yield part
            await _read_to_the_end(stream)

    async def _ask(self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema]) -> groq.AsyncStream[object]:
        """The chunks as plain JSON. The SDK makes models of them at 0.2 ms each, which is most of what an answer costs,
        and finds nothing wrong with what is none."""
        body = {
            "model": self._options.model,
            "messages": wire_messages(messages),
            "stream": True,
            "tools": wire_tools(tools) or None,
            "temperature": self._options.temperature,
            "max_completion_tokens": self._options.max_tokens,
            "service_tier": self._options.service_tier,
            **self._options.reasoning,
        }
        return await self._client.post(
            "/openai/v1/chat/completions",
            body={name: value for name, value in body.items() if value is not None},
            cast_to=object,
            stream=True,
            stream_cls=groq.AsyncStream[object],
        )

    def _count(self, usage: Mapping[str, float]) -> None:
        if not usage:
            return
        self.prompt_tokens += round(usage.get("prompt_tokens", 0))
        self.completion_tokens += round(usage.get("completion_tokens", 0))
        _log.debug(
            "groq: %d + %d tokens, %.0f ms queued, %.0f ms in all",
            usage.get("prompt_tokens", 0),
            usage.get("completion_tokens", 0),
            1000 * usage.get("queue_time", 0),
            1000 * usage.get("total_time", 0),
        )

    async def close(self) -> None:
        await self._client.close()


async def _read_to_the_end(stream: groq.AsyncStream[object], longest_s: float = 0.2) -> None:
    """Leave nothing of an answer that is over unread: only then can its connection serve the next one."""
    with contextlib.suppress(TimeoutError, groq.APIError, httpx.HTTPError, ValueError):  # it costs that connection
        async with asyncio.timeout(longest_s):
            while await anext(stream, None) is not None:
                """What comes after the end is not the answer."""
