from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from trunkline.bus import dispatch as module
from trunkline.bus import keys
from trunkline.bus.connection import Line, Redis
from trunkline.bus.dispatch import Dispatch, Entry

BACKEND = "echo"
LEASE_MS = 10_000
"""Longer than any test: what is to be stale is made so (`aged`)."""


@pytest.fixture
async def redis(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Redis]:
    monkeypatch.setattr(module, "CLAIM_BLOCK_MS", 20)
    connections = Redis(redis_url)
    yield connections
    await connections.close()


@pytest.fixture
async def dispatch(redis: Redis) -> Dispatch:
    made = Dispatch(redis)
    await made.make_group(BACKEND)
    return made


@pytest.fixture
def reader(redis: Redis) -> Line:
    return redis.line()


async def pulled(dispatch: Dispatch, reader: Line, consumer: str) -> Entry:
    entry = await dispatch.pull(reader, BACKEND, consumer)
    assert entry is not None
    return entry


async def aged(redis: Redis, entry_id: str, consumer: str) -> None:
    """The consumer's entry, as if nobody had renewed it for the lease."""
    stream = keys.dispatch(BACKEND)
    await redis.ask("XCLAIM", stream, keys.GROUP, consumer, 0, entry_id, "IDLE", LEASE_MS, "JUSTID")


async def sessions_of(dispatch: Dispatch, consumer: str) -> list[str]:
    return [entry.session for entry in await dispatch.pending_of(BACKEND, consumer)]


async def test_sessions_are_pulled_one_at_a_time_and_in_order(dispatch: Dispatch, reader: Line) -> None:
    for session in ("one", "two"):
        await dispatch.offer(BACKEND, session)
    assert (await pulled(dispatch, reader, "a")).session == "one"
    assert (await pulled(dispatch, reader, "b")).session == "two"
    assert await dispatch.pull(reader, BACKEND, "a") is None
    assert await sessions_of(dispatch, "a") == ["one"]
    assert await dispatch.waiting(BACKEND) == 2, "both stay while they live"


