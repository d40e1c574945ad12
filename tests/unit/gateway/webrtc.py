"""A gateway with a WebRTC door in this process: a real server, a real Valkey, no worker, links without a network."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import httpx

from adapters.bridge import Bridge
from gateway.admission import Admission
from gateway.held import Held
from gateway.server import Server, configure, listen
from gateway.sessions import Sessions
from gateway.webrtc import PATH, PeerLink, WebRtcDoor
from tests.unit.gateway.serving import serving
from trunkline.bus.connection import Redis
from trunkline.errors import ClientError
from trunkline.sessions import Record, Records
from trunkline.settings import load
from trunkline.tenants import Tenant

OFFER = "v=0\r\n"
CANDIDATE = "candidate:1 1 udp 2122260223 192.0.2.7 54321 typ host"


class FakeLink:
    """A link that does as the test says, and remembers what was asked of it."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.on_connected: Callable[[], None] = lambda: None
        self.said: tuple[int, int] | None = None
        self.candidates: list[str] = []
        self.played: list[tuple[int, int]] = []
        self.told: list[tuple[int, str]] = []
        self.closed = self.is_replaced = self.is_sent_away = False
        self.ended: str | None = None
        self.outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    # --- what the door asks

    async def open(self, offer: str) -> str:
        if offer != OFFER:
            raise ClientError("bad_sdp", "not the one offer that this takes", "v=0")
        return "v=0\r\ns=answer\r\n"

    async def run(self, bridge: Bridge) -> str:
        return await self.outcome

    async def add_candidates(self, candidates: Sequence[str]) -> None:
        if "wrong" in candidates:
            raise ClientError("bad_candidate", "'wrong' is no candidate", CANDIDATE)
        self.candidates += candidates

    def heard(self, rtp_timestamp: int) -> tuple[int, int] | None:
        return (3, rtp_timestamp // 48) if rtp_timestamp else None

    def send_away(self) -> None:
        self.is_sent_away = True

    async def close(self) -> None:
        self.closed = True

    # --- adapters.link.Link

    def play(self, turn: int, offset_ms: int, pcm: bytes, sentence_end: bool) -> None:
        self.played.append((turn, offset_ms))

    def event(self, seq: int, name: str, data: dict[str, Any]) -> None:
        self.told.append((seq, name))

    def clear(self, turn: int) -> None: ...

    def pause(self, turn: int) -> bool:
        return True

    def end(self, reason: str) -> None:
        self.ended = reason
        self.finish("ended")

    def replaced(self) -> None:
        self.is_replaced = True
        self.finish("ended")

    # --- what the test does

    def finish(self, outcome: str) -> None:
        """The wire ends like this."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class Gateway:
    """What a test looks at."""

    def __init__(self, redis_url: str, make_link: Callable[[int], PeerLink] | None = None, **settings: Any) -> None:
        self.redis = Redis(redis_url)
        self.settings = load({}, secret="a secret for all gateways", redis_url=redis_url, **settings)
        self.sessions = Sessions(self.settings, self.redis)
        self.records = Records(self.redis)
        self.admission = Admission(self.settings)
        self.links: list[FakeLink] = []
        self.door = WebRtcDoor(self.settings, self.sessions, self.admission, self.records, make_link or self._make_link)
        self.server = Server(configure(self.sessions, self.admission, [self.door]), self.admission, [self.door])
        self._listener = listen("127.0.0.1", 0)
        self.host, self.port = self._listener.getsockname()
        self.origin = f"http://{self.host}:{self.port}"
        self._client = httpx.AsyncClient(base_url=self.origin, trust_env=False, timeout=20)

    def _make_link(self, rate_hz: int) -> FakeLink:
        self.links.append(FakeLink(rate_hz))
        return self.links[-1]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tenants = [Tenant(id="demo", backend="echo"), Tenant(id="model", backend="relay")]
        await self.sessions.tenants.put(tenants)
        try:
            async with serving(self.server, self._listener), self._client:
                yield
        finally:
            await self.redis.close()

    # --- as a browser

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        return await self._client.request(method, PATH + path, **options)

    async def offer(self, **asked: Any) -> httpx.Response:
        """Ask for a call."""
        return await self.ask("POST", "/bridge", json={"offer": OFFER, **asked})

    async def called(self, connect: bool = True, **asked: Any) -> tuple[dict[str, Any], FakeLink]:
        """A call that was granted: what was answered, and its link, which is connected."""
        answer = await self.offer(**asked)
        assert answer.status_code == 201, answer.text
        link = self.links[-1]
        if connect:
            link.on_connected()
        return answer.json(), link

    async def change(self, told: dict[str, Any], *candidates: Any, token: str = "") -> httpx.Response:
        return await self.ask(
            "PATCH",
            f"/{told['session_id']}",
            content=json.dumps({"candidates": candidates}),
            headers={"content-type": "application/json", **bearer(token or told["resume"])},
        )

    async def hang_up(self, told: dict[str, Any]) -> httpx.Response:
        return await self.ask("DELETE", f"/{told['session_id']}", headers=bearer(told["resume"]))

    # --- what became of it

    def held(self, told: dict[str, Any]) -> Held:
        held = self.sessions.find(told["session_id"])
        assert held is not None
        return held

    async def record(self, told: dict[str, Any]) -> Record:
        record = await self.records.read(told["session_id"])
        assert record is not None
        return record


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


Start = Callable[..., Awaitable[Gateway]]


@contextlib.asynccontextmanager
async def gateways_on(redis_url: str) -> AsyncIterator[Start]:
    """Starts gateways with the settings a test wants; they end with it."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(**settings: Any) -> Gateway:
            gateway = Gateway(redis_url, **settings)
            await stack.enter_async_context(gateway.running())
            return gateway

        yield make
