"""A deployment under attack, seen from outside: what its gateway holds, and what may be sent to it by Twilio and
browsers, or by who says so. Real processes (gateway, worker, Valkey)."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks.processes import resident_bytes
from benchmarks.stack import Stack, pid_of
from tests.standins.twilio import ACCOUNT_SID, AUTH_TOKEN, Call, Faults, twiml
from tests.unit.gateway.phone import NUMBER, PUBLIC, ringing, signature, start

GRACE_S = 1
PATIENCE_S = 20.0
"""For what comes at once, or never."""
LATE_S = 5.0
"""How much later than its time anything may be cut off beside other tests on two cores: it must only be bounded."""
MB = 1024 * 1024
TENANTS = {
    "echo.yaml": f'id: echo\nbackend: echo\nphone_numbers: ["{NUMBER}"]\n',
    "other.yaml": 'id: other\nbackend: echo\nphone_numbers: ["+15550101"]\n',
    "open.yaml": """
id: open
backend: relay
relay: {client_may_update: [instructions, voice, speed, turn_detection, transcription, max_output_tokens]}
client_tools:
  - {name: look, description: Looks., timeout_s: 5}
""",
}
_UNUSED_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""A client makes its own otherwise, for 19 ms in which the innocent caller stands still."""


class Target:
    """Its one gateway, behind all of its doors."""

    def __init__(self, stack: Stack, pid: int) -> None:
        self.stack = stack
        self.pid = pid
        self.origin = f"http://127.0.0.1:{stack.port}"
        self.began_at = 0
        """Where the log of this test begins."""
        self.redis = stack.redis
        """This test's own, for its own event loop."""

    # --- what it has

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

    async def has_sessions(self, number: int) -> bool:
        return await self.sessions() == number

    async def keys(self, pattern: str = "*") -> set[str]:
        found: list[bytes] = await self.redis.ask("KEYS", pattern)
        return {key.decode() for key in found}

    async def ttl_s(self, key: str) -> int:
        """-1: it stays for ever."""
        return int(await self.redis.ask("TTL", key))

    @property
    def log(self) -> str:
        """What was logged in this test."""
        return self.stack.log_text()[self.began_at :]

    async def logged(self, *texts: str) -> None:
        """Wait until all of these are in the log."""
        missing = list(texts)
        deadline_s = time.monotonic() + PATIENCE_S
        while missing and time.monotonic() < deadline_s:
            log = self.log
            missing = [text for text in missing if text not in log]
            await asyncio.sleep(0.05 if missing else 0)
        if not missing:
            return
        raise AssertionError(f"not logged: {missing}\n{self.log[-4000:]}")

    # --- what is sent to it

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

    def client(self, **options: Any) -> connect:
        """A browser's socket."""
        return connect(self.stack.url, compression=None, proxy=None, **options)

    async def post(
        self, path: str, form: Mapping[str, str], *, url: str = "", body: str | None = None, **headers: str
    ) -> httpx.Response:
        """A webhook with `form` signed for `url` (the public one), and `body` in place of the form. A header that is
        "none" is not sent."""
        sent = {
            "content-type": "application/x-www-form-urlencoded",
            "x-twilio-signature": signature(url or PUBLIC + path, form),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        raw = [(name.encode(), value.encode("latin-1")) for name, value in sent.items() if value != "none"]
        content = (urlencode(form) if body is None else body).encode()
        async with self.http() as client:
            return await client.post(path, content=content, headers=raw)

    async def token(self, form: Mapping[str, str], path: str = "/twiml") -> str:
        """The token that a webhook's answer gives to the stream."""
        *_, verb = twiml.parse((await self.post(path, form)).text)
        assert isinstance(verb, twiml.Connect), verb
        return verb.stream.parameters["token"]

    def stream(self, url: str = "wss://gw.example.com/websocket", path: str = "/websocket", **headers: str) -> connect:
        """A media stream's socket, signed for `url`."""
        sent = {"x-twilio-signature": signature(url, {})}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return connect(
            self.origin.replace("http", "ws") + path,
            additional_headers={name: value for name, value in sent.items() if value != "none"},
            compression=None,
            proxy=None,
            ping_interval=None,
            max_size=None,
        )

    @asynccontextmanager
    async def begun(self, **changes: str) -> AsyncIterator[ClientConnection]:
        """A stream whose call is served."""
        form = ringing(**changes)
        token = await self.token(form)
        stream = await self.stream()  # not `async with`: its close fails on a socket that was reset
        try:
            await stream.send(start(form["CallSid"], token))
            await self.logged(f"call {form['CallSid']}, stream MZ0a is session")
            yield stream
        finally:
            if stream.close_code is None:
                stream.transport.abort()
                await stream.wait_closed()

    def call(self, to: str = NUMBER, call_sid: str | None = None, faults: Faults | None = None) -> Call:
        """A whole call, by the stand-in."""
        return Call(
            f"{self.origin}/twiml",
            to=to,
            call_sid=call_sid,
            faults=faults,
            public_origin=PUBLIC,
            status_url=f"{PUBLIC}/twiml/status",
        )


@contextmanager
def deployed(realtime_url: str) -> Iterator[Target]:
    """One gateway and one worker, in an event loop of their own: nothing of it leaks into a test."""
    stack = Stack(
        gateways=1,
        workers=1,
        tenants=TENANTS,
        vendors={
            "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
            "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
            "OPENAI_API_KEY": "the key of a stand-in",
        },
        public_url=PUBLIC,
        resume_grace_s=GRACE_S,
        twilio_api_url="http://127.0.0.1:9",
        openai_realtime_url=realtime_url,
        backends="echo,relay",
        default_tenant="echo",
    )
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(stack.__aenter__())
        try:
            (process_id,) = loop.run_until_complete(stack.ids("gateway"))
            yield Target(stack, pid_of(process_id))
        finally:
            loop.run_until_complete(stack.__aexit__(None, None, None))
    finally:
        loop.close()


def _target(fd: Path) -> str:
    try:
        return os.readlink(fd)
    except FileNotFoundError:
        return ""


async def closed(stream: ClientConnection, timeout_s: float = PATIENCE_S) -> int | None:
    """The code a stream was closed with; what it was told before is thrown away."""
    async with asyncio.timeout(timeout_s):
        try:
            while True:
                await stream.recv()
        except ConnectionClosed:
            return stream.close_code


def message(event: str, body: object = None, *, number: object = "2", sid: object = "MZ0a") -> str:
    """Something Twilio might say."""
    return json.dumps({"event": event, "sequenceNumber": number, "streamSid": sid, event: body})
