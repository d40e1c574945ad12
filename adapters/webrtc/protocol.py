"""What a client says on its data channels, as docs/webrtc.md has it: text to typed messages. Pure.

On `trunkline` it is what `/ws` takes, but for `start` and `audio`. On `oai-events` it is what a Realtime model's client
says (https://platform.openai.com/docs/guides/realtime-webrtc), as far as a gateway can do it, and some short forms. A
wrong message raises ClientError with a code, what is wrong, and what would be right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from adapters import messages
from adapters.messages import (
    PARSERS,
    Cancel,
    Commit,
    Text,
    ToolOutput,
    mapping,
    name_of,
    parse_text,
    parse_tool_output,
)
from trunkline.errors import ClientError

PLAIN = "trunkline"
EVENTS = "oai-events"
"""The labels of the data channels that are read; each has its own language."""

MEANINGFUL = ("instructions", "input", "tools", "tool_choice", "prompt")
"""What a `response.create` may not ask for: it would be answered as if it had not."""


@dataclass(frozen=True, slots=True)
class PlayedAt:
    """What the user hears now: the RTP timestamp of ours that is being played."""

    rtp_timestamp: int


@dataclass(frozen=True, slots=True)
class Create:
    """A new item of the conversation: what the user typed, or what a tool of the client's answered."""

    item_id: str | None
    message: Text | ToolOutput


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer now, if that is not on its way."""


@dataclass(frozen=True, slots=True)
class ClearInput:
    """Forget what was said and is not an utterance yet."""


PlainMessage = messages.ClientMessage | PlayedAt
Request = messages.ClientMessage | Create | Respond | ClearInput


def parse_plain(text: str) -> PlainMessage:
    """A message on `trunkline`. Raises ClientError."""
    return messages.parse(text, _PLAIN)


def parse_event(message: dict[str, Any]) -> Request:
    """An event on `oai-events`, read by `messages.json_object`. Raises ClientError."""
    if "type" not in message and "text" in message:
        return parse_text(message)
    return messages.parse_object(message, _EVENTS)


def event_id_of(message: Mapping[str, Any]) -> str | None:
    """The client's name for an event, that errors about it repeat; None when it is none."""
    event_id = message.get("event_id")
    usable = isinstance(event_id, str) and 0 < len(event_id) <= messages.MAX_NAME and event_id.isprintable()
    return event_id if usable else None


def _played(message: dict[str, Any]) -> PlainMessage:
    if "rtp_timestamp" not in message:
        return messages.parse_played(message)
    value = message["rtp_timestamp"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**32:
        hint = "rtp_timestamp is that of getSynchronizationSources()"
        raise ClientError("bad_field", f"rtp_timestamp {value!r:.40}", hint)
    return PlayedAt(int(value))


def _create(message: dict[str, Any]) -> Create:
    item = mapping(message, "item")
    if message.get("previous_item_id") is not None:
        raise ClientError("unsupported", "an item in the middle of the conversation", "leave previous_item_id out")
    item_id = name_of(item, "id")
    match item.get("type"):
        case "function_call_output":
            return Create(item_id, parse_tool_output(item))
        case "message" if item.get("role") == "user":
            return Create(item_id, parse_text({"text": _typed(item.get("content"))}))
        case "message":
            raise ClientError("unsupported", f"a message of role {item.get('role')!r:.40}", "role user")
        case kind:
            hint = "a message of the user's, or a function_call_output"
            raise ClientError("unsupported", f"an item of type {kind!r:.40}", hint)


def _typed(content: object) -> str:
    """The text of a message's content."""
    hint = '[{"type":"input_text","text":"hello"}]'
    if not isinstance(content, list) or not content:
        raise ClientError("bad_item", "a message without content", hint)
    parts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "input_text" or not isinstance(part.get("text"), str):
            raise ClientError("unsupported", f"content {part!r:.60}", hint)
        parts.append(part["text"])
    return "\n".join(parts)


def _respond(message: dict[str, Any]) -> Respond:
    response = mapping(message, "response")
    asked = [name for name in MEANINGFUL if response.get(name)]
    if response.get("conversation", "auto") != "auto":
        asked.append("conversation")
    if asked:
        hint = "the session's own settings count: session.update changes them"
        raise ClientError("unsupported", f"a response with {', '.join(asked)} of its own", hint)
    return Respond()


def _unsupported(what: str, hint: str) -> Callable[[dict[str, Any]], NoReturn]:
    def refuse(_: dict[str, Any]) -> NoReturn:
        raise ClientError("unsupported", what, hint)

    return refuse


def _is_not_kept(event: str) -> Callable[[dict[str, Any]], NoReturn]:
    return _unsupported(f"no {event} here", "the conversation is kept by its backend: add to it")


_PLAIN: dict[str, Callable[[dict[str, Any]], PlainMessage]] = {**PARSERS, "played": _played}

_EVENTS: dict[str, Callable[[dict[str, Any]], Request]] = {
    "session.update": messages.parse_session_update,
    "conversation.item.create": _create,
    "response.create": _respond,
    "response.cancel": lambda _: Cancel(),
    "input_audio_buffer.commit": lambda _: Commit(),
    "input_audio_buffer.clear": lambda _: ClearInput(),
    "output_audio_buffer.clear": lambda _: Cancel(),
    "text": parse_text,
    "input_text": parse_text,
    "function_call_output": parse_tool_output,
    "input_audio_buffer.append": _unsupported("audio in an event", "audio goes by the audio track"),
    "conversation.item.truncate": _unsupported("no truncation by a client", "what is not heard is cut by the server"),
    "conversation.item.retrieve": _is_not_kept("conversation.item.retrieve"),
    "conversation.item.delete": _is_not_kept("conversation.item.delete"),
}
