"""A WebSocket below ASGI: messages come by plain calls, and go out at once.

By ASGI each message costs a queue and a task switch, and reading stops and starts for it; a caller sends 50 a second.
A door serves the opening by ASGI, and gives the rest to a link over this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from starlette.websockets import WebSocket

EXTENSION = "trunkline.wire"
"""Where the server puts its Wire: in the ASGI scope's extensions."""


class Wire(Protocol):
    """One WebSocket that was accepted. No method blocks."""

    def listen(self, on_message: Callable[[str | bytes], None], on_close: Callable[[int], None]) -> None:
        """From now on `on_message` is called with every message, those that wait first, and `on_close` with the close
        code (1005 or 1006 when there was none) once, at the end. Neither may raise. The WebSocket's `receive` must not
        be used any more; to accept it, to send by it and to close it is still right."""

    def hold(self, for_s: float) -> None:
        """Read no more for so long, so that TCP slows the client down. What was read already (at most one read's
        messages) is delivered after it, until `hold` is called again."""

    def write(self, *payloads: str | bytes) -> bool:
        """Send messages now, all by one system call. False, and nothing is sent, when the client has yet to take what
        it was sent before, or is gone: then send by the WebSocket, which waits."""

    def ask(self, on_answer: Callable[[], None]) -> None:
        """Ping the client; `on_answer` is called with its pong: then it has what it was sent before, whether or not it
        ever says anything. It may not raise."""


def wire_of(websocket: WebSocket) -> Wire:
    """The wire that carries `websocket`. Raises KeyError when the server has none to offer."""
    return cast(Wire, websocket.scope["extensions"][EXTENSION]["wire"])
