"""Redis is emptied in the moment in which a session changes its worker: no epoch is given twice, and one has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.unit.workers.stage import Stage, equals
from tests.waiting import until
from trunkline.bus import keys
from trunkline.bus.messages import Attached
from trunkline.sessions import Record, Records
from workers import moving
from workers.host import Host


async def one_has_it(stage: Stage, hosts: list[Host]) -> None:
    """Wait until one worker serves it, by one entry, as Redis and its gateway have it."""

    async def settled() -> bool:
        record = await stage.record("one")
        having = [host._served["one"].live.record for host in hosts if "one" in host._served]
        same = [(each.epoch, each.worker) for each in having] == [(record.epoch, record.worker)]
        return same and stage.owners["one"] == (record.epoch, record.worker)

    await until(settled)
    await until(lambda: equals(stage.dispatch.waiting("probe"), 1))


def epochs_differ(stage: Stage) -> bool:
    attached = {(each.epoch, each.lane) for each in stage.told if isinstance(each, Attached)}
    return len({epoch for epoch, _ in attached}) == len(attached)


def emptied(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, worker: str, then: Callable[[], object] = lambda: None
) -> None:
    """Empty Redis once, when `worker` has read the record and is about to take the session."""
    attach, done = Records.attach, False

    async def attach_to_less(self: Records, record: Record, lane: str) -> int:
        nonlocal done
        if lane == keys.lane(worker) and not done:
            done = True
            await stage.redis.ask("FLUSHALL")
            then()
        return await attach(self, record, lane)

    monkeypatch.setattr(Records, "attach", attach_to_less)


async def test_a_handover_in_which_redis_is_emptied_gives_a_new_epoch(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = stage.worker("worker-1")
    await stage.call("one")
    await until(lambda: stage.begun == ["one"])
    emptied(stage, monkeypatch, "worker-2")
    second, _ = stage.worker("worker-2")
    first.drain()
    await until(lambda: stage.begun == ["one", "one"])
    await one_has_it(stage, [first, second])
    assert epochs_differ(stage)
    assert (await stage.record("one")).tenant == "acme", "all of the record is back"


async def test_who_takes_over_a_session_that_only_the_dead_ones_gateway_knows_puts_it_up_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second worker took it, told the gateway, and died; and what Redis knew of it is gone."""
    monkeypatch.setattr(moving, "KNOWN_IN_S", 0.2)
    monkeypatch.setattr(moving, "LOOK_S", 0.02)
    first, _ = stage.worker("worker-1")
    await stage.call("one")
    await until(lambda: stage.begun == ["one"])
    stage.owners["one"] = (2, "lane:dead")
    first._served["one"].live.unjoin()  # as an emptied Redis has it
    await one_has_it(stage, [first])
    assert stage.begun == ["one", "one"]
    assert (await stage.record("one")).epoch == 3


async def test_who_was_given_the_same_epoch_as_a_dead_one_asks_for_another(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "KNOWN_IN_S", 60)
    stage.owners["one"] = (1, "lane:dead")
    host, _ = stage.worker("worker-1")
    await stage.call("one")
    await one_has_it(stage, [host])
    assert (await stage.record("one")).epoch == 2
    assert host._served["one"].live.begun.is_set()


async def test_who_is_told_of_another_waits_until_that_one_has_written_it_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "LOOK_S", 0.02)
    first, _ = stage.worker("worker-1")
    await stage.call("one")
    await until(lambda: stage.begun == ["one"])
    newer = await stage.record("one")
    newer.epoch, newer.worker = 2, "lane:lives"
    stage.owners["one"] = (newer.epoch, newer.worker)
    first._served["one"].live.unjoin()
    await until(lambda: len(first) == 0)
    await asyncio.sleep(0.1)
    assert await stage.dispatch.waiting("probe") == 1, "nobody else may know of it"
    await stage.records.commit(newer)
    await until(lambda: equals(stage.dispatch.waiting("probe"), 0))
    assert stage.begun == ["one"]
