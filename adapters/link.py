"""What a transport's link offers its bridge: the wire's side of a session."""

from __future__ import annotations

from typing import Any, Protocol


class Link(Protocol):
    """One live wire. No method blocks; a link that cannot keep up ends itself and says so to its bridge."""

    def play(self, turn: int, offset_ms: int, pcm: bytes, sentence_end: bool) -> None:
        """Send audio of an answer: s16le mono at the session's rate, due now or within the playout's lead."""

    def event(self, seq: int, name: str, data: dict[str, Any]) -> None:
        """Tell the client; `seq` never falls."""

    def clear(self, turn: int) -> None:
        """Whatever was sent of `turn` and not yet heard is to fall silent."""

    def pause(self, turn: int) -> bool:
        """Fall silent for now. True: the wire keeps what it has, and goes on with it at the event `resume`. False: that
        was thrown away, and will be played again."""

    def end(self, reason: str) -> None:
        """The session is over: tell the client and close the wire."""

    def replaced(self) -> None:
        """The client came back by another wire: close this one."""
