"""The telephone's door: Twilio's webhooks, and the media streams that they lead to.

A call rings at `/twiml`, which answers with a stream to `/websocket`. Whenever a stream ends, Twilio asks
`/twiml/return` what comes next: another stream (the call's session lives, on whatever gateway), a transfer, or the end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from adapters.twilio.link import Lost, TwilioLink
from adapters.twilio.protocol import RATE_HZ, CloseCode, Start, is_sid
from adapters.wire import wire_of
from gateway import twiml
from gateway.admission import Admission, TurnedAway
from gateway.calls import Calls, Known
from gateway.held import Held
from gateway.sessions import Sessions, new_session_id
from gateway.signatures import Account, Refused, Signatures
from trunkline.bus.connection import Redis
from trunkline.errors import BusError, ClientError, ProviderError, SettingsError
from trunkline.sessions import Records
from trunkline.settings import Settings

if TYPE_CHECKING:
    from gateway.twilio_rest import TwilioApi

log = logging.getLogger(__name__)

OPENING_S = 5.0
"""From a stream's upgrade to its `start`."""
RENEW_S = 10.0
"""How often a running call is written to Redis again."""
EASY_TRIES, MAX_TRIES = 2, 10
"""A call's streams that come to nothing: so many follow at once, the rest after a second each; then we apologise."""
REDIS_TRIES, REDIS_PAUSE_S = 5, 2
"""How often, and how far apart, Twilio is to ask again while Redis is away."""
MAX_FIELDS = 200
OVER = frozenset({"completed", "busy", "failed", "no-answer", "canceled"})
"""CallStatus of a call that is over."""
CLOSE_CODES = {"sent_away": CloseCode.RESTARTING, "replaced": CloseCode.REPLACED, "refused": CloseCode.BAD_INPUT}


class Ringing(NamedTuple):
    """What a webhook says of its call."""

    sid: str
    to: str
    status: str
    origin: str
    """By which Twilio reaches us."""


class Live(NamedTuple):
    """A stream that is being served."""

    call_sid: str
    tenant: str
    session: str


