"""Sessions move from one backend to another, between worker processes and within one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from tests.unit.workers.stage import LEASE_MS, Stage, equals, staged
from tests.waiting import until
from trunkline.bus import keys
from trunkline.bus.messages import Close, Control, Text
from trunkline.errors import BusError, SettingsError
from trunkline.sessions import Record, Records
from trunkline.tenants import Tenant
from workers import host, moving, serving
from workers.backend import Session, Snapshot
from workers.snapshot import pack, unpack

TENANT = Tenant(id="acme", backend="probe", fallback_backend="other")


class Failing:
    """A backend that fails at once for sessions that are called after it; what it did before is committed."""

    providers: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, stage: Stage, name: str, *_: Any) -> None:
        self._stage = stage
        self._name = name

    async def run(self, session: Session) -> None:
        self._stage.begun.append(self._name)
        session.snapshot.flow[self._name] = len(self._stage.begun)
        if self._name in session.id.split("-"):
            await self._fail(session)
        async for message in session.inbox():
            if isinstance(message, Text):
                session.rest(True)

    async def _fail(self, session: Session) -> None:
        await session.commit()
        session.snapshot.flow["not committed"] = True
        await session.fall_back()
        session.give_up("provider")

    async def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
async def stage(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr("trunkline.bus.lanes.BEAT_S", 0.05)
    async with staged(redis_url, TENANT) as made:
        monkeypatch.setattr(serving, "make_backend", partial(Failing, made))
        yield made


async def served_by(stage: Stage, session: str, *backends: str) -> Record:
    """Wait until these backends have been begun, and no others; nothing of the moves is left on any stream."""
    await until(lambda: stage.begun == list(backends))

    async def at_rest() -> bool:
        waiting = {backend: await stage.dispatch.waiting(backend) for backend in ("probe", "other")}
        return waiting == {"probe": 0, "other": 0, backends[-1]: 1}

    await until(at_rest)
    return await stage.record(session)


@pytest.mark.parametrize("hosts", [("probe,other",), ("probe", "other")], ids=["in one process", "between two"])
async def test_when_a_backend_fails_the_tenants_other_goes_on_from_what_was_committed(
    stage: Stage, hosts: tuple[str, ...]
) -> None:
    for number, backends in enumerate(hosts):
        stage.worker(f"worker-{number}", backends=backends)
    await until(lambda: equals(stage.dispatch.is_served("other"), True))
    await stage.call("probe-fails")
    now = await served_by(stage, "probe-fails", "probe", "other")
    assert (now.backend, now.epoch, now.worker) == ("other", 2, keys.lane(f"worker-{len(hosts) - 1}"))
    assert unpack(now.snapshot).flow == {"probe": 1}
    assert not [message for message in stage.told if isinstance(message, Close)]


async def test_where_nobody_serves_the_other_the_call_stays_and_its_caller_is_told(stage: Stage) -> None:
    stage.worker("worker-1", backends="probe")
    await stage.call("probe-fails")
    await until(lambda: any(isinstance(message, Close) and message.failed for message in stage.told))
    assert (await served_by(stage, "probe-fails", "probe")).backend == "probe"


async def test_a_backend_that_cannot_even_begin_has_failed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(name: str, *_: Any) -> Failing:
        if name == "probe":
            raise SettingsError("the probe needs a key")
        return Failing(stage, name)

    monkeypatch.setattr(serving, "make_backend", made)
    stage.worker("worker-1", backends="probe,other")
    await stage.call("one")
    assert (await served_by(stage, "one", "other")).backend == "other"


async def test_two_that_fail_do_not_pass_a_call_to_and_fro(stage: Stage) -> None:
    stage.worker("worker-1", backends="probe,other")
    await stage.call("probe-and-other-fail")
    await until(lambda: any(isinstance(message, Close) and message.failed for message in stage.told))
    now = await served_by(stage, "probe-and-other-fail", "probe", "other", "probe")
    assert now.backend == "probe"


async def test_a_call_that_nobody_takes_comes_back(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def is_served(*_: object) -> bool:
        return True  # until a moment ago

    monkeypatch.setattr(moving, "TAKEN_IN_S", 0.1)
    monkeypatch.setattr("trunkline.bus.dispatch.Dispatch.is_served", is_served)
    stage.worker("worker-1", backends="probe")
    await stage.call("probe-fails")
    await until(lambda: any(isinstance(message, Close) and message.failed for message in stage.told))
    assert (await served_by(stage, "probe-fails", "probe", "probe")).backend == "probe"


async def test_a_call_comes_back_from_a_backend_that_its_tenant_cannot_have(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_a_key(name: str, *_: object) -> Failing:
        if name == "other":
            raise SettingsError("it needs a key")
        return Failing(stage, name)

    monkeypatch.setattr(serving, "make_backend", without_a_key)
    stage.worker("worker-1", backends="probe,other")
    await stage.call("probe-fails")
    await until(lambda: any(isinstance(message, Close) and message.failed for message in stage.told))
    now = await served_by(stage, "probe-fails", "probe", "probe")
    assert (now.backend, now.blamed) == ("probe", 0)


async def test_a_call_that_another_worker_has_by_now_is_not_moved_nor_taken_back(stage: Stage) -> None:
    stage.worker("worker-1", backends="probe,other")
    await stage.call("one")
    await until(lambda: stage.begun == ["probe"])
    read = await stage.record("one")
    await stage.records.attach(read, "lane:elsewhere")  # by an entry of its own, and we do not know it yet
    stage._outbox.send(keys.lane("worker-1"), Control("one", "move", {"backend": "other"}))
    stage._outbox.send(keys.lane("worker-1"), Text("one", 0, "rest"))
    await until(lambda: equals(stage.dispatch.waiting("probe"), 0))
    await asyncio.sleep(2 * LEASE_MS / 1000)
    assert stage.begun == ["probe"]
    assert (await stage.record("one")).worker == "lane:elsewhere"


async def test_of_two_stages_that_fail_at_once_one_moves_the_call(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail_twice(self: Failing, session: Session) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(session.fall_back())
            group.create_task(session.fall_back())

    monkeypatch.setattr(Failing, "_fail", fail_twice)
    stage.worker("worker-1", backends="probe,other")
    await stage.call("probe-fails")
    now = await served_by(stage, "probe-fails", "probe", "other")
    assert (now.backend, now.left.partition("=")[0]) == ("other", "probe")
    assert "other" not in now.left


async def test_a_worker_that_leaves_hands_over_also_who_was_to_move_and_cannot(stage: Stage) -> None:
    first, _ = stage.worker("worker-1", backends="probe")
    await stage.call("one")
    await until(lambda: stage.begun == ["probe"])
    stage.worker("worker-2", backends="probe")
    await stage.tell(Control("one", "move", {"backend": "nothing_like_it"}))
    await until(lambda: first._served["one"].live.move_to != "")
    first.drain()
    await stage.tell(Text("one", 0, "rest"))
    await until(lambda: stage.begun == ["probe", "probe"])


async def test_a_move_goes_on_when_redis_comes_back(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    move, refusals = Records.move, [BusError("away"), BusError("still away")]

    async def away(self: Records, record: Record) -> None:
        if refusals:
            raise refusals.pop()
        await move(self, record)

    monkeypatch.setattr(Records, "move", away)
    monkeypatch.setattr(host, "RETRY_S", 0.01)
    stage.worker("worker-1", backends="probe,other")
    await stage.call("probe-fails")
    await served_by(stage, "probe-fails", "probe", "other")


async def test_a_move_survives_a_redis_that_comes_back_empty(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def is_served(*_: object) -> bool:
        return True  # until a moment ago

    monkeypatch.setattr(moving, "TAKEN_IN_S", 0.3)
    monkeypatch.setattr("trunkline.bus.dispatch.Dispatch.is_served", is_served)
    stage.worker("worker-1", backends="probe")
    await stage.call("probe-fails")
    await until(lambda: equals(stage.dispatch.waiting("other"), 1))
    await stage.redis.ask("FLUSHALL")
    assert (await served_by(stage, "probe-fails", "probe", "probe")).backend == "probe"


async def test_a_move_is_ended_by_others_when_its_worker_dies_over_it(stage: Stage) -> None:
    await stage.call("one")
    record = await stage.record("one")
    record.backend = "other"
    await stage.records.move(record)  # and before it could say so on the other stream, it died
    stage.worker("worker-1", backends="probe")
    stage.worker("worker-2", backends="other")
    assert (await served_by(stage, "one", "other")).worker == keys.lane("worker-2")


async def test_who_wants_a_session_elsewhere_has_it_there_at_its_next_rest(stage: Stage) -> None:
    stage.worker("worker-1", backends="probe")
    stage.worker("worker-2", backends="other")
    await stage.call("one", pack(Snapshot(uplink_seq=7)))
    await until(lambda: stage.begun == ["probe"])
    await stage.tell(Control("one", "move", {"backend": "nothing_like_it"}))
    await stage.tell(Text("one", 7, "rest"))
    await asyncio.sleep(0.05)
    assert stage.begun == ["probe"]
    await stage.tell(Control("one", "move", {"backend": "other"}))
    now = await served_by(stage, "one", "probe", "other")
    assert (now.backend, now.left) == ("other", "")


async def test_a_session_that_is_at_rest_no_more_moves_at_its_next_rest(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = stage.worker("worker-1", backends="probe")
    stage.worker("worker-2", backends="other")
    await stage.call("one", pack(Snapshot(uplink_seq=7)))
    await until(lambda: stage.begun == ["probe"])
    live = first._served["one"].live
    asked = 0

    async def is_served(*_: object) -> bool:
        nonlocal asked
        asked += 1
        live.rest(False)  # the caller spoke while Redis was asked
        return True

    with monkeypatch.context() as while_they_speak:
        while_they_speak.setattr("trunkline.bus.dispatch.Dispatch.is_served", is_served)
        await stage.tell(Control("one", "move", {"backend": "other"}))
        await stage.tell(Text("one", 7, "rest"))
        await until(lambda: asked == 1)
        await asyncio.sleep(0.05)
        assert stage.begun == ["probe"]
    await until(lambda: equals(stage.dispatch.is_served("other"), True))
    await stage.tell(Text("one", 8, "rest"))
    await served_by(stage, "one", "probe", "other")


def test_whom_a_call_falls_back_on() -> None:
    def other(backend: str, left: str = "", now_s: float = 1000.0, tenant: Tenant = TENANT) -> str | None:
        record = Record("s", "acme", backend, 8000, "lane", "websocket", "c", left=left)
        return moving.fallback(tenant, record, now_s)

    assert other("probe") == "other"
    assert other("other") == "probe"
    assert other("a third that somebody wanted") == "other"
    assert other("probe", tenant=Tenant(id="acme", backend="probe")) is None
    assert other("probe", left="probe=950 other=100") is None
    assert other("probe", left="probe=930 other=990") == "other"
    assert other("probe", left="probe=1020") is None, "clocks of machines differ"
    assert other("probe", left="probe=99999") == "other", "and one may have been set back"
    assert other("probe", left="nonsense probe=soon") == "other"


def test_a_record_remembers_each_backend_that_was_left() -> None:
    record = Record("s", "acme", "probe", 8000, "lane", "websocket", "c")
    record.left = moving.left_with(record, 10.7)
    assert record.left == "probe=10"
    record.backend = "other"
    record.left = moving.left_with(record, 20)
    assert record.left == "probe=10 other=20"
