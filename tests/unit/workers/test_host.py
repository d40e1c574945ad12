from __future__ import annotations

import asyncio
from typing import cast

import pytest

from tests.unit.workers.stage import LEASE_MS, NoProviders, Stage, equals
from tests.waiting import until
from trunkline.bus import keys
from trunkline.bus.messages import Control
from trunkline.errors import SettingsError
from trunkline.sessions import Record, Records
from trunkline.tenants import Directory, Tenant
from workers import host as module
from workers import serving, unused
from workers.providers.registry import Providers


async def test_a_session_is_served_from_its_dispatch_to_its_end(stage: Stage) -> None:
    host, _ = stage.worker("worker-1")
    await stage.call("one")
    await until(lambda: stage.begun == ["one"])
    now = await stage.record("one")
    assert (now.epoch, now.worker) == (1, keys.lane("worker-1"))
    await stage.hang_up("one")
    await until(lambda: len(host) == 0)
    await until(lambda: equals(stage.dispatch.waiting("probe"), 0))
    assert (await stage.record("one")).closed == "over"


async def test_a_session_that_keeps_failing_is_given_up_and_its_caller_told(stage: Stage) -> None:
    host, _ = stage.worker("worker-1")
    await stage.call("bad")
    await stage.call("good")
    await until(lambda: Control("bad", "give_up") in stage.told)
    await until(lambda: equals(stage.redis.ask("XLEN", keys.DEAD_LETTERS), 1))
    assert stage.begun.count("bad") == module.BLAMED_TOO_OFTEN
    assert (await stage.record("bad")).closed == "failed"
    assert len(host) == 1, "its neighbour notices nothing"


async def test_who_finds_a_session_that_was_not_wholly_given_up_ends_that(stage: Stage) -> None:
    await stage.call("bad")
    await stage.redis.ask("HSET", keys.session("bad"), "blamed", module.BLAMED_TOO_OFTEN)
    await stage.records.close("bad", "failed")  # and then its worker died
    stage.worker("worker-1")
    await until(lambda: equals(stage.dispatch.waiting("probe"), 0))
    assert await stage.redis.ask("XLEN", keys.DEAD_LETTERS) == 1
    assert stage.begun == []


@pytest.mark.parametrize("damage", ["snapshot", "rate_hz", "tenant"])
async def test_a_record_that_cannot_be_read_does_not_end_the_worker(stage: Stage, damage: str) -> None:
    await stage.call("odd")
    if damage == "tenant":
        await stage.redis.ask("HSET", keys.TENANTS, "strange", '{"id":"strange","to_come":1}')
        await stage.redis.ask("HSET", keys.session("odd"), "tenant", "strange")
    else:
        await stage.redis.ask("HSET", keys.session("odd"), damage, b"\xc1")
    stage.worker("worker-1")
    await stage.call("good")
    await until(lambda: stage.begun == ["good"])
    await until(lambda: equals(stage.redis.ask("XLEN", keys.DEAD_LETTERS), 1))
    await until(lambda: equals(stage.dispatch.waiting("probe"), 1))


async def test_a_full_worker_takes_no_more_not_even_stale_ones(stage: Stage) -> None:
    reader = stage.redis.line()
    await stage.dispatch.make_group("probe")
    for number in range(5):
        await stage.call(f"s{number}")
        await stage.dispatch.pull(reader, "probe", "dead")
    await asyncio.sleep(LEASE_MS / 1000)
    host, _ = stage.worker("worker-1", worker_sessions=2)
    await until(lambda: len(stage.begun) == 2)
    await asyncio.sleep(LEASE_MS / 2000)
    assert len(host) == 2
    await stage.hang_up(stage.begun[0])
    await until(lambda: len(stage.begun) == 3)


async def test_a_dead_workers_session_is_taken_over(stage: Stage) -> None:
    _, task = stage.worker("worker-1")
    await stage.call("one")
    await until(lambda: stage.begun == ["one"])
    stage.worker("worker-2")
    task.cancel()
    await until(lambda: stage.begun == ["one", "one"])
    now = await stage.record("one")
    assert (now.epoch, now.worker) == (2, keys.lane("worker-2"))
    assert await stage.dispatch.waiting("probe") == 1


async def test_a_worker_that_leaves_hands_over_at_rest(stage: Stage) -> None:
    first, task = stage.worker("worker-1")
    await stage.call("one")
    await until(lambda: stage.begun == ["one"])
    second, _ = stage.worker("worker-2")
    served = first._served["one"]
    first.drain()
    await until(lambda: stage.begun == ["one", "one"])
    served.live.lost.set()  # as the gateway's Superseded does
    await asyncio.wait_for(task, 2)
    assert (len(first), len(second)) == (0, 1)
    assert await stage.dispatch.waiting("probe") == 1
    assert await stage.redis.ask("EXISTS", keys.lane("worker-1")) == 0


async def test_a_worker_that_leaves_offers_again_what_an_emptied_redis_has_lost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trunkline.bus.lanes.BEAT_S", 0.05)
    first, _ = stage.worker("worker-1")
    await stage.call("one")
    await until(lambda: stage.begun == ["one"])
    first.drain()
    await until(lambda: first._served["one"].offered)
    await stage.redis.ask("FLUSHALL")
    await until(lambda: equals(stage.redis.ask("EXISTS", keys.session("one")), 1))
    stage.worker("worker-2")
    await until(lambda: stage.begun == ["one", "one"])