class PhoneDoor:
    """`/twiml`, `/twiml/return`, `/twiml/status` and `/websocket`."""

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        admission: Admission,
        redis: Redis,
        account: Account,
        api: TwilioApi | None = None,
    ) -> None:
        self._sessions = sessions
        self._admission = admission
        self._signatures = Signatures(settings, account)
        self._api = api
        self._calls = Calls(redis)
        self._records = Records(redis)
        self._links: dict[TwilioLink, Live | None] = {}

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route("/twiml", self.ring, methods=["POST"]),
            Route("/twiml/return", self.come_back, methods=["POST"]),
            Route("/twiml/status", self.status, methods=["POST"]),
            WebSocketRoute("/websocket", self.stream),
        ]

    async def run(self) -> None:
        """Keep running calls known until cancelled."""
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                await self._calls.renew(live for live in self._links.values() if live is not None)
            except BusError as error:
                log.debug("calls not renewed: %s", error)

    def send_away(self) -> None:
        """End every stream, so that its call comes back to another gateway. Webhooks are answered to the end: what they
        lead to may be anywhere."""
        for link in list(self._links):
            link.send_away()

    # --- webhooks

    async def ring(self, request: Request) -> Response:
        """A call for one of our numbers; or the same again, because Twilio had no answer."""
        return await self._answered(request, self._ring)

    async def come_back(self, request: Request) -> Response:
        """A call's stream has ended: what comes next."""
        return await self._answered(request, self._next)

    async def _answered(self, request: Request, decide: Callable[[Ringing], Awaitable[str]]) -> Response:
        try:
            call = _ringing(await self._form(request), self._signatures.origin(request))
            if call.status in OVER:
                await self._over(call.sid, call.status)
                document = twiml.nothing()
            else:
                document = await decide(call)
        except Refused as refused:
            return _refused(request, refused)
        except SettingsError as error:
            log.error("a call cannot be answered: %s", error)
            document = twiml.apologise()
        except BusError as error:
            document = self._later(request, error)
        return Response(document, media_type="text/xml")

    async def _form(self, request: Request) -> FormData:
        """What Twilio posted. Raises Refused."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
            raise Refused(415, f"not {_FORM}")
        try:
            form = await request.form(max_fields=MAX_FIELDS)
        except HTTPException as error:
            raise Refused(error.status_code, error.detail) from error
        except ClientDisconnect as error:
            raise Refused(400, "it left in the middle") from error
        self._signatures.check_webhook(request, form)
        return form

    def _later(self, request: Request, error: BusError) -> str:
        tries = request.query_params.get("try", "")
        number = int(tries) + 1 if tries.isascii() and tries.isdigit() and len(tries) < 3 else 1
        log.error("a call cannot be answered now (%d of %d times): %s", number, REDIS_TRIES, error)
        if number >= REDIS_TRIES:
            return twiml.apologise()
        return twiml.ask_again(f"{self._signatures.origin(request)}{request.url.path}?try={number}", REDIS_PAUSE_S)

    async def _ring(self, call: Ringing) -> str:
        known = await self._calls.read(call.sid)
        if known is not None and known.transfer_to:  # this is the fallback for an action that got no answer
            return _put_through(call, known)
        if known is None or not known.session or await self._session_is_over(known):
            tenant = await self._sessions.tenants.by_number(call.to)
            if tenant is None:
                log.warning("call %s rejected: %r is no tenant's number", call.sid, call.to[:40])
                return twiml.reject()
            log.info("call %s rings: tenant %s", call.sid, tenant.id)
            await self._calls.ring(call.sid, tenant.id, known.session if known is not None else "")
        return await self._connect(call)

    async def _next(self, call: Ringing) -> str:
        known = await self._calls.read(call.sid)
        if known is None:
            log.warning("call %s hung up: nothing is known of it", call.sid)
            return twiml.hang_up()
        if known.transfer_to:
            return _put_through(call, known)
        if known.session and await self._session_is_over(known):
            log.info("call %s, session %s: hung up: %s", call.sid, known.session, known.ended or "it is over")
            return twiml.hang_up()
        log.info("call %s, session %s: another stream", call.sid, known.session or "to come")
        return await self._connect(call)

    async def _session_is_over(self, known: Known) -> bool:
        if known.ended:
            return True
        record = await self._records.read(known.session)
        return record is not None and record.closed != ""

    async def _connect(self, call: Ringing) -> str:
        token, tries = await self._calls.grant(call.sid)
        if tries > MAX_TRIES:
            log.error("call %s given up: none of %d streams came to anything", call.sid, MAX_TRIES)
            return twiml.apologise()
        return twiml.connect(call.origin, token, pause_s=int(tries > EASY_TRIES))

    # --- what Twilio tells

    async def status(self, request: Request) -> Response:
        """Something happened to a call or its stream."""
        try:
            form = await self._form(request)
            call = _ringing(form, "")
            event = str(form.get("StreamEvent", ""))
            if event:
                _note_stream_event(call, event, form)
            elif call.status in OVER:
                await self._over(call.sid, call.status)
        except Refused as refused:
            return _refused(request, refused)
        except BusError as error:
            log.error("what Twilio says of a call could not be noted: %s", error)
        return Response(status_code=204)

    async def _over(self, call_sid: str, status: str) -> None:
        """Twilio says that the call is over: whoever has its session is to know."""
        known = await self._calls.read(call_sid)
        if known is None or not await self._calls.end(call_sid, status):
            return
        record = await self._records.read(known.session) if known.session else None
        if record is None or record.closed:
            return
        log.info("call %s, session %s: Twilio says %s", call_sid, known.session, status)
        await self._sessions.hang_up(record)

    # --- streams

    async def stream(self, websocket: WebSocket) -> None:
        """Serve one media stream, from upgrade to close."""
        try:
            self._signatures.check_upgrade(websocket)
            place = self._admission.admit()
        except (Refused, TurnedAway) as error:
            refused = Refused(503, str(error)) if isinstance(error, TurnedAway) else error
            await websocket.send_denial_response(_refused(websocket, refused))
            return
        try:
            await websocket.accept()
            link = TwilioLink(websocket, wire_of(websocket))
            self._links[link] = None
            try:
                await self._serve(link)
            finally:
                del self._links[link]
        finally:
            place.leave()

    async def _serve(self, link: TwilioLink) -> None:
        try:
            start = await link.opening(OPENING_S)
            held = await self._admit(link, start)
        except Lost as lost:
            log.info("%s gone before it began: %s", link.name, lost)
            return
        except ClientError as error:
            log.warning("%s refused: %s", link.name, error)
            codes = {"silent": CloseCode.SILENT, "bad_token": CloseCode.REFUSED, "resumed_elsewhere": CloseCode.REFUSED}
            await link.close(codes.get(error.code, CloseCode.BAD_INPUT))
            return
        except Refused as refused:
            log.warning("%s refused: %s", link.name, refused)
            await link.close(CloseCode.REFUSED)
            return
        except (BusError, SettingsError) as error:
            log.error("%s cannot be served: %s", link.name, error)
            await link.close(CloseCode.OUR_FAULT)
            return
        outcome = "lost"
        try:
            outcome = await link.run(held.bridge)
        finally:
            self._links[link] = None  # what is written down of its end now is not to be renewed
            why = f"{outcome}: {held.bridge.ended}" if outcome == "ended" else outcome
            log.info("%s, session %s: %s", link.name, held.record.session, why)
            if outcome != "replaced":  # the session goes on, with another wire
                self._sessions.link_ended(held, link, "lost" if outcome == "sent_away" else outcome)
        await self._part(start.call_sid, held, link, outcome)

    async def _admit(self, link: TwilioLink, start: Start) -> Held:
        """The session of a stream whose token is good. Raises ClientError, Refused, SettingsError, BusError."""
        self._signatures.check_account(start.account_sid)
        if not await self._calls.burn(start.parameters.get("token", ""), start.call_sid):
            raise Refused(403, "its token is missing, used, too old, or another call's")
        known = await self._calls.read(start.call_sid)
        if known is None or known.ended:
            raise Refused(403, "its call is over")
        fresh = new_session_id()
        session = await self._calls.claim(start.call_sid, fresh)
        resumed = None if session == fresh else await self._resume(link, session)
        # A bridge gets its link when nothing is left to wait for: from then on it is `run` that ends it.
        if resumed is None:
            held = await self._open(start, known.tenant, fresh)
            await self._calls.begun(start.call_sid, fresh)
            held.bridge.connect(link)
        else:
            held, turn, received_ms = resumed
            await self._calls.begun(start.call_sid, session)
            held.bridge.reconnect(link, turn, received_ms, 0)
        self._links[link] = Live(start.call_sid, known.tenant, held.record.session)
        how = "is" if resumed is None else "resumes"
        log.info("%s %s session %s, tenant %s", link.name, how, held.record.session, known.tenant)
        return held

    async def _open(self, start: Start, tenant_id: str, session: str) -> Held:
        tenant = await self._sessions.tenants.get(tenant_id)
        if tenant is None:
            raise SettingsError(f"tenant {tenant_id!r} is gone")
        return await self._sessions.open(session, tenant, RATE_HZ, "twilio", start.call_sid, whole_sentences=False)

    async def _resume(self, link: TwilioLink, session: str) -> tuple[Held, int, int] | None:
        """The call's session, and how much was heard of which turn; None when nothing is left of that session. Raises
        ClientError when it is over."""
        try:
            return await self._sessions.resume_call(session)
        except ClientError:
            if await self._records.read(session) is not None:
                raise
            log.error("%s: nothing is left of session %s", link.name, session)
            return None

    async def _part(self, call_sid: str, held: Held, link: TwilioLink, outcome: str) -> None:
        """Close the stream. If the session is over, `/twiml/return` must know by then what becomes of the call."""
        if outcome in ("ended", "refused", "hung_up"):
            await self._dismiss(call_sid, held, link, outcome)
        if outcome != "lost":
            await link.close(CLOSE_CODES.get(outcome, CloseCode.DONE))

    async def _dismiss(self, call_sid: str, held: Held, link: TwilioLink, outcome: str) -> None:
        """The session is over, and with it the call, unless it is put through.

        A transfer is left to `/twiml/return` alone: ordered by REST as well, the two would race, and dial twice. To
        hang up twice does no harm, and by REST it needs nobody to be asked.
        """
        transfer_to = held.bridge.transfer_to if outcome == "ended" else ""
        news = True
        try:
            news = await self._calls.end(call_sid, held.bridge.ended or outcome, transfer_to)
        except BusError as error:
            log.error("%s: its end could not be noted: %s", link.name, error)
        if outcome == "hung_up" or transfer_to or not news or self._api is None:
            return
        try:
            await self._api.hang_up(call_sid)
        except ProviderError as error:
            log.warning("%s: not hung up by REST, but by closing its stream: %s", link.name, error)


_FORM = "application/x-www-form-urlencoded"


def _ringing(form: FormData, origin: str) -> Ringing:
    sid, to, status = (str(form.get(name, "")) for name in ("CallSid", "To", "CallStatus"))
    if not is_sid(sid):
        raise Refused(400, f"CallSid {sid!r:.70}")
    return Ringing(sid, to, status, origin)


def _put_through(call: Ringing, known: Known) -> str:
    log.info("call %s, session %s: put through", call.sid, known.session)
    return twiml.dial(known.transfer_to)


def _refused(connection: HTTPConnection, refused: Refused) -> Response:
    host = connection.client.host if connection.client else "?"
    log.warning("%s refused from %s: %s", connection.url.path, host, refused.reason)
    return PlainTextResponse("refused\n", refused.status)


def _note_stream_event(call: Ringing, event: str, form: FormData) -> None:
    stream, why = str(form.get("StreamSid", "")), str(form.get("StreamError", ""))
    stream = stream if is_sid(stream) else f"{stream!r:.70}"
    if event == "stream-error":
        log.warning("call %s, stream %s: Twilio reports an error: %.200r", call.sid, stream, why)
    else:
        log.info("call %s, stream %s: Twilio says %.40r", call.sid, stream, event)
