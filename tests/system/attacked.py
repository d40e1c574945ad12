"""A deployment under attack, looked at from outside: what its gateway holds. Whose door is attacked, adds how."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.processes import resident_bytes
from benchmarks.stack import Stack, pid_of

MB = 1024 * 1024
_UNUSED_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""A client makes its own otherwise, for 19 ms in which the innocent caller stands still."""


class Attacked:
    """One gateway of a stack."""

    def __init__(self, stack: Stack, pid: int) -> None:
        self.stack = stack
        self.pid = pid
        self.origin = f"http://127.0.0.1:{stack.port}"

    @property
    def sockets(self) -> int:
        """Its open connections to clients (and its listening socket)."""
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        ours = {f"socket:[{row[9]}]" for row in rows if int(row[1].partition(":")[2], 16) == self.stack.port}
        return sum(1 for fd in Path(f"/proc/{self.pid}/fd").iterdir() if _target(fd) in ours)

    @property
    def rss(self) -> int:
        """Its memory, in bytes."""
        return resident_bytes(self.pid)

    async def peak_rss(self, stop: asyncio.Event) -> int:
        """The most memory it had until `stop`."""
        most = self.rss
        while not stop.is_set():
            most = max(most, self.rss)
            await asyncio.sleep(0.05)
        return most

    async def sessions(self) -> int:
        async with self.http() as client:
            return int((await client.get("/healthz")).json()["sessions"])

    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.origin, trust_env=False, timeout=20, verify=_UNUSED_TLS)

    def dial(self, *, receive_buffer: int = 0) -> socket.socket:
        """A TCP connection that does not block."""
        dialled = socket.socket()
        if receive_buffer:
            dialled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        dialled.connect(("127.0.0.1", self.stack.port))
        dialled.setblocking(False)
        return dialled


@contextmanager
def gateway_of(stack: Stack) -> Iterator[int]:
    """The PID of a stack's one gateway, while it runs in an event loop of its own: nothing of it leaks into a test."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(stack.__aenter__())
        try:
            (process_id,) = loop.run_until_complete(stack.ids("gateway"))
            yield pid_of(process_id)
        finally:
            loop.run_until_complete(stack.__aexit__(None, None, None))
    finally:
        loop.close()


def _target(fd: Path) -> str:
    try:
        return os.readlink(fd)
    except FileNotFoundError:
        return ""
