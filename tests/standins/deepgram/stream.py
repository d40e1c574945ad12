"""What a stream may do besides saying something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Hangup:
    """Ends the connection: a close frame with `code`, or without one (None), or no close frame at all (0)."""

    code: int | None
    reason: str = ""


Output = str | bytes | Hangup


class Interface(Protocol):
    """v1 or v2, as far as the server cares."""

    idle_s: float | None
    """Who sends nothing for so long is hung up on (NET-0001)."""

    def open(self) -> list[Output]: ...
    def hear(self, pcm: bytes) -> list[Output]: ...
    def read(self, message: dict[str, Any]) -> list[Output]: ...
    def unreadable(self, text: str) -> Output: ...
