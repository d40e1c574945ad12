"""One deployment for all who attack it: what one of them leaves would be found by the next."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.system.hostile import clients
from tests.system.hostile.innocent import nobody_is_hurt
from tests.system.hostile.target import Target, deployed


@pytest.fixture(scope="package")
def realtime_port() -> int:
    """Where the deployment expects a Realtime model: nobody is there but in tests that start one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="package")
def target(realtime_port: int) -> Iterator[Target]:
    with deployed(f"ws://127.0.0.1:{realtime_port}/v1") as target:
        yield target


@pytest.fixture
async def innocent_by_phone(target: Target) -> AsyncIterator[None]:
    async with nobody_is_hurt(target):
        yield


@pytest.fixture
async def innocent_by_websocket(target: Target) -> AsyncIterator[None]:
    async with clients.nobody_is_hurt(target):
        yield
