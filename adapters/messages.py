"""What clients and the gateway tell each other in JSON, whatever carries it: text to typed messages and back. Pure.

A wrong message raises ClientError with a code, what is wrong, and what would be right. How audio comes, and how a
session begins, is each transport's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from trunkline.bus import codec
from trunkline.bus.messages import ClientEvent
from trunkline.errors import ClientError

MAX_TEXT = 4000
MAX_NAME = 128
MAX_OUTPUT_BYTES = 32 * 1024
"""Of a tool's answer; the model reads all of it."""
MAX_DEPTH = 16
MAX_SESSION_BYTES = 64 * 1024
"""Of a session.update: the longest instructions in most scripts, and what else there is."""
MESSAGE_BYTES = 1024
"""A tool's output counts as a message for each of these, and an update as the longest: they are kept until a worker has
dealt with them."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Commit:
    pass


@dataclass(frozen=True, slots=True)
class Cancel:
    pass


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Played:
    turn: int
    ms: int


@dataclass(frozen=True, slots=True)
class SessionUpdate:
    session: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """What the client's tool answered, in words for the model."""

    call_id: str
    output: str


@dataclass(frozen=True, slots=True)
class Stop:
    pass


ClientMessage = Commit | Cancel | Text | Played | SessionUpdate | ToolOutput | Stop
"""What any client may say at any time."""


def weight(message: object) -> int:
    """How many messages this one counts as."""
    match message:
        case ToolOutput():
            return 1 + len(message.output) // MESSAGE_BYTES
        case SessionUpdate():
            return MAX_SESSION_BYTES // MESSAGE_BYTES
        case _:
            return 1


def parse(text: str, parsers: Mapping[str, Callable[[dict[str, Any]], T]]) -> T:
    """A text message, by the parser of its `type`. Raises ClientError."""
    return parse_object(json_object(text), parsers)


def parse_object(message: dict[str, Any], parsers: Mapping[str, Callable[[dict[str, Any]], T]]) -> T:
    """The same, of one that is read."""
    kind = message.get("type")
    parser = parsers.get(kind) if isinstance(kind, str) else None
    if parser is None:
        raise ClientError("unknown_type", f"no message type {kind!r:.60}", "one of " + ", ".join(parsers))
    return parser(message)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def json_object(text: str) -> dict[str, Any]:
    """What JSON calls an object. Raises ClientError `bad_json`."""
    try:
        message = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ClientError("bad_json", "JSON nested too deeply", "a flat object with a type") from error
    except ValueError as error:
        hint = 'an object such as {"type":"text","text":"hello"}'
        raise ClientError("bad_json", f"not JSON: {error}", hint) from error
    if not isinstance(message, dict):
        hint = 'an object such as {"type":"text","text":"hello"}'
        raise ClientError("bad_json", f"JSON, but a {type(message).__name__}", hint)
    return message


def parse_text(message: dict[str, Any]) -> Text:
    """`text`: what the user typed."""
    text = message.get("text")
    if not isinstance(text, str) or not text.strip():
        raise ClientError("bad_text", "text without a text", '{"type":"text","text":"hello"}')
    if len(text) > MAX_TEXT:
        raise ClientError("bad_text", f"a text of {len(text)} characters", f"at most {MAX_TEXT}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ClientError("bad_text", "half of a surrogate pair", "whole characters: this has no UTF-8")
    return Text(text.strip())


def parse_played(message: dict[str, Any]) -> Played:
    """`turn` and `ms`: what was heard."""
    return Played(count_of(message, "turn"), count_of(message, "ms"))


def parse_session_update(message: dict[str, Any]) -> SessionUpdate:
    """`session`: any object that the bus can carry; its worker says what of it is allowed."""
    session = message.get("session")
    hint = '{"type":"session.update","session":{"instructions":"Speak German."}}'
    if not isinstance(session, dict):
        raise ClientError("bad_session", f"session is a {type(session).__name__}", hint)
    if _is_deeper(session, MAX_DEPTH):
        raise ClientError("bad_session", "session is nested too deeply", hint)
    try:
        # It goes on as it is, and there is JSON that the bus does not carry: an integer of 70 bits, half a character.
        size = len(codec.encode([ClientEvent("", 0, "session_update", {"session": session})]))
    except (ValueError, OverflowError) as error:
        raise ClientError("bad_session", f"session cannot be passed on: {error}", hint) from error
    if size > MAX_SESSION_BYTES:
        raise ClientError("bad_session", f"a session of {size} bytes", f"at most {MAX_SESSION_BYTES}")
    return SessionUpdate(session)


def _is_deeper(value: Any, depth: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth == 0 or any(_is_deeper(each, depth - 1) for each in inner)


def parse_tool_output(message: dict[str, Any]) -> ToolOutput:
    """`call_id` and `output`: a text, or any other JSON."""
    call_id = name_of(message, "call_id")
    if call_id is None:
        raise ClientError("bad_field", "an output without call_id", "the call_id of the tool_call that it answers")
    output = message.get("output")
    if "output" not in message:
        raise ClientError("bad_output", "function_call_output without output", "a text, or any other JSON")
    try:
        text = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except (ValueError, RecursionError) as error:
        raise ClientError("bad_output", f"output cannot be passed on: {error}", "a text, or any other JSON") from error
    if size > MAX_OUTPUT_BYTES:
        raise ClientError("bad_output", f"an output of {size} bytes", f"at most {MAX_OUTPUT_BYTES}")
    return ToolOutput(call_id, text)


PARSERS: dict[str, Callable[[dict[str, Any]], ClientMessage]] = {
    "input_audio_buffer.commit": lambda _: Commit(),
    "response.cancel": lambda _: Cancel(),
    "text": parse_text,
    "input_text": parse_text,
    "played": parse_played,
    "session.update": parse_session_update,
    "function_call_output": parse_tool_output,
    "stop": lambda _: Stop(),
}


def mapping(message: dict[str, Any], name: str) -> dict[str, Any]:
    """A field that is an object; an empty one when it is missing."""
    value = message.get(name, {})
    if not isinstance(value, dict):
        raise ClientError("bad_field", f"{name} is a {type(value).__name__}", f"{name} is an object")
    return value


def name_of(message: Mapping[str, Any], name: str) -> str | None:
    """A field that is a short text; None when it is missing."""
    value = message.get(name)
    if value is not None and (not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not value.isprintable()):
        raise ClientError("bad_field", f"{name} {value!r:.40}", f"{name} is a text of 1 to {MAX_NAME} characters")
    return value


def count_of(message: dict[str, Any], name: str) -> int:
    """A field that is a number from 0, cut to a whole one; 0 when it is missing."""
    value = message.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise ClientError("bad_field", f"{name} {value!r:.40}", f"{name} is a number from 0")
    return int(value)


def compose(seq: int, name: str, data: dict[str, Any]) -> str:
    """A message to the client."""
    return json.dumps({"type": name, "seq": seq, **data}, ensure_ascii=False, separators=(",", ":"))


def compose_error(seq: int, error: ClientError) -> str:
    """What a client is told of a ClientError."""
    return compose(
        seq, "error", {"code": error.code, "message": error.message, "hint": error.hint, "fatal": error.fatal}
    )
