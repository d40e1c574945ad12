"""A telephone deployment under attack: what Twilio, or somebody who says so, may send it, and what must be left after.

Real processes (gateway, worker, Valkey). An innocent caller speaks noise meanwhile, and must hear all of it back.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from urllib.parse import urlencode

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks.stack import Stack
from cli import valkey
from tests.standins.twilio import ACCOUNT_SID, AUTH_TOKEN, Call, Faults, twiml
from tests.system.attacked import MB, Attacked, gateway_of
from tests.unit.gateway.phone import NUMBER, PUBLIC, new_sid, ringing, signature, start
from trunkline.bus.connection import Redis
from trunkline.bus.keys import dispatch

log = logging.getLogger(__name__)

GRACE_S = 2
MOST_GAP_S = 0.6
NOISE_S = 120
"""As long as the longest test; the innocent caller says it without a pause."""
PATIENCE_S = 10.0
KEYS_THAT_STAY = ("tenants", "numbers", "processes", "dispatch:echo", "dispatch:relay", "dispatch-dead")
"""Bounded by the deployment, not by its callers."""
BYTES_OF_SPEECH = bytes(0x80 | byte & 0x7E for byte in range(256))
"""Mu-law that is neither silence nor a second way to write it."""


class Target(Attacked):
    """The deployment, with a telephone."""

    def __init__(self, stack: Stack, pid: int) -> None:
        super().__init__(stack, pid)
        self.began_at = 0
        """Where the log of this test begins."""
        self.redis = stack.redis
        """This test's own, for its own event loop."""

    # --- what it has

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
def deployed(tenants: dict[str, str], realtime_url: str = "ws://127.0.0.1:9") -> Iterator[Target]:
    """One gateway and one worker."""
    with ExitStack() as running:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TWILIO_AUTH_TOKEN", AUTH_TOKEN)
            patch.setenv("TWILIO_ACCOUNT_SID", ACCOUNT_SID)
            patch.setenv("OPENAI_API_KEY", "the key of a stand-in")
            stack = Stack(
                gateways=1,
                workers=1,
                tenants=tenants,
                public_url=PUBLIC,
                resume_grace_s=GRACE_S,
                twilio_api_url="http://127.0.0.1:9",
                openai_realtime_url=realtime_url,
                backends="echo,relay",
                default_tenant="echo",
            )
            pid = running.enter_context(gateway_of(stack))
        yield Target(stack, pid)


@asynccontextmanager
async def nobody_is_hurt(target: Target) -> AsyncIterator[None]:
    """An innocent call meanwhile; afterwards there must be no session, no socket and no key more than before, but such
    as go by themselves, and no traceback in any log."""
    before = target.sockets
    target.began_at = len(target.stack.log_text())
    target.redis = Redis(valkey.url(target.stack.directory))
    try:
        async with _innocent(target):
            yield
        await until(lambda: _is_back(target, before), "sessions and sockets as before", GRACE_S + PATIENCE_S)
        await _check_what_is_left(target)
    finally:
        await target.redis.close()


async def _check_what_is_left(target: Target) -> None:
    for key in await target.keys():
        stays = key in KEYS_THAT_STAY or key.startswith("lane:")
        ttl_s = await target.ttl_s(key)
        assert stays or ttl_s != -1, f"{key} stays for ever: {await target.redis.ask('HGETALL', key)}"
    await until(lambda: _nobody_is_served(target), "workers have let go of every relayed session")
    assert "Traceback" not in target.log, target.log[-6000:]
    assert AUTH_TOKEN not in target.log


async def _nobody_is_served(target: Target) -> bool:
    return int(await target.redis.ask("XLEN", dispatch("relay"))) == 0


async def _is_back(target: Target, sockets: int) -> bool:
    return await target.sessions() == 0 and target.sockets <= sockets


@asynccontextmanager
async def _innocent(target: Target) -> AsyncIterator[None]:
    """A caller who is echoed, from before the attack until after it."""
    said = random.Random(1).randbytes(NOISE_S * 8000).translate(BYTES_OF_SPEECH)
    async with target.call() as call:
        await call.connected()
        spoken = call.say_ulaw(said)
        yield
        end_s = asyncio.get_running_loop().time()
        await asyncio.sleep(0.7)  # what was said at the end of the attack is on its way back
        frames = [frame for frame in call.heard.frames(spoken.began_s) if frame.queued]
        heard = b"".join(frame.ulaw[: frame.queued] for frame in frames)
        gaps = [end - begin for begin, end in call.heard.gaps(spoken.began_s)]
        at = heard.find(said[:800])
        assert at >= 0, "what the innocent caller said first did not come back"
        heard = heard[at:]
        assert said.startswith(heard), "something of what the innocent caller said was lost"
        spoken_s, worst_s = min(NOISE_S, end_s - spoken.began_s), max(gaps, default=0.0)
        log.info(
            "innocent: heard %.1f of %.1f s; worst gap %.2f of %.2f s in all; our own clock %.2f s late",
            len(heard) / 8000,
            spoken_s,
            worst_s,
            sum(gaps),
            call.late_s,
        )
        assert worst_s <= MOST_GAP_S + call.late_s
        assert len(heard) / 8000 > spoken_s - sum(gaps)
        assert len(call.streams) == 1
        await call.hang_up()
        assert call.errors == []


async def until(condition: Callable[[], Awaitable[bool]], what: str, timeout_s: float = PATIENCE_S) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not await condition():
        assert time.monotonic() < deadline_s, f"not within {timeout_s:g} s: {what}"
        await asyncio.sleep(0.1)


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


__all__ = ["ACCOUNT_SID", "MB", "NUMBER", "PUBLIC", "new_sid", "ringing", "signature", "start"]
