"""Worker processes on a Redis of their own, with a stand-in gateway and backends that only say that they run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, cast

from trunkline.bus.connection import Redis
from trunkline.bus.dispatch import Dispatch
from trunkline.bus.lanes import Inbox, Outbox
from trunkline.bus.messages import Attached, Hangup, Joined, Message, Superseded
from trunkline.sessions import Record, Records
from trunkline.settings import load
from trunkline.tenants import Directory, Tenant
from workers.backend import Session
from workers.host import Host
from workers.providers.registry import Providers

LEASE_MS = 200


class Probe:
    """A backend that does nothing; for sessions called `bad...` it fails."""

    providers: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, begun: list[str]) -> None:
        self._begun = begun

    async def run(self, session: Session) -> None:
        self._begun.append(session.id)
        if session.id.startswith("bad"):
            raise ValueError("a fault of the backend")
        session.rest(True)
        async for _ in session.inbox():
            pass

    async def close(self) -> None:
        pass


class NoProviders:
    async def close(self) -> None:
        pass


class Stage:
    """One Redis, one stand-in gateway, and as many workers as a test wants."""

    def __init__(self, redis: Redis, group: asyncio.TaskGroup) -> None:
        self.redis = redis
        self.records, self.dispatch = Records(redis), Dispatch(redis)
        self.told: list[Message] = []
        self.begun: list[str] = []
        self.owners: dict[str, tuple[int, str]] = {}
        """Of each session the epoch and the lane of whom it attached to last."""
        self._group = group
        self._inbox = Inbox(redis, "gateway", "gateway")
        self._outbox = Outbox(redis, lambda lane: None)
        self._running: list[asyncio.Task[Any]] = []
        self.hosts: list[Host] = []

    async def start(self, tenant: Tenant) -> None:
        await Directory(self.redis).put([tenant])
        await self._inbox.open()
        for work in (self._outbox.run(), self._inbox.read(self._answer), self._inbox.beat(self._nothing)):
            self._running.append(self._group.create_task(work))

    async def _nothing(self) -> None:
        pass

    def _answer(self, message: Message) -> None:
        self.told.append(message)
        if isinstance(message, Attached):
            epoch, lane = self.owners.get(message.session, (0, message.lane))
            if message.epoch < epoch or (message.epoch == epoch and lane != message.lane):
                self._outbox.send(message.lane, Superseded(message.session, epoch, lane))
                return
            if lane != message.lane:
                self._outbox.send(lane, Superseded(message.session, message.epoch, message.lane))
            self.owners[message.session] = message.epoch, message.lane
            self._outbox.send(message.lane, Joined(message.session, message.epoch, -1, 0, 0, 0))

    def worker(self, name: str, **settings: Any) -> tuple[Host, asyncio.Task[None]]:
        read = load({}, **{"backends": "probe", "lease_ms": LEASE_MS, **settings})
        host = Host(read, self.redis, cast(Providers, NoProviders()), name)
        self.hosts.append(host)
        task = self._group.create_task(host.run(), name=name)
        self._running.append(task)
        return host, task

    async def call(self, session: str, snapshot: bytes = b"") -> None:
        record = Record(session, "acme", "probe", 8000, self._inbox.lane, "websocket", "c", snapshot=snapshot)
        await self.records.write(record)
        await self.dispatch.offer("probe", session)

    async def tell(self, message: Message) -> None:
        """Tell the worker that has the session."""
        self._outbox.send((await self.record(message.session)).worker, message)

    async def hang_up(self, session: str) -> None:
        await self.tell(Hangup(session, 0, "stop"))

    async def record(self, session: str) -> Record:
        found = await self.records.read(session)
        assert found is not None
        return found

    def stop(self) -> None:
        for task in self._running:
            task.cancel()


@asynccontextmanager
async def staged(redis_url: str, tenant: Tenant) -> AsyncIterator[Stage]:
    """A stage for this tenant's sessions; whatever was started on it ends with it."""
    redis = Redis(redis_url)
    async with asyncio.TaskGroup() as group:
        made = Stage(redis, group)
        await made.start(tenant)
        yield made
        made.stop()
    await redis.close()


async def equals(asked: Awaitable[int], value: int) -> bool:
    return await asked == value
