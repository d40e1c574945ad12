"""A language model behind the chat completions interface: OpenAI itself, or vLLM, LM Studio, Ollama and others that
speak it.

The official `openai` SDK is the client, without its retries (they would sleep unheard while a caller waits) and with
our own deadlines: for the first token, and between tokens.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from typing import Any, TypeVar, cast

import openai
from openai.types.chat import ChatCompletionChunk, ChatCompletionFunctionToolParam, ChatCompletionMessageParam
from pydantic import BaseModel, ConfigDict, Field

from trunkline.errors import ProviderError, SettingsError
from workers.providers.base import ChatMessage, ToolCall, ToolSchema
from workers.providers.calls import Calls
from workers.providers.completions import Thoughts, wire_messages, wire_tools
from workers.providers.openai_client import client
from workers.providers.options import read_options
from workers.providers.refusals import refused

MODEL_VARIABLE = "TRUNKLINE_CHAT_MODEL"
OLLAMA_URL = "http://127.0.0.1:11434"
_PROBE_S = 0.3
_EMBEDDING_FAMILIES = ("bert", "nomic-bert")

_ENDED = frozenset({"gpt-3.5-turbo", "gpt-4", "gpt-4.1-nano", "o4-mini"})
"""OpenAI shut these down on 2026-10-23 (its deprecations page). Other servers may call theirs so."""

Item = TypeVar("Item")


class ChatOptions(BaseModel):
    """A tenant's options for a chat completions model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = Field(default=None, description=f"none: {MODEL_VARIABLE}, or a running Ollama's first")
    base_url: str | None = Field(
        default=None, description="with its /v1; none: OPENAI_BASE_URL, a running Ollama, OpenAI"
    )
    api_key: str | None = Field(default=None, description="none: OPENAI_API_KEY; local servers need none")
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1, le=100_000)
    connect_s: float = Field(default=2.0, gt=0, le=30, description="longest wait for a connection")
    first_token_s: float = Field(default=8.0, gt=0, le=120, description="longest wait for the first token")
    next_token_s: float = Field(default=4.0, gt=0, le=120, description="longest wait between tokens")


