from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from trunkline.bus import connection
from trunkline.bus.connection import MissingGroup, Redis
from trunkline.errors import BusError, SettingsError


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    connections = Redis(redis_url)
    yield connections
    await connections.close()


@pytest.fixture
def directory() -> Iterator[Path]:
    """A folder with a short name. (Not pytest's tmp_path: a Unix socket's path has room for 107 bytes.)"""
    with tempfile.TemporaryDirectory(prefix="trunkline-test-") as name:
        yield Path(name)


@pytest.fixture
async def mute(directory: Path) -> AsyncIterator[Redis]:
    """A server that takes everything and answers nothing: what a half-open connection looks like."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(swallow, directory / "mute")
    connections = Redis(f"unix://{directory}/mute")
    yield connections
    await connections.close()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("url", ["", "localhost", "http://localhost", "redis://host:port"])
def test_what_cannot_be_an_address_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(SettingsError, match=r"TRUNKLINE_REDIS_URL .*redis://host:6379/0"):
        Redis(url)


async def test_replies_are_as_the_server_gives_them(redis: Redis) -> None:
    assert await redis.ask("SET", "a", b"\xff\x00") == b"OK"
    assert await redis.ask("GET", "a") == b"\xff\x00"
    assert await redis.ask_all([("HSET", "h", "x", 1), ("HGETALL", "h"), ("EXISTS", "a", "h")]) == [1, [b"x", b"1"], 2]
    assert await redis.line().ask("HGETALL", "h", block_s=0) == [b"x", b"1"]


async def test_a_refused_command_is_a_bus_error_that_says_why(redis: Redis) -> None:
    await redis.ask("SET", "text", "x")
    with pytest.raises(BusError, match="wrong kind"):
        await redis.ask("XLEN", "text")
    with pytest.raises(BusError, match="wrong kind"):
        await redis.ask_all([("SET", "a", 1), ("XLEN", "text")])
    replies = await redis.line().ask_all([("SET", "b", 1), ("XLEN", "text"), ("GET", "b")])
    assert (replies[0], isinstance(replies[1], Exception), replies[2]) == (b"OK", True, b"1")


async def test_a_missing_group_is_told_from_other_refusals(redis: Redis) -> None:
    pending = ("XPENDING", "stream", "group", "-", "+", 10)
    with pytest.raises(MissingGroup):
        await redis.ask(*pending)
    with pytest.raises(MissingGroup):
        await redis.line().ask(*pending, block_s=0)
    with pytest.raises(MissingGroup):
        await redis.script("return redis.call('XPENDING', KEYS[1], 'group', '-', '+', 10)")("stream")


async def test_a_script_survives_a_server_that_forgot_it(redis: Redis) -> None:
    script = redis.script("return ARGV[1]")
    assert await script("key", "one") == b"one"
    await redis.ask("SCRIPT", "FLUSH")
    assert await script("key", "two") == b"two"
    with pytest.raises(BusError):
        await redis.script("return redis.call('NOSUCH')")("key")


async def test_nobody_there(directory: Path) -> None:
    nobody = Redis(f"unix://{directory}/nobody")
    with pytest.raises(BusError):
        await nobody.ask("PING")
    with pytest.raises(BusError):
        await nobody.ask_all([("PING",)])
    with pytest.raises(BusError):
        await nobody.line().ask("PING", block_s=0)
    await nobody.close()


async def test_no_wait_for_a_mute_server_is_longer_than_said(mute: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "COMMAND_TIMEOUT_S", 0.05)
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT_S", 0.05)
    started = time.monotonic()
    with pytest.raises(BusError):
        await mute.ask("PING", timeout_s=0.05)
    with pytest.raises(BusError):
        await mute.ask_all([("PING",)])
    with pytest.raises(BusError):
        await mute.line().ask("PING", block_s=0.02)
    assert time.monotonic() - started < 2, "what the product waits for one of them"


@pytest.mark.parametrize("blocking", [True, False])
async def test_a_cancelled_wait_ends_at_once(mute: Redis, blocking: bool) -> None:
    work = mute.line().ask("PING", block_s=60) if blocking else mute.ask("PING", timeout_s=60)
    asking = asyncio.ensure_future(work)
    await asyncio.sleep(0.02)
    asking.cancel()
    done, _ = await asyncio.wait([asking], timeout=5)
    assert done
    assert asking.cancelled()


async def test_no_cancellation_is_swallowed(redis: Redis) -> None:
    async def busy() -> None:
        while True:
            await redis.ask("XADD", "stream", "MAXLEN", "~", 10, "*", "a", "b")

    for number in range(30):
        task = asyncio.create_task(busy())
        await asyncio.sleep(number / 10_000)
        task.cancel()
        assert (await asyncio.wait([task], timeout=5))[0], "on Python 3.11 redis-py's own timeouts swallow some"
