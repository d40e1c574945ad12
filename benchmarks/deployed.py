"""Trunkline as benchmarks of calls have it: one gateway, one worker, Redis and a supervisor, and one tenant for all."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping

from benchmarks.processes import parent_of
from benchmarks.stack import Stack, pid_of


@contextlib.asynccontextmanager
async def deployed(
    tenant: str, text: str, vendors: Mapping[str, str], calls: int, **settings: object
) -> AsyncIterator[tuple[Stack, dict[str, int]]]:
    """The stack and its processes by name. `text` is the tenant's YAML; `vendors` and `settings` are Stack's."""
    async with Stack(
        gateways=1,
        workers=1,
        tenants={f"{tenant}.yaml": text},
        default_tenant=tenant,
        vendors=vendors,
        supervised=True,
        worker_sessions=calls + 1,
        **settings,
    ) as stack:
        pids = {kind: pid_of((await stack.ids(kind))[0]) for kind in ("gateway", "worker")}
        supervisor = parent_of(pids["gateway"])
        try:
            yield stack, {**pids, "redis": stack.redis_pid, "supervisor": supervisor}
        except Exception as error:
            error.add_note(f"The log ends with:\n{stack.log_text()[-4000:]}")
            raise
