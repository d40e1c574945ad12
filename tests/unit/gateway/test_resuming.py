"""A caller comes back, and the answer to that is lost: with a real Valkey, real sockets and a real worker."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from adapters.playout import DOUBT_MS
from gateway import doors
from tests.unit.workers.stage import NoProviders
from trunkline.bus.connection import Redis
from trunkline.bus.messages import LinkResumed
from trunkline.errors import BusError
from trunkline.sessions import NO_SPARE, Record, Records
from trunkline.settings import load
from workers import serving
from workers.backend import Session
from workers.host import Host
from workers.providers.registry import Providers

RATE_HZ = 16000
ANSWER = np.arange(1, 4 * RATE_HZ + 1, dtype=np.int64).astype(np.int16).tobytes()
"""4 s in which every sample says where it belongs."""
FRAME = bytes(640)


class Talker:
    """A backend that says `ANSWER` to whoever it is."""

    providers: dict[str, str] = {}  # noqa: RUF012

    async def run(self, session: Session) -> None:
        async def talk() -> None:
            await session.speak(1, ANSWER, sentence_end=True)
            session.end_turn(1)

        async with asyncio.TaskGroup() as group:
            talking = group.create_task(talk())
            async for _ in session.inbox():
                pass
            talking.cancel()

    async def close(self) -> None:
        pass


@pytest.fixture
async def worker(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Host]:
    monkeypatch.setattr(serving, "make_backend", lambda *_: Talker())
    redis = Redis(redis_url)
    host = Host(load({}, backends="echo", drain_s=1), redis, cast(Providers, NoProviders()), "worker")
    running = asyncio.create_task(host.run())
    yield host
    running.cancel()
    await asyncio.wait([running])
    await redis.close()


class Caller:
    """A client that does as docs/websocket.md says."""

    def __init__(self) -> None:
        self.token = ""
        self.session = ""
        self.received = {"turn": 0, "ms": 0, "seq": 0}
        self.heard = bytearray()
        self.resumed: list[bool] = []
        self.told: list[str] = []
        self._turn = 0

    async def call(self, client: ClientConnection) -> None:
        """From `start` to `session_ready`."""
        resume = {"resume": self.token, "received": self.received} if self.token else {}
        await client.send(json.dumps({"type": "start", **resume}))
        while self._take(await asyncio.wait_for(client.recv(), 10)) != "session_ready":
            pass

    async def listen(self, client: ClientConnection, *, samples: int, mute: bool = False) -> None:
        """Until so many were heard in all. What is heard is said, and a microphone is open, unless it is `mute`."""
        async with asyncio.timeout(20):
            while len(self.heard) // 2 < samples:
                if self._take(await client.recv()) == "" and not mute:
                    await client.send(FRAME)
                    await client.send(json.dumps({"type": "played", "turn": 1, "ms": self.received["ms"]}))

    def _take(self, message: str | bytes) -> str:
        """Its type; "" for audio."""
        if isinstance(message, bytes):
            self.heard += message
            self.received |= {"turn": self._turn, "ms": len(self.heard) // 2 * 1000 // RATE_HZ}
            return ""
        told = json.loads(message)
        assert told["seq"] >= self.received["seq"], "it grows"
        self.received["seq"] = told["seq"]
        self.told.append(told["type"])
        if told["type"] == "audio":
            self._turn = told["turn"]
            assert told["offset_ms"] == len(self.heard) // 2 * 1000 // RATE_HZ, "said twice, or not at all"
        elif told["type"] == "session_ready":
            self.token, self.session = told["resume"], told["session_id"]
            self.resumed.append(told["resumed"])
        return str(told["type"])


async def record(gateway: Any, session: str) -> Record:
    found = await Records(gateway.redis).read(session)
    assert found is not None
    return found


async def linked(gateway: Any, session: str, link: int) -> None:
    """Until the session's newest link is that."""
    async with asyncio.timeout(10):
        while (await record(gateway, session)).link < link:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def without_spare(gateway: Any, session: str) -> None:
    async with asyncio.timeout(5):
        while (await record(gateway, session)).spare != NO_SPARE:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def unheard(gateway: Any, caller: Caller) -> AsyncIterator[ClientConnection]:
    """It comes back, and our answer to that is lost: the client hears nothing, and the gateway nothing of that."""
    async with gateway.client() as client:
        start = {"type": "start", "resume": caller.token, "received": caller.received}
        before = (await record(gateway, caller.session)).link
        await client.send(json.dumps(start))
        client.transport.pause_reading()
        await linked(gateway, caller.session, before + 1)
        yield client
        client.transport.abort()


