"""What Cartesia says while it listens (the socket where we say when an utterance ends), and the text of it. No I/O."""

from __future__ import annotations

import json

from trunkline.errors import ProviderError
from workers.providers.cartesia.protocol import refusal

PATH = "/stt/websocket"

FINALIZE = "finalize"
"""Sent as it is, not as JSON: make what was heard so far final. Answered by `flush_done`."""

CLOSE = "close"
"""Sent as it is: make the rest final, then hang up. Answered by `done`."""


class InkText:
    """The text of one utterance: what became final, and a guess at what follows it.

    Texts bring their own spaces, and are joined as they are.
    """

    def __init__(self) -> None:
        self.flushed = 0
        """How many times FINALIZE was answered."""
        self._final = ""
        self._guess = ""

    @property
    def text(self) -> str:
        return (self._final + self._guess).strip()

    def take(self, message: bytes) -> None:
        """Take the vendor's next message. Raises ProviderError for one that is an error, or cannot be read."""
        try:
            event = json.loads(message)
            kind = event["type"]
            if kind == "transcript":
                self._transcript(str(event["text"]), final=bool(event["is_final"]))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ProviderError("cartesia", f"sent what cannot be read: {message[:40]!r}") from error
        if kind == "flush_done":
            self.flushed += 1
        elif kind == "error":
            status = event.get("status_code")
            raise refusal(status if isinstance(status, int) else 500, event, {})

    def _transcript(self, text: str, *, final: bool) -> None:
        if final:
            self._final, self._guess = self._final + text, ""
        else:
            self._guess = text
