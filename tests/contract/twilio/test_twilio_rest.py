"""The Twilio stand-in's REST API, by the official client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client
from twilio.twiml.voice_response import Dial, VoiceResponse

from tests.contract.twilio.caller import dial
from tests.standins.twilio import ACCOUNT_SID, AUTH_TOKEN, Call, TwilioApi
from tests.standins.twilio.gateway import PUBLIC, Gateway, answer


class Rewritten:
    """The official HTTP client, led to the stand-in."""

    is_async = False

    def __init__(self, url: str) -> None:
        self.inner = TwilioHttpClient()
        self._url = url

    def request(self, method: str, url: str, **options: Any) -> Any:
        return self.inner.request(method, url.replace("https://api.twilio.com", self._url), **options)


class Rest:
    """The official client, in threads. (Its asynchronous client uses what aiohttp 3.14 warns of.)"""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def update(self, call_sid: str, **update: str) -> Any:
        return await asyncio.to_thread(self._client.calls(call_sid).update, **update)

    async def fetch(self, call_sid: str) -> Any:
        return await asyncio.to_thread(self._client.calls(call_sid).fetch)


@contextlib.contextmanager
def rest(api: TwilioApi, token: str = AUTH_TOKEN) -> Iterator[Rest]:
    http = Rewritten(api.url)
    with http.inner.session:
        yield Rest(Client(ACCOUNT_SID, token, http_client=http))


@contextlib.asynccontextmanager
async def rest_of(call: Call) -> AsyncIterator[tuple[TwilioApi, Rest]]:
    """The API of one call, and a client of it."""
    async with call, TwilioApi(calls=[call]) as api:
        with rest(api) as client:
            yield api, client


async def test_a_transfer_by_the_api(gateway: Gateway) -> None:
    gateway.pages["/twiml"] = answer(action="/return")
    response, transfer = VoiceResponse(), Dial(timeout=20, caller_id="+15550100")
    transfer.number("+15550001")
    response.append(transfer)
    call = dial(gateway)
    async with rest_of(call) as (api, client):
        record = await call.connected()
        updated = await client.update(call.sid, twiml=str(response))
        assert (updated.sid, updated.status, updated.to) == (call.sid, "in-progress", call.to)
        assert updated.date_created.tzinfo is not None
        await call.until(lambda: call.ended)
        with pytest.raises(TwilioRestException, match="not in-progress") as refused:
            await client.update(call.sid, status="completed")
    assert refused.value.code == 21220
    assert call.dialled == ["+15550001"]
    assert record.ended_by == "api"
    assert gateway.sockets[0].messages[-1]["event"] == "stop"
    assert not gateway.at("/return"), "the new TwiML replaces the action"
    assert api.requests[0].form == {"Twiml": str(response)}


async def test_a_call_is_sent_elsewhere_and_ended_by_the_api(gateway: Gateway) -> None:
    call = dial(gateway)
    async with rest_of(call) as (_, client):
        first = await call.connected()
        await client.update(call.sid, url=f"{PUBLIC}/return?why=moved", method="GET")
        second = await call.connected(number=2)
        assert gateway.at("/return")[0]["why"] == "moved"
        assert gateway.at("/return")[0]["CallSid"] == call.sid
        await client.update(call.sid, status="completed")
        await call.until(lambda: call.ended)
        fetched = await client.fetch(call.sid)
    assert fetched.status == "completed"
    assert (first.ended_by, second.ended_by, call.ended) == ("api", "api", "completed by the API")
    assert not gateway.forged


async def test_what_the_api_refuses(gateway: Gateway) -> None:
    async with TwilioApi() as api:
        with rest(api) as client, rest(api, "wrong") as stranger:
            assert await refusal(client, status="completed") == (404, 20404)
            assert await refusal(stranger, status="completed") == (401, 20003)
            api.rate_limited = True
            assert await refusal(client, status="completed") == (429, 20429)
            api.rate_limited = False
            async with dial(gateway, call_sid="CA0") as call:
                api.attach(call)
                await call.connected()
                assert await refusal(client, url="no-address") == (400, 21205)
                assert await refusal(client, status="canceled") == (400, 20001)
                assert await refusal(client, status="completed", twiml="<Response/>") == (400, 20001)
                assert call.stream is not None, "nothing of this touched the call"
    assert [request.status for request in api.requests] == [404, 401, 429, 400, 400, 400]


async def refusal(client: Rest, **update: str) -> tuple[int, int]:
    with pytest.raises(TwilioRestException) as refused:
        await client.update("CA0", **update)
    return refused.value.status, refused.value.code
