"""A bus that goes nowhere: what a bridge sends is kept for the test to look at."""

from __future__ import annotations

from trunkline.bus.messages import Message, UplinkAudio


class Bus:
    """As much of the outbox as a bridge uses."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def send(self, lane: str, message: Message, *, within_s: float = 0.0) -> None:
        self.sent.append(message)

    def pcm(self) -> bytes:
        """The audio of it."""
        return b"".join(message.pcm for message in self.sent if isinstance(message, UplinkAudio))
