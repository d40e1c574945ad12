"""Kept connections that a server closes in the moment in which they are used again, and those that really break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from workers.providers.kept import KeptConnections

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """Answers `patience` requests on each connection; the next is read, and the connection cut."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.connections = 0
        self.bodies: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        for _ in range(self.patience):
            await self._read(reader)
            writer.write(ANSWER)
        await self._read(reader)
        writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        self.bodies.append(await reader.readexactly(length))


@asynccontextmanager
async def serving(patience: int) -> AsyncIterator[tuple[Server, str]]:
    server = Server(patience)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listening:
        yield server, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


async def test_a_kept_connection_that_is_lost_fails_no_request() -> None:
    async with serving(2) as (server, url), KeptConnections() as client:
        for number in range(5):
            answer = await client.post(url, content=f"request {number}")
            assert answer.text == "ok"
        assert server.connections == 3
        assert server.bodies == [b"request %d" % number for number in (0, 1, 2, 2, 3, 4, 4)]


async def test_several_of_them() -> None:
    async with serving(1) as (server, url), KeptConnections() as client:
        await asyncio.gather(*(client.post(url, content="first") for _ in range(3)))
        answer = await client.post(url, content="second")
        assert answer.text == "ok"
        assert server.bodies.count(b"second") == 4, "each of the kept ones was tried, and a new one"


async def test_a_new_connection_that_is_lost_is_an_error() -> None:
    async with serving(0) as (server, url), KeptConnections() as client:
        with pytest.raises(httpx2.TransportError):
            await client.post(url, content="request")
        assert server.connections == 1
