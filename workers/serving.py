"""One session being served by a backend, until it is over, another worker has it, or another backend is to have it."""

from __future__ import annotations

import asyncio
import importlib
import logging
from enum import Enum

from trunkline.errors import BusError, SessionLost, SettingsError
from trunkline.sessions import Records
from trunkline.tenants import Tenant
from workers import seam
from workers.backend import Backend
from workers.providers.registry import Providers
from workers.session import LiveSession

log = logging.getLogger(__name__)

JOIN_RETRY_S = 0.25


class Outcome(Enum):
    """How it ended here."""

    OVER = "over"
    LOST = "lost"
    """Another worker has it."""
    MOVED = "moved"
    """Its record names another backend, and nobody has it yet."""
    FAILED = "failed"


def make_backend(name: str, tenant: Tenant, providers: Providers) -> Backend:
    """The backend that lives in `workers/<name>/`, for a tenant. May load models: not for the event loop.

    Raises SettingsError when there is none, or the tenant's settings for it are wrong.
    """
    try:
        module = importlib.import_module(f"workers.{name}.runner")
    except ModuleNotFoundError as error:
        raise SettingsError(f"tenant {tenant.id}: no backend {name!r} ({error})") from error
    backend: Backend = module.backend(tenant, providers)
    return backend


async def serve(live: LiveSession, backend: Backend, records: Records) -> Outcome:
    """Run the backend until it returns, or is to let go."""
    outcome = Outcome.OVER
    log.info("session %s attached: epoch %d, %s", live.id, live.record.epoch, live.record.backend)
    try:
        async with asyncio.TaskGroup() as group:
            ends = [group.create_task(work) for work in (_run(live, backend), live.lost.wait(), live.moved.wait())]
            joining = group.create_task(_keep_joined(live, records))
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for task in (*ends, joining):
                task.cancel()
    except* SessionLost:
        outcome = Outcome.LOST
    finally:
        await backend.close()
    if live.lost.is_set():
        return Outcome.LOST
    return Outcome.MOVED if live.moved.is_set() else outcome


async def _run(live: LiveSession, backend: Backend) -> None:
    await live.begun.wait()
    if live.given_up:
        return
    name, snapshot = live.record.backend, live.snapshot
    if snapshot.backend not in ("", name):
        seam.adapt(snapshot, live.playhead, live.tenant.greeting)
    snapshot.backend = name
    live.event("backend", backend=name, providers=backend.providers)
    await backend.run(live)


async def _keep_joined(live: LiveSession, records: Records) -> None:
    """Ask the gateway until it answers; again whenever it or Redis was away."""
    while True:
        await live.unjoined.wait()
        for _ in range(4):
            live.attach()
            try:
                async with asyncio.timeout(JOIN_RETRY_S):
                    await live.joined.wait()
                    break
            except TimeoutError:
                continue
        else:
            await _find_gateway(live, records)


async def _find_gateway(live: LiveSession, records: Records) -> None:
    try:
        record = await records.read(live.id)
    except BusError:
        return
    if record is not None and record.link >= live.record.link:
        live.record.gateway, live.record.link = record.gateway, record.link
