"""The official SDK's types as the judge of what goes over the wire: every field known, every value allowed.

The SDK itself validates nothing that it receives and lets unknown fields through; here both are faults.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, get_args

from openai.types.realtime.realtime_server_event import RealtimeServerEvent
from pydantic import BaseModel, ValidationError

from .refusal import Refused, invalid

_UNION = get_args(get_args(RealtimeServerEvent)[0])
SERVER_EVENTS: dict[str, type[BaseModel]] = {
    name: event for event in _UNION for name in get_args(event.model_fields["type"].annotation)
}
"""The 46 server events of the SDK, by their `type`."""

BEYOND_THE_TYPES = frozenset({"session.id", "session.object", "session.expires_at"})
"""Fields that the vendor sends and the SDK's types lack (PROTOCOLS 1.12)."""


def check_event(event: dict[str, Any]) -> None:
    """ValueError if the SDK does not know this server event, one of its fields, or one of its values."""
    model = SERVER_EVENTS.get(event["type"])
    if model is None:
        raise ValueError(f"no server event is called {event['type']}")
    if extra := sorted(set(unknown_fields(model.model_validate(event))) - BEYOND_THE_TYPES):
        raise ValueError(f"{event['type']} has fields the SDK does not know: {', '.join(extra)}")


def check_sent(model: type[BaseModel], fields: dict[str, Any], path: str) -> None:
    """Refused if the client's `fields` are not a `model`: an unknown field, a wrong or a missing value."""
    try:
        parsed = model.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise invalid(".".join((path, *_place(first["loc"]))), first["msg"]) from None
    for name in unknown_fields(parsed, path):
        raise Refused("unknown_parameter", f"Unknown parameter: '{name}'.", name)


def unknown_fields(value: object, path: str = "") -> Iterator[str]:
    """The paths of all fields in a parsed model that its types do not name."""
    if isinstance(value, BaseModel):
        for name in value.model_extra or {}:
            yield _joined(path, name)
        for name in type(value).model_fields:
            yield from unknown_fields(getattr(value, name), _joined(path, name))
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from unknown_fields(each, f"{path}[{place}]")


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _place(location: Iterable[int | str]) -> Iterator[str]:
    """Where a value was wrong, without pydantic's names of the members of unions."""
    for part in location:
        if isinstance(part, int) or (part.isidentifier() and part.islower()):
            yield str(part)
