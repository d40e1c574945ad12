"""Twilio Media Streams: text frames to typed messages and back, and where each piece of audio belongs. Pure.

As in https://www.twilio.com/docs/voice/media-streams/websocket-messages. Counters come as strings of digits. A wrong
message raises ClientError with a code, what is wrong, and what would be right.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

from pydantic_core import from_json

from trunkline.errors import ClientError

RATE_HZ = 8000
SAMPLES_PER_MS = RATE_HZ // 1000
"""Mu-law: also bytes per ms."""
MAX_MEDIA_MS = 1000
"""The longest piece of audio in one message; Twilio sends 20 ms."""
PIECE_MS = 100
"""The longest we send in one message: each is followed by a mark, and marks say what was heard."""
FRAME_MS = 20
JITTER_MS = FRAME_MS // 2
"""A timestamp this much too late is no hole yet."""
MAX_HOLE_MS = 10_000
"""A longer hole in the caller's audio is not filled with silence."""
MAX_NAME = 128
MAX_DIGITS = 15

_SID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class CloseCode(IntEnum):
    """Why we closed a stream. Twilio takes all alike; they are for the logs of both sides."""

    DONE = 1000
    RESTARTING = 1012
    BAD_INPUT = 4400
    REFUSED = 4401
    SILENT = 4408
    REPLACED = 4409
    OUR_FAULT = 4500


@dataclass(frozen=True, slots=True)
class Connected:
    """The first message of a socket; says nothing."""


@dataclass(frozen=True, slots=True)
class Start:
    """Whose audio this is. `parameters` are those of the TwiML."""

    stream_sid: str
    call_sid: str
    account_sid: str
    parameters: Mapping[str, str] = field(default_factory=dict)


class Media(NamedTuple):
    """The caller's audio: mu-law at 8 kHz, from `timestamp_ms` of the stream. (No dataclass: it comes 50 times a
    second.)"""

    chunk: int
    timestamp_ms: int
    ulaw: bytes


@dataclass(frozen=True, slots=True)
class Dtmf:
    digit: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark of ours came back: what was sent before it was heard, or cleared."""

    name: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The call, or its stream, is over."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that is not for us, or not yet."""

    what: str


Message = Connected | Start | Media | Dtmf | Mark | Stop | Unknown


def is_sid(text: str) -> bool:
    """Whether this may be the name of a call, a stream or an account: safe in a log, a key and a URL."""
    return _SID.fullmatch(text) is not None


def parse(text: str, stream_sid: str = "") -> Message:
    """One text frame; with `stream_sid`, of that stream only. Raises ClientError."""
    message = _object(text)
    event = message.get("event")
    parser = _PARSERS.get(event) if isinstance(event, str) else None
    if parser is None:
        return Unknown(f"event {event!r:.60}")
    if stream_sid and event != "connected" and message.get("streamSid") != stream_sid:
        raise ClientError("wrong_stream", f"of stream {message.get('streamSid')!r:.70}", f"this is {stream_sid}")
    if "sequenceNumber" in message:
        _count(message, "sequenceNumber")
    return parser(message)


def _object(text: str) -> dict[str, Any]:
    try:
        message = from_json(text, allow_inf_nan=False)  # a third of what `json` takes for a piece of audio
    except ValueError as error:
        raise ClientError("bad_json", f"not JSON: {error}", "an object with an event") from error
    if not isinstance(message, dict):
        raise ClientError("bad_json", f"JSON, but a {type(message).__name__}", "an object with an event")
    return message


def _start(message: dict[str, Any]) -> Start:
    start = _mapping(message, "start")
    media_format = _mapping(start, "mediaFormat")
    found = tuple(media_format.get(name) for name in ("encoding", "sampleRate", "channels"))
    if found != ("audio/x-mulaw", RATE_HZ, 1):
        raise ClientError("bad_format", f"mediaFormat {found!r:.80}", "mono mu-law at 8000 Hz", fatal=True)
    stream_sid = _sid(start, "streamSid")
    if message.get("streamSid") != stream_sid:
        raise ClientError("bad_field", "start names two streams", "the same streamSid inside and out", fatal=True)
    parameters = start.get("customParameters", {})
    if not isinstance(parameters, dict) or not all(isinstance(value, str) for value in parameters.values()):
        raise ClientError("bad_field", "customParameters is no object of texts", "those of the TwiML", fatal=True)
    return Start(stream_sid, _sid(start, "callSid"), _sid(start, "accountSid"), parameters)


