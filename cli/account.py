"""What a call leaves behind: events, transcripts, audio, answers and reconnects, and why it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from trunkline.errors import TrunklineError

LOST = 1006
"""The close code of a socket that ended without a goodbye."""
FINAL = {
    1000: "the server ended the session",
    1009: "a message was too large",
    4400: "the server refused what was sent",
    4408: "the server heard nothing for too long",
    4409: "this session was resumed elsewhere",
    4500: "the server failed",
}
"""Close codes that are the end of a call."""


class CallError(TrunklineError):
    """A call that cannot begin, or ended before what was waited for. `close_code` is the socket's, or HTTP's."""

    code = "call"

    def __init__(self, message: str, close_code: int = LOST) -> None:
        super().__init__(message)
        self.close_code = close_code


class Event(NamedTuple):
    """A JSON message of the server's, or one of our own: `link_lost` (code), `link_back` (resumed, ms, attempts)."""

    at_s: float
    type: str
    data: dict[str, Any]


class Transcript(NamedTuple):
    at_s: float
    role: str
    turn: int
    text: str
    interrupted: bool


class Arrival(NamedTuple):
    """Audio as it came in. `pcm` is empty for a caller that keeps none."""

    at_s: float
    turn: int
    offset_ms: float
    ms: float
    pcm: bytes


class Reconnect(NamedTuple):
    """A lost link that came back. Not `resumed`: the server began a new session."""

    lost_s: float
    back_s: float
    attempts: int
    code: int
    resumed: bool

    @property
    def ms(self) -> float:
        return (self.back_s - self.lost_s) * 1000


class End(NamedTuple):
    code: int
    reason: str


@dataclass(slots=True)
class Answer:
    """One turn of the assistant's. `felt_ms`: from the end of the caller's speech (or typing) to the first sound."""

    turn: int
    arrived_s: float
    heard_s: float | None = None
    felt_ms: float | None = None
    total_ms: float | None = None
    """The server's account of the same, and the parts that sum to it."""
    parts: list[tuple[str, float]] = field(default_factory=list)
    done_s: float | None = None
    interrupted: bool = False
