"""What is measured, each in processes of its own: Trunkline (`ours`) and two yardsticks (`lean`, `starlette`)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

from benchmarks.phone.caller import Caller, Ears
from benchmarks.phone.wire import WireError, upgrade
from benchmarks.processes import python, running
from benchmarks.stack import Stack, pid_of

READY_S = 15.0
API_KEY = "sk-of-the-benchmark"
AUTH_TOKEN = "token-of-the-benchmark"  # noqa: S105 - no account has it
ORIGIN = "https://phone.example"
"""Under which Twilio knows us; it is signed, and never looked up."""
NUMBER = "+15550100"
TENANT = f"""\
id: phone
backend: relay
phone_numbers: ["{NUMBER}"]
"""

Dial = Callable[[int, Ears], Awaitable[Caller]]


@dataclass(frozen=True)
class System:
    """A system that runs: its processes by name, and how to call it."""

    pids: Mapping[str, int]
    dial: Dial


Start = Callable[[str, int], AbstractAsyncContextManager[System]]
"""From the model's URL and the number of calls."""


@contextlib.asynccontextmanager
async def _yardstick(module: str, model_url: str) -> AsyncIterator[System]:
    port = free_port()

    async def dial(number: int, ears: Ears) -> Caller:
        head = upgrade(f"127.0.0.1:{port}", "/media-stream")
        return await _stream(port, Caller(number, ears, head, {}, call_sid(number)))

    command = python(f"benchmarks.phone.{module}", "--port", str(port), "--model", model_url)
    with running(command, {"OPENAI_API_KEY": API_KEY}) as pid:
        await until_it_listens(port)
        yield System({"relay": pid}, dial)


def lean(model_url: str, calls: int) -> AbstractAsyncContextManager[System]:
    return _yardstick("lean", model_url)


def starlette(model_url: str, calls: int) -> AbstractAsyncContextManager[System]:
    return _yardstick("sample", model_url)


@contextlib.asynccontextmanager
async def ours(model_url: str, calls: int) -> AsyncIterator[System]:
    # Vendors' names have no prefix, so they go by the environment that Stack hands on. Without an account, nothing here
    # can reach Twilio's API.
    keys = {"OPENAI_API_KEY": API_KEY, "TWILIO_AUTH_TOKEN": AUTH_TOKEN, "TWILIO_ACCOUNT_SID": ""}
    with environment(keys):
        async with Stack(
            gateways=1,
            workers=1,
            tenants={"phone.yaml": TENANT},
            default_tenant="phone",
            backends="relay",
            public_url=ORIGIN,
            openai_realtime_url=model_url,
            worker_sessions=calls + 1,
        ) as stack:

            async def dial(number: int, ears: Ears) -> Caller:
                return await _dial_number(stack.port, number, ears)

            pids = {kind: pid_of((await stack.ids(kind))[0]) for kind in ("gateway", "worker")}
            supervisor = parent_of(pids["gateway"])
            try:
                yield System({**pids, "redis": stack.redis_pid, "supervisor": supervisor}, dial)
            except Exception as error:
                error.add_note(f"The log ends with:\n{stack.log_text()[-4000:]}")
                raise


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Have these variables for as long as the context lasts."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


SYSTEMS: dict[str, Start] = {"ours": ours, "lean": lean, "starlette": starlette}


async def _dial_number(port: int, number: int, ears: Ears) -> Caller:
    """As Twilio does it: the webhook first, then the stream that its answer names."""
    sid = call_sid(number)
    form = {
        "CallSid": sid,
        "AccountSid": f"AC{0:032x}",
        "From": f"+1555{number:07d}",
        "To": NUMBER,
        "CallStatus": "ringing",
        "ApiVersion": "2010-04-01",
        "Direction": "inbound",
    }
    twiml = ElementTree.fromstring(await _post(port, "/twiml", form))  # noqa: S314 - our own gateway's
    stream = twiml.find("./Connect/Stream")
    if stream is None:
        raise WireError("the TwiML has no Connect/Stream")
    url = stream.attrib["url"]
    parameters = {one.attrib["name"]: one.attrib["value"] for one in stream.findall("Parameter")}
    signed = [("X-Twilio-Signature", signature(AUTH_TOKEN, url, {}))]
    head = upgrade(urlsplit(url).netloc, urlsplit(url).path, signed)
    return await _stream(port, Caller(number, ears, head, parameters, sid))


async def _stream(port: int, caller: Caller) -> Caller:
    async with asyncio.timeout(READY_S):
        await asyncio.get_running_loop().create_connection(lambda: caller, "127.0.0.1", port)
        await caller.ready
    return caller


async def _post(port: int, path: str, form: Mapping[str, str]) -> bytes:
    """A signed form; returns the body of the answer. Raises WireError unless it is a 200."""
    body = urlencode(form).encode()
    head = [
        f"POST {path} HTTP/1.1",
        f"Host: {urlsplit(ORIGIN).netloc}",
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {len(body)}",
        f"X-Twilio-Signature: {signature(AUTH_TOKEN, ORIGIN + path, form)}",
        "Connection: close",
    ]
    async with asyncio.timeout(READY_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write("\r\n".join([*head, "", ""]).encode() + body)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    status, _, rest = answer.partition(b"\r\n")
    if b" 200 " not in status:
        raise WireError(f"POST {path}: {answer[:500]!r}")
    return rest.partition(b"\r\n\r\n")[2]


def signature(token: str, url: str, form: Mapping[str, str]) -> str:
    """X-Twilio-Signature: HMAC-SHA1 over the URL and the form's members in the order of their names."""
    signed = url + "".join(name + form[name] for name in sorted(form))
    return base64.b64encode(hmac.new(token.encode(), signed.encode(), hashlib.sha1).digest()).decode()


def call_sid(number: int) -> str:
    """Unique for every call that is ever made, as Twilio's are."""
    return f"CA{time.monotonic_ns() & (1 << 64) - 1:024x}{number:08x}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until_it_listens(port: int) -> None:
    """Wait for a process that was just started. Raises TimeoutError."""
    async with asyncio.timeout(READY_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])
