"""Calls of the Twilio stand-in, and what is heard in them."""

from __future__ import annotations

from typing import Any

from tests.standins.twilio import Call
from tests.standins.twilio.gateway import PUBLIC, Gateway
from tests.standins.twilio.playout import FRAME_BYTES

LOUD = bytes([0x80]) * FRAME_BYTES
"""20 ms of the loudest mu-law."""


def dial(gateway: Gateway, **options: Any) -> Call:
    return Call(f"{gateway.origin}/twiml", public_origin=PUBLIC, **options)


def played(call: Call) -> bytes:
    """All mu-law of the gateway's that was heard, without the silence in between: a busy machine makes gaps."""
    return b"".join(frame.ulaw[: frame.queued] for frame in call.heard.frames())


def numbers(first: int, last: int) -> list[str]:
    return [str(number) for number in range(first, last + 1)]
