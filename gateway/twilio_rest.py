"""Twilio's REST API, for the one thing that we ask of it: to hang up a call.

Importing this takes a third of a second, nearly all of it the SDK: only gateways that have an account do.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from twilio.base.exceptions import TwilioException
from twilio.http import AsyncHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from gateway.signatures import Account
from trunkline.errors import ProviderError

log = logging.getLogger(__name__)

DEADLINE_S = 5.0
PUBLIC_API = "https://api.twilio.com"


class HttpClient(AsyncHttpClient):  # type: ignore[misc]  # the SDK has no types
    """What the SDK sends its requests with; its own prints each in five lines, and warns of what it does."""

    def __init__(self, api_url: str) -> None:
        """`api_url` takes the place of what the SDK makes of TWILIO_REGION and TWILIO_EDGE, unless it is the default.
        Needs a running event loop."""
        super().__init__(log, is_async=True)
        self._api_url = "" if api_url == PUBLIC_API else api_url.rstrip("/")
        self._session = aiohttp.ClientSession()

    async def request(
        self,
        method: str,
        url: str,
        params: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # the SDK's interface
        allow_redirects: bool = False,
    ) -> Response:
        if self._api_url:
            url = self._api_url + urlsplit(url)._replace(scheme="", netloc="").geturl()
        sent = dict(headers or {})
        if auth is not None:
            sent["Authorization"] = "Basic " + base64.b64encode(":".join(auth).encode()).decode()
        request = self._session.request(
            method, url, params=params, data=data, headers=sent, allow_redirects=allow_redirects
        )
        async with request as answer:
            return Response(answer.status, await answer.text(), answer.headers)

    async def close(self) -> None:
        await self._session.close()


class TwilioApi:
    """An account's calls. To be closed."""

    def __init__(self, account: Account, url: str) -> None:
        """Needs a running event loop."""
        self._http = HttpClient(url)
        self._client = Client(account.sid, account.auth_token, http_client=self._http)

    async def hang_up(self, call_sid: str) -> None:
        """End a call. Raises ProviderError."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self._client.calls(call_sid).update_async(status="completed")
        except TwilioException as error:
            why = getattr(error, "msg", "") or str(error)  # str() of an answer is coloured on a terminal
            raise ProviderError("twilio", why, retryable=False) from error
        except (TimeoutError, OSError, aiohttp.ClientError) as error:
            raise ProviderError("twilio", str(error) or type(error).__name__) from error

    async def close(self) -> None:
        await self._http.close()
