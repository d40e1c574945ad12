"""What is no offer, put to the real door with real peers: a clear refusal each, and nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from adapters.webrtc.link import WebRtcLink
from gateway.webrtc import PATH
from tests.standins.webrtc.offers import hostile, offered
from tests.unit.gateway.webrtc import CANDIDATE, Gateway, Start, bearer, gateways_on
from tests.waiting import until
from trunkline.bus import keys
from trunkline.rtc.ice import Network

LOCAL = Network(addresses=("127.0.0.1",))


@pytest.fixture
async def gateways(redis_url: str) -> AsyncIterator[Start]:
    async with gateways_on(redis_url) as start:
        yield start


@pytest.fixture
async def gateway(gateways: Start) -> Gateway:
    return await gateways(make_link=lambda rate_hz: WebRtcLink(LOCAL, rate_hz))


SPARE = 3
"""The links to Redis come and go; what leaks with an offer leaks 200 times."""


def counted() -> int:
    """Tasks, and open files: sockets are among them."""
    gc.collect()
    return len(asyncio.all_tasks()) + len(os.listdir("/dev/fd"))


async def test_two_hundred_hostile_offers_are_refused_and_leave_nothing(gateway: Gateway) -> None:
    wrong = hostile(await offered("audio", "data"), await offered("video"), await offered("data"))
    bodies = {name: json.dumps({"offer": offer}) for name, offer in wrong.items()}
    before = 0
    limits = httpx.Limits(max_keepalive_connections=0)  # a refused 1 MB costs the connection
    async with httpx.AsyncClient(base_url=gateway.origin, trust_env=False, timeout=20, limits=limits) as client:
        for i in range(200):
            name, body = list(bodies.items())[i % len(bodies)]
            if i == len(bodies):  # by now all is there that stays
                await asyncio.sleep(0.05)
                before = counted()
            answer = await client.post(f"{PATH}/bridge", content=body, headers={"content-type": "application/json"})
            assert 400 <= answer.status_code < 500, name
            told = answer.json()
            assert all(told[key] for key in ("code", "message", "hint")), name
            assert len(answer.text) < 1000, f"{name}: it is not said back"
        await until(lambda: counted() <= before + SPARE)
    assert (len(gateway.sessions), len(gateway.admission)) == (0, 0)
    assert await gateway.redis.ask("XLEN", keys.dispatch("echo")) == 0


async def test_a_call_that_is_hung_up_while_it_connects_leaves_nothing(gateway: Gateway) -> None:
    offer = await offered("audio", "data")
    await gateway.ask("GET", "/config")  # its connection stays
    before = counted()
    granted = [(await gateway.ask("POST", "/bridge", json={"offer": offer})).json() for _ in range(8)]
    assert len(gateway.admission) == 8
    for told in granted:
        path = f"/{told['session_id']}"
        change = {"candidates": [CANDIDATE, "a=candidate:2 1 tcp 1 10.0.0.1 9 typ host tcptype active", ""]}
        assert (await gateway.ask("PATCH", path, json=change, headers=bearer(told["resume"]))).status_code == 204
        bad = await gateway.ask("PATCH", path, json={"candidates": ["candidate:x"]}, headers=bearer(told["resume"]))
        assert bad.status_code == 400
        assert (await gateway.hang_up(told)).status_code == 204
    await until(lambda: len(gateway.admission) == 0)
    await until(lambda: counted() <= before + SPARE)
    assert len(gateway.sessions) == 0


async def test_a_browser_that_is_not_ours_talks(gateway: Gateway) -> None:
    """Plain aiortc, from the offer to the end, by way of nothing but HTTP and UDP."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    heard: list[dict[str, Any]] = []
    peer.addTransceiver("audio")
    channel = peer.createDataChannel("trunkline")
    channel.on("message", lambda text: heard.append(json.loads(text)))
    try:
        await peer.setLocalDescription(await peer.createOffer())
        asked = {"type": "offer", "sdp": peer.localDescription.sdp}
        told = (await gateway.ask("POST", "/bridge", json={"offer": asked})).json()
        await peer.setRemoteDescription(RTCSessionDescription(told["answer"], "answer"))
        await until(lambda: heard)
        assert heard[0]["type"] == "session_ready"
        assert heard[0]["session_id"] == told["session_id"]
        assert gateway.held(told).bridge.link is not None
        assert (await gateway.hang_up(told)).status_code == 204
        await until(lambda: peer.connectionState == "closed" and len(gateway.admission) == 0)
        assert heard[-1]["type"] == "closing"
    finally:
        await peer.close()