async def refusal(gateway: Any, token: str) -> str:
    """What somebody is told who comes with this token."""
    async with gateway.client() as client:
        await client.send(json.dumps({"type": "start", "resume": token}))
        told = json.loads(await asyncio.wait_for(client.recv(), 10))
        assert (told["type"], told["fatal"]) == ("error", True)
        await asyncio.wait_for(client.wait_closed(), 5)
        return f"{told['code']} {client.close_code}"


async def cut_off(gateway: Any, caller: Caller) -> None:
    """They call, hear the beginning of an answer, and their line is cut."""
    async with gateway.client() as client:
        await caller.call(client)
        await caller.listen(client, samples=RATE_HZ // 4)
        client.transport.abort()


@pytest.mark.parametrize("way", ["here, here", "there, there", "there, here", "there, elsewhere"])
async def test_the_conversation_goes_on_when_the_answer_to_a_resume_is_lost(
    gateways: Any, worker: Host, way: str
) -> None:
    here = await gateways()
    places = {"here": here, "there": await gateways(), "elsewhere": await gateways()}
    first, second = (places[name] for name in way.split(", "))
    caller = Caller()
    async with here.client() as client:
        await caller.call(client)
        await caller.listen(client, samples=RATE_HZ // 2)
        client.transport.abort()
    async with unheard(first, caller) as half_open:
        await asyncio.sleep(1)  # our answer, and what of the conversation follows it, go to nobody meanwhile
        async with second.client() as client:
            await caller.call(client)
            await caller.listen(client, samples=len(ANSWER) // 2)
            half_open.transport.resume_reading()
            with contextlib.suppress(ConnectionClosed):
                async with asyncio.timeout(5):
                    while True:
                        await half_open.recv()
            assert half_open.close_code == 4409
            await without_spare(second, caller.session)
            assert len([each for each in places.values() if len(each.sessions)]) == 1
    assert caller.resumed == [False, True]
    assert bytes(caller.heard) == ANSWER


async def test_an_old_token_is_worthless_once_the_next_has_arrived(gateways: Any, worker: Host) -> None:
    here, there = await gateways(), await gateways()
    caller = Caller()
    async with here.client() as client:
        await caller.call(client)
        client.transport.abort()
    stolen = caller.token
    async with here.client() as client:
        await caller.call(client)
        assert (await record(here, caller.session)).spare == 0
        await caller.listen(client, samples=RATE_HZ // 4)
        await without_spare(here, caller.session)
        assert [await refusal(gateway, stolen) for gateway in (here, there)] == ["bad_token 4401"] * 2
        await caller.listen(client, samples=RATE_HZ // 2)
    assert (await record(here, caller.session)).link == 1


async def test_of_two_windows_with_one_token_one_has_the_session(gateways: Any, worker: Host) -> None:
    here, there = await gateways(), await gateways()
    caller = Caller()
    async with here.client() as client:
        await caller.call(client)
        client.transport.abort()
    callers = Caller(), Caller()

    async def come_back(gateway: Any, window: Caller) -> int:
        """Until it has heard the answer (0), or is told to give up (the code)."""
        window.token = caller.token
        async with gateway.client() as client:
            try:
                await window.call(client)
                await window.listen(client, samples=len(ANSWER) // 2)
            except ConnectionClosed:
                await client.wait_closed()
            return client.close_code or 0

    codes = await asyncio.gather(come_back(here, callers[0]), come_back(there, callers[1]))
    assert sorted(codes) in ([0, 4401], [0, 4409]), codes
    assert bytes(callers[codes.index(0)].heard) == ANSWER


async def test_two_windows_at_one_gateway(gateways: Any, worker: Host) -> None:
    gateway, caller = await gateways(), Caller()
    async with gateway.client() as client:
        await caller.call(client)
        client.transport.abort()
    start = json.dumps({"type": "start", "resume": caller.token, "received": caller.received})
    async with gateway.client() as one, gateway.client() as other:
        await asyncio.gather(one.send(start), other.send(start))
        await linked(gateway, caller.session, 2)
        closed = [asyncio.create_task(client.wait_closed()) for client in (one, other)]
        await asyncio.wait(closed, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        assert [client.close_code for client in (one, other) if client.close_code] == [4409]
        assert gateway.sessions.find(caller.session).bridge.link is not None


async def test_a_flood_of_one_token_leaves_one_wire_and_nothing_behind(gateways: Any, worker: Host) -> None:
    """Whoever stole it before it was used: its owner has the session by coming after them, or another does; never two,
    and what the others were given is worth nothing."""
    here, there = await gateways(), await gateways()
    caller = Caller()
    async with here.client() as client:
        await caller.call(client)
        client.transport.abort()
    stolen, thieves = caller.token, [Caller() for _ in range(16)]

    async def steal(number: int, thief: Caller) -> int:
        thief.token = stolen
        async with (here, there)[number % 2].client() as client:
            try:
                await thief.call(client)
                await client.wait_closed()
            except ConnectionClosed:
                pass
            return client.close_code or 0

    stealing = [asyncio.create_task(steal(number, thief)) for number, thief in enumerate(thieves)]
    await linked(here, caller.session, len(thieves))
    async with there.client() as client:
        await caller.call(client)
        await caller.listen(client, samples=RATE_HZ // 2)
        await without_spare(there, caller.session)
        async with asyncio.timeout(10):
            codes = await asyncio.gather(*stealing)
        assert set(codes) == {4409}
        given = {thief.token for thief in thieves} - {caller.token}
        assert {await refusal(here, token) for token in given} == {"bad_token 4401"}
        await caller.listen(client, samples=len(ANSWER) // 2)
        assert (len(here.sessions), len(there.sessions)) == (0, 1)
        assert (len(here.admission), len(there.admission)) == (0, 1)
    assert bytes(caller.heard) == ANSWER


@pytest.mark.parametrize("code", [1000, 1001])
async def test_to_close_a_wire_before_its_answer_came_is_not_to_hang_up(gateways: Any, worker: Host, code: int) -> None:
    """Clients give up a try after a while, and many close with 1000 then."""
    gateway, caller = await gateways(), Caller()
    async with gateway.client() as client:
        await caller.call(client)
        client.transport.abort()
    async with unheard(gateway, caller) as client:
        client.transport.resume_reading()
        await client.close(code)
    async with gateway.client() as client:
        await caller.call(client)
    assert caller.resumed == [False, True]


async def test_who_says_that_they_hang_up_does(gateways: Any, worker: Host) -> None:
    gateway, caller = await gateways(), Caller()
    async with gateway.client() as client:
        await caller.call(client)
        client.transport.abort()
    async with gateway.client() as client:
        await caller.call(client)
        await client.send('{"type":"stop"}')
        await client.wait_closed()
    assert await refusal(gateway, caller.token) == "bad_token 4401"


async def test_a_resume_while_redis_is_away_may_be_tried_again(
    gateways: Any, worker: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway, caller = await gateways(), Caller()
    async with gateway.client() as client:
        await caller.call(client)
        client.transport.abort()

    async def away(*_: object) -> None:
        raise BusError("away")

    with monkeypatch.context() as redis:
        redis.setattr(gateway.sessions._resuming._records, "read", away)
        async with gateway.client() as client:
            await client.send(json.dumps({"type": "start", "resume": caller.token}))
            told = json.loads(await client.recv())
            assert (told["code"], told["fatal"]) == ("bus", False)
            await client.wait_closed()
            assert client.close_code == 1012
    async with gateway.client() as client:
        await caller.call(client)
    assert caller.resumed == [False, True]


async def test_that_a_token_arrived_is_written_down_as_soon_as_redis_is_back(
    gateways: Any, worker: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.resuming.ARRIVED_RETRY_S", 0.01)
    gateway, caller = await gateways(), Caller()
    records, tries = gateway.sessions._records, 0
    arrived = records.arrived

    async def away(session: str, link: int) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise BusError("away")
        await arrived(session, link)

    monkeypatch.setattr(records, "arrived", away)
    async with gateway.client() as client:
        await caller.call(client)
        client.transport.abort()
    async with gateway.client() as client:
        await caller.call(client)
        await client.send(FRAME)
        await without_spare(gateway, caller.session)
    assert tries == 3


async def test_who_only_listens_hears_on_at_once(gateways: Any, worker: Host) -> None:
    """Their pong says that they have what was sent before; of the token it says nothing."""
    gateway, caller = await gateways(), Caller()
    async with gateway.client() as client:
        await caller.call(client)
        client.transport.abort()
    async with gateway.client() as client:
        await caller.call(client)
        async with asyncio.timeout(DOUBT_MS / 1000 - 0.5):
            await caller.listen(client, samples=RATE_HZ * 5 // 4, mute=True)
        assert (await record(gateway, caller.session)).spare == 0
    assert bytes(caller.heard) == ANSWER[: len(caller.heard)]


async def test_what_a_client_was_not_told_is_told_by_every_resume_until_it_was(gateways: Any, worker: Host) -> None:
    """`session_ready` comes first, and the wire may be lost before what follows: its `seq` says no more than that."""
    gateway, caller = await gateways(), Caller()
    async with gateway.client() as client:
        await caller.call(client)
        await caller.listen(client, samples=RATE_HZ // 4)
        before = caller.received["seq"]
        client.transport.abort()
    bridge = gateway.sessions.find(caller.session).bridge
    bridge._event("missed", {}, bridge._received.expected + 100)
    async with gateway.client() as client:
        await caller.call(client)
        assert caller.received["seq"] == before
        client.transport.abort()
    async with gateway.client() as client:
        await caller.call(client)
        await caller.listen(client, samples=len(ANSWER) // 2)
        assert caller.told.count("missed") == 1


async def test_redis_is_emptied_while_a_caller_comes_back(
    gateways: Any, worker: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their worker has the conversation, and writes it back."""
    here, there, caller = await gateways(), await gateways(), Caller()
    await cut_off(here, caller)
    used = there.sessions._resuming.use

    async def use(*args: Any, **options: Any) -> Any:
        found = await used(*args, **options)
        await here.redis.ask("FLUSHALL")
        return found

    monkeypatch.setattr(there.sessions._resuming, "use", use)
    async with there.client() as client:
        await caller.call(client)
        await caller.listen(client, samples=len(ANSWER) // 2)
    assert caller.resumed == [False, True]
    assert bytes(caller.heard) == ANSWER


async def test_who_waits_for_a_worker_while_another_takes_the_caller_lets_go(
    gateways: Any, worker: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first gateway is heard by the worker only after the second: it must neither serve nor hang up."""
    slow, quick, caller = await gateways(), await gateways(), Caller()
    await cut_off(quick, caller)
    stuck, send = asyncio.Event(), slow.sessions._outbox.send

    def late(lane: str, message: Any, *, within_s: float = 0.0) -> None:
        if stuck.is_set() or not isinstance(message, LinkResumed):
            send(lane, message, within_s=within_s)

    monkeypatch.setattr(slow.sessions._outbox, "send", late)
    async with unheard(slow, caller) as first, quick.client() as second:
        await caller.call(second)
        stuck.set()
        first.transport.resume_reading()
        told = [json.loads(await asyncio.wait_for(first.recv(), 10))]
        await asyncio.wait_for(first.wait_closed(), 10)
        assert first.close_code == doors.CLOSE_CODES["resumed_elsewhere"]
        assert [message["code"] for message in told] == ["resumed_elsewhere"]
        assert len(slow.sessions) == 0
        await caller.listen(second, samples=len(ANSWER) // 2)
    assert bytes(caller.heard) == ANSWER
