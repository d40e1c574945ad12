from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from gateway import doors
from tests.waiting import until
from trunkline.bus import keys
from trunkline.errors import BusError
from trunkline.sessions import NO_SPARE, Record, Records

SILENCE = bytes(640)


async def told(client: ClientConnection, name: str) -> dict[str, Any]:
    """The next message of that type."""
    async with asyncio.timeout(5):
        while True:
            message = await client.recv()
            if isinstance(message, str) and (data := json.loads(message))["type"] == name:
                return dict(data)


async def closed(client: ClientConnection) -> int | None:
    """The code it was closed with."""
    await asyncio.wait_for(client.wait_closed(), 5)
    return client.close_code


async def say(client: ClientConnection, **message: Any) -> None:
    await client.send(json.dumps(message))


async def record(gateway: Any, session: str) -> Record:
    found = await Records(gateway.redis).read(session)
    assert found is not None
    return found


async def refused(gateway: Any, **options: Any) -> tuple[int, dict[str, Any]]:
    with pytest.raises(InvalidStatus) as refusal:
        async with gateway.client(**options):
            pass
    response = refusal.value.response
    return response.status_code, json.loads(response.body or b"{}")


async def test_a_client_that_simply_sends_audio_is_served(gateways: Any) -> None:
    gateway = await gateways()
    async with gateway.client() as client:
        await client.send(SILENCE)
        ready = await told(client, "session_ready")
        assert (ready["resumed"], ready["rate_hz"], ready["encoding"], ready["output"]) == (
            False,
            16000,
            "binary",
            "pcm",
        )
        stored = await record(gateway, ready["session_id"])
        assert (stored.tenant, stored.backend, stored.rate_hz) == ("demo", "echo", 16000)
        assert await gateway.redis.ask("XLEN", keys.dispatch("echo")) == 1
        await say(client, type="stop")
        assert await closed(client) == 1000
    assert len(gateway.sessions) == 0


async def test_a_client_that_waits_is_told_that_it_may_begin(gateways: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "START_GRACE_S", 0.01)
    gateway = await gateways()
    async with gateway.client() as client:
        first = await told(client, "session_ready")
        assert await gateway.redis.ask("XLEN", keys.dispatch("echo")) == 0, "nobody has said anything yet"
        await say(client, type="start", audio={"rate_hz": 8000}, conversation_id="mine")
        second = await told(client, "session_ready")
        assert second["session_id"] == first["session_id"]
        assert (second["rate_hz"], second["conversation_id"]) == (8000, "mine")


async def test_a_socket_that_says_nothing_is_closed(gateways: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "START_GRACE_S", 0.01)
    monkeypatch.setattr(doors, "SILENT_S", 0.05)
    gateway = await gateways()
    async with gateway.client() as client:
        error = await told(client, "error")
        assert (error["code"], error["fatal"]) == ("silent", True)
        assert await closed(client) == 4408
    assert await gateway.redis.ask("KEYS", keys.session("*")) == []


async def test_origins(gateways: Any) -> None:
    gateway = await gateways(allowed_origins="https://good.example, https://fine.example")
    own = f"http://{gateway.host}:{gateway.port}"
    for origin in (None, own, "https://good.example", "https://fine.example"):
        async with gateway.client(origin=origin):
            pass
    for origin in ("https://evil.example", "https://good.example.evil.example", "null", f"http://{gateway.host}", ""):
        status, body = await refused(gateway, origin=origin)
        assert (status, body["code"]) == (403, "origin"), origin


async def test_connections_are_capped_and_given_back(gateways: Any) -> None:
    gateway = await gateways(max_connections=2)
    async with gateway.client(), gateway.client():
        assert (await refused(gateway))[0] == 429
    await until(lambda: not len(gateway.admission))
    async with gateway.client():
        pass


async def test_a_burst_of_connections_does_not_pass_the_cap(gateways: Any) -> None:
    gateway = await gateways(max_connections_per_ip=3)
    attempts = await asyncio.gather(*(gateway.client().__aenter__() for _ in range(12)), return_exceptions=True)
    opened = [attempt for attempt in attempts if not isinstance(attempt, BaseException)]
    assert len(opened) == 3
    assert all(attempt.response.status_code == 429 for attempt in attempts if isinstance(attempt, InvalidStatus))
    await asyncio.gather(*(client.close() for client in opened))


async def test_wrong_audio_is_forgiven_and_then_not(gateways: Any) -> None:
    gateway = await gateways()
    async with gateway.client() as client:
        await client.send(SILENCE)
        await told(client, "session_ready")
        await client.send(b"odd")
        error = await told(client, "error")
        assert (error["code"], error["fatal"]) == ("odd_audio", False)
        await say(client, type="start")
        assert (await told(client, "error"))["code"] == "late_start"
        for _ in range(20):
            await client.send(b"odd")
        while not (await told(client, "error"))["fatal"]:
            pass
        assert await closed(client) == 4400
    await until(lambda: not len(gateway.sessions))


