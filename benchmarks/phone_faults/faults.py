"""What can happen to a call, each a function that returns when it has happened."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from benchmarks.phone_faults.deployment import Deployment
from tests.standins.twilio import Call

Fault = Callable[[Deployment, Call], Coroutine[Any, Any, None]]


async def nothing(deployment: Deployment, call: Call) -> None:
    """What the machine does by itself."""


async def kill_worker(deployment: Deployment, call: Call) -> None:
    os.kill(await deployment.stack.worker_pid(await deployment.session_of(call)), signal.SIGKILL)


async def kill_unwatched_worker(deployment: Deployment, call: Call) -> None:
    """Nobody announces this death; a new worker comes, as an orchestrator would have it."""
    stack = deployment.stack
    record = await stack.record(await deployment.session_of(call))
    os.kill(await stack.worker_pid(record.session), signal.SIGKILL)
    stack.start_worker()
    await asyncio.sleep(2.0)
    await stack.forget(record.worker)


async def drain_worker(deployment: Deployment, call: Call) -> None:
    """The worker hands its session over at the next moment of rest."""
    os.kill(await deployment.stack.worker_pid(await deployment.session_of(call)), signal.SIGTERM)


async def kill_gateway(deployment: Deployment, call: Call) -> None:
    os.kill(await deployment.stack.gateway_pid(await deployment.session_of(call)), signal.SIGKILL)


async def drop_stream(deployment: Deployment, call: Call) -> None:
    call.drop()


async def drop_model(deployment: Deployment, call: Call) -> None:
    await deployment.harm_model(kind="drop")


async def mute_model(deployment: Deployment, call: Call) -> None:
    """It answers nothing but pings."""
    await deployment.harm_model(kind="mute")


async def expire_model(deployment: Deployment, call: Call) -> None:
    """Its session is over, earlier than it had said."""
    await deployment.harm_model(kind="expire")
