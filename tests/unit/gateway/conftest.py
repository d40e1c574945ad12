"""A gateway in this process: real sockets, a real Valkey, no worker."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from websockets.asyncio.client import connect

from gateway.admission import Admission
from gateway.doors import WebSocketDoor
from gateway.server import Server, configure, listen
from gateway.sessions import Sessions
from tests.unit.gateway.serving import serving
from trunkline.bus.connection import Redis
from trunkline.settings import load
from trunkline.tenants import Tenant


class Gateway:
    """What a test looks at."""

    def __init__(self, redis_url: str, settings: dict[str, Any]) -> None:
        self.redis = Redis(redis_url)
        self.settings = load({}, secret="a secret for all gateways", redis_url=redis_url, **settings)
        self.sessions = Sessions(self.settings, self.redis)
        self.admission = Admission(self.settings)
        self.door = WebSocketDoor(self.settings, self.sessions, self.admission)
        self.server = Server(configure(self.sessions, self.admission, [self.door]), self.admission, [self.door])
        self._listener = listen("127.0.0.1", 0)
        self.host, self.port = self._listener.getsockname()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        try:
            async with serving(self.server, self._listener):
                yield
        finally:
            await self.redis.close()

    def client(self, **options: Any) -> connect:
        return connect(f"ws://{self.host}:{self.port}/ws", compression=None, proxy=None, **options)


Gateways = Callable[..., Any]


@pytest.fixture
async def gateways(redis_url: str) -> AsyncIterator[Gateways]:
    """Starts gateways with the settings a test wants; they end with it."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**settings: Any) -> Gateway:
            gateway = Gateway(redis_url, settings)
            await gateway.sessions.tenants.put([Tenant(id="demo", backend="echo")])
            await stack.enter_async_context(gateway.running())
            return gateway

        yield start
