"""What is measured, each in processes of its own: Trunkline (`ours`) and the yardstick (`lean`)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import httpx

from benchmarks.phone.systems import API_KEY, environment, free_port, parent_of, until_it_listens
from benchmarks.processes import python, running
from benchmarks.stack import Stack, pid_of
from benchmarks.webrtc.caller import Negotiate

READY_S = 15.0
TENANT = """\
id: webrtc
backend: relay
"""


@dataclass(frozen=True)
class System:
    """A system that runs: its processes by name, and how to call it."""

    pids: Mapping[str, int]
    negotiate: Negotiate


Start = Callable[[str, int], AbstractAsyncContextManager[System]]
"""From the model's URL and the number of calls."""


@contextlib.asynccontextmanager
async def lean(model_url: str, calls: int) -> AsyncIterator[System]:
    port = free_port()

    async def negotiate(offer: str) -> str:
        return await _post(port, "/offer", {"type": "offer", "sdp": offer}, "sdp")

    command = python("benchmarks.webrtc.lean", "--port", str(port), "--model", model_url)
    with running(command, {"OPENAI_API_KEY": API_KEY}) as pid:
        await until_it_listens(port)
        yield System({"relay": pid}, negotiate)


@contextlib.asynccontextmanager
async def ours(model_url: str, calls: int) -> AsyncIterator[System]:
    with environment({"OPENAI_API_KEY": API_KEY}):
        async with Stack(
            gateways=1,
            workers=1,
            tenants={"webrtc.yaml": TENANT},
            default_tenant="webrtc",
            backends="relay",
            openai_realtime_url=model_url,
            worker_sessions=calls + 1,
            rtc_private=True,
        ) as stack:

            async def negotiate(offer: str) -> str:
                return await _post(stack.port, "/api/realtime/webrtc/bridge", {"offer": offer}, "answer")

            pids = {kind: pid_of((await stack.ids(kind))[0]) for kind in ("gateway", "worker")}
            supervisor = parent_of(pids["gateway"])
            try:
                yield System({**pids, "redis": stack.redis_pid, "supervisor": supervisor}, negotiate)
            except Exception as error:
                error.add_note(f"The log ends with:\n{stack.log_text()[-4000:]}")
                raise


SYSTEMS: dict[str, Start] = {"ours": ours, "lean": lean}


async def _post(port: int, path: str, body: Mapping[str, str], wanted: str) -> str:
    """The member `wanted` of the answer. Raises httpx.HTTPStatusError for a refusal."""
    async with httpx.AsyncClient(timeout=READY_S, trust_env=False) as client:
        response = await client.post(f"http://127.0.0.1:{port}{path}", json=dict(body))
    if response.is_error:
        raise httpx.HTTPStatusError(response.text, request=response.request, response=response)
    answer: dict[str, str] = response.json()
    return answer[wanted]
