"""Twilio's requests to a gateway about one call: for TwiML, and the status callbacks. All signed, all recorded."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx

from tests.standins.twilio import twiml
from tests.standins.twilio.edge import Edge, sign
from tests.standins.twilio.faults import Faults
from tests.standins.twilio.stream import StreamRecord

TIMEOUT_S = 15.0
"""Twilio's own for a webhook."""

TRIES = 2
"""Twilio repeats a request once when no connection came about, its default connection override."""

_UNUSED_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""A client makes its own otherwise, which takes 19 ms; twenty calls at once would begin with a standstill."""


class WebhookFailed(Exception):
    """A request got no answer in time, or one that is not 200 (Twilio's 11200 family)."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request of Twilio's to the gateway, and its answer: a status, or none if there was no answer."""

    at_s: float
    kind: str
    """`webhook` (asks for TwiML), `stream-status` or `call-status`."""
    url: str
    form: Mapping[str, str]
    status: int | None


class Webhooks:
    """Sends the requests of one call; `fields` are in each of them, `news` is told of each. Close it with the call."""

    def __init__(
        self, edge: Edge, auth_token: str, fields: Mapping[str, str], faults: Faults, news: Callable[[], None]
    ) -> None:
        self.requests: list[Request] = []
        self.errors: list[str] = []
        """Of callbacks that nobody took."""
        self._edge = edge
        self._auth_token = auth_token
        self._fields = dict(fields)
        self._faults = faults
        self._news = news
        headers = {"User-Agent": "TwilioProxy/1.1", "Accept": "*/*"}
        self._client = httpx.AsyncClient(headers=headers, timeout=TIMEOUT_S, trust_env=False, verify=_UNUSED_TLS)

    async def close(self) -> None:
        await self._client.aclose()

    async def fetch(self, url: str, method: str, status: str) -> str:
        """The TwiML at `url`. WebhookFailed, or TwimlError if what was answered is none."""
        answer = await self._send("webhook", url, method, {"CallStatus": status})
        if answer.status_code != 200:
            raise WebhookFailed(f"the webhook answered {answer.status_code}")
        twiml.check_content_type(answer.headers.get("content-type", ""))
        return answer.text

    async def report_stream(self, noun: twiml.Stream, record: StreamRecord, event: str, status: str) -> None:
        """Tell the Stream's statusCallback, if it has one, of `stream-started`, `stream-stopped` or `stream-error`."""
        if noun.status_callback is None:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        form = {"StreamSid": record.sid, "StreamName": noun.name or record.sid, "StreamEvent": event}
        if event == "stream-error":
            form["StreamError"] = str(record.error_code)
        await self._post(
            "stream-status",
            noun.status_callback,
            noun.status_callback_method,
            {"CallStatus": status, **form, "Timestamp": now},
        )

    async def report_end(self, url: str, status: str, began_at: datetime) -> None:
        """Tell the call's own status callback how it ended."""
        now = datetime.now(UTC)
        duration = {"CallDuration": str(round((now - began_at).total_seconds())), "Timestamp": format_datetime(now)}
        origin = {"CallbackSource": "call-progress-events", "SequenceNumber": "0"}
        await self._post("call-status", url, "POST", {"CallStatus": status, **duration, **origin})

    async def _post(self, kind: str, url: str, method: str, form: Mapping[str, str]) -> None:
        try:
            await self._send(kind, url, method, form)
        except WebhookFailed as error:
            self.errors.append(str(error))

    async def _send(self, kind: str, url: str, method: str, form: Mapping[str, str]) -> httpx.Response:
        """Request the public `url` with the form as its body, or as its query by GET."""
        at_s = asyncio.get_running_loop().time()
        body = {**self._fields, **form}
        sent = body
        if method == "GET":
            parts = urlsplit(url)
            query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *body.items()])
            url, body = parts._replace(query=query).geturl(), {}
        status: int | None = None
        try:
            answer = await self._request(method, url, body)
            status = answer.status_code
        finally:
            self.requests.append(Request(at_s, kind, url, sent, status))
            self._news()
        return answer

    async def _request(self, method: str, url: str, body: Mapping[str, str]) -> httpx.Response:
        signature = sign(self._auth_token, url, body, self._faults.webhook_signature)
        headers = {"Host": urlsplit(url).netloc, **signature}
        problem = "no gateway is behind the public origin"
        for way in self._edge.ways(url) * TRIES:
            try:
                return await self._client.request(method, way, data=body or None, headers=headers)
            except httpx.ConnectError as error:
                problem = f"no connection: {error}"
            except httpx.HTTPError as error:
                raise WebhookFailed(f"{method} {url}: {type(error).__name__} {error}") from error
        raise WebhookFailed(f"{method} {url}: {problem}")


def call_fields(account_sid: str, call_sid: str, to: str, from_: str) -> dict[str, str]:
    """The form fields that every request about a call has, without its CallStatus (PROTOCOLS 6.2)."""
    return {
        "AccountSid": account_sid,
        "ApiVersion": "2010-04-01",
        "CallSid": call_sid,
        "Direction": "inbound",
        **{"From": from_, "Caller": from_, "To": to, "Called": to},
        **{"FromCity": "", "FromState": "", "FromZip": "", "FromCountry": "US"},
        **{"ToCity": "SAN FRANCISCO", "ToState": "CA", "ToZip": "94105", "ToCountry": "US"},
        "CallToken": f"%7B%22parentCallInfoToken%22%3A%22{call_sid}%22%7D",
        "StirVerstat": "TN-Validation-Passed-A",
    }
