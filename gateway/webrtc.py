"""The WebRTC door: a browser posts an SDP offer, and is answered with ours and with the session it gets.

Any gateway may be sent what concerns a call (more candidates, the end): it tells the one that has it, over the bus. The
request of a call returns at once; who serves it then is the door's task group.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from adapters.bridge import Bridge
from adapters.link import Link
from gateway import signalling, turn
from gateway.admission import Admission, Place, TurnedAway, address_of, refusal
from gateway.held import Held
from gateway.sessions import Sessions, new_session_id
from gateway.signalling import FRAGMENT, JSON, MAX_BODY_BYTES, SDP, Wish
from trunkline import tokens
from trunkline.bus.messages import Control
from trunkline.errors import BusError, ClientError, NoPortLeft, SettingsError
from trunkline.sessions import Record, Records
from trunkline.settings import Settings

log = logging.getLogger(__name__)

PATH = "/api/realtime/webrtc"
WIRE_HZ = 48_000
"""Opus has it all; a session's own rate is what its backend needs of that."""
NO_LIMIT = 1 << 62
"""For starlette, which refuses a long body in other words than ours."""
STATUS = {"bad_token": 401, "no_tenant": 404, "no_session": 404, "too_large": 413, "resumed_elsewhere": 409}
"""Of errors that are not simply 400."""


class PeerLink(Link, Protocol):
    """What the door needs of a WebRTC link: `adapters.webrtc.link.WebRtcLink`."""

    on_connected: Callable[[], None]
    """Called once, when audio may flow."""
    said: tuple[int, int] | None
    """Which (turn, ms) its client said that it hears, the last time; None before."""

    async def open(self, offer: str) -> str:
        """Our answer. Raises ClientError, and then there is nothing to close."""

    async def run(self, bridge: Bridge) -> str:
        """Serve until it ends; says how, as WebSocketLink's does. Closes the connection."""

    async def add_candidates(self, candidates: Sequence[str]) -> None:
        """Raises ClientError."""

    def heard(self, rtp_timestamp: int) -> tuple[int, int] | None:
        """Which (turn, ms) that RTP timestamp of ours belongs to."""

    def send_away(self) -> None:
        """This gateway is going: tell the client to come back to another."""

    async def close(self) -> None:
        """From any state; again does nothing."""


class Received(NamedTuple):
    """What a client that comes back has of its session; a turn of -1: only the worker knows."""

    turn: int
    ms: int
    seq: int


