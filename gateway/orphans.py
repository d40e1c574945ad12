"""Sessions whose worker may have died when Redis came back empty: nobody but their gateway knows of them then.

A worker that lives writes back what it has, conversations included; so it is given the time for that first. What a
dead one had committed is lost: its callers are answered, by somebody who was not told what was said before.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace

from adapters.bridge import Bridge
from trunkline.bus.dispatch import Dispatch
from trunkline.bus.lanes import BEAT_S, LANE_TTL_MS
from trunkline.errors import BusError
from trunkline.sessions import Record, Records

log = logging.getLogger(__name__)

PUT_BACK_S = 2 * BEAT_S
"""A worker notices an empty Redis within a beat, and writes back at once."""
LANE_S = LANE_TTL_MS / 1000 + BEAT_S
"""A lane that is there for longer has a worker that lives."""


@dataclass(slots=True)
class _Doubt:
    bridge: Bridge
    record: Record
    worker: str
    """The lane of whom it had; empty: nobody."""
    since_s: float


class Orphans:
    """A gateway's. To be looked at regularly, which costs nothing while there are none."""

    def __init__(self, records: Records, dispatch: Dispatch) -> None:
        self._records = records
        self._dispatch = dispatch
        self._doubts: dict[str, _Doubt] = {}

    def __len__(self) -> int:
        return len(self._doubts)

    def doubt(self, bridge: Bridge, record: Record) -> None:
        """Redis came back empty: this session may be nobody's any more. `record` is what its gateway knows."""
        self._doubts[bridge.session] = _Doubt(bridge, record, bridge.worker, time.monotonic())

    async def look(self, gone: set[str]) -> None:
        """Put up again those that nobody else did; `gone` are lanes that do not exist."""
        try:
            for session, doubt in list(self._doubts.items()):
                if await self._is_settled(doubt, gone):
                    del self._doubts[session]
        except BusError as error:
            log.debug("cannot look for orphans: %s", error)

    async def _is_settled(self, doubt: _Doubt, gone: set[str]) -> bool:
        bridge, age_s = doubt.bridge, time.monotonic() - doubt.since_s
        if bridge.ended is not None or bridge.is_on_its_own or bridge.worker != doubt.worker:
            return True
        if doubt.worker and age_s < PUT_BACK_S:
            return False
        record = replace(doubt.record, epoch=bridge.epoch, worker=bridge.worker, snapshot=b"")
        missing = await self._records.put_back(record)
        if missing or not doubt.worker or doubt.worker in gone:
            log.warning("session %s: no worker has it since Redis came back empty: put up again", record.session)
            await self._dispatch.offer(record.backend, record.session)
            return True
        return age_s > LANE_S
