"""The gateway's HTTP side: pages, health, and the doors that callers come in by."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib import resources

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.doors import WebSocketDoor
from gateway.phone import PhoneDoor
from gateway.sessions import Sessions
from trunkline.errors import BusError

FAREWELL_S = 2.0

_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; connect-src 'self' ws: wss:; script-src 'self'; style-src 'self'; worker-src 'self'; "
        "img-src 'self' data:; frame-ancestors 'none'"
    ),
    "permissions-policy": "microphone=(self)",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


class SafeHeaders:
    """Middleware: what every page and file is served with."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, with_headers)


def build(sessions: Sessions, door: WebSocketDoor, phone: PhoneDoor | None = None) -> Starlette:
    """The gateway's HTTP side, with or without a telephone."""
    console = resources.files("gateway") / "console"

    async def index(request: Request) -> Response:
        return FileResponse(str(console / "index.html"))

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok", "sessions": len(sessions), "process": sessions.process_id})

    async def readyz(request: Request) -> Response:
        if door.draining or not await sessions.ready():
            return JSONResponse({"status": "draining" if door.draining else "no bus"}, 503)
        return JSONResponse({"status": "ready"})

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            serving = [group.create_task(sessions.run())]
            if phone is not None:
                serving.append(group.create_task(phone.run()))
            try:
                yield
            finally:
                with contextlib.suppress(BusError, TimeoutError):
                    async with asyncio.timeout(FAREWELL_S):
                        await sessions.leave()
                for task in serving:
                    task.cancel()

    return Starlette(
        routes=[
            Route("/", index),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            WebSocketRoute("/ws", door.serve),
            *(phone.routes() if phone is not None else ()),
            Mount("/console", StaticFiles(directory=str(console))),
        ],
        middleware=[Middleware(SafeHeaders)],
        lifespan=lifespan,
        max_body_size=16 * 1024,
    )
