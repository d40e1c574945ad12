"""What is measured, each in processes of its own: Trunkline (`ours`) and two yardsticks (`lean`, `starlette`)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from benchmarks.calls import Start
from benchmarks.deployed import deployed
from benchmarks.phone.caller import Caller, Ears
from benchmarks.phone.dialling import AUTH_TOKEN, NUMBER, ORIGIN, Begin, call_sid, connect, dial_number
from benchmarks.phone.wire import upgrade
from benchmarks.processes import free_port, python, running, until_it_listens

API_KEY = "sk-of-the-benchmark"
TENANT = f"""\
id: phone
backend: relay
phone_numbers: ["{NUMBER}"]
"""

Dial = Callable[[int, Ears], Awaitable[Caller]]
MakeBegin = Callable[[int, Ears], Begin]


@dataclass(frozen=True)
class System:
    """A system that runs: its processes by name, and how to call it."""

    pids: Mapping[str, int]
    dial: Dial


@contextlib.asynccontextmanager
async def yardstick(
    command: Sequence[str], variables: Mapping[str, str], path: str, begin: MakeBegin
) -> AsyncIterator[System]:
    """One process, which takes `--port`, and calls at `path` of it."""
    port = free_port()

    async def dial(number: int, ears: Ears) -> Caller:
        head = upgrade(f"127.0.0.1:{port}", path)
        return await connect(port, begin(number, ears)(head, {}, call_sid(number)))

    with running([*command, "--port", str(port)], variables) as pid:
        await until_it_listens(port)
        yield System({"relay": pid}, dial)


@contextlib.asynccontextmanager
async def telephony(
    tenant: str, text: str, vendors: Mapping[str, str], calls: int, begin: MakeBegin, **settings: object
) -> AsyncIterator[System]:
    """Trunkline, called as Twilio calls it. Without an account, nothing here can reach Twilio's API."""
    twilio = {"TWILIO_AUTH_TOKEN": AUTH_TOKEN, "TWILIO_ACCOUNT_SID": ""}
    async with deployed(tenant, text, {**vendors, **twilio}, calls, public_url=ORIGIN, **settings) as (stack, pids):

        async def dial(number: int, ears: Ears) -> Caller:
            return await dial_number(stack.port, number, begin(number, ears))

        yield System(pids, dial)


def _noisy(number: int, ears: Ears) -> Begin:
    return lambda head, parameters, sid: Caller(number, ears, head, parameters, sid)


def _relay(module: str, port: int) -> AbstractAsyncContextManager[System]:
    command = python(f"benchmarks.phone.{module}", "--model", f"ws://127.0.0.1:{port}/v1")
    return yardstick(command, {"OPENAI_API_KEY": API_KEY}, "/media-stream", _noisy)


def lean(port: int, calls: int) -> AbstractAsyncContextManager[System]:
    return _relay("lean", port)


def starlette(port: int, calls: int) -> AbstractAsyncContextManager[System]:
    return _relay("sample", port)


def ours(port: int, calls: int) -> AbstractAsyncContextManager[System]:
    model_url = f"ws://127.0.0.1:{port}/v1"
    vendors = {"OPENAI_API_KEY": API_KEY}
    return telephony("phone", TENANT, vendors, calls, _noisy, backends="relay", openai_realtime_url=model_url)


SYSTEMS: dict[str, Start[System]] = {"ours": ours, "lean": lean, "starlette": starlette}