async def test_a_session_whose_gateway_never_answers_is_not_served_for_ever(stage: Stage) -> None:
    host, _ = stage.worker("worker-1")
    await stage.records.write(Record("one", "acme", "probe", 8000, "lane:gone", "websocket", "c"))
    await stage.dispatch.offer("probe", "one")
    await until(lambda: any(served.live.caller_lost_s for served in host._served.values()))
    host._served["one"].live.caller_lost_s = -1000.0
    await until(lambda: equals(stage.dispatch.waiting("probe"), 0))
    assert len(host) == 0
    assert (await stage.record("one")).closed == "over"
    assert stage.begun == [], "nobody is there to be answered"


@pytest.mark.parametrize("loss", ["FLUSHALL", "DEL"])
async def test_an_emptied_redis_moves_no_session(stage: Stage, loss: str) -> None:
    stage.worker("worker-1")
    stage.worker("worker-2")
    await stage.call("one")
    await until(lambda: stage.begun == ["one"])
    before = await stage.record("one")
    if loss == "FLUSHALL":
        await stage.redis.ask("FLUSHALL")
    else:  # only the lanes expired: nobody beat for too long
        await stage.redis.ask("DEL", keys.lane("worker-1"), keys.lane("worker-2"))
    await asyncio.sleep(3 * LEASE_MS / 1000)
    after = await stage.record("one")
    assert (after.epoch, after.worker) == (before.epoch, before.worker)
    assert stage.begun == ["one"]
    assert await stage.dispatch.waiting("probe") == 1


async def test_a_session_that_was_offered_twice_comes_to_rest(stage: Stage) -> None:
    hosts = [stage.worker(f"worker-{number}")[0] for number in range(2)]
    await stage.call("one")
    await until(lambda: stage.begun == ["one"])
    await stage.dispatch.offer("probe", "one")

    async def settled() -> bool:
        for host in hosts:  # as the gateway's Superseded does
            served = host._served.get("one")
            if served is not None and served.live.record.epoch < (await stage.record("one")).epoch:
                served.live.lost.set()
        return sum(map(len, hosts)) == 1 and await stage.dispatch.waiting("probe") == 1

    await until(settled)
    epoch = (await stage.record("one")).epoch
    await asyncio.sleep(2 * LEASE_MS / 1000)
    assert (await stage.record("one")).epoch == epoch


async def test_a_worker_leaves_also_while_redis_is_away(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAVE_S", 0.05)
    host, task = stage.worker("worker-1")
    await until(lambda: equals(stage.redis.ask("HEXISTS", keys.PROCESSES, "worker-1"), 1))
    monkeypatch.setattr(host._outbox, "flushed", asyncio.Event().wait)
    host.drain()
    await until(task.done)


def test_an_unknown_backend_is_a_setting_that_is_wrong() -> None:
    with pytest.raises(SettingsError, match="tenant acme: no backend 'nothing_like_it'"):
        serving.make_backend("nothing_like_it", Tenant(id="acme"), cast(Providers, NoProviders()))


async def test_a_session_that_settings_keep_from_being_served_is_given_up_without_a_traceback(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lacks_a_key(*_: object) -> None:
        raise SettingsError("the relay needs a key")

    monkeypatch.setattr(serving, "make_backend", lacks_a_key)
    stage.worker("worker-1")
    await stage.call("one")
    await until(lambda: Control("one", "give_up") in stage.told)
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert said[0] == "tenant acme cannot be served: the relay needs a key"
    assert said[1] == "session one cannot be served here: the relay needs a key"
    assert not any(record.exc_info for record in caplog.records)


async def test_a_tool_that_does_not_exist_is_named_at_start(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    tenant = Tenant.model_validate({"id": "clinic", "backend": "probe", "tools": [{"name": "teleport"}]})
    await Directory(stage.redis).put([tenant])
    stage.worker("worker-1")
    await until(lambda: equals(stage.redis.ask("HEXISTS", keys.PROCESSES, "worker-1"), 1))
    assert "tenant clinic cannot be served: no tool 'teleport'; there are: " in caplog.text


async def test_what_a_backend_does_not_use_is_warned_of_at_start(
    stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unused, "_WITHOUT_TOOLS", {"probe"})
    tenant = Tenant.model_validate({"id": "clinic", "backend": "probe", "tools": [{"name": "end_call"}]})
    await Directory(stage.redis).put([tenant])
    stage.worker("worker-1")
    await until(lambda: equals(stage.redis.ask("HEXISTS", keys.PROCESSES, "worker-1"), 1))
    assert "tenant clinic: its tools are not used: the backend probe has none" in caplog.text


async def test_a_session_that_two_entries_bring_at_once_is_served_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that its dead worker had, and one that was put up meanwhile: the worker that takes both has it once."""
    await stage.dispatch.make_group("probe")
    await stage.call("one")
    await stage.dispatch.pull(stage.redis.line(), "probe", "dead")
    await asyncio.sleep(LEASE_MS / 1000)
    await stage.dispatch.offer("probe", "one")
    attach = Records.attach

    async def attach_slowly(self: Records, record: Record, worker: str) -> int:
        await asyncio.sleep(LEASE_MS / 2000)  # stale entries are looked for meanwhile
        return await attach(self, record, worker)

    monkeypatch.setattr(Records, "attach", attach_slowly)
    host, task = stage.worker("worker-1")
    await until(lambda: stage.begun == ["one"])
    await until(lambda: equals(stage.dispatch.waiting("probe"), 1))
    assert (await stage.record("one")).epoch == host._served["one"].live.record.epoch
    await stage.hang_up("one")
    await until(lambda: equals(stage.dispatch.waiting("probe"), 0))
    host.drain()
    await asyncio.wait_for(task, 2)
    assert stage.begun == ["one"]
