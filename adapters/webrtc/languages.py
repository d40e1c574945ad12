"""The languages of the data channels: what a client says becomes messages, and what it is told, text. Pure.

The label of a channel chooses: `trunkline` is as on `/ws` (docs/websocket.md), `oai-events` as with a Realtime model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from adapters.messages import (
    Cancel,
    ClientMessage,
    Commit,
    SessionUpdate,
    Text,
    ToolOutput,
    compose,
    compose_error,
    json_object,
)
from adapters.webrtc.narrator import Event, Narrator
from adapters.webrtc.protocol import (
    EVENTS,
    PLAIN,
    ClearInput,
    Create,
    PlayedAt,
    Respond,
    event_id_of,
    parse_event,
    parse_plain,
)
from trunkline.errors import ClientError


class Language(Protocol):
    """Of one channel of one client."""

    def begin(self, rate_hz: int) -> list[str]:
        """What the client is told when its channel opens."""

    def take(self, text: str) -> tuple[list[ClientMessage | PlayedAt], list[str]]:
        """What the client says, and what it is answered at once. Raises ClientError."""

    def tell(self, seq: int, name: str, data: dict[str, Any]) -> list[str]:
        """An event of the bus."""

    def playing(self, turn: int) -> list[str]:
        """Audio of this turn goes out."""

    def wrong(self, seq: int, error: ClientError) -> list[str]:
        """What the client said last is wrong."""


def language_of(label: str, session: str) -> Language | None:
    """The language of a new channel; None for a label that is none of ours."""
    maker = _LANGUAGES.get(label)
    return maker(session) if maker is not None else None


class Plain:
    """As on `/ws`, without its audio."""

    def __init__(self, session: str) -> None:
        self._session = session

    def begin(self, rate_hz: int) -> list[str]:
        return [compose(0, "session_ready", {"session_id": self._session, "rate_hz": rate_hz})]

    def take(self, text: str) -> tuple[list[ClientMessage | PlayedAt], list[str]]:
        return [parse_plain(text)], []

    def tell(self, seq: int, name: str, data: dict[str, Any]) -> list[str]:
        return [compose(seq, name, data)]

    def playing(self, turn: int) -> list[str]:
        return []

    def wrong(self, seq: int, error: ClientError) -> list[str]:
        return [compose_error(seq, error)]


class Events:
    """As with a Realtime model."""

    def __init__(self, session: str) -> None:
        self._narrator = Narrator(session)
        self._event_id: str | None = None
        """The client's name for what it said last."""
        self._asked = False
        """Whether an answer is asked for: a `response.create` after that is about the same one."""

    def begin(self, rate_hz: int) -> list[str]:
        return _texts(self._narrator.began())

    def take(self, text: str) -> tuple[list[ClientMessage | PlayedAt], list[str]]:
        self._event_id = None
        message = json_object(text)
        self._event_id = event_id_of(message)
        request = parse_event(message)
        match request:
            case Create():
                return self._say(request.message, request.item_id)
            case Text() | ToolOutput():
                return self._say(request, None)
            case Respond():
                asked, self._asked = self._asked, False
                return ([] if asked else [Commit()]), []
            case ClearInput():
                return [], _texts(self._clear_input())
            case SessionUpdate():
                return [request], _texts(self._narrator.updated())
            case Cancel():
                self._narrator.cancelled()
            case Commit():
                self._asked = True
        return [request], []

    def _say(self, message: Text | ToolOutput, item_id: str | None) -> tuple[list[ClientMessage | PlayedAt], list[str]]:
        self._asked = True
        if isinstance(message, Text):
            self._narrator.typed(message.text, item_id)
        else:
            self._narrator.answered(message.call_id, message.output, item_id)
        return [message], []

    def _clear_input(self) -> list[Event]:
        if self._narrator.hears_speech:
            raise ClientError("unsupported", "what was said is heard already", "clear before anybody speaks")
        return self._narrator.cleared_input()

    def tell(self, seq: int, name: str, data: dict[str, Any]) -> list[str]:
        if name == "speech_started":
            self._asked = False
        return _texts(self._narrator.tell(seq, name, data))

    def playing(self, turn: int) -> list[str]:
        return _texts(self._narrator.playing(turn))

    def wrong(self, seq: int, error: ClientError) -> list[str]:
        return _texts(self._narrator.wrong(error.code, error.message, error.hint, self._event_id))


_LANGUAGES: dict[str, Callable[[str], Language]] = {PLAIN: Plain, EVENTS: Events}


def _texts(events: Iterable[Event]) -> list[str]:
    return [json.dumps(event, ensure_ascii=False, separators=(",", ":")) for event in events]
