"""How Groq is reached, which models it has no more, and what its errors mean."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self, TypeVar

import groq
import httpx
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trunkline.errors import ProviderError, SettingsError
from workers.providers.groq.transport import Transport
from workers.providers.refusals import refused

IDLE_S = 60.0
"""How long a connection is kept for the next turn. The SDK's 5 s are over before most callers have spoken again."""

CONNECTIONS = 1000
"""Of one provider at once; the SDK's 100 would make the 101st request wait for another to end."""

RETIRED = {
    "distil-whisper-large-v3-en": "whisper-large-v3-turbo",
    "gemma2-9b-it": "openai/gpt-oss-20b",
    "llama-3.1-8b-instant": "openai/gpt-oss-20b",
    "llama-3.3-70b-versatile": "openai/gpt-oss-120b",
    "meta-llama/llama-4-maverick-17b-128e-instruct": "openai/gpt-oss-120b",
    "meta-llama/llama-4-scout-17b-16e-instruct": "openai/gpt-oss-120b",
    "moonshotai/kimi-k2-instruct": "openai/gpt-oss-120b",
    "moonshotai/kimi-k2-instruct-0905": "openai/gpt-oss-120b",
    "qwen/qwen3-32b": "qwen/qwen3.8-27b",
    "qwen/qwen3.6-27b": "qwen/qwen3.8-27b",
}
"""Models that Groq has shut down (console.groq.com/docs/deprecations), and what replaces them."""

_BY_CONTRACT = {"llama-3.1-8b-instant", "llama-3.3-70b-versatile"}
"""Shut down on 2026-08-16, but not for accounts with an enterprise contract."""

_WORTH_ANOTHER_TRY = "tool_use_failed"
"""HTTP 400, but not the request's fault: the model wrote a call of a tool that is none, and may write a better one."""

Item = TypeVar("Item")


class Access(BaseModel):
    """The options of everything that Groq offers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    api_key: str | None = Field(default=None, description="none: GROQ_API_KEY")
    base_url: str | None = Field(default=None, description="without /openai/v1; none: GROQ_BASE_URL, Groq itself")
    connect_s: float = Field(default=2.0, gt=0, le=30, description="longest wait for a connection")
    enterprise: bool = Field(default=False, description="the account has models that others have no more")

    @field_validator("base_url")
    @classmethod
    def _has_no_path(cls, base_url: str | None) -> str | None:
        if base_url is not None and base_url.rstrip("/").endswith("/v1"):
            raise ValueError("is to be given without /openai/v1, which Groq's SDK adds")
        return base_url

    @model_validator(mode="after")
    def _has_a_living_model(self) -> Self:
        instead = RETIRED.get(self.model)
        if instead is None or (self.enterprise and self.model in _BY_CONTRACT):
            return self
        unless = ", unless by contract (enterprise: true)" if self.model in _BY_CONTRACT else ""
        raise ValueError(f"Groq has {self.model} no more{unless}; use {instead}")


def client(options: Access, whose: str) -> groq.AsyncGroq:
    """One client, with its connections, for one provider. Raises SettingsError when there is no key."""
    api_key = options.api_key or os.environ.get("GROQ_API_KEY")
    if not api_key:
        raise SettingsError(f"{whose} needs GROQ_API_KEY, or its option api_key")
    # What is not the connection is under our own deadlines, which know what has come already.
    timeout = groq.Timeout(None, connect=options.connect_s)
    return groq.AsyncGroq(
        base_url=options.base_url,
        api_key=api_key,
        max_retries=0,
        timeout=timeout,
        http_client=groq.DefaultAsyncHttpxClient(timeout=timeout, transport=Transport(CONNECTIONS, IDLE_S)),
    )


def or_omit(value: Item | None) -> Item | groq.Omit:
    return groq.omit if value is None else value


@contextlib.asynccontextmanager
async def mapped(late: str) -> AsyncIterator[None]:
    """Whatever the SDK raises, as ProviderError; `late` says what a TimeoutError means."""
    try:
        yield
    except TimeoutError as error:
        raise ProviderError("groq", late) from error
    except groq.APIStatusError as error:
        raise _refusal(error.status_code, error, error.response.headers) from error
    except groq.APIConnectionError as error:
        raise ProviderError("groq", f"{type(error).__name__}: {error.__cause__ or error}") from error
    except groq.APIError as error:  # told in the middle of a stream, whose status was 200
        raise _refusal(_status_in(error.body), error, {}) from error
    # In the middle of a stream come httpx's own errors, and ValueError for JSON that is none.
    except (groq.GroqError, httpx.HTTPError, ValueError) as error:
        raise ProviderError("groq", f"{type(error).__name__}: {error}") from error


def _refusal(status: int, error: groq.APIError, headers: Mapping[str, str]) -> ProviderError:
    details = _details(error.body)
    # Its message only: `failed_generation` beside it is what the model said, which is no matter for a log.
    text = str(details.get("message") or error.message)[:300]
    if details.get("code") == _WORTH_ANOTHER_TRY:
        return ProviderError("groq", f"HTTP {status}: {text}", retryable=True)
    return refused("groq", status, text, headers)


def _status_in(body: object) -> int:
    """The status that an error in a stream would have had as an answer: if it does not say, it is Groq's own fault."""
    details = _details(body)
    for status in (details.get("status_code"), details.get("code")):
        if str(status).isdigit():
            return int(str(status))
    if details.get("code") == "rate_limit_exceeded":
        return 429
    return 400 if details.get("type") == "invalid_request_error" else 500


def _details(body: object) -> Mapping[str, Any]:
    """What is known of an error. `body` is the answer's, or that part of it which is the error; it may be anything."""
    inner = body.get("error", body) if isinstance(body, dict) else None
    return inner if isinstance(inner, dict) else {}
