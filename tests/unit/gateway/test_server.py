from __future__ import annotations

import asyncio
import signal
import socket
from typing import Any

import pytest

from gateway import server
from gateway.server import listen
from tests.waiting import until
from trunkline.errors import SettingsError


def test_an_address_that_is_taken_is_refused_with_advice() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{port}: .*TRUNKLINE_PORT"):
            listen("127.0.0.1", port)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the kernel has no TCP_USER_TIMEOUT")
def test_a_peer_that_reads_nothing_is_dropped_by_the_kernel() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == server.USER_TIMEOUT_MS


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n", b"GET /ws HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_headers_that_never_end_are_not_waited_for(
    gateways: Any, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr("gateway.protocols.REQUEST_S", 0.05)
    gateway = await gateways()
    reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
    writer.write(sent)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 2)
    writer.close()


async def test_a_complete_request_may_take_its_time(gateways: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.protocols.REQUEST_S", 0.2)
    gateway = await gateways()
    async with gateway.client() as client:
        await asyncio.sleep(0.3)
        await client.send(bytes(640))
        assert "session_ready" in await asyncio.wait_for(client.recv(), 2)


async def ask(gateway: Any, path: str) -> str:
    reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {gateway.host}\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 2)
    writer.close()
    return answer.decode(errors="replace")


async def test_health_pages_and_their_headers(gateways: Any) -> None:
    gateway = await gateways()
    health, ready, page, missing = [
        await ask(gateway, path) for path in ("/healthz", "/readyz", "/", "/console/../../pyproject.toml")
    ]
    assert health.startswith("HTTP/1.1 200")
    assert gateway.sessions.process_id in health
    assert ready.startswith("HTTP/1.1 200")
    assert page.startswith("HTTP/1.1 200")
    assert "content-security-policy" in page.lower()
    assert missing.startswith("HTTP/1.1 404")
    gateway.admission.draining = True
    assert (await ask(gateway, "/readyz")).startswith("HTTP/1.1 503")


async def test_readiness_leaves_the_beat_its_work(gateways: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkline.bus.lanes.BEAT_S", 0.1)
    gateway = await gateways()
    async with gateway.client() as client:
        await client.send(bytes(640))
        await asyncio.wait_for(client.recv(), 2)
        await gateway.redis.ask("FLUSHALL")
        await ask(gateway, "/readyz")
        await until(lambda: gateway.redis.ask("KEYS", "session:*"))


async def test_the_first_signal_sends_callers_away_and_the_second_ends(
    gateways: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "FAREWELL_S", 60)  # none of it passes before the test is over
    gateway = await gateways()
    async with gateway.client() as client:
        await client.send(bytes(640))
        await asyncio.wait_for(client.recv(), 2)
        gateway.server.handle_exit(signal.SIGTERM, None)
        await asyncio.wait_for(client.wait_closed(), 2)
        assert client.close_code == 1012
        assert not gateway.server.should_exit, "there is time to say goodbye"
        gateway.server.handle_exit(signal.SIGTERM, None)
        assert gateway.server.should_exit
        gateway.server._captured_signals.clear()


@pytest.mark.parametrize(
    "head",
    [
        b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1500000\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n16e360\r\n",
        b"POST /x HTTP/1.1\r\nHost: x\r\nX-Long: ",
    ],
    ids=["by its length", "in pieces", "in a header"],
)
async def test_a_request_without_end_is_answered_and_not_reset(gateways: Any, head: bytes) -> None:
    gateway = await gateways()
    reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"}"), 5)
    writer.write(head + b"x" * 1_500_000)
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.startswith((b"HTTP/1.1 413", b"HTTP/1.1 400", b"HTTP/1.1 404"))
    assert answer.count(b"HTTP/1.1") == 1
    await asyncio.wait_for(writer.drain(), 5)  # all of it was taken
    writer.close()
    await writer.wait_closed()
    await until(lambda: not gateway.server.server_state.connections)
