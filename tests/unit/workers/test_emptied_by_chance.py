"""Redis is emptied by chance, again and again, while workers die, leave and take over, also all at once: in the end
each session has one worker, and its gateway, Redis and that worker say so."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from gateway import orphans
from gateway.sessions import Sessions
from tests.unit.workers.stage import LEASE_MS, NoProviders, Probe, equals
from tests.waiting import until
from trunkline.bus import keys
from trunkline.bus.connection import Redis
from trunkline.bus.dispatch import Dispatch
from trunkline.sessions import Records
from trunkline.settings import load
from trunkline.tenants import Directory, Tenant
from workers import moving, serving
from workers.host import Host
from workers.providers.registry import Providers

TENANT = Tenant(id="acme", backend="probe")
SESSIONS = [f"s{number}" for number in range(6)]
EVENTS = 25
MOMENTS = ["empty", "die", "leave", "empty die", "die empty", "leave empty", "leave die empty"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    monkeypatch.setattr(serving, "make_backend", lambda *_: Probe(begun))
    monkeypatch.setattr("trunkline.bus.lanes.BEAT_S", 0.05)
    monkeypatch.setattr("trunkline.bus.lanes.LANE_TTL_MS", 600)
    monkeypatch.setattr("gateway.sessions.SWEEP_S", 0.05)
    monkeypatch.setattr(orphans, "PUT_BACK_S", 0.2)
    monkeypatch.setattr(orphans, "LANE_S", 1.0)
    monkeypatch.setattr(moving, "KNOWN_IN_S", 0.2)
    monkeypatch.setattr(moving, "LOOK_S", 0.05)


class Chance:
    def __init__(self, redis: Redis, group: asyncio.TaskGroup, seed: int) -> None:
        self.redis = redis
        self.records, self.dispatch = Records(redis), Dispatch(redis)
        self.gateway = Sessions(load({}, secret="one for all gateways", resume_grace_s=600), redis)
        self.workers: list[tuple[Host, asyncio.Task[None]]] = []
        self.running: list[asyncio.Task[Any]] = []
        self._group = group
        self._random = random.Random(seed)

    def start(self) -> None:
        name = f"worker-{len(self.running)}"
        settings = load({}, backends="probe", lease_ms=LEASE_MS, drain_s=2, resume_grace_s=600)
        host = Host(settings, self.redis, cast(Providers, NoProviders()), name)
        task = self._group.create_task(host.run(), name=name)
        self.running.append(task)
        self.workers.append((host, task))

    async def happen(self) -> None:
        """One thing, or several in the same moment, and then a little time."""
        for thing in self._random.choice(MOMENTS).split():
            match thing:
                case "empty":
                    await self.redis.ask("FLUSHALL")
                case "die":
                    self._one()[1].cancel()
                case "leave":
                    self._one()[0].drain()
            await asyncio.sleep(self._random.choice([0, 0, 0.001, 0.003]))
        await asyncio.sleep(self._random.choice([0, 0.001, 0.01, 0.05, 0.3]))

    def _one(self) -> tuple[Host, asyncio.Task[None]]:
        """That is to end; another takes its place."""
        self.start()
        return self.workers.pop(self._random.randrange(len(self.workers) - 1))

    async def in_order(self) -> bool:
        for session in SESSIONS:
            record = await self.records.read(session)
            held = self.gateway.find(session)
            having = [host._served[session].live.record for host, _ in self.workers if session in host._served]
            if record is None or held is None or len(having) != 1:
                return False
            owners = {(owner.epoch, owner.worker) for owner in (record, having[0], held.bridge)}
            if len(owners) != 1:
                return False
        return await self.dispatch.waiting("probe") == len(SESSIONS)


@asynccontextmanager
async def chance(redis_url: str, seed: int) -> AsyncIterator[Chance]:
    redis = Redis(redis_url)
    await Directory(redis).put([TENANT])
    async with asyncio.TaskGroup() as group:
        made = Chance(redis, group, seed)
        made.running.append(group.create_task(made.gateway.run()))
        await until(lambda: equals(redis.ask("EXISTS", keys.lane(made.gateway.process_id)), 1))
        for _ in range(3):
            made.start()
        yield made
        for task in made.running:
            task.cancel()
    await redis.close()


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_redis_loses_each_session_has_one_worker_in_the_end(redis_url: str, seed: int) -> None:
    async with chance(redis_url, seed) as happening:
        for session in SESSIONS:
            await happening.gateway.open(session, TENANT, 8000, "websocket", "c", whole_sentences=False)
        await until(happening.in_order)
        for _ in range(EVENTS):
            await happening.happen()
        await until(happening.in_order)
