"""How a caller of ours reaches a system: through the webhook, signed as Twilio signs, or straight by WebSocket."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

from benchmarks.phone.caller import Caller
from benchmarks.phone.wire import WireError, upgrade
from benchmarks.processes import READY_S

AUTH_TOKEN = "token-of-the-benchmark"  # noqa: S105 - no account has it
ORIGIN = "https://phone.example"
"""Under which Twilio knows us; it is signed, and never looked up."""
NUMBER = "+15550100"

Begin = Callable[[bytes, Mapping[str, str], str], Caller]
"""Makes a caller of the upgrade, the parameters that the TwiML gave the stream, and the call's SID."""


async def dial_number(port: int, number: int, begin: Begin) -> Caller:
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
    return await connect(port, begin(head, parameters, sid))


async def connect(port: int, caller: Caller) -> Caller:
    """Connect a caller whose upgrade is known."""
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
