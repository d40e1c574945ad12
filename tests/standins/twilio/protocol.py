"""Twilio Media Streams as Twilio's side speaks it (PROTOCOLS 6.4): messages made and read, without I/O or clock."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.standins.twilio.faults import Faults
from trunkline.audio.frame import FRAME_MS

INVALID_MESSAGE = 31951
PROTOCOL_ERROR = 31924
AUDIO_DISCARDED = 31931
UPLINK_OVERFLOW = 31930
HANDSHAKE_REFUSED = 31920
CONNECT_TIMEOUT = 31901
BROKEN_PIPE = 31903

_KEYS = {
    "media": {"event", "streamSid", "media"},
    "mark": {"event", "streamSid", "mark"},
    "clear": {"event", "streamSid"},
}

_encode = json.JSONEncoder(separators=(",", ":")).encode


class StreamError(Exception):
    """The gateway broke the protocol: `code` is the one of Twilio's debugger."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Media:
    ulaw: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    name: str


@dataclass(frozen=True, slots=True)
class Clear:
    pass


def read(message: str | bytes, stream_sid: str) -> Media | Mark | Clear:
    """A message of the gateway's; StreamError for what Twilio would refuse, and for keys that it does not know."""
    if isinstance(message, bytes):
        raise StreamError(PROTOCOL_ERROR, f"a binary frame of {len(message)} bytes")
    try:
        fields = json.loads(message)
    except ValueError as error:
        raise StreamError(INVALID_MESSAGE, f"not JSON: {error}") from error
    event = fields.get("event") if isinstance(fields, dict) else None
    if event not in _KEYS:
        raise StreamError(INVALID_MESSAGE, f"unknown event {event!r}")
    if set(fields) != _KEYS[event]:
        raise StreamError(INVALID_MESSAGE, f"{event} has the keys {sorted(fields)}, not {sorted(_KEYS[event])}")
    if fields["streamSid"] != stream_sid:
        raise StreamError(INVALID_MESSAGE, f"{event} names stream {fields['streamSid']!r}, this is {stream_sid!r}")
    if event == "media":
        return Media(_ulaw(_only(fields["media"], "payload")))
    if event == "mark":
        return Mark(_only(fields["mark"], "name"))
    return Clear()


def _only(body: Any, key: str) -> str:
    """The one field that a body has."""
    if not isinstance(body, dict) or set(body) != {key} or not isinstance(body[key], str) or not body[key]:
        raise StreamError(INVALID_MESSAGE, f"expected only a non-empty {key!r}, got {str(body)[:100]}")
    return str(body[key])


def _ulaw(payload: str) -> bytes:
    try:
        ulaw = base64.b64decode(payload, validate=True)
    except binascii.Error as error:
        raise StreamError(INVALID_MESSAGE, f"the payload is not base64: {error}") from error
    if ulaw.startswith(b"RIFF"):
        raise StreamError(INVALID_MESSAGE, "the payload is a WAV file, not bare mu-law")
    return ulaw


class Uplink:
    """Makes the messages of one stream in order; counters begin at 1 and go as strings.

    What `faults` says of media is done here: a call of `media` gives none, one or two messages.
    """

    def __init__(self, account_sid: str, call_sid: str, stream_sid: str, faults: Faults) -> None:
        self.stream_sid = stream_sid
        self._account_sid = account_sid
        self._call_sid = call_sid
        self._faults = faults
        self._sequence = 0
        self._chunk = 0
        self._hole_left_ms = 0
        self._held: str | None = None

    def connected(self) -> str:
        return json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"})

    def start(self, parameters: Mapping[str, str]) -> str:
        start = {
            "accountSid": self._account_sid,
            "streamSid": self.stream_sid,
            "callSid": self._call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": dict(parameters),
        }
        return self._numbered("start", start)

    def media(self, ulaw: bytes, timestamp_ms: int) -> list[str]:
        """One frame of the caller's; `timestamp_ms` counts from the stream's start."""
        if self._hole_left_ms > 0:
            self._hole_left_ms -= FRAME_MS
            return []
        self._chunk += 1
        number, faults = self._chunk, self._faults
        counters = {"chunk": str(number), "timestamp": str(timestamp_ms)}
        garbled = _due(number, faults.garble_every)
        if garbled:
            counters = {"chunk": "first", "timestamp": "soon"}
        media = {"track": "inbound", **counters, "payload": base64.b64encode(ulaw).decode()}
        sid = "MZ" + "0" * 32 if _due(number, faults.wrong_sid_every) else self.stream_sid
        message = self._numbered("media", media, sid=sid, garbled=garbled)
        if _due(number, faults.hole_every):
            self._hole_left_ms = faults.hole_ms
        return self._shuffled(message, number)

    def _shuffled(self, message: str, number: int) -> list[str]:
        messages = [message, message] if _due(number, self._faults.duplicate_every) else [message]
        if self._held is not None:
            messages.append(self._held)
            self._held = None
        elif _due(number, self._faults.swap_every):
            self._held = messages.pop()
        return messages

    def dtmf(self, digit: str) -> str:
        return self._numbered("dtmf", {"track": "inbound_track", "digit": digit})

    def mark(self, name: str) -> str:
        return self._numbered("mark", {"name": name})

    def stop(self) -> str:
        return self._numbered("stop", {"accountSid": self._account_sid, "callSid": self._call_sid})

    def _numbered(self, event: str, body: dict[str, Any], *, sid: str | None = None, garbled: bool = False) -> str:
        self._sequence += 1
        sequence = "next" if garbled else str(self._sequence)
        return _encode({"event": event, "sequenceNumber": sequence, "streamSid": sid or self.stream_sid, event: body})


def _due(number: int, every: int) -> bool:
    return every > 0 and number % every == 0