def _media(message: dict[str, Any]) -> Media | Unknown:
    media = _mapping(message, "media")
    track = media.get("track", "inbound")
    if track != "inbound":
        return Unknown(f"media of track {track!r:.60}")
    payload = media.get("payload")
    if not isinstance(payload, str):
        raise ClientError("bad_media", "media without a payload", "base64 of mu-law")
    try:
        ulaw = binascii.a2b_base64(payload, strict_mode=True)
    except ValueError as error:
        raise ClientError("bad_media", f"the payload is not base64: {error}", "standard base64 of mu-law") from error
    if len(ulaw) > MAX_MEDIA_MS * SAMPLES_PER_MS:
        raise ClientError("bad_media", f"{len(ulaw)} bytes of audio at once", f"at most {MAX_MEDIA_MS} ms")
    return Media(_count(media, "chunk"), _count(media, "timestamp"), ulaw)


def _dtmf(message: dict[str, Any]) -> Dtmf:
    digit = _mapping(message, "dtmf").get("digit")
    if not isinstance(digit, str) or len(digit) != 1 or digit not in "0123456789*#ABCD":
        raise ClientError("bad_field", f"digit {digit!r:.40}", "one of 0-9, *, #, A-D")
    return Dtmf(digit)


def _mark(message: dict[str, Any]) -> Mark:
    name = _mapping(message, "mark").get("name")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise ClientError("bad_field", f"mark {name!r:.40}", f"a name of 1 to {MAX_NAME} characters")
    return Mark(name)


_PARSERS: dict[str, Callable[[dict[str, Any]], Message]] = {
    "media": _media,
    "mark": _mark,
    "dtmf": _dtmf,
    "start": _start,
    "connected": lambda _: Connected(),
    "stop": lambda _: Stop(),
}


def _mapping(message: dict[str, Any], name: str) -> dict[str, Any]:
    value = message.get(name)
    if not isinstance(value, dict):
        raise ClientError("bad_field", f"{name} is a {type(value).__name__}", f"{name} is an object")
    return value


def _sid(message: dict[str, Any], name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str) or not is_sid(value):
        raise ClientError("bad_field", f"{name} {value!r:.70}", "letters and digits", fatal=True)
    return value


def _count(message: dict[str, Any], name: str) -> int:
    value = message.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS:
        return int(value)
    raise ClientError("bad_counter", f"{name} {value!r:.40}", f"{name} is a text of digits")


def compose_media(stream_sid: str, ulaw: bytes) -> str:
    """Audio for the caller; at most 10 minutes may wait at Twilio."""
    payload = base64.b64encode(ulaw).decode()
    return f'{{"event":"media","streamSid":"{stream_sid}","media":{{"payload":"{payload}"}}}}'


def compose_mark(stream_sid: str, name: str) -> str:
    """Comes back when what was sent before it was played. `name` has no quotes."""
    return f'{{"event":"mark","streamSid":"{stream_sid}","mark":{{"name":"{name}"}}}}'


def compose_clear(stream_sid: str) -> str:
    """Throws away what waits at Twilio; every mark in it comes back at once."""
    return f'{{"event":"clear","streamSid":"{stream_sid}"}}'


class Heard(NamedTuple):
    """What a mark of ours says: everything up to `ms` of `turn` was heard, unless a clear came after it was sent.

    `generation` counts the clears of a stream.
    """

    generation: int
    turn: int
    ms: int

    @property
    def name(self) -> str:
        return f"{self.generation}:{self.turn}:{self.ms}"


def parse_mark(name: str) -> Heard | None:
    """What a mark says; None for one that is not ours."""
    parts = name.split(":")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) <= MAX_DIGITS for part in parts):
        return None
    return Heard(*map(int, parts))


class Timeline:
    """Where each piece of the caller's audio belongs, so that what is missing becomes silence and not a shift in time.

    Timestamps jitter by some ms: the time that counts is that of the samples, corrected by whole frames.
    """

    def __init__(self) -> None:
        self.dropped = 0
        """Pieces that came twice, or after their successor."""
        self.filled_ms = 0
        self.skipped_ms = 0
        """Of holes too long to be filled."""
        self._chunk = 0
        self._next: int | None = None
        """In samples of the stream."""

    def place(self, media: Media) -> int | None:
        """How many ms of silence belong before this piece; None when it is not to be used."""
        if media.chunk <= self._chunk:
            self.dropped += 1
            return None
        self._chunk = media.chunk
        at = media.timestamp_ms * SAMPLES_PER_MS
        late_ms = 0 if self._next is None else (at - self._next) // SAMPLES_PER_MS
        hole_ms = max(0, (late_ms + JITTER_MS) // FRAME_MS * FRAME_MS)
        if self._next is None or hole_ms > MAX_HOLE_MS:
            self.skipped_ms += hole_ms
            self._next, hole_ms = at, 0
        self.filled_ms += hole_ms
        self._next += hole_ms * SAMPLES_PER_MS + len(media.ulaw)
        return hole_ms
