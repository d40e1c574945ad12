"""What a worker loads before its first caller waits for it: models and libraries are imported for seconds, in which it
could not renew its sessions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from trunkline.errors import TrunklineError
from trunkline.settings import Settings
from trunkline.tenants import Tenant
from workers import serving
from workers.providers.registry import Providers
from workers.tools import registry as tools
from workers.unused import unused

log = logging.getLogger(__name__)


async def warm_up(tenants: Sequence[Tenant], settings: Settings, providers: Providers) -> None:
    """Make each backend that may answer for these tenants once, and say in the log who cannot be served."""
    for tenant in tenants or [Tenant(id=settings.default_tenant)]:
        for why in unused(tenant):
            log.warning("tenant %s: %s", tenant.id, why)
        for name in tenant.backends:
            if name in settings.backend_names:
                await _try_out(name, tenant, providers)


async def _try_out(name: str, tenant: Tenant, providers: Providers) -> None:
    try:
        await asyncio.to_thread(tools.offers, tenant)
        backend = await asyncio.to_thread(serving.make_backend, name, tenant, providers)
    except TrunklineError as error:
        log.error("tenant %s cannot be served: %s", tenant.id, error)
        return
    for stage, description in backend.providers.items():
        log.info("tenant %s: %s: %s", tenant.id, stage, description)
    await backend.close()