class WebRtcDoor:
    """`/api/realtime/webrtc/...`."""

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        admission: Admission,
        records: Records,
        make_link: Callable[[int], PeerLink],
    ) -> None:
        """`make_link` makes one for a session of that many Hz. Raises SettingsError."""
        turn.check(settings)
        self._settings = settings
        self._sessions = sessions
        self._admission = admission
        self._records = records
        self._make_link = make_link
        self._links: dict[PeerLink, Place] = {}
        self._last: WeakKeyDictionary[Held, PeerLink] = WeakKeyDictionary()
        """A session's last link that was connected: it knows what its client heard, also when it is lost."""
        self._serving: asyncio.TaskGroup | None = None
        sessions.on_ice = self._ice_from_elsewhere

    def routes(self) -> Sequence[BaseRoute]:
        call = PATH + "/{session}"
        return [
            Route(f"{PATH}/bridge", self.bridge, methods=["POST"], max_body_size=NO_LIMIT),
            Route(f"{PATH}/config", self.config, methods=["GET"]),
            Route(call, self.change, methods=["PATCH"], max_body_size=NO_LIMIT),
            Route(call, self.hang_up, methods=["DELETE"]),
        ]

    async def run(self) -> None:
        """Serve the calls that come in, until cancelled."""
        async with asyncio.TaskGroup() as self._serving:
            await asyncio.Event().wait()

    def send_away(self) -> None:
        """Tell every client to come back to another gateway. What it has here is served until it is there."""
        for link in list(self._links):
            link.send_away()

    # --- a new call, or one that comes back

    async def bridge(self, request: Request) -> Response:
        """An offer comes in: our answer, and the session."""
        return await self._answered(request, self._bridge)

    async def _bridge(self, request: Request) -> Response:
        plain, wish = await self._wish(request)
        if self._serving is None:
            hint = "connect again: another gateway will answer"
            raise TurnedAway(503, ClientError("draining", "this gateway is not serving", hint), retry=True)
        record = await self._sessions.returning(wish.resume) if wish.resume else None
        link = self._link_of(record.session) if record is not None else None
        admission = self._admission
        place = admission.admit_again(self._links[link]) if link else admission.admit(address_of(request))
        try:
            answer, held = await (self._come_back(wish, record, place) if record else self._begin(wish, place))
        except BaseException:
            place.leave()
            raise
        return self._plain(answer, held) if plain else self._json(answer, held)

    async def _wish(self, request: Request) -> tuple[bool, Wish]:
        """What is asked for, and whether by SDP alone."""
        if _media_type(request, JSON, SDP) == SDP:
            token = request.headers.get("trunkline-resume")
            return True, signalling.wish_of(await _body(request), request.query_params, token)
        return False, signalling.parse_wish(await _body(request))

    async def _begin(self, wish: Wish, place: Place) -> tuple[str, Held]:
        """A session of its own. The offer is answered first: a wrong one must cost the bus and the workers nothing."""
        tenant_id = wish.tenant or self._settings.default_tenant
        tenant = await self._sessions.tenants.get(tenant_id)
        if tenant is None:
            raise ClientError("no_tenant", f"no tenant {tenant_id!r}", "a tenant of this deployment")
        link = self._make_link(tenant.session_rate_hz(WIRE_HZ))
        try:
            answer = await link.open(wish.offer)
            conversation = wish.conversation_id or uuid.uuid4().hex
            held = await self._sessions.open(new_session_id(), tenant, WIRE_HZ, "webrtc", conversation, False)
            if wish.voice:
                held.bridge.client_event("session_update", session={"voice": wish.voice})
            self._serve(link, held, Received(0, 0, 0), place)
        except BaseException:
            await link.close()
            raise
        return answer, held

    async def _come_back(self, wish: Wish, record: Record, place: Place) -> tuple[str, Held]:
        """A session by another peer connection. Its token is used when all else is done."""
        link = self._make_link(record.rate_hz)
        try:
            answer = await link.open(wish.offer)
            received = self._received(record.session, wish)
            held = await self._sessions.resume(wish.resume or "", *received, whole_sentences=False)
            self._serve(link, held, received, place)
        except BaseException:
            await link.close()
            raise
        return answer, held

    def _received(self, session: str, wish: Wish) -> Received:
        """What the client has. Of audio only the gateway that sent it knows."""
        held = self._sessions.find(session)
        if held is None:
            return Received(-1, 0, wish.received_seq)
        last = self._last.get(held)
        said = last.heard(wish.received_rtp) if last is not None and wish.received_rtp is not None else None
        turn, ms = said or (held.bridge.heard.turn, held.bridge.heard.played_ms)
        return Received(turn, ms, wish.received_seq)

    # --- its life

    def _serve(self, link: PeerLink, held: Held, received: Received, place: Place) -> None:
        """From now on the task group owns the link."""
        assert self._serving is not None
        held.coming = link
        link.on_connected = lambda: self._connected(link, held, received)
        self._links[link] = place
        self._serving.create_task(self._live(link, held), name=f"webrtc {held.record.session}")

    def _connected(self, link: PeerLink, held: Held, received: Received) -> None:
        """The wire is up. Until now nothing was played to it, and the events of the session's beginning were kept."""
        if held.coming is not link or held.bridge.ended is not None:
            link.end(held.bridge.ended or "resumed_elsewhere")
            return
        held.coming = None
        last = self._last.get(held)
        if last is not None and last.said is not None and received.turn >= 0 and last.said > received[:2]:
            received = Received(*last.said, received.seq)  # the old wire has been heard since the offer was made
        self._last[held] = link
        self._sessions.arrived(held.record.session, held.record.link)  # nobody gets here without our answer
        held.bridge.reconnect(link, *received)

    async def _live(self, link: PeerLink, held: Held) -> None:
        outcome = "lost"
        try:
            outcome = await link.run(held.bridge)
            if outcome == "lost" and held.record.link == 0 and held not in self._last:
                outcome = "never_connected"  # nothing was said or heard yet: there is nothing to come back to
        except Exception:  # a fault of ours ends this call; the others share our task group
            log.exception("session %s: its link broke", held.record.session)
        finally:
            self._links.pop(link).leave()
            self._sessions.link_ended(held, link, outcome)
            await link.close()

    # --- what comes later

    async def change(self, request: Request) -> Response:
        """More ICE candidates of a client."""
        return await self._answered(request, self._change)

    async def _change(self, request: Request) -> Response:
        fragment = _media_type(request, JSON, FRAGMENT) == FRAGMENT
        body = await _body(request)
        candidates = signalling.candidates_of(body) if fragment else signalling.parse_candidates(body)
        record, number = await self._record(request)
        if number < record.link:  # of a connection that this caller comes back from
            raise _not_allowed("a token that was used to come back")
        self._sessions.arrived(record.session, number)
        link = self._link_of(record.session)
        if link is not None:
            await link.add_candidates(candidates)
        elif not await self._sessions.tell(record.gateway, Control(record.session, "ice", {"candidates": candidates})):
            raise _no_session()
        return Response(status_code=204)

    async def hang_up(self, request: Request) -> Response:
        """The client has hung up."""
        return await self._answered(request, self._hang_up)

    async def _hang_up(self, request: Request) -> Response:
        record, _ = await self._record(request)
        await self._sessions.hang_up(record)
        return Response(status_code=204)

    async def config(self, request: Request) -> Response:
        """The ICE servers that a client may use."""
        return await self._answered(request, self._config)

    async def _config(self, request: Request) -> Response:
        servers = [server.as_json() for server in self._ice_servers()]
        told = {"ice_servers": servers, "ttl_s": self._settings.turn_ttl_s}
        return JSONResponse(told, headers={"cache-control": "no-store"})

    async def _record(self, request: Request) -> tuple[Record, int]:
        """The session of a request that shows a token of it that is good, and the token's link. Raises TurnedAway,
        BusError."""
        session = request.path_params["session"]
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        known = tokens.check(self._settings.secret, token.strip()) if scheme.lower() == "bearer" else None
        if known is None or known[0] != session:
            raise _not_allowed("no token of this session")
        record = await self._records.read(session)
        if record is None or record.closed:
            raise _no_session()
        if not record.takes(known[1]):
            raise _not_allowed("a token that was used to come back")
        return record, known[1]

    def _link_of(self, session: str) -> PeerLink | None:
        """The newest link of a session that is here."""
        held = self._sessions.find(session)
        newest = (held.coming or held.bridge.link) if held is not None else None
        return next((link for link in self._links if link is newest), None)

    def _ice_from_elsewhere(self, held: Held, data: dict[str, Any]) -> None:
        link = self._link_of(held.record.session)
        if link is None or self._serving is None:
            log.info("session %s: candidates for no link", held.record.session)
            return
        self._serving.create_task(self._add_candidates(link, held, data.get("candidates", [])))

    async def _add_candidates(self, link: PeerLink, held: Held, candidates: Sequence[str]) -> None:
        try:
            await link.add_candidates(candidates)
        except ClientError as error:  # the gateway that was asked has answered already
            log.info("session %s: candidates that another gateway took: %s", held.record.session, error)

    # --- answers

    async def _answered(self, request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        """`answer`'s, or what was wrong."""
        try:
            self._admission.check_origin(request)
            return await answer(request)
        except TurnedAway as turned_away:
            return turned_away.response()
        except ClientError as error:
            log.info("%s %.100r refused: %s", request.method, request.url.path, error)
            return refusal(STATUS.get(error.code, 400), error)
        except (BusError, NoPortLeft, SettingsError) as error:
            log.error("a caller could not be served: %s", error)
            return TurnedAway(503, ClientError(error.code, _ours(error), "try again later"), retry=True).response()

    def _json(self, answer: str, held: Held) -> Response:
        record = held.record
        told = {
            "session_id": record.session,
            "conversation_id": record.conversation_id,
            "answer": answer,
            "resume": held.token(self._settings.secret),
            "rate_hz": record.rate_hz,
        }
        return JSONResponse(told, 201, {"location": f"{PATH}/{record.session}", "cache-control": "no-store"})

    def _plain(self, answer: str, held: Held) -> Response:
        """As WHIP has it, but for the token, without which nobody may change or end the call."""
        record = held.record
        response = Response(answer, 201, media_type=SDP)
        response.headers["location"] = f"{PATH}/{record.session}"
        response.headers["cache-control"] = "no-store"
        response.headers["accept-patch"] = FRAGMENT
        response.headers["trunkline-resume"] = held.token(self._settings.secret)
        for server in self._ice_servers():
            for link in server.as_links():
                response.headers.append("link", link)
        return response

    def _ice_servers(self) -> list[turn.IceServer]:
        return turn.ice_servers(self._settings, secrets.token_hex(8), time.time())


def _media_type(request: Request, *allowed: str) -> str:
    """The body's media type. Raises TurnedAway."""
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found not in allowed:
        hint = f"Content-Type: {' or '.join(allowed)}"
        raise TurnedAway(415, ClientError("media_type", f"a body of type {found!r:.60}", hint))
    return found


async def _body(request: Request) -> bytes:
    """The whole body, which the server has bounded. Raises TurnedAway."""
    try:
        body = await request.body()
    except ClientDisconnect:
        raise TurnedAway(400, ClientError("gone", "it left in the middle", "send the whole body")) from None
    if len(body) > MAX_BODY_BYTES:
        raise TurnedAway(413, ClientError("too_large", "a body too large", f"at most {MAX_BODY_BYTES} bytes"))
    return body


def _ours(error: BusError | NoPortLeft | SettingsError) -> str:
    """What a client is told of an error that is not its own."""
    match error:
        case BusError():
            return "the bus is out of reach"
        case NoPortLeft():
            return "this gateway has no UDP port left"
        case SettingsError():
            return "the settings of this gateway, or of this tenant, are wrong"


def _not_allowed(why: str) -> TurnedAway:
    hint = "Authorization: Bearer and the newest `resume` of this session"
    return TurnedAway(401, ClientError("bad_token", why, hint))


def _no_session() -> TurnedAway:
    return TurnedAway(404, ClientError("no_session", "no such session, or it is over", "ask for another"))
