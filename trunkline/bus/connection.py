"""The way to Redis or Valkey: the only file that knows the client library.

redis-py's defaults are wrong for voice: a 5 s socket timeout that breaks blocking reads, ten silent retries that write
twice and hang a caller for a minute, and (on Python 3.11) cancellations swallowed by the timeout. So here: no socket
timeout, no retries, the protocol said explicitly, and our own deadline around everything (`Redis.ask`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

import redis.asyncio as redis_asyncio
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from trunkline.errors import BusError, SettingsError

T = TypeVar("T")

COMMAND_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 2.0


class MissingGroup(BusError):
    """The consumer group (or its stream) is gone: Redis came back empty."""


class Redis:
    """One process's connections: a pool for commands, and dedicated ones for blocking reads and the lane writer.

    Raises SettingsError for an address that cannot be one.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            parse_url(url)
        except ValueError as error:
            raise SettingsError(f"TRUNKLINE_REDIS_URL {url!r}: {error}; e.g. redis://host:6379/0 or unix:///path") from error
        self._commands = self._client(max_connections=32)
        self._dedicated: list[redis_asyncio.Redis] = []

    def _client(self, max_connections: int) -> redis_asyncio.Redis:
        pool = redis_asyncio.BlockingConnectionPool.from_url(
            self.url,
            max_connections=max_connections,
            timeout=COMMAND_TIMEOUT_S,
            socket_timeout=None,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        client = redis_asyncio.Redis.from_pool(pool)
        client.response_callbacks.clear()  # replies as the server gives them
        return client

    async def ask(self, *command: str | bytes | float, timeout_s: float = COMMAND_TIMEOUT_S) -> Any:
        """One command on the pool. Replies are bytes, ints and lists as RESP2 has them. Raises BusError."""
        return await _guarded(self._commands.execute_command(*command), timeout_s)

    async def ask_all(self, commands: Sequence[tuple[str | bytes | float, ...]]) -> list[Any]:
        """Several commands in one write; every reply, in order. Raises BusError (the first) when one fails."""
        pipeline = self._commands.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return list(await _guarded(pipeline.execute(), COMMAND_TIMEOUT_S))

    def blocking(self) -> Blocking:
        """A connection of its own, for reads that wait."""
        client = self._client(max_connections=1)
        self._dedicated.append(client)
        return Blocking(client)

    def raw(self) -> RawWriter:
        """A connection of its own, for many writes at once."""
        return RawWriter(self._commands.connection_pool.make_connection())

    def script(self, source: str) -> Script:
        """A Lua script on one key."""
        return Script(self, source)

    async def close(self) -> None:
        for client in (*self._dedicated, self._commands):
            await client.aclose()
            await client.connection_pool.disconnect()
        self._dedicated.clear()


class Blocking:
    """Commands with BLOCK, one at a time."""

    def __init__(self, client: redis_asyncio.Redis) -> None:
        self._client = client

    async def ask(self, *command: str | bytes | float, block_s: float) -> Any:
        """A command that the server may hold for `block_s`. Raises BusError, also when the server is mute."""
        return await _guarded(self._client.execute_command(*command), block_s + COMMAND_TIMEOUT_S)


class RawWriter:
    """Packs many commands, writes them at once, reads their replies: redis-py's connection without its client's cost."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection

    async def ask_all(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Every reply, in order; a refused command's reply is its exception. Raises BusError when the wire fails."""
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                if not self._connection.is_connected:
                    await self._connection.connect()
                await self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)
                return [await self._reply() for _ in commands]
        except (RedisError, OSError, TimeoutError) as error:
            await self._connection.disconnect(nowait=True)
            raise BusError(f"Redis: {str(error) or type(error).__name__}") from error
        except asyncio.CancelledError:
            await self._connection.disconnect(nowait=True)
            raise

    async def _reply(self) -> Any:
        try:
            return await self._connection.read_response()
        except ResponseError as error:
            return error

    async def close(self) -> None:
        await self._connection.disconnect(nowait=True)


class Script:
    """A Lua script, sent once and then called by its digest. It touches the one key it is given."""

    def __init__(self, redis: Redis, source: str) -> None:
        self._redis = redis
        self._source = source
        self._digest = ""

    async def __call__(self, key: str, *arguments: str | bytes | int) -> Any:
        if not self._digest:
            self._digest = (await self._redis.ask("SCRIPT", "LOAD", self._source)).decode()
        try:
            return await self._redis.ask("EVALSHA", self._digest, 1, key, *arguments)
        except BusError as error:
            if not isinstance(error.__cause__, NoScriptError):
                raise
        return await self._redis.ask("EVAL", self._source, 1, key, *arguments)


async def _guarded(reply: Awaitable[T], timeout_s: float) -> T:
    try:
        async with asyncio.timeout(timeout_s):
            return await reply
    except ResponseError as error:
        if str(error).startswith("NOGROUP"):
            raise MissingGroup(str(error)) from error
        raise BusError(f"Redis refused: {error}") from error
    except (RedisError, OSError, TimeoutError) as error:
        raise BusError(f"Redis: {str(error) or type(error).__name__}") from error
