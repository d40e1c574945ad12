"""The official SDK's types as the judge of what goes over the wire: every field known, every value allowed.

The SDK itself validates nothing that it receives and lets unknown fields through; here both are faults.
"""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from cartesia.types.generation_request import GenerationRequest
from cartesia.types.stt.stt_manual_finalize_websocket_response import STTManualFinalizeWebsocketResponse
from cartesia.types.websocket_client_event import CancelContextRequest
from cartesia.types.websocket_response import WebsocketResponse
from tests.standins.realtime.sdk import unknown_fields

Events = dict[str, type[BaseModel]]


def _by_type(union: Any) -> Events:
    events = get_args(get_args(union)[0])
    return {name: event for event in events for name in get_args(event.model_fields["type"].annotation)}


SPOKEN = _by_type(WebsocketResponse)
"""The server events of the text-to-speech socket, by their `type`."""

HEARD = _by_type(STTManualFinalizeWebsocketResponse)
"""Those of the speech-to-text socket where the client says when an utterance ends."""


def check_spoken(event: dict[str, Any]) -> None:
    """ValueError if the SDK does not know this server event, one of its fields, or one of its values."""
    _check(SPOKEN, event)


def check_heard(event: dict[str, Any]) -> None:
    """ValueError as `check_spoken` does."""
    _check(HEARD, event)


def _check(events: Events, event: dict[str, Any]) -> None:
    if extra := sorted(unknown_fields(events[event["type"]].model_validate(event))):
        raise ValueError(f"{event['type']} has fields the SDK does not know: {', '.join(extra)}")


def fault_in(message: dict[str, Any]) -> str:
    """What is wrong with a client's message; empty when nothing is.

    A voice is its id, or an object with it: the SDK's type of the other direction, which this version of the API does
    not use, asks for a `mode` that is refused now (PROTOCOLS 3.1).
    """
    if message.get("cancel"):
        return _fault(CancelContextRequest, message)
    voice = message.get("voice")
    identity = voice.get("id") if isinstance(voice, dict) else voice
    if not (isinstance(identity, str) and identity) or (isinstance(voice, dict) and set(voice) != {"id"}):
        return f"voice: must be an id or an object with an id, not {voice!r}"
    if message.get("max_buffer_delay_ms", 0) not in range(5001):
        return "max_buffer_delay_ms: must be 0 to 5000"
    return _fault(GenerationRequest, {**message, "voice": {"mode": "id", "id": identity}})


def _fault(model: type[BaseModel], message: dict[str, Any]) -> str:
    try:
        unknown = sorted(unknown_fields(model.model_validate(message)))
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"unknown: {', '.join(unknown)}" if unknown else ""
