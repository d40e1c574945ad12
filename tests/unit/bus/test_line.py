from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.waiting import until
from trunkline.bus import connection
from trunkline.bus.connection import Command, Line, MissingGroup, Redis
from trunkline.errors import BusError


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    redis = Redis(redis_url)
    yield redis
    await redis.close()


async def ident(line: Line) -> Any:
    return await line.ask("CLIENT", "ID", block_s=0)


async def test_replies_come_in_order_and_a_refused_command_spoils_no_other(redis: Redis) -> None:
    replies = await redis.line().ask_all(
        [("SET", "a", 1), ("LPUSH", "a", b"x"), ("GET", "a"), ("XADD", "none", "NOMKSTREAM", "*", "b", "")]
    )
    assert replies[0] == b"OK"
    assert "WRONGTYPE" in str(replies[1])
    assert replies[2:] == [b"1", None]


async def test_a_refused_command_is_an_error(redis: Redis) -> None:
    line = redis.line()
    with pytest.raises(BusError, match="unknown command"):
        await line.ask("NONSENSE", block_s=0)
    with pytest.raises(MissingGroup):
        await line.ask("XREADGROUP", "GROUP", "g", "c", "STREAMS", "none", ">", block_s=0)
    assert await line.ask("PING", block_s=0) == b"PONG"


async def test_a_waiting_command_fails_at_once_when_the_connection_is_lost(redis: Redis) -> None:
    line = redis.line()
    number = await ident(line)
    waiting = asyncio.create_task(line.ask("XREAD", "BLOCK", 60_000, "STREAMS", "s", "$", block_s=60))
    await asyncio.sleep(0.02)
    await redis.ask("CLIENT", "KILL", "ID", number)
    async with asyncio.timeout(10):
        with pytest.raises(BusError, match="connection lost"):
            await waiting
    assert await ident(line) != number


async def test_a_connection_lost_while_idle_is_made_again(redis: Redis) -> None:
    line = redis.line()
    number = await ident(line)
    await redis.ask("CLIENT", "KILL", "ID", number)
    await until(lambda: line._transport is None)
    assert await ident(line) > number


async def test_a_mute_server_is_given_up(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    line = redis.line()
    assert await line.ask("PING", block_s=0) == b"PONG"
    monkeypatch.setattr(connection, "COMMAND_TIMEOUT_S", 0.1)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    with pytest.raises(BusError, match="no answer in time"):
        await line.ask("BLPOP", "list", 60, block_s=0)
    assert loop.time() - began_s > 0.05


async def test_the_reply_to_a_cancelled_command_is_nobody_elses(redis: Redis) -> None:
    line = redis.line()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await line.ask("BLPOP", "list", 1, block_s=1)
    await redis.ask("LPUSH", "list", "late")
    assert await line.ask("PING", block_s=0) == b"PONG"
    assert await redis.ask("LRANGE", "list", 0, -1) == [b"late"]


async def test_keep_asking_goes_on_from_each_reply_until_told_otherwise(redis: Redis) -> None:
    seen = []

    def go_on(reply: int) -> Command:
        seen.append(reply)
        if reply == 3:
            raise ValueError("enough")
        return ("INCR", "counter")

    line = redis.line()
    with pytest.raises(ValueError, match="enough"):
        await line.keep_asking(("INCR", "counter"), go_on, block_s=0)
    assert seen == [1, 2, 3]
    assert await line.ask("GET", "counter", block_s=0) == b"3"


async def test_keep_asking_ends_with_the_connection(redis: Redis) -> None:
    line = redis.line()
    number = await ident(line)
    asking = asyncio.create_task(line.keep_asking(("BLPOP", "list", 5), lambda _: ("BLPOP", "list", 5), block_s=5))
    await asyncio.sleep(0.02)
    await redis.ask("CLIENT", "KILL", "ID", number)
    with pytest.raises(BusError):
        await asking
