from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway import orphans
from gateway import sessions as module
from gateway.held import Held
from gateway.sessions import Sessions
from tests.waiting import until
from trunkline.bus import keys
from trunkline.bus.connection import Redis
from trunkline.bus.lanes import Inbox, Outbox
from trunkline.bus.messages import Attached, Control, Hangup, Joined, LinkLost, LinkResumed, Message
from trunkline.errors import BusError, ClientError
from trunkline.sessions import NO_SPARE, Record, Records
from trunkline.settings import load
from trunkline.tenants import Tenant

SECRET = "a secret for all gateways"
TENANT = Tenant(id="acme", backend="echo")


class Wire:
    """A link that remembers how it ended."""

    def __init__(self) -> None:
        self.heard_ms = 0
        self.ended: str | None = None
        self.is_replaced = False

    def play(self, turn: int, offset_ms: int, pcm: bytes, sentence_end: bool) -> None:
        self.heard_ms += len(pcm) // 16

    def event(self, seq: int, name: str, data: dict[str, Any]) -> None:
        pass

    def clear(self, turn: int) -> None:
        pass

    def pause(self, turn: int) -> bool:
        return True

    def end(self, reason: str) -> None:
        self.ended = reason

    def replaced(self) -> None:
        self.is_replaced = True


class Worker:
    """The other end of the bus: takes what it is told, and attaches when asked to."""

    def __init__(self, redis: Redis) -> None:
        self.told: list[Message] = []
        self.records = Records(redis)
        self.inbox = Inbox(redis, "worker", "worker")
        self.outbox = Outbox(redis, lambda lane: None)
        self.answers = True

    def receive(self, message: Message) -> None:
        self.told.append(message)
        if isinstance(message, LinkResumed) and self.answers:
            self.outbox.send(message.lane, Attached(message.session, 1, self.inbox.lane, 7, resume_media_ms=140))

    async def take(self, held: Held) -> None:
        await self.records.attach(held.record, self.inbox.lane)
        self.outbox.send(held.record.gateway, Attached(held.record.session, 1, self.inbox.lane, 0))
        await until(lambda: held.bridge.worker == self.inbox.lane)


@pytest.fixture
async def redis(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Redis]:
    monkeypatch.setattr(module, "SWEEP_S", 0.02)
    monkeypatch.setattr("trunkline.bus.lanes.BEAT_S", 0.05)
    connections = Redis(redis_url)
    yield connections
    await connections.close()


