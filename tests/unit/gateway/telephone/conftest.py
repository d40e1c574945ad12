"""Gateways with a telephone, as `tests/unit/gateway/phone.py` has them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest

from tests.unit.gateway.phone import Gateway, Start, gateways_on


@pytest.fixture
async def gateways(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Starts gateways with the settings a test wants; they end with it."""
    monkeypatch.setattr("gateway.sessions.RESUME_ATTACH_S", 0.05)  # there are no workers here
    monkeypatch.setattr("gateway.sessions.RESUME_RETRY_S", 0.01)
    monkeypatch.setattr("gateway.resuming.RESTORE_TRIES", 1)
    async with gateways_on(redis_url) as start_one:
        yield start_one


@pytest.fixture
async def gateway(gateways: Start) -> Gateway:
    return await gateways()


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
