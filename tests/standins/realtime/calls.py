"""The HTTP side of calls over WebRTC, as PROTOCOLS 1.10 records it: calls, their hang-up, client secrets."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import config as configuration
from .call import Call
from .faults import NeverAnswer, NoCandidates, Refuse, SessionFault, SlowHandshake
from .refusal import Refused, invalid, missing, not_let_in, not_obeyed

if TYPE_CHECKING:
    from .server import Realtime

SECRET = "ek_"
SHORTEST_S, USUAL_S, LONGEST_S = 10, 600, 7200
"""A client secret's life."""

MODEL = "gpt-realtime-2.1"
"""Of a client secret that names none."""

_PARTS = ["sdp", "session"]


@dataclass(frozen=True, slots=True)
class _Secret:
    session: dict[str, Any]
    expires_at: int


class Calls:
    """`async with Calls(standin) as calls:` serves `calls.app`; at the end every call has ended."""

    def __init__(self, standin: Realtime) -> None:
        self._standin = standin
        self._calls: dict[str, Call] = {}
        self._secrets: dict[str, _Secret] = {}
        self.app = Starlette(
            routes=[
                Route("/v1/realtime/calls", self._create, methods=["POST"]),
                Route("/v1/realtime/calls/{call_id}/hangup", self._hang_up, methods=["POST"]),
                Route("/v1/realtime/client_secrets", self._secret, methods=["POST"]),
            ],
            exception_handlers={Refused: _bad_request},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for call in self._calls.values():
            await call.hang_up()

    async def _create(self, request: Request) -> Response:
        fault = self._standin.next_fault()
        match fault:
            case Refuse():
                return self._refuse(fault)
            case NeverAnswer():
                await self._standin.closing.wait()
                return self._refuse(Refuse(503))
            case SlowHandshake(ms):
                await asyncio.sleep(ms / 1000)
            case _:
                pass
        wanted = await self._wanted(request)
        if wanted is None:
            return self._refuse(Refuse(401))
        offer, update = wanted
        call = self._begin(update)
        if isinstance(fault, SessionFault):
            call.session.inject(fault)
        try:
            answer = await call.answer(offer)
        except Refused:
            await call.hang_up()
            raise
        if isinstance(fault, NoCandidates):
            answer = "".join(line for line in answer.splitlines(True) if not line.startswith("a=candidate"))
        headers = {"Location": f"/v1/realtime/calls/{call.id}"}
        return Response(answer, 201, headers, media_type="application/sdp")

    async def _wanted(self, request: Request) -> tuple[str, dict[str, Any]] | None:
        """The offer, and the session that is asked for; none if nobody may ask."""
        authorization = request.headers.get("Authorization", "")
        key = authorization.removeprefix("Bearer ")
        secret = self._secrets.get(key)
        if key.startswith(SECRET):
            if secret is None or secret.expires_at <= time.time():
                return None
        elif not self._standin.admits(authorization):
            return None
        kind = request.headers.get("Content-Type", "").partition(";")[0]
        if kind == "application/sdp":
            if secret is None:
                raise missing("session")
            return _checked((await request.body()).decode()), secret.session
        if kind != "multipart/form-data":
            raise invalid("Content-Type", f"'{kind}' is neither multipart/form-data nor application/sdp.")
        return await _parts(request)

    def _begin(self, update: dict[str, Any]) -> Call:
        if not isinstance(update.get("model"), str):
            raise missing("session.model")
        standin = self._standin
        session = standin.begin(update["model"], call=update)
        call = Call(f"rtc_{standin.new_id()}", session, standin.options, standin.changed, standin.errors.append)
        self._calls[call.id] = call
        return call

    async def _hang_up(self, request: Request) -> Response:
        if not self._standin.admits(request.headers.get("Authorization", "")):
            return self._refuse(Refuse(401))
        call = self._calls.get(request.path_params["call_id"])
        if call is None or call.session.closed is not None:
            return self._refuse(Refuse(404))
        await call.hang_up()
        return Response(status_code=200)

    async def _secret(self, request: Request) -> Response:
        if fault := self._standin.next_refusal():
            return self._refuse(fault)
        if not self._standin.admits(request.headers.get("Authorization", "")):
            return self._refuse(Refuse(401))
        asked = await request.json()
        update = {"model": MODEL, **asked.get("session", {"type": "realtime"})}
        config = configuration.updated(configuration.default(update["model"]), update, spoke=False)
        lasts_s = asked.get("expires_after", {}).get("seconds", USUAL_S)
        if not isinstance(lasts_s, int) or not SHORTEST_S <= lasts_s <= LONGEST_S:
            raise invalid("expires_after.seconds", f"expected {SHORTEST_S} to {LONGEST_S}.")
        value, expires_at = SECRET + secrets.token_hex(16), math.ceil(time.time()) + lasts_s
        self._secrets[value] = _Secret(update, expires_at)
        session = {**config, "id": f"sess_{self._standin.new_id()}", "expires_at": expires_at}
        return JSONResponse({"value": value, "expires_at": expires_at, "session": session})

    def _refuse(self, fault: Refuse) -> Response:
        self._standin.refuse(fault.status)
        headers = {"Retry-After": str(fault.retry_after_s)} if fault.status == 429 else {}
        return JSONResponse(not_let_in(fault.status), fault.status, headers)


async def _parts(request: Request) -> tuple[str, dict[str, Any]]:
    async with request.form() as form:
        parts = form.multi_items()
        names = [name for name, _ in parts]
        if names != _PARTS:
            raise invalid("body", f"expected the parts {', '.join(_PARTS)} in this order, got {', '.join(names)}.")
        sdp, session = [await _text(value) for _, value in parts]
    try:
        update = json.loads(session)
    except ValueError as error:
        raise invalid("session", f"it is not JSON: {error}") from None
    if not isinstance(update, dict):
        raise invalid("session", "expected an object.")
    return _checked(sdp), update


async def _text(part: Any) -> str:
    """A part with a file name comes as a file."""
    return part if isinstance(part, str) else (await part.read()).decode()


def _checked(sdp: str) -> str:
    for media in ("m=audio", "m=application"):
        if media not in sdp:
            raise invalid("sdp", f"the offer has no {media} section.")
    return sdp


async def _bad_request(_: Request, refused: Exception) -> Response:
    assert isinstance(refused, Refused)
    return JSONResponse(not_obeyed(refused), 400)
