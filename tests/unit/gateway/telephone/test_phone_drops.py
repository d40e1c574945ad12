"""Calls that are opened and dropped, each in another way: no task, session or link of theirs is left."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed

from tests.unit.gateway.phone import Gateway, Start, ringing, start
from tests.waiting import until
from trunkline.bus import keys

CALLS = 60


@pytest.fixture
async def gateway(gateways: Start) -> Gateway:
    return await gateways(resume_grace_s=1)


async def drop(gateway: Gateway, way: int) -> None:
    form = ringing()
    token = await gateway.token(form)
    if way == 0:  # no stream
        return
    stream = await gateway.stream()
    if way > 1:  # a session
        await stream.send(start(form["CallSid"], token))
    if way > 2:
        with suppress(ConnectionClosed):
            await gateway.held(form["CallSid"])
    if way == 4:
        await stream.send('{"event":"stop","streamSid":"MZ0a"}')
    if way == 5:
        stream.transport.abort()
    await stream.close()


def tasks() -> Counter[str]:
    """What runs, by name."""
    return Counter(getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks())


async def test_calls_that_were_dropped_leave_nothing(gateway: Gateway) -> None:
    await drop(gateway, 4)  # by now the gateway's own tasks run
    before = tasks()
    for first in range(0, CALLS, 10):
        await asyncio.gather(*(drop(gateway, number % 6) for number in range(first, first + 10)))
    await until(lambda: len(gateway.sessions) == 0 and not gateway.door._links)
    try:
        await until(lambda: tasks() <= before)
    except TimeoutError:
        pytest.fail(f"still there: {tasks() - before}")
    for pattern in (keys.call("*"), keys.stream_token("*"), keys.session("*")):
        found = await gateway.redis.ask("KEYS", pattern)
        lives = await gateway.redis.ask_all([("TTL", key.decode()) for key in found])
        assert found
        assert all(ttl_s > 0 for ttl_s in lives), pattern
