"""The worker process: pulls sessions when it has room, serves each in a task of its own, keeps them by renewing, hands
them over when it is told to stop, and takes over those of workers that fell silent."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
import uuid
from collections import defaultdict
from functools import partial

from trunkline.bus.connection import Redis
from trunkline.bus.dispatch import Dispatch, Entry
from trunkline.bus.lanes import Inbox, Outbox
from trunkline.bus.messages import Control, Message
from trunkline.errors import BusError, SessionLost, SettingsError
from trunkline.loop import settle
from trunkline.sessions import Record, Records
from trunkline.settings import Settings
from trunkline.tenants import Directory, Tenant
from workers import crumb, serving
from workers.moving import Moves
from workers.providers.registry import Providers
from workers.serving import Outcome
from workers.session import LiveSession
from workers.warming import warm_up

log = logging.getLogger(__name__)

BLAMED_TOO_OFTEN = 3
GATEWAY_CHECK_S = 1.0
GATEWAY_FIRST_S = 5.0
"""A gateway gives up on its caller before the worker does."""
RETRY_S = 0.1
LEAVE_S = 5.0
"""A worker says goodbye for at most this long: Redis may be away, and stay away."""


def new_process_id() -> str:
    return f"worker-{uuid.uuid4().hex[:12]}"


class Served:
    """A session this worker has."""

    def __init__(self, live: LiveSession, entry: Entry) -> None:
        self.live = live
        self.entry = entry
        self.handing_over = False
        self.offered = False
        """Whether another entry stands for it by now: ours may go once another worker has it."""


class Host:
    """One worker process."""

    def __init__(self, settings: Settings, redis: Redis, providers: Providers, process_id: str | None = None) -> None:
        """`process_id` must be new at each start; a supervisor chooses it, so that it knows whose death to announce."""
        self.process_id = process_id or new_process_id()
        self._settings = settings
        self._redis = redis
        self._providers = providers
        self._inbox = Inbox(redis, self.process_id, "worker")
        self._outbox = Outbox(redis, self._lane_gone)
        self._dispatch = Dispatch(redis)
        self._records = Records(redis)
        self._tenants = Directory(redis)
        self._moves = Moves(self.process_id, self._records, self._dispatch, self._takes)
        self._served: dict[str, Served] = {}
        self._beginning = asyncio.Lock()
        """Two entries may bring one session at once: that of its last worker, and one that was put up since."""
        self._room = asyncio.Event()
        self._room.set()
        self._draining = asyncio.Event()
        self.unknown_dropped = 0

    def __len__(self) -> int:
        return len(self._served)

    async def run(self) -> None:
        """Serve until `drain` was called and all sessions are gone. Raises BusError when Redis cannot be reached."""
        await warm_up(await self._tenants.all(), self._settings, self._providers)
        settle()
        await self._inbox.open()
        for backend in self._settings.backend_names:
            await self._dispatch.make_group(backend)
        async with asyncio.TaskGroup() as group:
            self._group = group
            running = [
                group.create_task(self._outbox.run()),
                group.create_task(self._inbox.read(self._deliver)),
                group.create_task(self._inbox.beat(self._bus_emptied)),
                group.create_task(self._renew()),
                group.create_task(self._watch_gateways()),
            ]
            pulling = [group.create_task(self._pull(backend)) for backend in self._settings.backend_names]
            pulling += [group.create_task(self._take_stale(backend)) for backend in self._settings.backend_names]
            log.info("worker %s serves %s", self.process_id, ", ".join(self._settings.backend_names))
            await self._draining.wait()
            for task in pulling:
                task.cancel()
            await self._hand_over_all()
            await self._leave()
            for task in running:
                task.cancel()
        await self._providers.close()

    def drain(self) -> None:
        """Take no more; hand over what there is, each session at its next moment of rest."""
        self._draining.set()

    def _takes(self, backend: str) -> bool:
        return backend in self._settings.backend_names and not self._draining.is_set()

    # --- getting sessions

    async def _pull(self, backend: str) -> None:
        reader = self._redis.line()
        while True:
            await self._room.wait()
            try:
                entry = await self._dispatch.pull(reader, backend, self.process_id)
                if entry is not None:
                    await self._take(entry)
            except BusError as error:
                log.debug("cannot pull: %s", error)
                await asyncio.sleep(RETRY_S)

    async def _take_stale(self, backend: str) -> None:
        lease_ms = self._settings.lease_ms
        while True:
            await asyncio.sleep(lease_ms / 4000)
            await self._room.wait()
            try:
                while self._room.is_set():
                    entry = await self._dispatch.take_stale(backend, self.process_id, lease_ms)
                    if entry is None:
                        break
                    log.warning("session %s: nobody renewed it, taking over", entry.session)
                    await self._take(entry)
            except BusError as error:
                log.debug("cannot look for stale sessions: %s", error)

    async def _take(self, entry: Entry) -> None:
        try:
            async with self._beginning:
                await self._begin(entry)
        except BusError:
            raise
        except Exception:
            # A record of another version, or a damaged one, must not end this worker and then the next.
            log.exception("session %s cannot be begun", entry.session)
            if await self._records.blame(entry.session) > BLAMED_TOO_OFTEN:
                await self._dispatch.give_up(entry, "cannot be begun")
            else:
                await self._dispatch.redispatch(entry)

    async def _begin(self, entry: Entry) -> None:
        ours = self._served.get(entry.session)
        if ours is not None:
            await self._keep_place(ours, entry)
            return
        record = await self._records.read(entry.session)
        if record is None:
            await self._dispatch.done(entry)
            return
        if record.blamed >= BLAMED_TOO_OFTEN:  # also one that is closed: a worker may have died over giving it up
            await self._give_up(entry, record)
            return
        if record.closed:
            await self._dispatch.done(entry)
            return
        if record.backend != entry.backend:  # who moved it died over that
            await self._dispatch.redispatch(entry, record.backend)
            return
        tenant = await self._tenants.get(record.tenant) or Tenant(id=record.tenant, backend=record.backend)
        try:
            record.epoch = await self._records.attach(record, self._inbox.lane)
        except SessionLost:  # it ended just now
            await self._dispatch.done(entry)
            return
        record.worker = self._inbox.lane
        live = LiveSession(record, tenant, self._inbox.lane, self._outbox, self._records)
        self._served[entry.session] = served = Served(live, entry)
        live.on_rest = partial(self._rested, served)
        live.on_failed = partial(self._moves.fall_back, live)
        if len(self._served) >= self._settings.worker_sessions:
            self._room.clear()
        context = contextvars.copy_context()
        context.run(crumb.current.set, entry.session)
        self._group.create_task(self._serve(served), context=context, name=f"session {entry.session}")

    async def _keep_place(self, served: Served, entry: Entry) -> None:
        """This entry stands for the session now. One that nobody renews would be taken, and the session with it."""
        before, served.entry = served.entry, entry
        if before.id != entry.id:
            await self._dispatch.done(before)

    async def _give_up(self, entry: Entry, record: Record) -> None:
        log.error("session %s failed or killed its worker %d times: given up", entry.session, record.blamed)
        # The entry goes last: should this worker die before, the next one does it again.
        self._outbox.send(record.gateway, Control(entry.session, "give_up"))
        await self._outbox.flushed()
        await self._records.close(entry.session, "failed")
        await self._dispatch.give_up(entry, f"blamed {record.blamed} times")

    # --- serving one

    async def _serve(self, served: Served) -> None:
        live = served.live
        outcome = Outcome.FAILED
        try:
            backend = await asyncio.to_thread(serving.make_backend, live.record.backend, live.tenant, self._providers)
            outcome = await serving.serve(live, backend, self._records)
        except SettingsError as error:  # a key that is missing here may be there elsewhere
            log.error("session %s cannot be served here: %s", live.id, error)
            outcome = Outcome.MOVED if await self._moves.give_way(live) else Outcome.FAILED
        except Exception:
            # One session's failure is not its neighbours': it is put up again, and given up after a few.
            log.exception("session %s failed", live.id)
        finally:
            self._served.pop(live.id, None)
            self._room.set()
        try:
            await self._finish(served, outcome)
        except BusError as error:
            log.warning("session %s: its end could not be recorded: %s", live.id, error)

    async def _finish(self, served: Served, outcome: Outcome) -> None:
        live = served.live
        log.info("session %s %s here", live.id, outcome.value)
        match outcome:
            case Outcome.OVER:
                await self._records.close(live.id, "over")
                await self._dispatch.done(served.entry)
            case Outcome.FAILED:
                await self._records.blame(live.id)
                await self._dispatch.redispatch(served.entry, live.record.backend)
            case Outcome.MOVED:
                await self._hand_on(served)
            case Outcome.LOST if served.offered or not self._draining.is_set():
                await self._moves.let_go(live, served.entry)

    async def _hand_on(self, served: Served) -> None:
        """Until another worker has the session, it is lost if we do not see to it. Raises BusError, if we leave."""
        while True:
            try:
                return await self._moves.hand_on(served.live.record, served.entry)
            except SessionLost as lost:
                log.info("session %s does not move: %s", served.live.id, lost)
                return await self._moves.let_go(served.live, served.entry)
            except BusError as error:
                if self._draining.is_set():
                    raise
                log.warning("session %s: not moved yet: %s", served.live.id, error)
                await asyncio.sleep(RETRY_S)

    # --- the bus

    def _deliver(self, message: Message) -> None:
        served = self._served.get(message.session)
        if served is None:
            self.unknown_dropped += 1
            return
        served.live.receive(message)

    def _lane_gone(self, lane: str) -> None:
        """A gateway does not exist (any more, or not yet again): ask until somebody answers."""
        for served in self._served.values():
            if served.live.record.gateway == lane:
                served.live.unjoin()

    async def _bus_emptied(self) -> None:
        """Redis came back empty: write back what we have, epochs included, and keep our place."""
        await self._tenants.restore()
        for served in list(self._served.values()):
            live = served.live
            try:
                await self._records.commit(live.record)
            except SessionLost:
                live.lost.set()
                continue
            entry_id = await self._dispatch.offer(live.record.backend, live.id, owner=self.process_id)
            await self._keep_place(served, Entry(live.record.backend, entry_id, live.id))
            live.unjoin()
            served.handing_over = served.offered = False  # what was offered is gone, and nobody else stands for it
            live.rest(live.at_rest)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._settings.lease_ms / 3000)
            entries: defaultdict[str, dict[str, Served]] = defaultdict(dict)
            for served in self._served.values():
                entries[served.entry.backend][served.entry.id] = served
            for backend, mine in entries.items():
                try:
                    for entry_id in await self._dispatch.renew(backend, self.process_id, mine):
                        await self._doubt(mine[entry_id].live)
                except BusError as error:
                    log.debug("sessions not renewed: %s", error)

    async def _doubt(self, live: LiveSession) -> None:
        """An entry is not ours any more: because another worker has the session, or because Redis came back empty."""
        record = await self._records.read(live.id)
        if record is not None and record.epoch > live.record.epoch:
            log.warning("session %s was taken over while we were not looking", live.id)
            live.lost.set()

    async def _watch_gateways(self) -> None:
        """A session whose gateway is gone waits for its caller to come back by another; not for ever."""
        while True:
            await asyncio.sleep(GATEWAY_CHECK_S)
            now_s = time.monotonic()
            lanes = list({served.live.record.gateway for served in self._served.values()})
            try:
                alive = dict(zip(lanes, await self._redis.ask_all([("EXISTS", lane) for lane in lanes]), strict=True))
            except BusError:
                continue
            for served in list(self._served.values()):
                live = served.live
                if not alive.get(live.record.gateway, True) and live.caller_lost_s is None:
                    live.caller_lost_s = now_s
                if (
                    live.caller_lost_s is not None
                    and now_s - live.caller_lost_s > self._settings.resume_grace_s + GATEWAY_FIRST_S
                ):
                    live.give_up_on_caller()

    # --- ending

    async def _hand_over_all(self) -> None:
        if self._served:
            log.info("handing over %d sessions", len(self._served))
        for served in list(self._served.values()):
            served.live.rest(served.live.at_rest)
        try:
            async with asyncio.timeout(self._settings.drain_s):
                while self._served:
                    self._room.clear()
                    await self._room.wait()
        except TimeoutError:
            log.warning("%d sessions were not handed over in %g s", len(self._served), self._settings.drain_s)
            for served in self._served.values():
                served.live.lost.set()
            await asyncio.sleep(0)

    def _rested(self, served: Served) -> None:
        """Nobody would notice another worker now."""
        if served.live.move_to:
            self._group.create_task(self._move(served))
        elif self._draining.is_set():
            self._offer(served)

    async def _move(self, served: Served) -> None:
        await self._moves.move(served.live)
        if not served.live.moved.is_set():  # then it rests on, and may have to leave all the same
            served.live.rest(served.live.at_rest)

    def _offer(self, served: Served) -> None:
        """Put the session up for another worker; we go on until the gateway says that one has it."""
        if not served.handing_over:
            served.handing_over = True
            self._group.create_task(self._offer_again(served))

    async def _offer_again(self, served: Served) -> None:
        while served.live.id in self._served:
            try:
                await self._dispatch.offer(served.entry.backend, served.live.id)
                served.offered = True
                return
            except BusError as error:
                log.warning("session %s: not handed over yet: %s", served.live.id, error)
                await asyncio.sleep(RETRY_S)

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(LEAVE_S):
                await self._outbox.flushed()
                await self._inbox.leave()
                for backend in self._settings.backend_names:
                    for entry in await self._dispatch.pending_of(backend, self.process_id):
                        await self._dispatch.redispatch(entry)
                    await self._dispatch.forget_consumer(backend, self.process_id)
        except (BusError, TimeoutError) as error:
            log.warning("left without a goodbye: %s", str(error) or "Redis did not answer")
