"""A stand-in of api.twilio.com on loopback: the one resource that a gateway needs of it, a call that is running.

async with TwilioApi(calls=[call]) as api:
    ...  # POST {api.url}/2010-04-01/Accounts/{sid}/Calls/{sid}.json
"""

from __future__ import annotations

import base64
import contextlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.standins.twilio.caller import ACCOUNT_SID, AUTH_TOKEN, Call
from tests.standins.twilio.serving import serving

_PATH = "/2010-04-01/Accounts/{account}/Calls/{call}.json"
_MORE = ("Events", "Notifications", "Payments", "Recordings", "Siprec", "Streams", "Transcriptions")


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """What somebody asked of the API, whether or not it was done (`status` is the answer's)."""

    method: str
    path: str
    form: Mapping[str, str]
    status: int


class TwilioApi:
    """Serves the account's attached calls. With `rate_limited` set, every request is answered 429."""

    def __init__(
        self, account_sid: str = ACCOUNT_SID, auth_token: str = AUTH_TOKEN, calls: Iterable[Call] = ()
    ) -> None:
        self.url = ""
        self.requests: list[ApiRequest] = []
        self.rate_limited = False
        self._account_sid = account_sid
        self._credentials = "Basic " + base64.b64encode(f"{account_sid}:{auth_token}".encode()).decode()
        self._exits = contextlib.AsyncExitStack()
        self._calls = {call.sid: call for call in calls}

    def attach(self, call: Call) -> None:
        """Make a call one that the API knows."""
        self._calls[call.sid] = call

    async def __aenter__(self) -> Self:
        app = Starlette(routes=[Route(_PATH, self._answer, methods=["GET", "POST"])])
        self.url = await self._exits.enter_async_context(serving(app))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    async def _answer(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
        response = self._act(request, form)
        self.requests.append(ApiRequest(request.method, request.url.path, form, response.status_code))
        return response

    def _act(self, request: Request, form: Mapping[str, str]) -> Response:
        if self.rate_limited:
            return _error(429, 20429, "Too Many Requests")
        given = request.headers.get("authorization", "")
        if not secrets.compare_digest(given, self._credentials):
            return _error(401, 20003, "Authenticate")
        call = self._calls.get(request.path_params["call"])
        if call is None or request.path_params["account"] != self._account_sid:
            return _error(404, 20404, f"The requested resource {request.url.path} was not found")
        if request.method == "POST" and (refusal := _order(call, form)) is not None:
            return refusal
        return JSONResponse(_resource(call))


def _order(call: Call, form: Mapping[str, str]) -> Response | None:
    """Do what an update asks for; an error if it cannot be."""
    wanted = [name for name in ("Status", "Twiml", "Url") if name in form]
    if len(wanted) > 1:
        return _error(400, 20001, f"Parameters {' and '.join(wanted)} are mutually exclusive")
    if call.ended:
        return _error(400, 21220, "Call is not in-progress. Cannot redirect.")
    if "Twiml" in form:
        call.execute(form["Twiml"])
    elif "Url" in form:
        if urlsplit(form["Url"]).scheme not in ("http", "https"):
            return _error(400, 21205, f"Url is not a valid URL: {form['Url']}")
        call.redirect(form["Url"], form.get("Method", "POST"))
    elif form.get("Status") == "completed":
        call.complete()
    elif "Status" in form:
        return _error(400, 20001, f"Status {form['Status']!r} is not possible for a call in progress")
    return None


def _error(status: int, code: int, message: str) -> Response:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return JSONResponse({"code": code, "message": message, "more_info": more, "status": status}, status)


def _resource(call: Call) -> dict[str, Any]:
    """A Call resource, as twilio.rest.api.v2010.account.call.CallInstance reads it. Twilio answers before the order is
    carried out, so an update's answer still says in-progress."""
    uri = f"/2010-04-01/Accounts/{call.account_sid}/Calls/{call.sid}"
    began = format_datetime(call.began_at)
    return {
        "sid": call.sid,
        "account_sid": call.account_sid,
        "api_version": "2010-04-01",
        "status": call.status,
        "direction": "inbound",
        **{"to": call.to, "to_formatted": call.to, "from": call.from_, "from_formatted": call.from_},
        **{"date_created": began, "date_updated": format_datetime(datetime.now(UTC)), "start_time": began},
        **dict.fromkeys(("end_time", "duration", "price", "answered_by", "forwarded_from", "group_sid", "caller_name")),
        **dict.fromkeys(("parent_call_sid", "phone_number_sid", "trunk_sid")),
        "price_unit": "USD",
        "queue_time": "0",
        "uri": f"{uri}.json",
        "subresource_uris": {name.lower(): f"{uri}/{name}.json" for name in _MORE},
    }
