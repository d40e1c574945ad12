"""What can go wrong, on demand: for the next connections, in the order of `Deepgram.inject`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refuse:
    """The upgrade is answered with this status; 429 with Retry-After."""

    status: int = 503
    retry_after_s: int = 20


@dataclass(frozen=True, slots=True)
class NeverAnswer:
    """TCP is accepted, the handshake is not answered."""


@dataclass(frozen=True, slots=True)
class Mute:
    """After so much audio nothing is said any more; pings are still answered."""

    after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Drop:
    """After so much audio the connection is cut without a word."""

    after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Close:
    """After so much audio it hangs up, with this code and reason."""

    after_ms: int = 0
    code: int = 1011
    reason: str = "NET-0000"


@dataclass(frozen=True, slots=True)
class Garbage:
    """After so much audio this is sent, instead of anything else."""

    after_ms: int = 0
    message: str | bytes = '{"type": "Resul'


SessionFault = Mute | Drop | Close | Garbage
Fault = Refuse | NeverAnswer | SessionFault
