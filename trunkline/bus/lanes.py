"""Lanes: every process has one inbox stream, and writes to the inboxes of others.

What is ready in one turn of the event loop goes, per destination, into one entry; all entries go out in one write.
While its replies are awaited, or it is less than `GATHER_S` ago, the next batch gathers. A process reads its lane with
one blocking XREAD. Nobody creates another's lane, so a write to a process that is gone says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from trunkline.bus import keys
from trunkline.bus.codec import Decoder, encode
from trunkline.bus.connection import Command, Redis
from trunkline.bus.messages import Message
from trunkline.errors import BusError, MalformedEntry

log = logging.getLogger(__name__)

KEEP_MS = 3000
"""A lane is trimmed to about this much of its own time: for a reader whose connection broke. What is older, or was lost
with Redis, comes again from its sender, who keeps it until it is committed or heard. This is most of what a call takes
of Redis's memory: with 10 s it took 380 KiB."""
LANE_TTL_MS = 10_000
"""A lane outlives its owner's last beat by this."""
BEAT_S = 1.0
BLOCK_MS = 1000
MAX_WAITING = 20_000
"""Messages that may wait for an unreachable Redis, per destination; beyond, the oldest go (receivers ask again for
what they miss)."""
RECONNECT_S = 0.05
GATHER_S = 0.002
"""Writes are at least this far apart; what comes after a longer silence (a single call's every frame) goes at once. An
entry costs all three processes more than the frames in it. 50 echo calls, CPU-s per call-minute in all, and p50 both
ways: 1 ms 0.70 and 1.5 ms, 2 ms 0.57 and 2.6 ms, 3 ms 0.55 and 4.9 ms (two runs each, on a busy machine)."""
ENTRIES_A_READ = 200


