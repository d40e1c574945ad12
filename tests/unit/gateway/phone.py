"""A gateway with a telephone in this process: real sockets, a real Valkey, no worker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import httpx
import pytest
from twilio.request_validator import RequestValidator
from websockets.asyncio.client import ClientConnection, connect

from gateway.admission import Admission
from gateway.calls import Calls
from gateway.held import Held
from gateway.phone import PhoneDoor
from gateway.server import Server, configure, listen
from gateway.sessions import Sessions
from gateway.signatures import Account
from gateway.twilio_rest import TwilioApi
from tests.standins.twilio import ACCOUNT_SID, AUTH_TOKEN, Call, twiml
from tests.unit.gateway.serving import serving
from tests.waiting import until
from trunkline.bus.connection import Redis
from trunkline.sessions import Record, Records
from trunkline.settings import load
from trunkline.tenants import Tenant

PUBLIC = "https://gw.example.com"
NUMBER = "+15550100"
ACCOUNT = Account(ACCOUNT_SID, AUTH_TOKEN)
FORMAT = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}


class Gateway:
    """What a test looks at."""

    def __init__(self, redis_url: str, account: Account = ACCOUNT, api_url: str = "", **settings: Any) -> None:
        self.redis = Redis(redis_url)
        chosen = {"public_url": PUBLIC, **settings}
        self.settings = load({}, secret="a secret for all gateways", redis_url=redis_url, **chosen)
        self.sessions = Sessions(self.settings, self.redis)
        self.records = Records(self.redis)
        self.calls = Calls(self.redis)
        self._api = TwilioApi(account, api_url) if api_url else None
        self.admission = Admission(self.settings)
        self.door = PhoneDoor(self.settings, self.sessions, self.admission, self.redis, account, self._api)
        self.server = Server(configure(self.sessions, self.admission, [self.door]), self.admission, [self.door])
        self._listener = listen("127.0.0.1", 0)
        host, port = self._listener.getsockname()
        self.origin = f"http://{host}:{port}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.sessions.tenants.put([Tenant(id="acme", backend="echo", phone_numbers=(NUMBER,))])
        try:
            async with serving(self.server, self._listener):
                yield
        finally:
            if self._api is not None:
                await self._api.close()
            await self.redis.close()

    # --- as Twilio

    def call(self, **options: Any) -> Call:
        """A whole call, by the stand-in."""
        chosen = {"public_origin": PUBLIC, "status_url": f"{PUBLIC}/twiml/status", "to": NUMBER, **options}
        return Call(f"{self.origin}/twiml", **chosen)

    async def post(
        self, path: str, form: Mapping[str, str] | None = None, url: str = "", **headers: str
    ) -> httpx.Response:
        """One webhook, signed for `url` (the public one). A header that is "none" is not sent."""
        sent = _headers(signature(url or PUBLIC + path, form or {}), headers)
        async with httpx.AsyncClient(base_url=self.origin, trust_env=False, timeout=20) as client:
            raw = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
            return await client.post(path, data=dict(form or {}), headers=raw)

    async def token(self, form: Mapping[str, str], path: str = "/twiml") -> str:
        """The token that a webhook's answer gives to the stream."""
        answer = await self.post(path, form)
        (connected,) = twiml.parse(answer.text)
        assert isinstance(connected, twiml.Connect)
        return connected.stream.parameters["token"]

    def stream(self, url: str = "wss://gw.example.com/websocket", **headers: str) -> connect:
        """A media stream's socket, signed for `url`."""
        sent = _headers(signature(url, {}), headers)
        address = self.origin.replace("http", "ws") + "/websocket"
        return connect(address, additional_headers=sent, compression=None, proxy=None, ping_interval=None)

    # --- what became of it

    async def held(self, call_sid: str) -> Held:
        """The call's session at this gateway, once its stream serves it."""

        def served() -> list[Held]:
            held = self.sessions._held.values()
            return [one for one in held if one.record.conversation_id == call_sid and one.bridge.link is not None]

        await until(served)
        return served()[0]

    async def record(self, call_sid: str) -> Record:
        known = await self.calls.read(call_sid)
        assert known is not None
        record = await self.records.read(known.session)
        assert record is not None
        return record


def _headers(signed: str, others: Mapping[str, str]) -> dict[str, str]:
    wanted = {"x-twilio-signature": signed} | {name.replace("_", "-"): value for name, value in others.items()}
    return {name: value for name, value in wanted.items() if value != "none"}


Start = Callable[..., Awaitable[Gateway]]


@contextlib.asynccontextmanager
async def gateways_on(redis_url: str) -> AsyncIterator[Start]:
    """Starts gateways with the settings a test wants; they end with it."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(*args: Any, **settings: Any) -> Gateway:
            gateway = Gateway(redis_url, *args, **settings)
            await stack.enter_async_context(gateway.running())
            return gateway

        yield make


def clean(caplog: pytest.LogCaptureFixture) -> bool:
    """Nobody can make us print a traceback, or our secrets."""
    return not any(entry.exc_info for entry in caplog.records) and AUTH_TOKEN not in caplog.text


async def closed(stream: ClientConnection) -> int | None:
    """The code a stream was closed with."""
    await asyncio.wait_for(stream.wait_closed(), 10)
    return stream.close_code


def signature(url: str, form: Mapping[str, str]) -> str:
    return str(RequestValidator(AUTH_TOKEN).compute_signature(url, dict(form)))


def ringing(**changes: str) -> dict[str, str]:
    """The form of a new call's webhook."""
    form = {"CallSid": new_sid(), "AccountSid": ACCOUNT_SID, "From": "+15550199", "To": NUMBER}
    return {**form, "CallStatus": "ringing", "Direction": "inbound", "ApiVersion": "2010-04-01", **changes}


def new_sid() -> str:
    return "CA" + secrets.token_hex(16)


def start(call_sid: str, token: str, account_sid: str = ACCOUNT_SID) -> str:
    """The first thing a stream says that matters."""
    body = {
        "streamSid": "MZ0a",
        "callSid": call_sid,
        "accountSid": account_sid,
        "tracks": ["inbound"],
        "mediaFormat": FORMAT,
        "customParameters": {"token": token},
    }
    return json.dumps({"event": "start", "sequenceNumber": "1", "streamSid": "MZ0a", "start": body})


def verbs(document: str) -> list[str]:
    """The names of a document's verbs, which must be as Twilio takes them."""
    return [type(verb).__name__ for verb in twiml.parse(document)]