def ollama_models(url: str = OLLAMA_URL, timeout_s: float = _PROBE_S) -> list[str] | None:
    """Names of the chat models of the Ollama at `url`; None when none answers there. Blocks for `timeout_s` at most."""
    try:
        # A loopback address never goes through a proxy.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{url}/api/tags", timeout=timeout_s) as response:
            listed = json.load(response)["models"]
        return [model["name"] for model in listed if not _embeds(model)]
    except (OSError, urllib.error.URLError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _embeds(model: dict[str, Any]) -> bool:
    families: Iterable[str] = (model.get("details") or {}).get("families") or ()
    return "embed" in model["name"] or any(family in _EMBEDDING_FAMILIES for family in families)


class ChatModel:
    """A chat completions model as a `LanguageModel`."""

    def __init__(self, options: ChatOptions) -> None:
        """Raises SettingsError when no model, or no key for OpenAI's own address, is set. May probe for an Ollama:
        0.3 s."""
        self._options = options
        base_url = options.base_url or os.environ.get("OPENAI_BASE_URL")
        api_key = options.api_key or os.environ.get("OPENAI_API_KEY")
        model = options.model or os.environ.get(MODEL_VARIABLE)
        if base_url is None and api_key is None:
            base_url = f"{OLLAMA_URL}/v1"
            model = model or _first_ollama_model()
        if model is None:
            raise SettingsError(f"language model 'openai_compatible' needs the option `model` or {MODEL_VARIABLE}")
        self._model = model
        self._client = client(base_url, api_key, options.connect_s)
        official = self._client.base_url.host == "api.openai.com"
        if official and model in _ENDED:
            raise SettingsError(f"language model 'openai_compatible': OpenAI has ended {model}; use gpt-5.4-mini")
        # OpenAI's newer models refuse the old name of this limit, other servers do not know the new one.
        limit = _or_omit(options.max_tokens)
        self._limits = (openai.omit, limit) if official else (limit, openai.omit)

    @property
    def description(self) -> str:
        return f"{self._model} at {self._client.base_url.host} (chat completions)"

    async def reply(
        self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema] = ()
    ) -> AsyncGenerator[str | ToolCall, None]:
        """Stream the answer. Raises ProviderError: a refusal, a broken stream, or silence beyond the deadlines."""
        first_by = asyncio.get_running_loop().time() + self._options.first_token_s
        try:
            async with contextlib.AsyncExitStack() as cleanup:
                async with asyncio.timeout_at(first_by):
                    stream = await self._ask(messages, tools)
                cleanup.push_async_callback(stream.close)
                async with contextlib.aclosing(self._chunks(stream, first_by)) as chunks:
                    async for part in _parts(chunks):
                        yield part
        except TimeoutError as error:
            raise ProviderError("openai_compatible", f"no token from {self._model} within the deadline") from error
        except openai.OpenAIError as error:
            raise _mapped(error) from error

    async def _ask(
        self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema]
    ) -> openai.AsyncStream[ChatCompletionChunk]:
        return await self._client.chat.completions.create(
            model=self._model,
            messages=cast("list[ChatCompletionMessageParam]", wire_messages(messages)),
            tools=cast("list[ChatCompletionFunctionToolParam]", wire_tools(tools)) or openai.omit,
            stream=True,
            temperature=_or_omit(self._options.temperature),
            max_tokens=self._limits[0],
            max_completion_tokens=self._limits[1],
        )

    async def _chunks(
        self, stream: openai.AsyncStream[ChatCompletionChunk], first_by: float
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        """What comes, under the deadlines: what is not thought must have begun by the loop's time `first_by`, and then
        come without long waits. Thinking, however long it goes on, does not put off the first word."""
        loop, until, thoughts = asyncio.get_running_loop(), first_by, Thoughts()
        begun = False
        while True:
            async with asyncio.timeout_at(until):
                chunk = await anext(stream, None)
            if chunk is None:
                return
            for choice in chunk.choices:
                begun = bool(thoughts.spoken(choice.delta.content or "") or choice.delta.tool_calls) or begun
            if begun:
                until = loop.time() + self._options.next_token_s
            yield chunk

    async def close(self) -> None:
        await self._client.close()


def _first_ollama_model() -> str:
    models = ollama_models()
    if models is None:
        raise SettingsError(
            "language model 'openai_compatible' needs OPENAI_API_KEY or OPENAI_BASE_URL "
            f"(or its options api_key, base_url), or an Ollama running at {OLLAMA_URL}"
        )
    if not models:
        raise SettingsError(f"the Ollama at {OLLAMA_URL} has no chat model: ollama pull llama3.2")
    return models[0]


def _or_omit(value: Item | None) -> Item | openai.Omit:
    return openai.omit if value is None else value


async def _parts(chunks: AsyncIterator[ChatCompletionChunk]) -> AsyncGenerator[str | ToolCall, None]:
    """Text as it comes, without thoughts, and calls of tools once they are whole. Raises ProviderError when the end
    never came."""
    calls, thoughts, finished = Calls(), Thoughts(), False
    async for chunk in chunks:
        for choice in chunk.choices:
            finished = finished or choice.finish_reason is not None
            if text := thoughts.spoken(choice.delta.content or ""):
                yield text
            for call in choice.delta.tool_calls or ():
                if call.function is not None:
                    calls.add(call.index, call.id, call.function.name, call.function.arguments)
    if not finished:
        raise ProviderError("openai_compatible", "the stream ended in the middle of an answer")
    if text := thoughts.rest():
        yield text
    for whole in calls.whole():
        yield whole


def _mapped(error: openai.OpenAIError) -> ProviderError:
    if isinstance(error, openai.APIStatusError):
        return refused("openai_compatible", error.status_code, error.message, error.response.headers)
    return ProviderError("openai_compatible", f"{type(error).__name__}: {error}")


def language_model(options: dict[str, Any]) -> ChatModel:
    """Raises SettingsError for wrong or missing options."""
    return ChatModel(read_options(ChatOptions, options, "language model 'openai_compatible'"))