class Outbox:
    """The writing side."""

    def __init__(self, redis: Redis, on_missing: Callable[[str], None]) -> None:
        """`on_missing(lane)` is called when a destination does not exist (any more); what was sent to it is dropped."""
        self._writer = redis.line()
        self._on_missing = on_missing
        self._ready: dict[str, list[Message]] = {}
        self._wake = asyncio.Event()
        self._write_from_s = 0.0
        self._hurry: asyncio.TimerHandle | None = None
        self._newest_ms: dict[str, int] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self.dropped = 0

    def send(self, lane: str, message: Message, *, within_s: float = 0.0) -> None:
        """Send to `lane` with its next entry, which may wait for others for `within_s` (`trunkline.bus.patience`); it
        never falls behind them. Never blocks, never fails: a lane that is gone is reported."""
        batch = self._ready.get(lane)
        if batch is None:
            batch = self._ready[lane] = []
            self._idle.clear()
        batch.append(message)
        if within_s:
            self._write_by(asyncio.get_running_loop(), within_s)
        else:
            self._wake.set()
        if len(batch) > MAX_WAITING:
            del batch[: MAX_WAITING // 10]
            self.dropped += MAX_WAITING // 10

    def _write_by(self, loop: asyncio.AbstractEventLoop, within_s: float) -> None:
        due_s = loop.time() + within_s
        if self._hurry is not None:
            if self._hurry.when() <= due_s:
                return
            self._hurry.cancel()
        self._hurry = loop.call_at(due_s, self._be_written)

    def _be_written(self) -> None:
        self._hurry = None
        if self._ready:
            self._wake.set()

    async def run(self) -> None:
        """Write until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._wake.wait()
                rest_s = self._write_from_s - loop.time()
                if rest_s > 0:
                    await asyncio.sleep(rest_s)
                self._wake.clear()
                self._write_from_s = loop.time() + GATHER_S
                await self._flush()
                if not self._ready:
                    self._idle.set()
        finally:
            if self._hurry is not None:
                self._hurry.cancel()
            await self._writer.close()

    async def flushed(self) -> None:
        """Wait until everything sent so far is written. Needs `run` to be running."""
        await self._idle.wait()

    async def _flush(self) -> None:
        batches, self._ready = self._ready, {}
        lanes = list(batches)
        commands = [self._xadd(lane, self._entry(batches[lane])) for lane in lanes]
        try:
            replies = await self._writer.ask_all(commands)
        except BusError as error:
            log.debug("lane write failed, will write again: %s", error)
            self._put_back(batches)
            await asyncio.sleep(RECONNECT_S)
            return
        for lane, reply in zip(lanes, replies, strict=True):
            if isinstance(reply, bytes):
                self._newest_ms[lane] = int(reply.partition(b"-")[0])
                continue
            if reply is not None:
                log.error("lane %s refused an entry: %s", lane, reply)
            self._newest_ms.pop(lane, None)
            self._on_missing(lane)

    def _xadd(self, lane: str, entry: bytes) -> Command:
        newest = self._newest_ms.get(lane)
        if newest is None:
            return ("XADD", lane, "NOMKSTREAM", "*", b"b", entry)
        return ("XADD", lane, "NOMKSTREAM", "MINID", "~", max(0, newest - KEEP_MS), "*", b"b", entry)

    def _entry(self, batch: list[Message]) -> bytes:
        """One entry of what can be written: half a surrogate pair in a text must not stop everybody's audio."""
        try:
            return encode(batch)
        except (ValueError, TypeError, OverflowError):
            return encode([message for message in batch if self._is_writable(message)])

    def _is_writable(self, message: Message) -> bool:
        try:
            encode([message])
        except (ValueError, TypeError, OverflowError) as error:
            log.error("a %s of session %s has no bytes: %s", type(message).__name__, message.session, error)
            self.dropped += 1
            return False
        return True

    def _put_back(self, batches: dict[str, list[Message]]) -> None:
        for lane, batch in batches.items():
            self._ready[lane] = (batch + self._ready.get(lane, []))[-MAX_WAITING:]
        self._wake.set()


class Inbox:
    """The reading side: this process's own lane."""

    def __init__(self, redis: Redis, process_id: str, kind: str) -> None:
        self.lane = keys.lane(process_id)
        self._process_id = process_id
        self._kind = kind
        self._redis = redis
        self._reader = redis.line()
        self._decoder = Decoder()
        self._last: bytes | str = "0-0"
        self._doubt = asyncio.Event()
        self._opened = False
        self._emptied = False
        self._left = False
        self.malformed = 0

    @property
    def refused(self) -> int:
        """Messages and entries that could not be read."""
        return self.malformed + self._decoder.unknown_kinds

    async def open(self) -> bool:
        """Make the lane, or keep it alive. Says whether it had to be made. Raises BusError."""
        alive = await self._redis.ask("PEXPIRE", self.lane, LANE_TTL_MS)
        if alive:
            return False
        await self._redis.ask_all(
            [
                ("XADD", self.lane, "*", b"b", encode(())),
                ("PEXPIRE", self.lane, LANE_TTL_MS),
                ("HSET", keys.PROCESSES, self._process_id, self._kind),
            ]
        )
        self._emptied = self._opened
        self._opened = True
        return True

    async def beat(self, on_made: Callable[[], Awaitable[None]]) -> None:
        """Keep the lane alive until cancelled, or `leave`. `on_made` runs, until it succeeds, whenever the lane was
        gone, whoever made it again: Redis came back empty."""
        reached = True
        while not self._left:
            try:
                await self.open()
                if self._emptied:
                    log.warning("the bus came back empty: writing back what it must know")
                    await on_made()
                    self._emptied = False
            except BusError as error:
                if reached:
                    log.warning("the bus is out of reach: %s", error)
                reached = False
                await asyncio.sleep(RECONNECT_S)
                continue
            reached = True
            self._doubt.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._doubt.wait()

    async def read(self, deliver: Callable[[Message], None]) -> None:
        """Deliver every message, in order, until cancelled. After a broken connection it begins again at the oldest
        retained entry; sequence numbers drop what was had."""

        def take(reply: list[tuple[bytes, list[tuple[bytes, list[bytes]]]]] | None) -> Command:
            for entry_id, fields in reply[0][1] if reply else ():
                self._last = entry_id
                self._deliver(fields, deliver)
            return self._xread()

        while True:
            try:
                await self._reader.keep_asking(self._xread(), take, block_s=BLOCK_MS / 1000)
            except BusError as error:
                log.debug("lane read failed, will read again: %s", error)
                self._last = "0-0"
                self._doubt.set()
                await asyncio.sleep(RECONNECT_S)

    def _xread(self) -> Command:
        return ("XREAD", "COUNT", ENTRIES_A_READ, "BLOCK", BLOCK_MS, "STREAMS", self.lane, self._last)

    def _deliver(self, fields: list[bytes], deliver: Callable[[Message], None]) -> None:
        try:
            messages = self._decoder.decode(fields[1])
        except MalformedEntry as error:
            self.malformed += 1
            log.error("%s", error)
            return
        for message in messages:
            deliver(message)

    async def leave(self) -> None:
        """The process is ending: let nobody write to it any more. Raises BusError."""
        self._left = True
        await self._redis.ask("DEL", self.lane)
        await self._redis.ask("HDEL", keys.PROCESSES, self._process_id)


async def tell(redis: Redis, lane: str, message: Message) -> bool:
    """Tell a process one thing at once. False when it is gone. Raises BusError."""
    return await redis.ask("XADD", lane, "NOMKSTREAM", "*", b"b", encode([message])) is not None
