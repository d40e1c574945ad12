"""Backends fail, operators move calls, workers die, leave and are full, all by chance: in the end each session has one
worker, one entry, and is where its record says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unit.workers.stage import Stage, staged
from tests.waiting import until
from trunkline.bus.messages import ClientEvent, Control
from trunkline.tenants import Tenant
from workers import moving, serving
from workers.backend import Session
from workers.host import Host
from workers.snapshot import unpack

TENANT = Tenant(id="acme", backend="probe", fallback_backend="other")
SESSIONS = [f"s{number}" for number in range(6)]
BACKENDS = ["probe,other", "probe,other", "probe", "other"]
EVENTS = 50


class Fragile:
    """A backend that fails when it is told to."""

    providers: dict[str, str] = {}  # noqa: RUF012

    async def run(self, session: Session) -> None:
        await session.commit()
        session.rest(True)
        async for message in session.inbox():
            if isinstance(message, ClientEvent):
                session.snapshot.uplink_seq = message.seq + 1
                await session.commit()
                await session.fall_back()

    async def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
async def stage(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(moving, "TAKEN_IN_S", 0.2)
    monkeypatch.setattr(moving, "ONCE_IN_S", 0)
    monkeypatch.setattr(serving, "make_backend", lambda *_: Fragile())
    async with staged(redis_url, TENANT) as made:
        yield made


class Chance:
    def __init__(self, stage: Stage, seed: int) -> None:
        self.workers: list[tuple[Host, asyncio.Task[None]]] = []
        self._stage = stage
        self._random = random.Random(seed)
        self._started = 0

    def start(self, backends: str = "", **settings: Any) -> None:
        self._started += 1
        backends = backends or self._random.choice(BACKENDS)
        self.workers.append(self._stage.worker(f"worker-{self._started}", backends=backends, drain_s=1, **settings))

    async def happen(self) -> None:
        """One thing, and then a little time."""
        session = self._random.choice(SESSIONS)
        match self._random.choice(["fail", "fail", "move", "move", "die", "leave"]):
            case "fail":
                seq = unpack((await self._stage.record(session)).snapshot).uplink_seq
                await self._stage.tell(ClientEvent(session, seq, "fail", {}))
            case "move":
                wanted = self._random.choice(["probe", "other"])
                await self._stage.tell(Control(session, "move", {"backend": wanted}))
            case "die":
                self._one()[1].cancel()
            case "leave":
                self._one()[0].drain()
        await asyncio.sleep(self._random.choice([0, 0.001, 0.01, 0.05]))

    def _one(self) -> tuple[Host, asyncio.Task[None]]:
        """That is to end; another takes its place."""
        self.start(worker_sessions=self._random.choice([3, 50]))
        return self.workers.pop(self._random.randrange(len(self.workers) - 1))

    async def in_order(self) -> bool:
        entries = [await self._stage.dispatch.waiting(backend) for backend in ("probe", "other")]
        for session in SESSIONS:
            record = await self._stage.record(session)
            having = [worker._served[session].live for worker, _ in self.workers if session in worker._served]
            if [(live.record.backend, live.record.epoch) for live in having] != [(record.backend, record.epoch)]:
                return False
        return sum(entries) == len(SESSIONS)


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_each_session_has_one_worker_in_the_end(stage: Stage, seed: int) -> None:
    chance = Chance(stage, seed)
    for _ in range(3):
        chance.start("probe,other")
    for session in SESSIONS:
        await stage.call(session)
    await until(lambda: set(stage.owners) == set(SESSIONS))
    for _ in range(EVENTS):
        await chance.happen()
    chance.start("probe,other", worker_sessions=50)
    await until(chance.in_order)
