"""Serves a gateway in the test's own event loop, on a real socket."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator

from gateway.server import Server


@contextlib.asynccontextmanager
async def serving(server: Server, listener: socket.socket) -> AsyncIterator[None]:
    """Without the server's main loop, which looks every 0.1 s, and without its patience at the end."""
    config = server.config
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    try:
        yield
    finally:
        server.force_exit = True
        await server.shutdown(sockets=[listener])
        await server.lifespan.shutdown()
