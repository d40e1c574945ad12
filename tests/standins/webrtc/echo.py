"""The smallest gateway that a WebRtcCaller can call: it says back what it hears, by plain aiortc.

What the caller is held to, and a yardstick: nothing that answers calls by aiortc does less.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Self

from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcconfiguration import RTCBundlePolicy
from aiortc.sdp import candidate_from_sdp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.standins.twilio.serving import serving

from .arrivals import Packet, tap
from .network import LOOPBACK, bind
from .signalling import BASE
from .track import FRAME_BYTES, PacedTrack

SENT_KEPT = 3000


@dataclass
class EchoCall:
    """One peer connection; `messages` came over its data channel, and each is sent back in {"type": "echo"}."""

    session_id: str
    asked: dict[str, Any]
    """The body of the POST."""

    connection: RTCPeerConnection
    messages: list[dict[str, Any]] = field(default_factory=list)
    packets: list[Packet] = field(default_factory=list)
    candidates: list[str] = field(default_factory=list)
    """Those that came by PATCH."""

    _waiting: deque[bytes] = field(default_factory=lambda: deque(maxlen=SENT_KEPT))

    def heard(self, packet: Packet) -> None:
        self.packets.append(packet)
        self._waiting.append(packet.pcm)

    def say(self) -> bytes:
        pcm = self._waiting.popleft() if self._waiting else b""
        return pcm[:FRAME_BYTES].ljust(FRAME_BYTES, b"\0")

    def opened(self, channel: RTCDataChannel) -> None:
        def received(message: str) -> None:
            self.messages.append(json.loads(message))
            channel.send(json.dumps({"type": "echo", "seq": len(self.messages), "message": self.messages[-1]}))

        channel.on("message", received)


class EchoGateway:
    """`async with EchoGateway() as gateway:` answers calls at `gateway.origin`."""

    def __init__(self) -> None:
        self.origin = ""
        self.calls: list[EchoCall] = []
        self._tokens: dict[str, str] = {}
        self._serving = contextlib.AsyncExitStack()
        self._app = Starlette(
            routes=[
                Route(f"{BASE}/bridge", self._bridge, methods=["POST"]),
                Route(f"{BASE}/{{session_id}}", self._trickle, methods=["PATCH"]),
                Route(f"{BASE}/{{session_id}}", self._hang_up, methods=["DELETE"]),
            ]
        )

    async def __aenter__(self) -> Self:
        self.origin = await self._serving.enter_async_context(serving(self._app))
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(call.connection.close() for call in self.calls))
        await self._serving.aclose()

    async def _bridge(self, request: Request) -> Response:
        asked = await request.json()
        resume = asked.get("resume")
        session_id = f"s{len(self._tokens)}" if resume is None else self._tokens.get(resume)
        if session_id is None:
            return JSONResponse({"code": "unknown_session", "message": "no such session", "hint": ""}, 404)
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        call = EchoCall(session_id, asked, connection)
        self.calls.append(call)
        connection.addTrack(PacedTrack(call.say))
        connection.on("datachannel", call.opened)
        await connection.setRemoteDescription(RTCSessionDescription(asked["offer"], "offer"))
        tap(connection, call.heard)
        bind(connection, LOOPBACK)
        await connection.setLocalDescription()
        token = secrets.token_hex(8)
        self._tokens[token] = session_id
        answer = {"answer": connection.localDescription.sdp, "resume": token, "rate_hz": 48_000}
        named = {"session_id": session_id, "conversation_id": asked.get("conversation_id", "c1")}
        return JSONResponse(answer | named, 201, {"Location": f"{BASE}/{session_id}"})

    async def _trickle(self, request: Request) -> Response:
        call = self._call(request)
        if call is None:
            return Response(status_code=401)
        for line in (await request.json())["candidates"]:
            call.candidates.append(line)
            candidate = candidate_from_sdp(line.removeprefix("candidate:")) if line else None
            if candidate is not None:
                candidate.sdpMLineIndex = 0
            await call.connection.addIceCandidate(candidate)
        return Response(status_code=204)

    async def _hang_up(self, request: Request) -> Response:
        call = self._call(request)
        if call is None:
            return Response(status_code=401)
        await call.connection.close()
        return Response(status_code=204)

    def _call(self, request: Request) -> EchoCall | None:
        """The newest of the session that the token and the path name."""
        session_id = self._tokens.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if session_id is None or session_id != request.path_params["session_id"]:
            return None
        return next(call for call in reversed(self.calls) if call.session_id == session_id)