async def test_a_worker_that_waits_is_given_the_next(
    redis: Redis, dispatch: Dispatch, reader: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLAIM_BLOCK_MS", 5000)
    waiting = asyncio.create_task(pulled(dispatch, reader, "a"))
    async with asyncio.timeout(5):
        while b"blocked_clients:1\r" not in await redis.ask("INFO", "clients"):  # noqa: ASYNC110  (Redis knows)
            await asyncio.sleep(0.002)
    await dispatch.offer(BACKEND, "one")
    assert (await waiting).session == "one"


async def test_what_is_done_leaves_nothing(dispatch: Dispatch, reader: Line) -> None:
    await dispatch.offer(BACKEND, "one")
    await dispatch.done(await pulled(dispatch, reader, "a"))
    assert await dispatch.waiting(BACKEND) == 0
    assert await sessions_of(dispatch, "a") == []


async def test_only_what_nobody_renewed_for_the_lease_is_taken(redis: Redis, dispatch: Dispatch, reader: Line) -> None:
    await dispatch.offer(BACKEND, "kept")
    await dispatch.offer(BACKEND, "stale")
    kept, stale = await pulled(dispatch, reader, "a"), await pulled(dispatch, reader, "a")
    assert await dispatch.take_stale(BACKEND, "b", LEASE_MS) is None
    for entry in (kept, stale):
        await aged(redis, entry.id, "a")
    assert await dispatch.renew(BACKEND, "a", [kept.id]) == []
    assert await dispatch.take_stale(BACKEND, "b", LEASE_MS) == stale
    assert await dispatch.take_stale(BACKEND, "b", LEASE_MS) is None
    assert await sessions_of(dispatch, "a") == ["kept"]


async def test_a_sleeper_does_not_steal_back_what_was_taken_from_it(dispatch: Dispatch, reader: Line) -> None:
    await dispatch.offer(BACKEND, "one")
    entry = await pulled(dispatch, reader, "sleeper")
    assert await dispatch.take_stale(BACKEND, "b", 0) == entry
    assert await dispatch.renew(BACKEND, "sleeper", [entry.id]) == [entry.id]
    assert await sessions_of(dispatch, "b") == ["one"]
    assert await dispatch.renew(BACKEND, "b", [entry.id]) == []


async def test_renewing_what_is_gone_says_so(dispatch: Dispatch, reader: Line) -> None:
    await dispatch.offer(BACKEND, "one")
    entry = await pulled(dispatch, reader, "a")
    await dispatch.done(entry)
    assert await dispatch.renew(BACKEND, "a", [entry.id, "1-1"]) == [entry.id, "1-1"]


async def test_a_dead_workers_session_is_put_up_again(dispatch: Dispatch, reader: Line) -> None:
    await dispatch.offer(BACKEND, "one")
    entry = await pulled(dispatch, reader, "dead")
    await dispatch.redispatch(entry)
    again = await pulled(dispatch, reader, "b")
    assert (again.session, again.owner) == ("one", None)
    assert await dispatch.waiting(BACKEND) == 1
    assert await sessions_of(dispatch, "dead") == []


async def test_an_entry_with_an_owner_goes_to_the_owner_whoever_pulls_it(dispatch: Dispatch, reader: Line) -> None:
    entry_id = await dispatch.offer(BACKEND, "one", owner="a")
    assert await dispatch.pull(reader, BACKEND, "b") is None
    assert await sessions_of(dispatch, "b") == []
    assert await sessions_of(dispatch, "a") == ["one"]
    assert await dispatch.renew(BACKEND, "a", [entry_id]) == []


async def test_an_owner_that_pulls_its_own_entry_has_it(dispatch: Dispatch, reader: Line) -> None:
    entry_id = await dispatch.offer(BACKEND, "one", owner="a")
    assert await pulled(dispatch, reader, "a") == Entry(BACKEND, entry_id, "one", "a")


async def test_an_entry_whose_owner_is_dead_is_taken_over(redis: Redis, dispatch: Dispatch, reader: Line) -> None:
    entry_id = await dispatch.offer(BACKEND, "one", owner="dead")
    assert await dispatch.pull(reader, BACKEND, "b") is None
    await aged(redis, entry_id, "dead")
    taken = await dispatch.take_stale(BACKEND, "b", LEASE_MS)
    assert taken is not None
    assert taken.session == "one"
    assert await sessions_of(dispatch, "b") == ["one"]


async def test_everything_is_made_anew_after_redis_came_back_empty(
    redis: Redis, dispatch: Dispatch, reader: Line
) -> None:
    await dispatch.offer(BACKEND, "one")
    entry = await pulled(dispatch, reader, "a")
    await redis.ask("FLUSHALL")
    await redis.ask("SCRIPT", "FLUSH")
    assert await dispatch.renew(BACKEND, "a", [entry.id]) == [entry.id]
    assert await sessions_of(dispatch, "a") == []
    await dispatch.forget_consumer(BACKEND, "a")
    await dispatch.done(entry)
    assert await dispatch.take_stale(BACKEND, "a", 0) is None, "makes the group"
    await redis.ask("FLUSHALL")
    assert await dispatch.pull(reader, BACKEND, "a") is None, "makes the group"
    await dispatch.offer(BACKEND, "one")
    assert (await pulled(dispatch, reader, "a")).session == "one"


async def test_what_waited_before_the_group_was_made_is_not_missed(redis: Redis, reader: Line) -> None:
    early = Dispatch(redis)
    await early.offer(BACKEND, "one")
    await early.make_group(BACKEND)
    await early.make_group(BACKEND)
    assert (await pulled(early, reader, "a")).session == "one"


async def test_a_given_up_session_is_kept_for_people_to_see(redis: Redis, dispatch: Dispatch, reader: Line) -> None:
    for _ in range(2):  # the second time by who finds the entry of a worker that died over it
        await dispatch.offer(BACKEND, "one")
        await dispatch.give_up(await pulled(dispatch, reader, "a"), "blamed 3 times")
    ((_, fields),) = await redis.ask("XRANGE", keys.DEAD_LETTERS, "-", "+")
    assert fields == [b"s", b"one", b"why", b"blamed 3 times"]
    assert await dispatch.waiting(BACKEND) == 0


async def test_a_forgotten_consumer_is_gone(redis: Redis, dispatch: Dispatch, reader: Line) -> None:
    await dispatch.offer(BACKEND, "one")
    await dispatch.done(await pulled(dispatch, reader, "a"))
    await dispatch.forget_consumer(BACKEND, "a")
    await dispatch.forget_consumer(BACKEND, "a")
    assert await redis.ask("XINFO", "CONSUMERS", keys.dispatch(BACKEND), keys.GROUP) == []


async def test_a_backend_is_served_while_workers_ask_for_its_sessions(redis: Redis, dispatch: Dispatch) -> None:
    assert not await dispatch.is_served("never heard of")
    assert not await dispatch.is_served(BACKEND)
    assert await dispatch.pull(redis.line(), BACKEND, "worker-1") is None
    assert await dispatch.is_served(BACKEND)


async def test_a_worker_that_asks_no_more_serves_nobody_new(
    redis: Redis, dispatch: Dispatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ASKED_MS", 30)
    await dispatch.offer(BACKEND, "one")
    entry = await pulled(dispatch, redis.line(), "worker-1")
    await asyncio.sleep(0.05)
    await dispatch.renew(BACKEND, "worker-1", [entry.id])  # it is full, and keeps what it has
    assert not await dispatch.is_served(BACKEND)


async def test_a_session_is_put_up_again_for_another_backend(dispatch: Dispatch, reader: Line) -> None:
    await dispatch.offer(BACKEND, "one")
    entry = await pulled(dispatch, reader, "worker-1")
    await dispatch.make_group("relay")
    moved = await dispatch.redispatch(entry, "relay")
    assert await dispatch.pull(reader, "relay", "worker-2") == moved
    assert (moved.backend, moved.session) == ("relay", "one")
    assert await dispatch.waiting(BACKEND) == 0
