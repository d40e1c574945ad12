"""What is measured, each in processes of its own: Trunkline (`ours`) and the yardstick (`lean`)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import httpx

from benchmarks.calls import Start
from benchmarks.deployed import deployed
from benchmarks.phone.systems import API_KEY
from benchmarks.processes import READY_S, free_port, python, running, until_it_listens
from benchmarks.webrtc.caller import Negotiate

TENANT = """\
id: webrtc
backend: relay
"""


@dataclass(frozen=True)
class System:
    """A system that runs: its processes by name, and how to call it."""

    pids: Mapping[str, int]
    negotiate: Negotiate


@contextlib.asynccontextmanager
async def lean(model_port: int, calls: int) -> AsyncIterator[System]:
    port = free_port()

    async def negotiate(offer: str) -> str:
        return await _post(port, "/offer", {"type": "offer", "sdp": offer}, "sdp")

    model_url = f"ws://127.0.0.1:{model_port}/v1"
    command = python("benchmarks.webrtc.lean", "--port", str(port), "--model", model_url)
    with running(command, {"OPENAI_API_KEY": API_KEY}) as pid:
        await until_it_listens(port)
        yield System({"relay": pid}, negotiate)


@contextlib.asynccontextmanager
async def ours(model_port: int, calls: int) -> AsyncIterator[System]:
    realtime = {"backends": "relay", "openai_realtime_url": f"ws://127.0.0.1:{model_port}/v1"}
    vendors = {"OPENAI_API_KEY": API_KEY}
    async with deployed("webrtc", TENANT, vendors, calls, **realtime, rtc_private=True) as (stack, pids):

        async def negotiate(offer: str) -> str:
            return await _post(stack.port, "/api/realtime/webrtc/bridge", {"offer": offer}, "answer")

        yield System(pids, negotiate)


SYSTEMS: dict[str, Start[System]] = {"ours": ours, "lean": lean}


async def _post(port: int, path: str, body: Mapping[str, str], wanted: str) -> str:
    """The member `wanted` of the answer. Raises httpx.HTTPStatusError for a refusal."""
    async with httpx.AsyncClient(timeout=READY_S, trust_env=False) as client:
        response = await client.post(f"http://127.0.0.1:{port}{path}", json=dict(body))
    if response.is_error:
        raise httpx.HTTPStatusError(response.text, request=response.request, response=response)
    answer: dict[str, str] = response.json()
    return answer[wanted]