@contextlib.asynccontextmanager
async def running(*work: Awaitable[None]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@pytest.fixture
async def worker(redis: Redis) -> AsyncIterator[Worker]:
    made = Worker(redis)
    await made.inbox.open()
    async with running(made.outbox.run(), made.inbox.read(made.receive)):
        yield made


Gateways = Callable[..., Awaitable[Sessions]]


@pytest.fixture
async def gateways(redis: Redis) -> AsyncIterator[Gateways]:
    async with contextlib.AsyncExitStack() as stack:

        async def start(**settings: Any) -> Sessions:
            made = Sessions(load({}, secret=SECRET, redis_url=redis.url, **settings), redis)
            await stack.enter_async_context(running(made.run()))
            while not await redis.ask("EXISTS", keys.lane(made.process_id)):  # noqa: ASYNC110  (what is sent before is lost)
                await asyncio.sleep(0.002)
            return made

        yield start


async def opened(sessions: Sessions, session: str = "s", rate_hz: int = 8000) -> tuple[Held, Wire]:
    held = await sessions.open(session, TENANT, rate_hz, "websocket", "c", whole_sentences=False)
    wire = Wire()
    held.bridge.connect(wire)
    return held, wire


async def stored(redis: Redis, session: str = "s") -> Record:
    found = await Records(redis).read(session)
    assert found is not None
    return found


async def test_an_opened_session_waits_on_its_stream(gateways: Gateways, redis: Redis) -> None:
    sessions = await gateways()
    await opened(sessions, rate_hz=48000)
    assert (await stored(redis)).rate_hz == 16000, "no backend needs more"
    assert await redis.ask("XLEN", keys.dispatch("echo")) == 1
    assert len(sessions) == 1


async def test_a_caller_whom_nobody_takes_hears_an_apology(
    gateways: Gateways, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = await gateways(attach_timeout_s=1)
    held, wire = await opened(sessions)
    held.served_s -= 1
    monkeypatch.setattr(held.bridge, "_clock_ms", lambda clock=held.bridge._clock_ms: clock() * 50)
    await until(lambda: wire.ended == "no_worker")
    assert wire.heard_ms > 1000
    assert (await stored(redis)).closed == "no_worker"
    await until(lambda: len(sessions) == 0)


async def test_a_caller_whose_worker_died_and_whom_nobody_takes_over_hears_it_too(
    gateways: Gateways, redis: Redis, worker: Worker
) -> None:
    sessions = await gateways(attach_timeout_s=1)
    held, wire = await opened(sessions)
    await worker.take(held)
    held.served_s -= 1
    await until(lambda: held.served_s > time.monotonic() - 0.5)
    assert not held.apologised, "its worker is there"
    await worker.inbox.leave()
    await until(lambda: wire.heard_ms > 0)
    async with asyncio.timeout(3):
        while (await stored(redis)).closed != "no_worker":  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_a_caller_who_does_not_come_back_is_hung_up_on(gateways: Gateways, worker: Worker) -> None:
    sessions = await gateways(resume_grace_s=1)
    held, wire = await opened(sessions)
    await worker.take(held)
    sessions.link_ended(held, wire, "lost")
    assert held.lost_s is not None
    held.lost_s -= 1
    await until(lambda: Hangup("s", 0, "caller_lost") in worker.told)
    assert len(sessions) == 0


async def test_the_end_of_a_wire_that_was_replaced_ends_nothing(gateways: Gateways, worker: Worker) -> None:
    sessions = await gateways()
    held, wire = await opened(sessions)
    held.bridge.reconnect(Wire(), 0, 0, 0)
    sessions.link_ended(held, wire, "ended")
    assert len(sessions) == 1
    assert held.lost_s is None


async def test_an_old_wire_that_ends_while_its_caller_comes_back_ends_nothing(
    gateways: Gateways, worker: Worker
) -> None:
    sessions = await gateways(resume_grace_s=1)
    held, wire = await opened(sessions)
    await worker.take(held)
    await sessions.resume(held.token(SECRET), 0, 0, 0, whole_sentences=False)
    sessions.link_ended(held, wire, "lost")
    held.bridge.reconnect(Wire(), 0, 0, 0)
    assert held.lost_s is not None
    held.lost_s -= 1
    await until(lambda: held.lost_s is None)
    assert len(sessions) == 1


async def test_a_caller_who_was_never_given_the_new_wire_is_not_kept_for_ever(
    gateways: Gateways, worker: Worker
) -> None:
    first, second = await gateways(), await gateways(resume_grace_s=1)
    held, _ = await opened(first)
    await worker.take(held)
    again = await second.resume(held.token(SECRET), 0, 0, 0, whole_sentences=False)
    await until(lambda: again.lost_s is not None)
    again.lost_s = (again.lost_s or 0) - 1
    await until(lambda: len(second) == 0)


async def test_a_caller_comes_back_by_another_gateway(gateways: Gateways, redis: Redis, worker: Worker) -> None:
    first, second = await gateways(), await gateways()
    held, wire = await opened(first)
    await worker.take(held)
    token = held.token(SECRET)
    again = await second.resume(token, 3, 1240, 9, whole_sentences=False)
    assert again.bridge.media_ms == 140, "what is said next belongs where the worker is"
    assert LinkResumed("s", keys.lane(second.process_id), 1, 3, 1240, 9) in worker.told
    assert again.token(SECRET) != token
    second.arrived("s", 1)
    async with asyncio.timeout(5):
        while (await stored(redis)).spare != NO_SPARE:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
    with pytest.raises(ClientError, match="used"):
        await first.resume(token, 3, 1240, 9, whole_sentences=False)
    worker.outbox.send(keys.lane(first.process_id), Control("s", "moved", {"link": 1}))
    await until(lambda: len(first) == 0)
    assert wire.is_replaced
    assert not any(isinstance(message, Hangup) for message in worker.told)
    worker.outbox.send(keys.lane(second.process_id), Control("s", "moved", {"link": 1}))
    worker.outbox.send(keys.lane(second.process_id), Control("s", "no such thing"))
    await worker.outbox.flushed()
    await asyncio.sleep(0.01)
    assert len(second) == 1, "it has the caller since then"


async def test_a_gateway_that_could_not_take_a_caller_back_forgets_them(
    gateways: Gateways, redis: Redis, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come back by another. Whoever held on to them here would hang up for them after a while."""
    first, second, third = await gateways(), await gateways(), await gateways()
    held, _ = await opened(first)
    await worker.take(held)
    worker.answers = False

    answers = [await stored(redis)]

    async def read_once(session: str) -> Record:
        if not answers:
            raise BusError("away")
        return answers.pop()

    monkeypatch.setattr(second._resuming, "live_record", read_once)
    with pytest.raises(BusError):
        await second.resume(held.token(SECRET), 0, 0, 0, whole_sentences=False)
    assert len(second) == 0
    worker.answers = True
    await third.resume(held.token(SECRET), 0, 0, 0, whole_sentences=False)
    assert len(third) == 1


async def test_who_was_hung_up_on_and_is_back_all_the_same_can_be_lost_again(
    gateways: Gateways, worker: Worker
) -> None:
    """Redis was away, and nobody else heard that they were given up."""
    sessions = await gateways()
    held, _ = await opened(sessions)
    await worker.take(held)
    token = held.token(SECRET)
    sessions._end(held, "caller_lost")
    again = await sessions.resume(token, 0, 0, 0, whole_sentences=False)
    wire = Wire()
    again.bridge.reconnect(wire, 0, 0, 0)
    sessions.link_ended(again, wire, "lost")
    assert again.lost_s is not None


async def test_who_is_served_elsewhere_by_now_is_not_ended_here(
    gateways: Gateways, redis: Redis, worker: Worker
) -> None:
    """No worker ever heard of this gateway, so nobody told it that the caller went on."""
    first, second, third = await gateways(), await gateways(attach_timeout_s=1, resume_grace_s=1), await gateways()
    held, _ = await opened(first)
    await worker.take(held)
    stale = [second._hold(replace(held.record, session=name, link=0), False) for name in ("s", "t")]
    await opened(third, "t")
    await third.resume(held.token(SECRET), 0, 0, 0, whole_sentences=False)
    await Records(redis).relink("t", 0, keys.lane(third.process_id), spare=True)
    stale[0].bridge.link, stale[1].lost_s = Wire(), time.monotonic() - 2
    stale[0].served_s -= 2
    await until(lambda: len(second) == 0)
    assert [each.bridge.ended for each in stale] == ["resumed_elsewhere"] * 2
    assert (await stored(redis)).closed == ""
    assert not second._hung_up
    assert not any(isinstance(message, Hangup) for message in worker.told)


async def test_a_session_that_is_over_cannot_be_resumed(gateways: Gateways, redis: Redis) -> None:
    sessions = await gateways()
    held, _ = await opened(sessions)
    await Records(redis).close("s", "over")
    with pytest.raises(ClientError) as refused:
        await sessions.resume(held.token(SECRET), 0, 0, 0, whole_sentences=False)
    assert (refused.value.code, refused.value.fatal) == ("bad_token", True)


async def test_operators_and_workers_may_end_a_session(gateways: Gateways, worker: Worker) -> None:
    sessions = await gateways()
    one, hung_up = await opened(sessions, "one")
    await worker.take(one)
    two, given_up = await opened(sessions, "two")
    worker.outbox.send(one.record.gateway, Control("one", "hang_up"))
    worker.outbox.send(two.record.gateway, Control("two", "give_up"))
    await until(lambda: hung_up.ended == "hung_up")
    await until(lambda: Hangup("one", 0, "hung_up") in worker.told)
    await until(lambda: given_up.heard_ms > 0)
    assert given_up.ended is None, "the apology is said first"


async def test_who_still_waits_for_a_worker_outlives_an_emptied_redis(
    gateways: Gateways, redis: Redis, worker: Worker
) -> None:
    sessions = await gateways()
    waits, _ = await opened(sessions, "waits")
    taken, _ = await opened(sessions, "taken")
    await worker.take(taken)
    await redis.ask("FLUSHALL")
    await until(lambda: redis.ask("XLEN", keys.dispatch("echo")))
    assert await stored(redis, "waits") == waits.record
    assert await redis.ask("XLEN", keys.dispatch("echo")) == 1, "workers put back what is theirs"


async def test_a_session_that_is_taken_while_redis_is_emptied_keeps_its_epoch(
    gateways: Gateways, redis: Redis, worker: Worker
) -> None:
    """The gateway has not heard of its worker yet: an epoch that falls is given twice."""
    sessions = await gateways()
    held, _ = await opened(sessions)
    read = await stored(redis)
    await redis.ask("FLUSHALL")
    assert await worker.records.attach(read, worker.inbox.lane) == 1
    await until(lambda: len(sessions._orphans) > 0)
    await until(lambda: len(sessions._orphans) == 0)
    now = await stored(redis)
    assert (now.epoch, now.worker) == (1, worker.inbox.lane)
    assert held.record.epoch == 0


async def test_who_loses_the_worker_and_redis_at_once_is_put_up_again(
    gateways: Gateways, redis: Redis, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "PUT_BACK_S", 0.1)
    sessions = await gateways()
    held, _ = await opened(sessions)
    await worker.take(held)
    await redis.ask("FLUSHALL")  # its worker is dead, and makes no lane again
    await until(lambda: redis.ask("XLEN", keys.dispatch("echo")))
    now = await stored(redis)
    assert (now.epoch, now.worker, now.gateway) == (1, worker.inbox.lane, keys.lane(sessions.process_id))
    assert await worker.records.attach(now, "lane:next") == 2, "its gateway listens to nobody with less"
    assert len(sessions._orphans) == 0


@pytest.mark.parametrize(("served_by", "put_up_for"), [("relay", "relay"), ("", "echo")])
async def test_a_call_that_had_moved_is_put_up_again_for_the_backend_that_had_it(
    gateways: Gateways, redis: Redis, worker: Worker, monkeypatch: pytest.MonkeyPatch, served_by: str, put_up_for: str
) -> None:
    """A worker of before does not say which one that is: then it is the tenant's own."""
    monkeypatch.setattr(orphans, "PUT_BACK_S", 0.1)
    sessions = await gateways()
    held, _ = await opened(sessions)
    await worker.take(held)
    lane = keys.lane(sessions.process_id)
    worker.outbox.send(lane, Attached(held.record.session, 2, worker.inbox.lane, 0, backend=served_by))
    worker.outbox.send(lane, Attached(held.record.session, 1, "lane:older", 0, backend="older"))
    await worker.outbox.flushed()
    await until(lambda: held.bridge.epoch == 2)
    await asyncio.sleep(0.1)
    await redis.ask("FLUSHALL")
    await until(lambda: redis.ask("XLEN", keys.dispatch(put_up_for)))
    assert (await stored(redis)).backend == put_up_for


@pytest.mark.parametrize("lives", [True, False], ids=["and lives", "and dies"])
async def test_who_has_a_worker_that_writes_back_is_put_up_again_only_once_that_is_gone(
    gateways: Gateways, redis: Redis, worker: Worker, monkeypatch: pytest.MonkeyPatch, lives: bool
) -> None:
    monkeypatch.setattr(orphans, "PUT_BACK_S", 0.1)
    monkeypatch.setattr(orphans, "LANE_S", 0.3 if lives else 60)
    sessions = await gateways()
    held, _ = await opened(sessions)
    await worker.take(held)
    mine = await stored(redis)
    mine.snapshot = b"what was said"
    await redis.ask("FLUSHALL")
    await worker.inbox.open()
    await worker.records.commit(mine)
    await until(lambda: len(sessions._orphans) > 0)
    if not lives:
        await redis.ask("DEL", worker.inbox.lane)
    await until(lambda: len(sessions._orphans) == 0)
    assert await redis.ask("XLEN", keys.dispatch("echo")) == (0 if lives else 1)
    assert await stored(redis) == mine


async def test_a_worker_that_comes_after_the_caller_hung_up_is_told_so(gateways: Gateways, worker: Worker) -> None:
    sessions = await gateways()
    held, wire = await opened(sessions)
    sessions.link_ended(held, wire, "stop")
    lane = keys.lane(sessions.process_id)
    worker.outbox.send(lane, Attached("s", 1, worker.inbox.lane, 4, downlink_from_seq=2))
    worker.outbox.send(lane, Attached("elsewhere", 1, worker.inbox.lane, 0))
    await until(lambda: len(worker.told) == 3)
    assert worker.told == [
        Joined("s", 1, 1, 0, 0, 0, uplink_from_seq=4),
        Hangup("s", 4, "stop"),
        LinkLost("elsewhere"),
    ]


async def test_what_is_said_of_an_unknown_session_is_counted(gateways: Gateways, worker: Worker) -> None:
    sessions = await gateways()
    worker.outbox.send(keys.lane(sessions.process_id), Attached("nobody", 1, "lane:w", 0))
    await until(lambda: sessions.unknown_dropped == 1)
