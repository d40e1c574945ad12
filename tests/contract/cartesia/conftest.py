"""Cartesia's voices: the stand-in, and our provider on it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contract.cartesia.caller import provider
from tests.contract.recorded import closing
from tests.standins.cartesia import Cartesia
from workers.providers.cartesia import CartesiaSpeech


@pytest.fixture
async def vendor() -> AsyncIterator[Cartesia]:
    async with Cartesia() as standin:
        yield standin


@pytest.fixture
async def speech(vendor: Cartesia) -> AsyncIterator[CartesiaSpeech]:
    async with closing(provider(vendor)) as made:
        yield made
