"""One socket of a client's at the stand-in: its contexts, and what is wrong with its messages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from websockets.asyncio.server import ServerConnection

from . import sdk
from .behaviour import Behaviour
from .speaking import FIXED, Speaking, Spoken, refusal

Began = Callable[[Spoken], Awaitable[None]]


class Connection:
    """`run` serves it until the client or a fault ends it."""

    def __init__(self, socket: ServerConnection, behaviour: Behaviour, began: Began, others: Callable[[], int]) -> None:
        """`began` is told of each context; `others` says how many there are on all sockets."""
        self._socket = socket
        self._behaviour = behaviour
        self._began = began
        self._others = others
        self._contexts: dict[str, Speaking] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Raises ConnectionClosed, and Cut where the socket is to be cut, both in groups."""
        async with asyncio.TaskGroup() as tasks:
            try:
                while (message := await self._receive()) is not None:
                    speaking = await self._take(json.loads(message))
                    if speaking is not None:
                        task = tasks.create_task(speaking.run())
                        self._running.add(task)
                        task.add_done_callback(self._running.discard)
            finally:
                for task in self._running:
                    task.cancel()

    async def _receive(self) -> str | bytes | None:
        """The next message; None when the socket was closed for want of one, or for a fault."""
        while True:
            try:
                async with asyncio.timeout(self._behaviour.idle_s):
                    message = await self._socket.recv()
            except TimeoutError:
                if self._running:
                    continue
                await self._socket.close(1000, "connection idle timeout")
                return None
            if self._behaviour.fails("hung_up"):
                await self._socket.close(1012, "restarting")
                return None
            return message

    async def _take(self, request: dict[str, Any]) -> Speaking | None:
        """Act on a client's message; returns a context that begins with it."""
        context_id = request.get("context_id", "")
        known = self._contexts.get(context_id)
        refused = self._refusal(request, known)
        if refused is not None:
            await self._send({**refusal(*refused), "context_id": context_id or None})
        elif request.get("cancel"):
            if known is not None:
                known.cancel()
        elif known is not None:
            known.ask(request)
        else:
            spoken = Spoken(context_id, request)
            speaking = self._contexts[context_id] = Speaking(self._behaviour, self._send, self._garble, spoken)
            speaking.ask(request)
            await self._began(spoken)
            return speaking
        return None

    def _refusal(self, request: dict[str, Any], known: Speaking | None) -> tuple[int, str, str] | None:
        if fault := sdk.fault_in(request):
            return 400, "invalid_request", fault
        if request.get("cancel"):
            return None
        if known is None:
            if request["output_format"]["encoding"] not in ("pcm_s16le", "pcm_f32le"):
                return 400, "invalid_request", "This stand-in makes pcm_s16le and pcm_f32le"
            if self._others() >= self._behaviour.concurrency:
                return 429, "concurrency_limited", "You have exceeded your plan's concurrency limit"
            return None
        if known.closed:
            return 400, "invalid_request", "Context has closed"
        if any(request.get(name) != known.spoken.fields.get(name) for name in FIXED):
            return 400, "invalid_request", f"None of {', '.join(FIXED)} may change in a context"
        return None

    async def _send(self, event: dict[str, Any]) -> None:
        event = {name: value for name, value in event.items() if value is not None}
        sdk.check_spoken(event)
        await self._socket.send(json.dumps(event))

    async def _garble(self) -> None:
        await self._socket.send("<html>502 Bad Gateway</html>")
