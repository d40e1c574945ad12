from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.workers.stage import Probe, Stage, staged
from trunkline.tenants import Tenant
from workers import host, serving


@pytest.fixture
async def stage(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr("trunkline.bus.lanes.BEAT_S", 0.05)
    monkeypatch.setattr(host, "GATEWAY_CHECK_S", 0.05)
    async with staged(redis_url, Tenant(id="acme", backend="probe")) as made:
        monkeypatch.setattr(serving, "make_backend", lambda *_: Probe(made.begun))
        yield made
