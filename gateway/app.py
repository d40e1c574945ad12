"""The gateway's HTTP side: pages, health, and the doors that callers come in by."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from importlib import resources
from typing import Protocol

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.admission import Admission
from gateway.cors import Cors
from gateway.sessions import Sessions
from trunkline.errors import BusError

FAREWELL_S = 2.0
MAX_BODY_BYTES = 16 * 1024
"""Of a request, where a route does not say otherwise."""
EMBEDDED = ("/api/realtime/webrtc/", "/client/")
"""What pages of other origins may use, if theirs is allowed."""

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


class Door(Protocol):
    """A way for callers to come in."""

    def routes(self) -> Sequence[BaseRoute]: ...

    async def run(self) -> None:
        """What it does between requests, until cancelled."""

    def send_away(self) -> None:
        """This gateway is going: make every caller come back to another one."""


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
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)


def build(sessions: Sessions, admission: Admission, doors: Sequence[Door]) -> Starlette:
    """The gateway's HTTP side, with these doors."""
    files = resources.files("gateway")
    console = files / "console"

    async def index(request: Request) -> Response:
        return FileResponse(str(console / "index.html"))

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok", "sessions": len(sessions), "process": sessions.process_id})

    async def readyz(request: Request) -> Response:
        if admission.draining or not await sessions.ready():
            return JSONResponse({"status": "draining" if admission.draining else "no bus"}, 503)
        return JSONResponse({"status": "ready"})

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            serving = [group.create_task(sessions.run()), *(group.create_task(door.run()) for door in doors)]
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
            *(route for door in doors for route in door.routes()),
            Mount("/console", StaticFiles(directory=str(console))),
            Mount("/client", StaticFiles(directory=str(files / "client"))),
        ],
        middleware=[Middleware(SafeHeaders), Middleware(Cors, admission=admission, paths=EMBEDDED)],
        lifespan=lifespan,
        max_body_size=MAX_BODY_BYTES,
    )
