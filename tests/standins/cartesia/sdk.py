"""The official SDK's types as the judge of what goes over the wire: every field known, every value allowed.

The SDK itself validates nothing that it receives and lets unknown fields through; here both are faults.
"""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from cartesia.types.generation_request import GenerationRequest
from cartesia.types.websocket_client_event import CancelContextRequest
from cartesia.types.websocket_response import WebsocketResponse
from tests.standins.realtime.sdk import unknown_fields

SERVER_EVENTS: dict[str, type[BaseModel]] = {
    name: event
    for event in get_args(get_args(WebsocketResponse)[0])
    for name in get_args(event.model_fields["type"].annotation)
}
"""The server events of the text-to-speech socket, by their `type`."""


def check_event(event: dict[str, Any]) -> None:
    """ValueError if the SDK does not know this server event, one of its fields, or one of its values."""
    if extra := sorted(unknown_fields(SERVER_EVENTS[event["type"]].model_validate(event))):
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
