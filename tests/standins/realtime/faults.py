"""What can go wrong, on demand: for the next connections (`Realtime.inject`) or a live one (`Session.inject`).

A fault of a coming connection begins before its session.created.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args


@dataclass(frozen=True, slots=True)
class Refuse:
    """The upgrade (or the call's POST) is answered with 401, 403, 429 (with Retry-After), 500 or 503."""

    status: int = 503
    retry_after_s: int = 20


@dataclass(frozen=True, slots=True)
class NeverAnswer:
    """TCP is accepted, the handshake (the call's POST) is not answered."""


@dataclass(frozen=True, slots=True)
class NoCandidates:
    """A call over WebRTC is answered without a candidate; one over WebSocket as ever."""


@dataclass(frozen=True, slots=True)
class SlowHandshake:
    ms: float = 500.0


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection is cut without a word: now, or when a response has sent so much audio.

    Over WebRTC: nothing is answered any more, and no goodbye goes out.
    """

    after_audio_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Close:
    """A close frame (over WebRTC: close_notify): now, or when a response has sent so much audio."""

    code: int = 1011
    reason: str = ""
    after_audio_ms: float | None = None


@dataclass(frozen=True, slots=True)
class CloseChannel:
    """Over WebRTC: the data channel is closed, and the audio goes on."""


@dataclass(frozen=True, slots=True)
class Expire:
    """The session's 60 minutes are over after `ms`: the error session_expired, then close 1001."""

    ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Mute:
    """Answers no event any more, and is silent; pings (over WebRTC: anything at all) only if `pongs`."""

    pongs: bool = True


@dataclass(frozen=True, slots=True)
class Stall:
    """The response that has sent so much audio goes no further; cancelling it still works."""

    after_audio_ms: float = 200.0


@dataclass(frozen=True, slots=True)
class Garbage:
    """A message that no client expects."""

    garbage: Literal["malformed", "deep", "not_an_object", "binary", "unknown_type", "unknown_fields"] = "malformed"


@dataclass(frozen=True, slots=True)
class FailResponse:
    """The next response ends as failed: rate_limit_exceeded, insufficient_quota, server_error ..."""

    code: str = "rate_limit_exceeded"
    message: str = "Rate limit reached."


@dataclass(frozen=True, slots=True)
class FailTranscription:
    """The next transcription of user audio fails."""


@dataclass(frozen=True, slots=True)
class SlowFirstAudio:
    """From now on the model thinks for so long."""

    ms: float = 3000.0


HandshakeFault = Refuse | NeverAnswer | NoCandidates | SlowHandshake
SessionFault = (
    Drop | Close | CloseChannel | Expire | Mute | Stall | Garbage | FailResponse | FailTranscription | SlowFirstAudio
)
Fault = HandshakeFault | SessionFault

GARBAGE: dict[str, str | bytes] = {
    "malformed": '{"type": "response.output_aud',
    "deep": '{"type": "response.created", "response": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "not_an_object": "[1, 2, 3]",
    "binary": b"\x80\x81\x82\x83",
    "unknown_type": '{"type": "response.daydream.delta", "event_id": "event_0", "delta": "hm"}',
    "unknown_fields": (
        '{"type": "rate_limits.updated", "event_id": "event_0", "colour": "blue", '
        '"rate_limits": [{"name": "requests", "limit": 1, "remaining": 1, "reset_seconds": 0.1, "mood": {"good": 1}}]}'
    ),
}

_KINDS: dict[str, type[Fault]] = {kind.__name__.lower(): kind for kind in get_args(HandshakeFault | SessionFault)}


def parse(parameters: Mapping[str, str]) -> Fault:
    """A fault from a query, `kind=drop&after_audio_ms=300`, the kind in any case; ValueError says what is wrong."""
    kind = _KINDS.get(parameters.get("kind", "").lower())
    if kind is None:
        raise ValueError(f"kind must be one of {', '.join(sorted(_KINDS))}")
    types = {each.name: str(each.type) for each in fields(kind)}
    given: dict[str, Any] = {}
    for name, text in parameters.items():
        if name == "kind":
            continue
        if name not in types:
            raise ValueError(f"{kind.__name__} takes {', '.join(types) or 'nothing'}, not {name}")
        given[name] = _value(text, types[name])
    return kind(**given)


def _value(text: str, wanted: str) -> Any:
    if wanted.startswith("bool"):
        return text.lower() in ("1", "true", "yes")
    if wanted.startswith("int"):
        return int(text)
    return float(text) if wanted.startswith("float") else text
