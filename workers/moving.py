"""A session moves to another backend: because its own has failed, or because somebody wants it to.

A move is a takeover on purpose. The record names the other backend, the backend of now is stopped wherever it is, and
the session waits on the other one's dispatch stream: who takes it goes on from what was committed, as after a death.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from trunkline.bus.dispatch import Dispatch, Entry
from trunkline.bus.lanes import BEAT_S
from trunkline.errors import BusError, SessionLost
from trunkline.sessions import Record, Records
from trunkline.tenants import Tenant
from workers.session import LiveSession

log = logging.getLogger(__name__)

ONCE_IN_S = 60
"""A backend that failed a call is left at most this often: two that fail would pass it to and fro."""
TAKEN_IN_S = 2.0
"""A worker with room takes a session within milliseconds, unless it has just died."""
KNOWN_IN_S = 2 * BEAT_S
"""A worker that lives has written back by then what an emptied Redis has lost."""
LOOK_S = 0.25
"""So often its gateway's word is looked for in the record: less than a lease, for a lease is kept meanwhile."""


def fallback(tenant: Tenant, record: Record, now_s: float) -> str | None:
    """The backend to go on when the call's own has failed; None when there is none, or it was left just now. `now_s` is
    the time of day (s since 1970), for the next worker is another process."""
    if tenant.fallback_backend is None:
        return None
    other = tenant.backend if record.backend == tenant.fallback_backend else tenant.fallback_backend
    return None if abs(now_s - has_left(record, record.backend)) < ONCE_IN_S else other


def left_with(record: Record, now_s: float) -> str:
    """`record.left` once the call has left its backend, which failed."""
    left = {**_left(record), record.backend: int(now_s)}
    return " ".join(f"{backend}={left_s}" for backend, left_s in left.items())


def has_left(record: Record, backend: str) -> int:
    """When the call left this backend, which had failed (s since 1970); 0: never."""
    return _left(record).get(backend, 0)


def _left(record: Record) -> dict[str, int]:
    """Of a damaged record, what can be read: it must not end the worker that reads it."""
    pairs = [pair.partition("=") for pair in record.left.split()]
    return {backend: int(left_s) for backend, _, left_s in pairs if left_s.isdecimal()}


class Moves:
    """The moves of one worker's sessions. `serves` says whether this worker takes sessions of a backend."""

    def __init__(self, process_id: str, records: Records, dispatch: Dispatch, serves: Callable[[str], bool]) -> None:
        self._process_id = process_id
        self._records = records
        self._dispatch = dispatch
        self._serves = serves

    async def fall_back(self, live: LiveSession) -> None:
        """The session's backend has failed: have the tenant's other one go on. Returns when there is none that can;
        otherwise never, and is cancelled with the backend."""
        if await self.give_way(live):
            await asyncio.get_running_loop().create_future()

    async def give_way(self, live: LiveSession) -> bool:
        """As `fall_back`, for a backend that does not run. Returns whether the session moves."""
        now_s = time.time()
        backend = fallback(live.tenant, live.record, now_s)
        if backend is not None and await self._is_served(live, backend) and not live.moved.is_set():
            live.record.left = left_with(live.record, now_s)
            self._stop(live, backend)
        return live.moved.is_set()  # it may have been moved meanwhile: two stages may fail at once

    async def move(self, live: LiveSession) -> None:
        """Somebody wants the session to be answered by `live.move_to`, and it is at rest."""
        backend, live.move_to = live.move_to, ""
        if backend in ("", live.record.backend) or not await self._is_served(live, backend):
            return
        if not live.at_rest:  # any more: at the next, unless somebody wants it elsewhere by now
            live.move_to = live.move_to or backend
        elif not live.moved.is_set():
            self._stop(live, backend)

    async def _is_served(self, live: LiveSession, backend: str) -> bool:
        try:
            if self._serves(backend) or await self._dispatch.is_served(backend):
                return True
            log.error("session %s does not move to %s: no worker serves that, or has room", live.id, backend)
        except BusError as error:
            log.warning("session %s does not move to %s: %s", live.id, backend, error)
        return False

    def _stop(self, live: LiveSession, backend: str) -> None:
        """Without an await: who is cancelled has moved the session, or has not."""
        log.warning("session %s moves from %s to %s", live.id, live.record.backend, backend)
        live.record.backend = backend
        live.moved.set()

    async def hand_on(self, record: Record, entry: Entry) -> None:
        """The backend was stopped: let another worker, or this one, take the session. Raises BusError, after which it
        is to be called again; and SessionLost when the session is over, or another's by now."""
        await self._records.move(record)
        offered = await self._dispatch.redispatch(entry, record.backend)
        await asyncio.sleep(TAKEN_IN_S)
        now = await self._records.read(record.session)
        if now is None:  # Redis came back empty since
            await self.hand_on(record, entry)
            return
        if now.closed or now.epoch > record.epoch:
            return
        log.error("session %s: no worker took it for %s: back to %s", record.session, record.backend, entry.backend)
        record.backend = entry.backend
        await self._records.move(record)
        await self._dispatch.redispatch(offered, record.backend)

    async def let_go(self, live: LiveSession, entry: Entry) -> None:
        """Another worker has the session. If it has it by another entry, ours would bring it back here.

        That worker may be dead, and a Redis that was emptied know nothing of it: then only we have the session, and it
        is put up again, with an epoch that counts for its gateway. Raises BusError.
        """
        clock = asyncio.get_running_loop().time
        until_s = clock() + KNOWN_IN_S
        while not await self._dispatch.renew(entry.backend, self._process_id, [entry.id]):  # else it is not ours
            if live.rival is None or not await self._is_ours(live.record):
                await self._dispatch.done(entry)
                return
            if live.rival.epoch == live.record.epoch or clock() > until_s:
                await self._put_up_again(live.record, live.rival.epoch, entry)
                return
            await asyncio.sleep(LOOK_S)

    async def _is_ours(self, record: Record) -> bool:
        now = await self._records.read(record.session)
        return now is not None and not now.closed and (now.epoch, now.worker) == (record.epoch, record.worker)

    async def _put_up_again(self, record: Record, epoch: int, entry: Entry) -> None:
        log.warning("session %s: its gateway knows of an epoch %d that Redis has lost", record.session, epoch)
        record.epoch = epoch
        try:
            await self._records.commit(record)
        except SessionLost:  # whose epoch that is, has come just now
            await self._dispatch.done(entry)
        else:
            await self._dispatch.redispatch(entry, record.backend)
