"""The messages of `/ws`, as docs/websocket.md has them, that no other transport has: how a session begins, how audio
comes, why it is closed. Pure.

A wrong message raises ClientError with a code, what is wrong, and what would be right.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

from adapters import messages
from adapters.messages import PARSERS, count_of, mapping, name_of
from trunkline.errors import ClientError

RATES_HZ = (8000, 16000, 24000, 48000)
DEFAULT_RATE_HZ = 16000
MAX_MESSAGE_BYTES = 128 * 1024
"""Larger ones never get here: the server closes with 1009."""

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


ClientMessage = Start | Audio | messages.ClientMessage


def parse_binary(data: bytes) -> Audio:
    """A binary message. Raises ClientError for half a sample."""
    if len(data) % 2:
        raise ClientError(
            "odd_audio", f"{len(data)} bytes of audio: half a sample", "send 16-bit samples: an even number of bytes"
        )
    return Audio(data)


def parse_text(text: str) -> ClientMessage:
    """A text message. Raises ClientError."""
    return messages.parse(text, _PARSERS)


def _start(message: dict[str, Any]) -> Start:
    audio = mapping(message, "audio")
    received = mapping(message, "received")
    rate_hz = audio.get("rate_hz", DEFAULT_RATE_HZ)
    if rate_hz not in RATES_HZ or isinstance(rate_hz, bool):
        raise ClientError("bad_rate", f"audio.rate_hz {rate_hz!r:.40}", f"one of {RATES_HZ}", fatal=True)
    return Start(
        tenant=name_of(message, "tenant"),
        conversation_id=name_of(message, "conversation_id"),
        rate_hz=int(rate_hz),
        encoding=_choice(audio, "encoding", ("binary", "base64")),
        output=_choice(message, "output", ("pcm", "wav", "mp3")),
        resume=name_of(message, "resume"),
        received_turn=count_of(received, "turn"),
        received_ms=count_of(received, "ms"),
        received_seq=count_of(received, "seq"),
    )


def _audio(message: dict[str, Any]) -> Audio:
    data = message.get("data")
    if not isinstance(data, str):
        raise ClientError("bad_audio", "audio without data", '{"type":"audio","data":base64 of s16le PCM}')
    try:
        return parse_binary(base64.b64decode(data, validate=True))
    except ValueError as error:
        raise ClientError("bad_audio", f"data is not base64: {error}", "standard base64 of s16le PCM") from error


_PARSERS: dict[str, Callable[[dict[str, Any]], ClientMessage]] = {"start": _start, "audio": _audio, **PARSERS}


def _choice(message: dict[str, Any], name: str, allowed: tuple[str, ...]) -> Any:
    value = message.get(name, allowed[0])
    if value not in allowed:
        raise ClientError("bad_field", f"{name} {value!r:.40}", f"{name} is one of {', '.join(allowed)}", fatal=True)
    return value
