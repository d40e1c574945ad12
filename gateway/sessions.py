"""A gateway's sessions: opened, resumed, fed from its lane, given up after a while without a caller or a worker."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from typing import Any

from adapters.bridge import Bridge
from adapters.link import Link
from adapters.playout import KEEP_MS
from gateway.apology import apology
from gateway.held import Held
from gateway.orphans import Orphans
from gateway.resuming import Resuming, bad_token, elsewhere
from trunkline.bus.connection import Redis
from trunkline.bus.dispatch import Dispatch
from trunkline.bus.lanes import Inbox, Outbox, tell
from trunkline.bus.messages import Attached, Control, Hangup, Joined, LinkLost, LinkResumed, Message
from trunkline.errors import BusError
from trunkline.sessions import Record, Records
from trunkline.settings import Settings
from trunkline.tenants import Directory, Tenant

log = logging.getLogger(__name__)

PACE_S = 0.05
"""A wire has up to 400 ms to play, and what arrives while it has less goes out at once: 50 a second cost an eighth of
the gateway's CPU at 50 calls, and nothing was heard of it."""
SWEEP_S = 0.5
RESUME_ATTACH_S = 5.0
RESUME_RETRY_S = 0.25
TELEPHONES = {"twilio"}
"""Transports whose clients cannot say what they received: such a caller comes back to what was heard."""
ELSEWHERE = "resumed_elsewhere"
HUNG_UP_KEPT = 1000
"""Sessions whose callers hung up: a worker that takes one later (nobody was free, or its worker died) is told."""


def now_ms() -> float:
    """The gateway's clock: monotonic ms."""
    return time.monotonic() * 1000


