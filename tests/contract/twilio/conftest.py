"""A small gateway answers the stand-in: TwiML by the official package, every signature checked by its validator."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.standins.twilio.gateway import Gateway, running


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with running(Gateway()) as gateway:
        yield gateway
