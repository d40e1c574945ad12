"""Twilio's REST API, for the one thing that we ask of it: to hang up a call.

Importing this takes 0.7 s, nearly all of it the SDK: only gateways that have an account do.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from twilio.base.exceptions import TwilioException
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.rest import Client

from gateway.signatures import Account
from trunkline.errors import ProviderError

DEADLINE_S = 5.0
PUBLIC_API = "https://api.twilio.com"


class HttpClient(AsyncTwilioHttpClient):  # type: ignore[misc]  # the SDK has no types
    """The SDK's, for an API that is elsewhere."""

    def __init__(self, api_url: str) -> None:
        """`api_url` takes the place of what the SDK makes of TWILIO_REGION and TWILIO_EDGE, unless it is the default.
        Needs a running event loop."""
        logger = logging.getLogger("twilio.http_client")
        logger.setLevel(logging.WARNING)  # at INFO it prints each request, in five lines
        super().__init__(logger=logger)
        self._api_url = "" if api_url == PUBLIC_API else api_url.rstrip("/")

    async def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        if self._api_url:
            url = self._api_url + urlsplit(url)._replace(scheme="", netloc="").geturl()
        return await super().request(method, url, *args, **kwargs)


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
            raise ProviderError("twilio", str(error), retryable=False) from error
        except (TimeoutError, OSError, aiohttp.ClientError) as error:
            raise ProviderError("twilio", repr(error)) from error

    async def close(self) -> None:
        await self._http.close()
