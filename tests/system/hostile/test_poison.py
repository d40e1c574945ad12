"""A session that kills every worker that takes it is the one that is blamed, and given up after three; no other is."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from benchmarks.stack import ROOT, Stack
from cli.client import Caller
from trunkline.bus import keys

CALLS = 12
GUILTY = 3
TENANTS = {"echo.yaml": "id: echo\nbackend: echo\n", "poison.yaml": "id: poison\nbackend: poison\n"}
POISON = Path(__file__).parents[2] / "standins" / "poison"


@pytest.mark.system
async def test_the_guilty_are_given_up_and_no_innocent_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{POISON}:{ROOT}")
    async with Stack(workers=2, tenants=TENANTS, backends="echo,poison") as stack, AsyncExitStack() as calls:
        innocent = [await calls.enter_async_context(_caller(stack, "echo")) for _ in range(CALLS - GUILTY)]
        poison = [await calls.enter_async_context(_caller(stack, "poison")) for _ in range(GUILTY)]

        for caller in poison:
            await caller.event("closing", timeout_s=60, reason="failed")
            assert caller.speaker.heard, "the caller heard no apology"
        async with asyncio.timeout(20):  # the last to be guilty may have killed who was giving up another
            while await stack.redis.ask("XLEN", keys.DEAD_LETTERS) < GUILTY:  # noqa: ASYNC110  (Redis knows)
                await asyncio.sleep(0.05)
        dead = await stack.redis.ask("XRANGE", keys.DEAD_LETTERS, "-", "+")
        assert sorted(fields[1].decode() for _, fields in dead) == sorted(caller.session_id for caller in poison)
        for caller in innocent:
            await _hears_something(caller)
            assert caller.ended is None
            assert not caller.reconnects


async def _hears_something(caller: Caller) -> None:
    """The echo goes on: something arrives from now on."""
    now_s = caller.now_s
    async with asyncio.timeout(10):
        while caller.arrivals[-1].at_s < now_s:  # noqa: ASYNC110  (audio is no event)
            await asyncio.sleep(0.02)


def _caller(stack: Stack, tenant: str) -> Caller:
    return Caller(stack.url, tenant=tenant, keep_audio=False)
