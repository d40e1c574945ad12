"""What can be wrong with a call: standing faults set on `Faults`, and single messages for `Call.inject`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

Signature = Literal["good", "bad", "missing"]

HUGE_BYTES = 10 * 1024 * 1024


@dataclass(slots=True)
class Faults:
    """Faults of one call; may be changed while it runs. `..._every=n` is each n-th media message, 0 for none."""

    webhook_signature: Signature = "good"
    upgrade_signature: Signature = "good"
    never_echo_marks: bool = False
    late_start_s: float = 0.0
    """Between `connected` and `start`; no media is sent before `start`."""
    two_starts: bool = False
    replayed_start: str | None = None
    """An earlier stream's `start` message (`StreamRecord.start`), sent instead of our own: a stolen token."""
    duplicate_every: int = 0
    """Sent twice, byte for byte."""
    swap_every: int = 0
    """Sent after its successor, with the numbers and timestamp it had."""
    hole_every: int = 0
    """Followed by `hole_ms` that are never sent; numbers go on, timestamps jump."""
    hole_ms: int = 100
    garble_every: int = 0
    """Its sequenceNumber, chunk and timestamp are words."""
    wrong_sid_every: int = 0
    """It names a stream that is not this one."""


def unknown_event(stream_sid: str) -> str:
    """An event that Twilio may invent tomorrow."""
    return json.dumps({"event": "weather", "streamSid": stream_sid, "weather": {"sky": "clear"}})


def huge_message(stream_sid: str, size: int = HUGE_BYTES) -> str:
    """A media message of `size` bytes of base64, valid but for its size."""
    media = {"track": "inbound", "chunk": "1", "timestamp": "1", "payload": "/" * (size - size % 4)}
    return json.dumps({"event": "media", "sequenceNumber": "1", "streamSid": stream_sid, "media": media})


def binary_frame() -> bytes:
    """Bare mu-law, as no version of Media Streams has it."""
    return bytes(range(160))