class Sessions:
    """Every session whose caller is, or was a moment ago, at this gateway."""

    def __init__(self, settings: Settings, redis: Redis, process_id: str | None = None) -> None:
        self._settings = settings
        self.process_id = process_id or f"gateway-{uuid.uuid4().hex[:12]}"
        self._redis = redis
        self._inbox = Inbox(redis, self.process_id, "gateway")
        self._outbox = Outbox(redis, self._worker_gone)
        self._dispatch = Dispatch(redis)
        self._records = Records(redis)
        self._orphans = Orphans(self._records, self._dispatch)
        self._resuming = Resuming(settings.secret, self._records)
        self.tenants = Directory(redis)
        self._held: dict[str, Held] = {}
        self._hung_up: dict[str, str] = {}
        self.unknown_dropped = 0
        self.on_ice: Callable[[Held, dict[str, Any]], None] = lambda held, data: None
        """Called with what another gateway was told of a caller's ICE."""

    def __len__(self) -> int:
        return len(self._held)

    async def run(self) -> None:
        """Serve the bus until cancelled. Raises BusError when it cannot be reached at the start."""
        await self._inbox.open()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._outbox.run())
            group.create_task(self._inbox.read(self._deliver))
            group.create_task(self._inbox.beat(self._bus_emptied))
            group.create_task(self._pace())
            group.create_task(self._sweep())
            group.create_task(self._resuming.run())

    async def leave(self) -> None:
        """Say goodbye to the bus; what was sent is written first. Raises BusError."""
        await self._outbox.flushed()
        await self._inbox.leave()

    async def ready(self) -> bool:
        """Whether a new caller could be served: the bus answers."""
        try:
            await self._inbox.open()
        except BusError:
            return False
        return True

    # --- callers

    def find(self, session: str) -> Held | None:
        """A session that is at this gateway."""
        return self._held.get(session)

    async def open(
        self, session: str, tenant: Tenant, rate_hz: int, transport: str, conversation_id: str, whole_sentences: bool
    ) -> Held:
        """Admit a caller: a record, a place on the dispatch stream, and a bridge that keeps what is said meanwhile.

        Raises BusError when Redis cannot be reached.
        """
        rate_hz = tenant.session_rate_hz(rate_hz)
        record = Record(session, tenant.id, tenant.backend, rate_hz, self._inbox.lane, transport, conversation_id)
        held = self._hold(record, whole_sentences)
        try:
            await self._records.write(record)
            await self._dispatch.offer(record.backend, session)
        except BusError:
            del self._held[session]
            raise
        log.info("session %s opened: tenant %s, %s, %d Hz", session, tenant.id, transport, rate_hz)
        return held

    async def returning(self, token: str) -> Record:
        """The session that `resume` would take back with this token, which is not used by that.

        Raises ClientError as `resume` does; BusError.
        """
        return await self._resuming.record(token)

    async def resume(self, token: str, turn: int, received_ms: int, client_seq: int, whole_sentences: bool) -> Held:
        """Take back a caller whose wire was lost, here or at another gateway, with that much of the answer.

        Its link is to be given to the bridge's `reconnect` then, without waiting for anything in between. The token is
        good until the next has `arrived`.

        Raises ClientError for a token that is wrong, used, or of a session that is over, and when the session was taken
        back by another wire meanwhile; BusError.
        """
        session, link = self._resuming.check(token)
        await self._resuming.live_record(session)
        return await self._take_back(session, link, (turn, received_ms, client_seq), whole_sentences, spare=True)

    async def resume_call(self, session: str) -> tuple[Held, int, int]:
        """Take back a telephone call that comes with a new wire, here or from another gateway.

        A telephone cannot say what it received. Returns, for the bridge's `reconnect`, the turn and ms that were heard
        as far as this gateway knows: a turn of -1, that only the worker does.

        Raises ClientError when the session is over, or was taken back by another wire just now; BusError.
        """
        record = await self._resuming.live_record(session)
        held = self._held.get(session)
        turn, received_ms = (held.bridge.heard.turn, held.bridge.heard.played_ms) if held is not None else (-1, 0)
        held = await self._take_back(session, record.link, (turn, received_ms, 0), False, spare=False)
        return held, turn, received_ms

    def arrived(self, session: str, link: int) -> None:
        """The client shows that it has the token of this link: whoever has the one before it comes too late."""
        self._resuming.arrived(session, link)

    async def _take_back(
        self, session: str, link: int, received: tuple[int, int, int], whole_sentences: bool, *, spare: bool
    ) -> Held:
        link, record = await self._resuming.use(session, link, self._inbox.lane, spare=spare)
        known = held = self._held.get(session)
        if held is not None and held.record.link > link:
            raise elsewhere()
        if held is not None:
            held.record.link = link
            held.lost_s = None
            if held.coming is not None:
                held.coming.replaced()
                held.coming = None
        else:
            record.link = link
            held = self._hold(record, whole_sentences)
        try:
            await self._await_worker(held, LinkResumed(session, self._inbox.lane, link, *received))
        except BaseException:
            if known is None and held.record.link == link:  # it may go on elsewhere: nothing of it is here yet
                self._held.pop(session, None)
            raise
        if held.record.link != link or held.bridge.ended == ELSEWHERE:
            raise elsewhere()
        if held.bridge.ended is not None:
            raise bad_token("the session is over")
        return held

    async def _await_worker(self, held: Held, resumed: LinkResumed) -> None:
        """Tell the session's worker, whoever that is by now, until one answers, or another wire has the caller."""
        session, deadline_s = resumed.session, time.monotonic() + RESUME_ATTACH_S
        while time.monotonic() < deadline_s:
            if held.record.link != resumed.link or held.bridge.ended is not None:
                return
            held.attached.clear()
            held.bridge.adopt(held.record.worker, held.record.epoch, resumed)
            try:
                async with asyncio.timeout(RESUME_RETRY_S):
                    await held.attached.wait()
                    return
            except TimeoutError:
                record = await self._resuming.live_record(session)
            held.record.worker, held.record.epoch = record.worker, record.epoch
            if record.gateway != self._inbox.lane:
                self._moved(held, record.link)
        log.warning("session %s resumed, but no worker has it yet", session)

    def _hold(self, record: Record, whole_sentences: bool) -> Held:
        keep_ms = 0 if record.transport in TELEPHONES else KEEP_MS
        bridge = Bridge(record.session, record.rate_hz, self._outbox, now_ms, whole_sentences, keep_ms)
        held = Held(bridge, record)
        bridge.on_attached = held.attached.set
        bridge.on_failed = lambda reason: self._apologise(held, reason)
        self._held[record.session] = held
        self._hung_up.pop(record.session, None)  # its caller is back, or Redis would have known better
        return held

    def link_ended(self, held: Held, link: Link, outcome: str) -> None:
        """A link's `run` returned: `lost` waits for the caller, anything else is the end."""
        if held.coming is link:
            held.coming = None
        elif held.bridge.link is not link and held.bridge.ended is None:
            return  # another has its place, or is about to
        if held.coming is not None or held.bridge.link not in (None, link):
            held.bridge.disconnect(link)  # the caller has another, or has it soon
            return
        if held.bridge.ended == ELSEWHERE or held.record.session in self._hung_up:
            return
        if outcome == "lost":
            held.bridge.disconnect(link)
            held.lost_s = time.monotonic()
            log.info("session %s lost its caller", held.record.session)
            return
        self._end(held, outcome)

    async def hang_up(self, record: Record) -> None:
        """End a session wherever it is: tell its gateway and its worker. A lane outlives its gateway by 10 s, so that a
        gateway which could be told may be dead. Who is told by both ends once. Raises BusError."""
        for lane in (record.gateway, record.worker):
            if lane:
                await self.tell(lane, Control(record.session, "hang_up"))
        if not record.worker:
            await self._records.close(record.session, "hung_up")

    async def tell(self, lane: str, message: Message) -> bool:
        """Tell a process at once. False when it is gone. Raises BusError."""
        return await tell(self._redis, lane, message)

    def _end(self, held: Held, reason: str) -> None:
        if held.coming is not None:
            held.coming.end(reason)
        held.bridge.hang_up(reason)
        held.bridge.end(reason)
        self._held.pop(held.record.session, None)
        self._hung_up[held.record.session] = reason
        if len(self._hung_up) > HUNG_UP_KEPT:
            del self._hung_up[next(iter(self._hung_up))]
        log.info("session %s ended: %s", held.record.session, reason)

    # --- the bus

    def _deliver(self, message: Message) -> None:
        held = self._held.get(message.session)
        if held is None:
            self.unknown_dropped += 1
            if isinstance(message, Attached):
                self._turn_away(message)
            return
        if isinstance(message, Control):
            self._control(held, message)
        else:
            held.bridge.receive(message)  # type: ignore[arg-type]  # a worker's lane is never read here
        if isinstance(message, Attached) and message.backend and message.epoch == held.bridge.epoch:
            held.record.backend = message.backend  # should Redis and that worker be lost at once, it is ours to know
        if held.bridge.ended is not None:
            self._held.pop(message.session, None)

    def _turn_away(self, worker: Attached) -> None:
        """A worker serves a session that is not here: its caller hung up before a worker heard it, or is elsewhere."""
        session, seq = worker.session, worker.resume_from_seq
        reason = self._hung_up.get(session)
        if reason is None:
            self._outbox.send(worker.lane, LinkLost(session))
            return
        joined = Joined(session, worker.epoch, worker.downlink_from_seq - 1, 0, 0, 0, uplink_from_seq=seq)
        self._outbox.send(worker.lane, joined)
        self._outbox.send(worker.lane, Hangup(session, seq, reason))

    def _control(self, held: Held, message: Control) -> None:
        match message.action:
            case "give_up":
                self._apologise(held, "failed")
            case "moved":
                self._moved(held, message.data.get("link", 0))
            case "hang_up":
                self._end(held, "hung_up")
            case "ice":
                self.on_ice(held, message.data)
            case action:
                log.warning("session %s: no control %r here", message.session, action)

    def _moved(self, held: Held, link: int) -> None:
        """The caller came back by another gateway; unless it is here again already."""
        if link <= held.record.link:
            return
        bridge = held.bridge
        for wire in (bridge.link, held.coming):
            if wire is not None:
                wire.replaced()
        bridge.link = held.coming = None
        bridge.end(ELSEWHERE)
        self._held.pop(bridge.session, None)

    def _worker_gone(self, lane: str) -> None:
        log.debug("lane %s is gone", lane)

    async def _bus_emptied(self) -> None:
        """Redis came back empty. Workers put back what they have."""
        for held in self._held.values():
            self._orphans.doubt(held.bridge, held.record)
        await self.tenants.restore()

    async def _pace(self) -> None:
        while True:
            await asyncio.sleep(PACE_S)
            for held in list(self._held.values()):
                held.bridge.hasten(now_ms())
                if held.bridge.active:
                    held.bridge.pump()
                    if held.bridge.ended is not None:
                        self._held.pop(held.record.session, None)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            gone = await self._gone_workers()
            await self._orphans.look(gone)
            now_s = time.monotonic()
            for held in list(self._held.values()):
                if held.bridge.worker and held.bridge.worker not in gone:
                    held.served_s = now_s
                if held.gone_s(now_s) > self._settings.resume_grace_s:
                    await self._never_came_back(held, now_s)
                elif now_s - held.served_s > self._settings.attach_timeout_s and not held.apologised:
                    await self._nobody_came(held)

    async def _gone_workers(self) -> set[str]:
        """Lanes of workers that are no more, and whose sessions nobody has taken over yet."""
        lanes = list({held.bridge.worker for held in self._held.values() if held.bridge.worker})
        try:
            found = await self._redis.ask_all([("EXISTS", lane) for lane in lanes])
        except BusError:
            return set()
        return {lane for lane, exists in zip(lanes, found, strict=True) if not exists}

    async def _is_elsewhere(self, held: Held) -> bool:
        """Whether another gateway has its caller, as Redis knows; from a worker that never heard of us we did not."""
        try:
            record = await self._records.read(held.record.session)
        except BusError:
            return False
        if record is not None and record.gateway != self._inbox.lane:
            self._moved(held, record.link)
        return held.bridge.ended is not None

    async def _never_came_back(self, held: Held, now_s: float) -> None:
        if not await self._is_elsewhere(held) and held.gone_s(now_s) > 0:  # else it came meanwhile
            self._end(held, "caller_lost")

    async def _nobody_came(self, held: Held) -> None:
        if await self._is_elsewhere(held):
            return
        log.error("session %s: no worker took it in %g s", held.record.session, self._settings.attach_timeout_s)
        self._apologise(held, "no_worker")
        try:
            await self._records.close(held.record.session, "no_worker")
        except BusError as error:
            log.warning("session %s: could not be closed in Redis: %s", held.record.session, error)

    def _apologise(self, held: Held, reason: str) -> None:
        if not held.apologised:
            held.apologised = True
            held.bridge.say(apology(held.record.rate_hz), then_close=reason)


def new_session_id() -> str:
    return uuid.uuid4().hex