@pytest.mark.parametrize(
    ("message", "code", "close"),
    [
        ('{"type":"start","tenant":"nobody"}', "no_tenant", 4400),
        ('{"type":"start","audio":{"rate_hz":44100}}', "bad_rate", 4400),
        ('{"type":"start","resume":"a.0.b"}', "bad_token", 4401),
        ('{"type":"start","resume":"nonsense"}', "bad_token", 4401),
    ],
)
async def test_a_start_that_cannot_be_met(gateways: Any, message: str, code: str, close: int) -> None:
    gateway = await gateways()
    async with gateway.client() as client:
        await client.send(message)
        error = await told(client, "error")
        assert (error["code"], error["fatal"]) == (code, True)
        assert error["hint"]
        assert await closed(client) == close
    assert len(gateway.sessions) == 0


async def test_a_tenant_with_wrong_settings_is_our_fault(gateways: Any) -> None:
    gateway = await gateways()
    await gateway.redis.ask("HSET", keys.TENANTS, "demo", '{"id":"demo","to_come":1}')
    async with gateway.client() as client:
        await client.send(SILENCE)
        assert (await told(client, "error"))["fatal"]
        assert await closed(client) == 4500


async def test_a_message_too_large_is_not_read(gateways: Any) -> None:
    gateway = await gateways()
    async with gateway.client() as client:
        await client.send(bytes(200 * 1024))
        assert await closed(client) == 1009


async def lose(client: ClientConnection) -> None:
    client.transport.abort()
    await client.wait_closed()


async def test_a_lost_caller_comes_back_with_the_newest_token(gateways: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.sessions.RESUME_ATTACH_S", 0.05)
    monkeypatch.setattr("gateway.sessions.RESUME_RETRY_S", 0.02)
    gateway, other = await gateways(), await gateways()
    async with gateway.client() as client:
        for _ in range(10):
            await client.send(SILENCE)
        ready = await told(client, "session_ready")
        await asyncio.sleep(0.02)
        await lose(client)
    async with gateway.client() as client:
        await say(client, type="start", resume=ready["resume"])
        again = await told(client, "session_ready")
        assert (again["session_id"], again["resumed"], again["uplink_ms"]) == (ready["session_id"], True, 200)
        assert again["resume"] != ready["resume"]
        await client.send(SILENCE)  # it has the new one, then
        async with asyncio.timeout(5):
            while (await record(gateway, ready["session_id"])).spare != NO_SPARE:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        async with other.client() as thief:
            await say(thief, type="start", resume=ready["resume"])
            assert (await told(thief, "error"))["code"] == "bad_token"
            assert await closed(thief) == 4401
        async with other.client() as elsewhere:
            await say(elsewhere, type="start", resume=again["resume"])
            third = await told(elsewhere, "session_ready")
            assert third["session_id"] == ready["session_id"]
            assert (await record(other, ready["session_id"])).gateway == keys.lane(other.sessions.process_id)


async def test_a_used_wire_is_closed_when_its_client_is_back(gateways: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.sessions.RESUME_ATTACH_S", 0.01)
    gateway = await gateways()
    async with gateway.client() as client, gateway.client() as back:
        await client.send(SILENCE)
        ready = await told(client, "session_ready")
        await say(back, type="start", resume=ready["resume"])
        await told(back, "session_ready")
        assert await closed(client) == 4409
        await asyncio.sleep(0.01)
        assert len(gateway.sessions) == 1
        await back.send(SILENCE)


async def test_a_gateway_that_goes_sends_its_callers_to_another(gateways: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.sessions.RESUME_ATTACH_S", 0.01)
    gateway, other = await gateways(), await gateways()
    async with gateway.client() as client:
        await client.send(SILENCE)
        ready = await told(client, "session_ready")
        gateway.admission.draining = True
        gateway.door.send_away()
        assert await closed(client) == 1012
        assert (await refused(gateway))[0] == 503
    await asyncio.sleep(0.01)
    assert not (await record(gateway, ready["session_id"])).closed
    assert len(gateway.sessions) == 1, "held until its caller is elsewhere: it has what was said"
    async with other.client() as client:
        await say(client, type="start", resume=ready["resume"])
        assert (await told(client, "session_ready"))["resumed"]


async def test_a_link_that_breaks_inside_leaves_no_session_behind(
    gateways: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await gateways(resume_grace_s=1)

    async def breaks(*_: object) -> str:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("adapters.websocket.link.WebSocketLink.run", breaks)
    async with gateway.client() as client:
        await client.send(SILENCE)
        await closed(client)
    (held,) = gateway.sessions._held.values()
    assert held.lost_s is not None, "its caller may come back; else the sweep ends it"


async def test_without_redis_a_caller_is_told(gateways: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = await gateways()

    async def away(*_: object, **__: object) -> None:
        raise BusError("away")

    monkeypatch.setattr(gateway.sessions._records, "write", away)
    async with gateway.client() as client:
        await client.send(SILENCE)
        assert (await told(client, "error"))["code"] == "bus"
        assert await closed(client) == 4500
    assert len(gateway.sessions) == 0
