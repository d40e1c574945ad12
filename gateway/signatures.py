"""Who speaks for Twilio: every webhook and every stream's upgrade is signed with the account's token.

Signed is the URL that Twilio was given, so ours is built from `TRUNKLINE_PUBLIC_URL` and never from what a request says
of itself. https://www.twilio.com/docs/usage/security#validating-requests
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import FormData
from starlette.requests import HTTPConnection, Request
from starlette.websockets import WebSocket
from twilio.request_validator import RequestValidator

from trunkline.errors import SettingsError
from trunkline.settings import Settings

HEADER = "x-twilio-signature"


class Refused(Exception):
    """A request that is not Twilio's, or makes no sense: its HTTP status, and why (for the log)."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Account:
    """A Twilio account, as far as it is configured: `TWILIO_ACCOUNT_SID` and `TWILIO_AUTH_TOKEN`."""

    sid: str = ""
    auth_token: str = field(default="", repr=False)

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Account:
        return cls(environment.get("TWILIO_ACCOUNT_SID", ""), environment.get("TWILIO_AUTH_TOKEN", ""))


class Signatures:
    """Checks them, unless `TRUNKLINE_TWILIO_SIGNATURES` is off."""

    def __init__(self, settings: Settings, account: Account) -> None:
        """Raises SettingsError for a public URL that no request can have."""
        try:
            urlsplit(settings.public_url).port  # noqa: B018  # checked by reading it
        except ValueError as error:
            raise SettingsError(f"TRUNKLINE_PUBLIC_URL {settings.public_url!r}: {error}") from error
        self._public_url = settings.public_url
        self._needed = settings.twilio_signatures
        self._account = account
        self._validator = RequestValidator(account.auth_token)

    def origin(self, connection: HTTPConnection) -> str:
        """By which origin, http or https, Twilio reaches us. What a request says of that is believed only where
        signatures are off."""
        if self._public_url:
            return self._public_url
        scheme = {"ws": "http", "wss": "https"}.get(connection.url.scheme, connection.url.scheme)
        return f"{scheme}://{connection.url.netloc}"

    def check_webhook(self, request: Request, form: FormData) -> None:
        """Raises Refused for a form that is not signed by our account, or not of it."""
        query = f"?{request.url.query}" if request.url.query else ""
        self._check(request, self.origin(request) + request.url.path + query, form)
        self.check_account(str(form.get("AccountSid", "")))

    def check_upgrade(self, websocket: WebSocket) -> None:
        """Raises Refused for a stream that is not signed by our account. Signed is the URL of the TwiML: `wss`."""
        self._check(websocket, f"ws{self.origin(websocket).removeprefix('http')}{websocket.url.path}", {})

    def check_account(self, sid: str) -> None:
        """Raises Refused for an account that is not ours, where that is configured."""
        if self._account.sid and sid != self._account.sid:
            raise Refused(403, f"of account {sid!r:.70}, not of TWILIO_ACCOUNT_SID")

    def _check(self, connection: HTTPConnection, url: str, params: Mapping[str, Any]) -> None:
        if not self._needed:
            return
        if not self._public_url:
            raise Refused(403, "signatures cannot be checked: set TRUNKLINE_PUBLIC_URL to the origin Twilio calls")
        if not self._account.auth_token:
            raise Refused(403, "signatures cannot be checked: set TWILIO_AUTH_TOKEN")
        signature = connection.headers.get(HEADER)
        if not signature:
            raise Refused(403, "not signed")
        if not self._validator.validate(url, params, signature):
            raise Refused(403, f"the signature is not ours for {url:.200} (is TRUNKLINE_PUBLIC_URL what Twilio calls?)")
