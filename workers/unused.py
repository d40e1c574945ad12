"""What a tenant has set and none of its backends uses: said at start and by `trunkline doctor`."""

from __future__ import annotations

from trunkline.tenants import Tenant

_WITHOUT_TOOLS = {"echo"}
"""Backends that have no model."""
_WITHOUT_IDLE = {"echo": "", "relay": "; its model speaks up by itself with relay.turn_detection.idle_timeout_ms"}
"""Backends that ask nobody whether they are there, and what there is instead."""


def unused(tenant: Tenant) -> list[str]:
    """Why each setting that has no effect has none; none when all have."""
    found = []
    if _WITHOUT_TOOLS.issuperset(tenant.backends) and (tenant.tools or tenant.client_tools):
        found.append(f"its tools are not used: the backend {tenant.backend} has none, cascade and relay do")
    if _WITHOUT_IDLE.keys() >= set(tenant.backends) and tenant.idle is not None:
        instead = _WITHOUT_IDLE[tenant.backend]
        found.append(f"its idle is not used: the backend {tenant.backend} asks nobody, cascade does{instead}")
    return found
