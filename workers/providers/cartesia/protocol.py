"""Cartesia's text-to-speech socket as values: what is sent, what comes, and what its errors mean. No I/O.

The wire is that of API version 2026-08-14: JSON in text frames both ways, audio in base64. Every message belongs to a
context, which is one answer; texts of the same context are one speech, and come back in their order.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from trunkline.errors import ProviderError
from workers.providers.refusals import LOCKED_OUT, retry_after_s

VERSION = "2026-08-14"
"""Sent with every connection: what the vendor changes later reaches nobody who did not ask for it."""

PATH = "/tts/websocket"

QUOTA = "quota_exceeded"
"""The error code of an account that has nothing left: waiting does not help, whatever the status."""

LONGEST_TEXT = 300
"""Characters of a vendor's error that are passed on."""

LONGEST_S = 86_400
"""Nothing is spoken for a day: a word's time beyond that is none."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Audio of a context, in its order. Its bytes may end inside a sample."""

    context_id: str
    pcm: bytes
    flush_id: int | None = None
    """Grows by one with each text that was sent with `flush`."""


@dataclass(frozen=True, slots=True)
class Words:
    """When words sound: text, start and end in s from the first sample of the context."""

    context_id: str
    words: tuple[tuple[str, float, float], ...]
    flush_id: int | None = None


@dataclass(frozen=True, slots=True)
class Flushed:
    """All audio of a text that was sent with `flush` has come."""

    context_id: str


@dataclass(frozen=True, slots=True)
class Done:
    """The context is over: all of its audio has come."""

    context_id: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The context is over, or, without one, the connection is of no use."""

    context_id: str
    error: ProviderError
    ours: bool = False
    """Whether the vendor says that the message was wrong: so it answers, too, when a context has expired."""


Event = Chunk | Words | Flushed | Done | Failed


def generation(fields: Mapping[str, Any], context_id: str, text: str, *, last: bool) -> str:
    """Ask for `text` in a context, spoken at once. `fields` are what must be the same in all messages of a context."""
    ending = {"continue": False} if last else {"continue": True, "flush": True}
    return json.dumps({"context_id": context_id, **fields, "transcript": text, "max_buffer_delay_ms": 0, **ending})


def cancel(context_id: str) -> str:
    """Ask for no more of a context. What is being generated just now may still come; nothing confirms it."""
    return json.dumps({"context_id": context_id, "cancel": True})


def parse(message: bytes) -> Event | None:
    """What a message says; None for kinds that say nothing to us. Raises ProviderError when it is not the protocol."""
    try:
        event = from_json(message)  # an eighth of json's time for 100 ms of audio
        kind, context_id = event["type"], event.get("context_id") or ""
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProviderError("cartesia", f"sent what cannot be read: {message[:40]!r}") from error
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        return None
    try:
        return reader(event, str(context_id))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        return Failed(str(context_id), ProviderError("cartesia", f"sent a wrong {kind!r} event: {error!r}"))


def _chunk(event: dict[str, Any], context_id: str) -> Chunk:
    return Chunk(context_id, binascii.a2b_base64(event["data"], strict_mode=True), _flush_id(event))


def _words(event: dict[str, Any], context_id: str) -> Words:
    times = event.get("word_timestamps") or {"words": (), "start": (), "end": ()}
    words = zip(times["words"], times["start"], times["end"], strict=True)
    told = tuple((str(word), float(start), float(end)) for word, start, end in words)
    if not all(abs(start) < LONGEST_S and abs(end) < LONGEST_S for _, start, end in told):  # nor when it is no number
        raise ValueError("a word sounds at no time")
    return Words(context_id, told, _flush_id(event))


def _flush_id(event: dict[str, Any]) -> int | None:
    flush_id = event.get("flush_id")
    return flush_id if isinstance(flush_id, int) else None


def _failed(event: dict[str, Any], context_id: str) -> Failed:
    status = event.get("status_code")
    status = status if isinstance(status, int) else 500
    error = refusal(status, event, {})
    return Failed(context_id, error, ours=status in (400, 404, 409, 410, 422))


_READERS: dict[str, Callable[[dict[str, Any], str], Event]] = {
    "chunk": _chunk,
    "timestamps": _words,
    "flush_done": lambda _, context_id: Flushed(context_id),
    "done": lambda _, context_id: Done(context_id),
    "error": _failed,
}


def refused_upgrade(status: int, body: bytes, headers: Mapping[str, str]) -> ProviderError:
    """What a refused connection means; `headers` by their names in lower case."""
    try:
        said = json.loads(body)
    except ValueError:
        said = {"message": body.decode(errors="replace").strip()}
    return refusal(status, said if isinstance(said, dict) else {}, headers)


def refusal(status: int, said: Mapping[str, Any], headers: Mapping[str, str]) -> ProviderError:
    """An HTTP-like status and Cartesia's error object (`error_code`, `title`, `message`) as an error of ours."""
    code, title, message = (said.get(name) for name in ("error_code", "title", "message"))
    parts = [f"HTTP {status}", *(str(part) for part in (code, title, message) if part)]
    retryable = code != QUOTA and (status in (408, 409, 425, 429) or status >= 500)
    return ProviderError(
        "cartesia",
        ": ".join(parts)[:LONGEST_TEXT],
        retryable=retryable,
        retry_after_s=retry_after_s(headers) if retryable else None,
        locked_out=code == QUOTA or status in LOCKED_OUT,
    )
