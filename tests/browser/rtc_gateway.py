"""A gateway of WebRTC calls that does what a test says, wrong things too: plain aiortc behind the stand-in's page.

The real gateway has tests of its own; here are the ones that it cannot be made to fail in.
"""

from __future__ import annotations

import asyncio
import contextlib
import fractions
import itertools
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.standins.ws_server import PATIENCE_S, StandIn

RATE_HZ = 48_000
FRAME = RATE_HZ // 50
CANDIDATES = re.compile(r"^a=(candidate:.*|end-of-candidates)\r\n", re.MULTILINE)


class Voice(MediaStreamTrack):
    """What the gateway sends: a tone while `hz` says one, silence otherwise, and nothing at all when `mute`."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.hz = 0.0
        self.mute = False
        self._at = 0
        self._began_s = 0.0

    async def recv(self) -> av.AudioFrame:
        loop = asyncio.get_running_loop()
        self._began_s = self._began_s or loop.time()
        await asyncio.sleep(max(0.0, self._began_s + self._at / RATE_HZ - loop.time()))
        while self.mute:
            if self.readyState != "live":
                raise MediaStreamError
            await asyncio.sleep(0.05)
        t = (np.arange(FRAME) + self._at) / RATE_HZ
        samples = (8000 * np.sin(2 * np.pi * self.hz * t)).astype(np.int16)[None, :]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, self._at, fractions.Fraction(1, RATE_HZ)
        self._at += FRAME
        return frame


class Peer:
    """One call's peer connection, seen from the gateway."""

    def __init__(self, offer: dict[str, Any]) -> None:
        self.offer = offer
        self.messages: list[dict[str, Any]] = []
        self.candidates: list[str] = []
        self.hung_up = False
        self.voice = Voice()
        self.channel: RTCDataChannel | None = None
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.opened = asyncio.Event()
        self.connection.on("datachannel", self._take)

    async def answer(self, *, mute: bool, unreachable: bool) -> str:
        sdp = self.offer["offer"]
        if unreachable:
            sdp = CANDIDATES.sub("", sdp)
        await self.connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        if not mute:
            self.connection.addTrack(self.voice)
        await self.connection.setLocalDescription(await self.connection.createAnswer())
        answer = self.connection.localDescription.sdp
        return CANDIDATES.sub("", answer) if unreachable else answer

    def _take(self, channel: RTCDataChannel) -> None:
        self.channel = channel
        channel.on("message", lambda data: self.messages.append(json.loads(data)))
        self.opened.set()

    def tell(self, kind: str, **fields: Any) -> None:
        assert self.channel is not None
        self.channel.send(json.dumps({"type": kind, **fields}))

    async def wait_for(self, kind: str) -> dict[str, Any]:
        """The first message of this kind."""
        await self.until(lambda: any(message["type"] == kind for message in self.messages))
        return next(message for message in self.messages if message["type"] == kind)

    async def gone(self) -> None:
        """Wait until the page has closed its side."""
        await self.until(lambda: self.connection.connectionState == "closed")

    async def until(self, said: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not said():  # noqa: ASYNC110 (who knows it tells in many ways)
                await asyncio.sleep(0.02)


class RtcGateway(StandIn):
    """Attributes say what goes wrong with the calls that come from then on."""

    def __init__(self, assets: Path | None = None) -> None:
        super().__init__(assets=assets)
        self.mute = self.unreachable = self.garble = False
        self.hold: asyncio.Event | None = None
        """Offers are answered when it is set."""
        self.lose_answers = 0
        """To so many offers that come back from now on no answer arrives."""
        self.lose_half = False
        """Whether half of it does."""
        self.unheard: list[dict[str, Any]] = []
        """Those."""
        self.refuse_with: tuple[int, dict[str, str]] | None = None
        self.peers: list[Peer] = []
        self._numbers = itertools.count(1)
        self._came = asyncio.Condition()
        path = "/api/realtime/webrtc"
        self.app.router.routes[:0] = [
            Route(f"{path}/config", self._config),
            Route(f"{path}/bridge", self._bridge, methods=["POST"]),
            Route(path + "/{session}", self._change, methods=["PATCH", "DELETE"]),
        ]

    @contextlib.asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[RtcGateway]:
        async with super().serve(port):
            try:
                yield self
            finally:
                for peer in self.peers:
                    peer.voice.stop()
                    await peer.connection.close()

    async def peer(self, number: int = 1) -> Peer:
        """The `number`th that ever called, once its data channel is open."""
        async with asyncio.timeout(PATIENCE_S):
            async with self._came:
                await self._came.wait_for(lambda: len(self.peers) >= number)
            await self.peers[number - 1].opened.wait()
        return self.peers[number - 1]

    async def _config(self, _request: Request) -> Response:
        return JSONResponse({"ice_servers": [], "ttl_s": 600})

    async def _bridge(self, request: Request) -> Response:
        if self.refuse_with:
            status, refusal = self.refuse_with
            return JSONResponse(refusal, status)
        offer = await request.json()
        if self.refuse_tokens and "resume" in offer:
            return JSONResponse({"code": "bad_token", "message": "used", "hint": "begin anew"}, 401)
        if self.lose_answers and "resume" in offer:
            self.lose_answers -= 1
            self.unheard.append(offer)
            return (
                StreamingResponse(_half(request), 201, media_type="application/json")
                if self.lose_half
                else await _lost(request)
            )
        if self.hold:
            await self.hold.wait()
        peer = Peer(offer)
        answer = await peer.answer(mute=self.mute, unreachable=self.unreachable)
        async with self._came:
            self.peers.append(peer)
            self._came.notify_all()
        token = f"token-{next(self._numbers)}"
        told = {
            "session_id": "s-1",
            "conversation_id": "c-1",
            "answer": answer[: 99 if self.garble else None],
            "resume": token,
            "rate_hz": 24_000,
        }
        return JSONResponse(told, 201)

    async def _change(self, request: Request) -> Response:
        number = int(request.headers["authorization"].removeprefix("Bearer token-"))
        peer = self.peers[number - 1]
        if request.method == "DELETE":
            peer.hung_up = True
        else:
            peer.candidates += (await request.json())["candidates"]
        return Response(status_code=204)


async def _lost(request: Request) -> Response:
    while not await request.is_disconnected():  # noqa: ASYNC110 (there is nothing else to ask)
        await asyncio.sleep(0.02)
    return Response(status_code=204)


async def _half(request: Request) -> AsyncIterator[bytes]:
    yield b'{"session_id":"s-1","answer":"v=0'
    await _lost(request)
