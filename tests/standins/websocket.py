"""A WebSocket that is none: as much of a starlette WebSocket, and of the wire that carries it, as a link uses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from starlette.websockets import WebSocketState


class Socket:
    """The test is the client: it `says` and `leaves`, and looks at what was `sent`."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        """What a client said and the link has not read."""
        self.sent: list[Any] = []
        """Text messages as the objects they are, binary ones as bytes."""
        self.writes = 0
        """Calls of `write` that sent something."""
        self.closed: int | None = None
        self.application_state = WebSocketState.CONNECTED
        self.reads = asyncio.Event()
        """Whether the client takes what it is sent."""
        self.reads.set()
        self.asked: list[Callable[[], None]] = []
        """To be called where the client answers a ping."""
        self._held = False
        self._on_message: Callable[[str | bytes], None] | None = None
        self._on_close: Callable[[int], None] = lambda code: None

    # --- adapters.wire.Wire

    def listen(self, on_message: Callable[[str | bytes], None], on_close: Callable[[int], None]) -> None:
        self._on_message, self._on_close = on_message, on_close
        self._deliver()

    def hold(self, for_s: float) -> None:
        self._held = True
        asyncio.get_running_loop().call_later(for_s, self._go_on)

    def _go_on(self) -> None:
        self._held = False
        self._deliver()

    def write(self, *payloads: str | bytes) -> bool:
        if self.reads.is_set():
            self.sent += map(_readable, payloads)
            self.writes += 1
        return self.reads.is_set()

    def ask(self, on_answer: Callable[[], None]) -> None:
        self.asked.append(on_answer)

    def _deliver(self) -> None:
        while self._on_message is not None and not self._held and not self.incoming.empty():
            event = self.incoming.get_nowait()
            if event["type"] == "websocket.disconnect":
                self._on_close(event["code"])
            else:
                self._on_message(event["bytes"] if "bytes" in event else event["text"])

    # --- starlette.websockets.WebSocket

    async def receive(self) -> dict[str, Any]:
        return await self.incoming.get()

    async def send_text(self, text: str) -> None:
        await self.reads.wait()
        self.sent.append(json.loads(text))

    async def send_bytes(self, data: bytes) -> None:
        await self.reads.wait()
        self.sent.append(data)

    async def close(self, code: int) -> None:
        self.closed = code
        self.application_state = WebSocketState.DISCONNECTED

    # --- the client

    def says(self, data: bytes | str) -> None:
        self.incoming.put_nowait({"type": "websocket.receive", "bytes" if isinstance(data, bytes) else "text": data})
        self._deliver()

    def leaves(self, code: int = 1006) -> None:
        self.incoming.put_nowait({"type": "websocket.disconnect", "code": code})
        self._deliver()


def _readable(payload: str | bytes) -> Any:
    return json.loads(payload) if isinstance(payload, str) else payload
