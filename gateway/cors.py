"""Pages of other origins that embed the client: what a browser must be told before it lets them.

The same rule as for the WebSocket (`Admission.allows`), which starlette's own middleware cannot apply: our own origin
is whatever the request was sent to. No cookie takes part, so no credentials are allowed.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.admission import Admission, refusal
from trunkline.errors import ClientError

METHODS = "GET, POST, PATCH, DELETE"
REQUEST_HEADERS = "authorization, content-type, trunkline-resume"
RESPONSE_HEADERS = "location, link, retry-after, trunkline-resume, trunkline-conversation"
PREFLIGHT_S = 600


class Cors:
    """Middleware: answers preflights below these paths, and names the origin in what is answered there."""

    def __init__(self, app: ASGIApp, admission: Admission, paths: tuple[str, ...]) -> None:
        self._app = app
        self._admission = admission
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(self._paths):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        allowed = origin is not None and self._admission.allows(origin, headers.get("host", ""))
        if scope["method"] == "OPTIONS" and origin is not None and "access-control-request-method" in headers:
            await _preflight(origin, allowed)(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                answered.add_vary_header("origin")
                if origin is not None and allowed:
                    answered["access-control-allow-origin"] = origin
                    answered["access-control-expose-headers"] = RESPONSE_HEADERS
            await send(message)

        await self._app(scope, receive, with_headers)


def _preflight(origin: str, allowed: bool) -> Response:
    if not allowed:
        hint = "name this page's origin in TRUNKLINE_ALLOWED_ORIGINS"
        answer: Response = refusal(403, ClientError("origin", "pages of this origin may not call", hint))
    else:
        answer = Response(status_code=204)
        answer.headers["access-control-allow-origin"] = origin
        answer.headers["access-control-allow-methods"] = METHODS
        answer.headers["access-control-allow-headers"] = REQUEST_HEADERS
        answer.headers["access-control-max-age"] = str(PREFLIGHT_S)
    answer.headers["vary"] = "origin"
    return answer
