"""The WebSocket door: what its callers asked for, and the session they get."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket

from adapters.messages import Stop
from adapters.websocket.link import Lost, WebSocketLink
from adapters.websocket.protocol import ClientMessage, CloseCode, Start
from adapters.wire import wire_of
from gateway.admission import Admission, TurnedAway, address_of
from gateway.held import Held
from gateway.sessions import Sessions, new_session_id
from trunkline import tokens
from trunkline.errors import BusError, ClientError, SettingsError
from trunkline.settings import Settings
from trunkline.tenants import Tenant

log = logging.getLogger(__name__)

START_GRACE_S = 0.5
"""A client that says nothing for this long is told that the session is ready, in case it waits for that."""
SILENT_S = 10.0
"""A socket that says nothing at all is closed then."""
CLOSE_CODES = {
    "bad_token": CloseCode.BAD_TOKEN,
    "silent": CloseCode.SILENT,
    "resumed_elsewhere": CloseCode.RESUMED_ELSEWHERE,
}
"""Of errors that are not simply bad input."""


class WebSocketDoor:
    """`/ws`."""

    def __init__(self, settings: Settings, sessions: Sessions, admission: Admission) -> None:
        self._settings = settings
        self._sessions = sessions
        self._admission = admission
        self._links: set[WebSocketLink] = set()

    def routes(self) -> Sequence[BaseRoute]:
        return [WebSocketRoute("/ws", self.serve)]

    async def run(self) -> None:
        """Nothing is to be done between its callers."""

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one socket, from upgrade to close."""
        try:
            self._admission.check_origin(websocket)
            place = self._admission.admit(address_of(websocket))
        except TurnedAway as turned_away:
            await websocket.send_denial_response(turned_away.response())
            return
        try:
            await websocket.accept()
            link = WebSocketLink(websocket, wire_of(websocket))
            self._links.add(link)
            try:
                await self._talk(link)
            finally:
                self._links.discard(link)
        finally:
            place.leave()

    async def _talk(self, link: WebSocketLink) -> None:
        session, resumes = new_session_id(), False
        try:
            first = await self._first_message(link, session)
            if first is None or isinstance(first, Stop):
                return
            start = first if isinstance(first, Start) else Start()
            resumes = bool(start.resume)
            held = await self._session(link, session, start)
        except Lost:
            return
        except ClientError as error:
            link.refuse(error, CLOSE_CODES.get(error.code))
            await link.flush()
            return
        except (BusError, SettingsError) as error:
            log.error("a caller could not be admitted: %s", error)
            why = "the bus is out of reach" if isinstance(error, BusError) else "this tenant's settings are wrong"
            # Who comes back may try again, here or elsewhere: its token is good, and its session waits.
            code = CloseCode.RESTARTING if resumes and isinstance(error, BusError) else CloseCode.OUR_FAULT
            told = ClientError(error.code, why, "connect again later", fatal=code is CloseCode.OUR_FAULT)
            link.refuse(told, code)
            await link.flush()
            return
        outcome = "lost"
        try:
            outcome = await link.run(held.bridge, None if isinstance(first, Start) else first)
        finally:
            self._sessions.link_ended(held, link, outcome)
        await link.flush()

    async def _first_message(self, link: WebSocketLink, session: str) -> ClientMessage | None:
        first = await link.opening(START_GRACE_S)
        if first is None:
            token = tokens.issue(self._settings.secret, session, 0)
            link.event(0, "session_ready", _ready(session, "", token, Start(), 0, resumed=False))
            await link.flush()
            first = await link.opening(SILENT_S)
        if first is None:
            raise ClientError("silent", f"nothing was said in {SILENT_S:g} s", "send start or audio first", fatal=True)
        return first

    async def _session(self, link: WebSocketLink, session: str, start: Start) -> Held:
        whole_sentences = start.output != "pcm"
        if start.resume:
            return await self._resumed(link, start, whole_sentences)
        tenant = await self._tenant(start.tenant or self._settings.default_tenant)
        conversation = start.conversation_id or uuid.uuid4().hex
        link.adopt(start, tenant.session_rate_hz(start.rate_hz))
        held = await self._sessions.open(session, tenant, start.rate_hz, "websocket", conversation, whole_sentences)
        self._announce(link, held, start, resumed=False)
        held.bridge.connect(link)
        return held

    async def _resumed(self, link: WebSocketLink, start: Start, whole_sentences: bool) -> Held:
        received = (start.received_turn, start.received_ms, start.received_seq)
        held = await self._sessions.resume(start.resume or "", *received, whole_sentences)
        session, number = held.record.session, held.record.link
        link.on_answered = lambda: self._sessions.arrived(session, number)
        link.adopt(start, held.record.rate_hz)
        self._announce(link, held, start, resumed=True)
        held.bridge.reconnect(link, *received, knows_of_it=False)
        return held

    async def _tenant(self, tenant_id: str) -> Tenant:
        tenant = await self._sessions.tenants.get(tenant_id)
        if tenant is None:
            raise ClientError("no_tenant", f"no tenant {tenant_id!r}", "a tenant of this deployment", fatal=True)
        return tenant

    def _announce(self, link: WebSocketLink, held: Held, start: Start, *, resumed: bool) -> None:
        record, bridge = held.record, held.bridge
        token = held.token(self._settings.secret)
        data = _ready(record.session, record.conversation_id, token, start, bridge.media_ms, resumed=resumed)
        # Who comes back is told what was missed after this, and may be gone again before that.
        seq = min(start.received_seq, bridge.client_seq) if resumed else bridge.client_seq
        link.event(seq, "session_ready", data)

    def send_away(self) -> None:
        """Close every socket so that its client comes back to another gateway."""
        for link in list(self._links):
            link.close(CloseCode.RESTARTING)


def _ready(
    session: str, conversation: str, token: str, start: Start, uplink_ms: int, *, resumed: bool
) -> dict[str, str | int | bool]:
    return {
        "session_id": session,
        "conversation_id": conversation,
        "resume": token,
        "resumed": resumed,
        "rate_hz": start.rate_hz,
        "encoding": start.encoding,
        "output": start.output,
        "uplink_ms": uplink_ms,
    }
