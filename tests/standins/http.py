"""Serves a stand-in's pages on loopback, in the test's own event loop. Stops at once, whatever it is doing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import uvicorn
from starlette.requests import Request
from starlette.types import ASGIApp


@contextlib.asynccontextmanager
async def serve(app: ASGIApp, port: int = 0) -> AsyncIterator[str]:
    """Run `app` on 127.0.0.1, on a free port unless one is named; yields its address, without a path."""
    config = uvicorn.Config(app, port=port, log_level="critical", lifespan="off")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    socket = config.bind_socket()
    # Not `server.serve`: its loop and its shutdown take 0.1 s each, which hundreds of tests would wait for.
    await server.startup(sockets=[socket])
    try:
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        for listening in server.servers:
            listening.close()
        for connection in list(server.server_state.connections):
            connection.transport.abort()
        tasks = set(server.server_state.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        socket.close()


async def hung_up_within(seconds: float, request: Request) -> bool:
    """Wait, but not beyond the client's patience: nothing of an answer has begun that would notice. Whether it left."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while (await request.receive())["type"] != "http.disconnect":
                """The rest of a body that is known already."""
            return True
    return False
