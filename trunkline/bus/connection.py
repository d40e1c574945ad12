"""The way to Redis or Valkey: the only file that knows the client library.

redis-py's defaults are wrong for voice: a 5 s socket timeout that breaks blocking reads, ten silent retries that write
twice and hang a caller for a minute, and (on Python 3.11) cancellations swallowed by the timeout. So here: no socket
timeout, no retries, the protocol said explicitly, and our own deadline around everything (`Redis.ask`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

import hiredis
import redis.asyncio as redis_asyncio
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from trunkline.errors import BusError, SettingsError

T = TypeVar("T")
Command = tuple[str | bytes | int, ...]

COMMAND_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 2.0


class MissingGroup(BusError):
    """The consumer group (or its stream) is gone: Redis came back empty."""


class Redis:
    """One process's connections: a pool for commands, and lines for blocking reads and the lane writer.

    Raises SettingsError for an address that cannot be one.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            parse_url(url)
        except ValueError as error:
            raise SettingsError(
                f"TRUNKLINE_REDIS_URL {url!r}: {error}; e.g. redis://host:6379/0 or unix:///path"
            ) from error
        self._commands = self._client(max_connections=32)
        self._lines: list[Line] = []

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

    def line(self) -> Line:
        """A connection of its own: for reads that wait, or for many writes at once."""
        line = Line(self._commands.connection_pool.make_connection())
        self._lines.append(line)
        return line

    def script(self, source: str) -> Script:
        """A Lua script on one key."""
        return Script(self, source)

    async def close(self) -> None:
        for line in self._lines:
            await line.close()
        self._lines.clear()
        await self._commands.aclose()
        await self._commands.connection_pool.disconnect()


class Line(asyncio.Protocol):
    """A connection of its own, for one asker: commands go out in one write, their replies are awaited together.

    redis-py makes the connection; from then on its client, which costs more than the command, is not in the way.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._transport: asyncio.Transport | None = None
        self._parser = hiredis.Reader()
        self._replies: list[Any] = []
        self._wanted = 0
        self._answered: asyncio.Future[None] | None = None
        self._go_on: Callable[[Any], Command] | None = None
        self._block_s = 0.0
        self._deadline_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def ask(self, *command: str | bytes | int, block_s: float) -> Any:
        """A command that the server may hold for `block_s`. Raises BusError, also when the server is mute."""
        (reply,) = await self.ask_all((command,), block_s)
        if isinstance(reply, Exception):
            raise _refusal(str(reply)) from reply
        return reply

    async def ask_all(self, commands: Sequence[Command], block_s: float = 0) -> list[Any]:
        """Every reply, in order; a refused command's reply is its exception. Raises BusError when the wire fails."""
        self._go_on = None
        await self._ask(commands, block_s)
        return self._replies

    async def keep_asking(self, command: Command, go_on: Callable[[Any], Command], block_s: float) -> None:
        """Ask, and ask again what `go_on` makes of each reply, in the turn of the event loop in which it comes. Until
        cancelled, or it raises: what `go_on` does, or BusError."""
        self._go_on = go_on
        self._block_s = block_s
        await self._ask((command,), block_s)

    async def _ask(self, commands: Sequence[Command], block_s: float) -> None:
        try:
            transport = self._transport or await self._connect()
            self._answered = self._loop.create_future()
            self._write(transport, commands, block_s)
            await self._answered
        except (RedisError, OSError, TimeoutError) as error:
            await self.close()
            raise BusError(f"Redis: {str(error) or type(error).__name__}") from error
        except asyncio.CancelledError:
            await self.close()
            raise
        finally:
            self._answered = None

    def _write(self, transport: asyncio.Transport, commands: Sequence[Command], block_s: float) -> None:
        self._replies, self._wanted = [], len(commands)
        self._expect_by(self._loop.time() + block_s + COMMAND_TIMEOUT_S)
        transport.write(b"".join([hiredis.pack_command(cast(Any, command)) for command in commands]))

    async def _connect(self) -> asyncio.Transport:
        await self._connection.disconnect(nowait=True)  # it has not noticed that we lost its transport
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await self._connection.connect()
        self._loop = asyncio.get_running_loop()  # asked once: it is a system call (getpid) in Python 3.11
        self._parser = hiredis.Reader()
        transport: asyncio.Transport = cast(Any, self._connection)._writer.transport  # redis-py has no public way to it
        transport.set_protocol(self)
        self._transport = transport
        return transport

    def _expect_by(self, deadline_s: float) -> None:
        """One timer for many commands: when it fires, it looks whether the present one is overdue, else waits on."""
        self._deadline_s = deadline_s
        if self._timer is not None and self._timer.when() > deadline_s:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(deadline_s, self._look_at_deadline)

    def _look_at_deadline(self) -> None:
        self._timer = None
        if self._answered is None:
            return
        if self._loop.time() < self._deadline_s:
            self._expect_by(self._deadline_s)
        else:
            self._fail(TimeoutError("no answer in time"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed(data)
        while (reply := self._parser.gets()) is not False:
            self._replies.append(reply)
        if len(self._replies) < self._wanted or self._answered is None or self._answered.done():
            return
        if self._go_on is None or self._transport is None:
            self._answered.set_result(None)
            return
        try:
            (reply,) = self._replies
            if isinstance(reply, Exception):
                raise _refusal(str(reply)) from reply
            self._write(self._transport, (self._go_on(reply),), self._block_s)
        except Exception as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(ConnectionError(f"connection lost ({exc or 'closed by the server'})"))

    def _fail(self, error: Exception) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)

    async def close(self) -> None:
        """Let go of the wire; the next command connects again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.set_protocol(asyncio.Protocol())  # what it still says is not the next one's
            transport.abort()
        await self._connection.disconnect(nowait=True)


class Script:
    """A Lua script, sent once and then called by its digest. It touches the one key it is given.

    It has a line of its own, one call at a time: sessions commit many times a second, and the pool costs three times as
    much as the call.
    """

    def __init__(self, redis: Redis, source: str) -> None:
        self._redis = redis
        self._source = source
        self._digest = ""
        self._line = redis.line()
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, key: str, *arguments: str | bytes | int) -> Any:
        """What the script returns. Raises BusError."""
        if not self._digest:
            self._digest = (await self._redis.ask("SCRIPT", "LOAD", self._source)).decode()
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S), self._one_at_a_time:
                (reply,) = await self._line.ask_all((("EVALSHA", self._digest, 1, key, *arguments),))
        except TimeoutError as error:  # also for those who stand in line behind one that waits
            raise BusError("Redis: no answer in time") from error
        if not isinstance(reply, Exception):
            return reply
        if not str(reply).startswith("NOSCRIPT"):
            raise _refusal(str(reply)) from reply
        return await self._redis.ask("EVAL", self._source, 1, key, *arguments)


async def _guarded(reply: Awaitable[T], timeout_s: float) -> T:
    try:
        async with asyncio.timeout(timeout_s):
            return await reply
    except ResponseError as error:
        raise _refusal(str(error)) from error
    except (RedisError, OSError, TimeoutError) as error:
        raise BusError(f"Redis: {str(error) or type(error).__name__}") from error


def _refusal(why: str) -> BusError:
    return MissingGroup(why) if why.startswith("NOGROUP") else BusError(f"Redis refused: {why}")
