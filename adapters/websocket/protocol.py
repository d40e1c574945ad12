"""The messages of `/ws`, as docs/websocket.md has them: text to typed messages and back. Pure.

A wrong message raises ClientError with a code, what is wrong, and what would be right.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal, NoReturn

from trunkline.bus import codec
from trunkline.bus.messages import ClientEvent
from trunkline.errors import ClientError

RATES_HZ = (8000, 16000, 24000, 48000)
DEFAULT_RATE_HZ = 16000
MAX_MESSAGE_BYTES = 128 * 1024
"""Larger ones never get here: the server closes with 1009."""
MAX_TEXT = 4000
MAX_NAME = 128
MAX_OUTPUT_BYTES = 32 * 1024
"""Of a tool's answer; the model reads all of it."""
MAX_DEPTH = 16
MAX_SESSION_BYTES = 64 * 1024
"""Of a session.update: the longest instructions in most scripts, and what else there is."""

Encoding = Literal["binary", "base64"]
Output = Literal["pcm", "wav", "mp3"]


class CloseCode(IntEnum):
    """Why a socket was closed; see docs/websocket.md."""

    DONE = 1000
    RESTARTING = 1012
    BAD_INPUT = 4400
    BAD_TOKEN = 4401
    SILENT = 4408
    RESUMED_ELSEWHERE = 4409
    OUR_FAULT = 4500


@dataclass(frozen=True, slots=True)
class Start:
    tenant: str | None = None
    conversation_id: str | None = None
    rate_hz: int = DEFAULT_RATE_HZ
    encoding: Encoding = "binary"
    output: Output = "pcm"
    resume: str | None = None
    received_turn: int = 0
    received_ms: int = 0
    received_seq: int = 0


@dataclass(frozen=True, slots=True)
class Audio:
    pcm: bytes


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


ClientMessage = Start | Audio | Commit | Cancel | Text | Played | SessionUpdate | ToolOutput | Stop


def parse_binary(data: bytes) -> Audio:
    """A binary message. Raises ClientError for half a sample."""
    if len(data) % 2:
        raise ClientError(
            "odd_audio", f"{len(data)} bytes of audio: half a sample", "send 16-bit samples: an even number of bytes"
        )
    return Audio(data)


def parse_text(text: str) -> ClientMessage:
    """A text message. Raises ClientError."""
    message = _object(text)
    kind = message.get("type")
    parser = _PARSERS.get(kind) if isinstance(kind, str) else None
    if parser is None:
        raise ClientError("unknown_type", f"no message type {kind!r:.60}", "one of " + ", ".join(_PARSERS))
    return parser(message)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _object(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ClientError("bad_json", "JSON nested too deeply", "a flat object with a type") from error
    except ValueError as error:
        raise ClientError("bad_json", f"not JSON: {error}", 'an object such as {"type":"start"}') from error
    if not isinstance(message, dict):
        raise ClientError("bad_json", f"JSON, but a {type(message).__name__}", 'an object such as {"type":"start"}')
    return message


def _start(message: dict[str, Any]) -> Start:
    audio = _mapping(message, "audio")
    received = _mapping(message, "received")
    rate_hz = audio.get("rate_hz", DEFAULT_RATE_HZ)
    if rate_hz not in RATES_HZ or isinstance(rate_hz, bool):
        raise ClientError("bad_rate", f"audio.rate_hz {rate_hz!r:.40}", f"one of {RATES_HZ}", fatal=True)
    return Start(
        tenant=_name(message, "tenant"),
        conversation_id=_name(message, "conversation_id"),
        rate_hz=int(rate_hz),
        encoding=_choice(audio, "encoding", ("binary", "base64")),
        output=_choice(message, "output", ("pcm", "wav", "mp3")),
        resume=_name(message, "resume"),
        received_turn=_count(received, "turn"),
        received_ms=_count(received, "ms"),
        received_seq=_count(received, "seq"),
    )


def _audio(message: dict[str, Any]) -> Audio:
    data = message.get("data")
    if not isinstance(data, str):
        raise ClientError("bad_audio", "audio without data", '{"type":"audio","data":base64 of s16le PCM}')
    try:
        return parse_binary(base64.b64decode(data, validate=True))
    except ValueError as error:
        raise ClientError("bad_audio", f"data is not base64: {error}", "standard base64 of s16le PCM") from error


def _text(message: dict[str, Any]) -> Text:
    text = message.get("text")
    if not isinstance(text, str) or not text.strip():
        raise ClientError("bad_text", "text without a text", '{"type":"text","text":"hello"}')
    if len(text) > MAX_TEXT:
        raise ClientError("bad_text", f"a text of {len(text)} characters", f"at most {MAX_TEXT}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ClientError("bad_text", "half of a surrogate pair", "whole characters: this has no UTF-8")
    return Text(text.strip())


def _played(message: dict[str, Any]) -> Played:
    return Played(_count(message, "turn"), _count(message, "ms"))


def _session_update(message: dict[str, Any]) -> SessionUpdate:
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


def _tool_output(message: dict[str, Any]) -> ToolOutput:
    call_id = _name(message, "call_id")
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


_PARSERS: dict[str, Callable[[dict[str, Any]], ClientMessage]] = {
    "start": _start,
    "audio": _audio,
    "input_audio_buffer.commit": lambda _: Commit(),
    "response.cancel": lambda _: Cancel(),
    "text": _text,
    "input_text": _text,
    "played": _played,
    "session.update": _session_update,
    "function_call_output": _tool_output,
    "stop": lambda _: Stop(),
}


def _mapping(message: dict[str, Any], name: str) -> dict[str, Any]:
    value = message.get(name, {})
    if not isinstance(value, dict):
        raise ClientError("bad_field", f"{name} is a {type(value).__name__}", f"{name} is an object")
    return value


def _name(message: dict[str, Any], name: str) -> str | None:
    value = message.get(name)
    if value is not None and (not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not value.isprintable()):
        raise ClientError("bad_field", f"{name} {value!r:.40}", f"{name} is a text of 1 to {MAX_NAME} characters")
    return value


def _count(message: dict[str, Any], name: str) -> int:
    value = message.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise ClientError("bad_field", f"{name} {value!r:.40}", f"{name} is a number from 0")
    return int(value)


def _choice(message: dict[str, Any], name: str, allowed: tuple[str, ...]) -> Any:
    value = message.get(name, allowed[0])
    if value not in allowed:
        raise ClientError("bad_field", f"{name} {value!r:.40}", f"{name} is one of {', '.join(allowed)}", fatal=True)
    return value


def compose(seq: int, name: str, data: dict[str, Any]) -> str:
    """A message to the client."""
    return json.dumps({"type": name, "seq": seq, **data}, ensure_ascii=False, separators=(",", ":"))


def compose_error(seq: int, error: ClientError) -> str:
    """What a client is told of a ClientError."""
    return compose(
        seq, "error", {"code": error.code, "message": error.message, "hint": error.hint, "fatal": error.fatal}
    )
