"""What a session puts on its socket: events with ids in order, and what a fault does to the socket itself."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from typing import Any

from .refusal import Refused
from .sdk import check_event

SENT_KEPT = 10_000
"""The types of the last events are kept, to look at."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close with a code, or (none) cut the connection without a word."""

    code: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ShutChannel:
    """Close the data channel."""


@dataclass(frozen=True, slots=True)
class Deafen:
    """Read nothing any more: also pings go unanswered."""


Output = str | bytes | HangUp | Deafen | ShutChannel


class Wire:
    """The outbox of one session. `take` empties it; it is bounded by what one client event or one wait brings about."""

    def __init__(self, *, verify: bool) -> None:
        self.sent: deque[str] = deque(maxlen=SENT_KEPT)
        self.mute = False
        self._verify = verify
        self._number = 0
        self._out: list[Output] = []
        self._over = False

    def emit(self, kind: str, **fields: Any) -> None:
        """Send one server event."""
        if self.mute:
            return
        self._number += 1
        event = {"type": kind, "event_id": f"event_{self._number}", **fields}
        if self._verify:
            check_event(event)
        self.sent.append(kind)
        self.put(json.dumps(event))

    def refuse(self, refused: Refused, event_id: object) -> None:
        """Send the `error` event that answers a client event."""
        self.error("invalid_request_error", refused.code, refused.message, refused.param, event_id)

    def error(self, kind: str, code: str, message: str, param: str | None = None, event_id: object = None) -> None:
        self.emit("error", error={"type": kind, "code": code, "message": message, "param": param, "event_id": event_id})

    def put(self, output: Output) -> None:
        """Send something that is not an event of the protocol; nothing goes out after the end."""
        if not self._over:
            self._out.append(output)
            self._over = isinstance(output, HangUp)

    @property
    def waiting(self) -> bool:
        return bool(self._out)

    def take(self) -> list[Output]:
        out, self._out = self._out, []
        return out
