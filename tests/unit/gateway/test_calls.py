"""What Redis keeps of telephone calls, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.calls import KEEP_ENDED_S, KEEP_S, TOKEN_S, Calls, Known
from trunkline.bus import keys
from trunkline.bus.connection import Redis


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    redis = Redis(redis_url)
    yield redis
    await redis.close()


async def test_a_token_is_good_for_a_while(redis: Redis) -> None:
    token, _ = await Calls(redis, token_s=0.02).grant("CA0a")
    await asyncio.sleep(0.05)
    assert not await Calls(redis).burn(token, "CA0a")
    token, _ = await Calls(redis).grant("CA0a")
    assert 0 < await redis.ask("PTTL", keys.stream_token(token)) <= TOKEN_S * 1000
    assert await Calls(redis).burn(token, "CA0a")
    assert not await Calls(redis).burn(token, "CA0a")


async def test_a_call_that_rings_again_keeps_a_session_that_began_meanwhile(redis: Redis) -> None:
    calls = Calls(redis)
    await calls.ring("CA0a", "acme")
    assert await calls.claim("CA0a", "s1") == "s1"
    await calls.ring("CA0a", "acme")  # by who read before that there was none
    assert await calls.read("CA0a") == Known("acme", "s1", "", "")
    assert await calls.claim("CA0a", "s2") == "s1"


async def test_a_call_that_begins_anew_forgets_the_session_it_knew(redis: Redis) -> None:
    calls = Calls(redis)
    await calls.ring("CA0a", "acme")
    await calls.claim("CA0a", "s1")
    await calls.end("CA0a", "hung_up", "+15550123")
    await calls.ring("CA0a", "other", earlier="s1")
    assert await calls.read("CA0a") == Known("other", "", "", "")
    assert await calls.claim("CA0a", "s2") == "s2"
    await calls.ring("CA0a", "other", earlier="s1")  # the second to say so
    assert await calls.read("CA0a") == Known("other", "s2", "", "")


async def test_nothing_stays_for_ever(redis: Redis) -> None:
    calls, key = Calls(redis), keys.call("CA0a")
    await calls.ring("CA0a", "acme")
    await calls.grant("CA0a")
    await calls.claim("CA0a", "s1")
    await calls.begun("CA0a", "s1")
    assert KEEP_ENDED_S < await redis.ask("TTL", key) <= KEEP_S
    assert await calls.end("CA0a", "hung_up")
    assert 0 < await redis.ask("TTL", key) <= KEEP_ENDED_S
    assert not await calls.end("CA0a", "completed")
    await redis.ask("FLUSHALL")
    await calls.renew([("CA0a", "acme", "s1")])
    assert KEEP_ENDED_S < await redis.ask("TTL", key) <= KEEP_S


@pytest.mark.parametrize("method", ["grant", "claim", "begun", "end"])
async def test_what_comes_after_a_call_was_forgotten_goes_too(redis: Redis, method: str) -> None:
    """A call's hash may expire between a question and the next, or Redis come back empty."""
    arguments = {"grant": (), "claim": ("s1",), "begun": ("s1",), "end": ("hung_up",)}[method]
    await getattr(Calls(redis), method)("CA0a", *arguments)
    assert await redis.ask("TTL", keys.call("CA0a")) > 0
