"""What the system tests of WebRTC calls share: a deployment, a model that tells a story, and callers of odd kinds."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcconfiguration import RTCBundlePolicy

from benchmarks.stack import Stack
from tests.standins.realtime import Realtime
from tests.standins.webrtc import Hearing, WebRtcCaller
from tests.standins.webrtc.arrivals import tap
from tests.standins.webrtc.hearing import words_in
from tests.standins.webrtc.network import LOOPBACK, bind
from tests.standins.webrtc.signalling import Signalling
from tests.standins.webrtc.track import FRAME_BYTES, PacedTrack

GRACE_S = 3
PATIENCE_S = 20.0
LAST_WORD_S = 0.5
_ENDING_BYTES = FRAME_BYTES * 20
"""Silence of 400 ms."""
REPEATED_WORDS = 3
"""At a seam: the word that was cut is said again, and one or two whose text another worker did not know yet."""

_RELAY = """
id: {id}
backend: relay
prompt: You are asked at a door.
greeting: hello welcome
relay: {{link: {link}, client_may_update: [voice, instructions]}}
"""
TENANTS = {
    "echo.yaml": "id: echo\nbackend: echo\n",
    "quiet.yaml": "id: quiet\nbackend: cascade\n",
    "websocket.yaml": _RELAY.format(id="websocket", link="websocket"),
    "webrtc.yaml": _RELAY.format(id="webrtc", link="webrtc"),
}


@dataclass(frozen=True)
class Gateway:
    """A gateway process with a port of its own."""

    pid: int
    origin: str

    @property
    def udp_sockets(self) -> int:
        """Those of its calls."""
        return len(udp_ports(self.pid))

    async def sessions(self) -> int:
        async with httpx.AsyncClient(base_url=self.origin, trust_env=False) as client:
            return int((await client.get("/healthz")).json()["sessions"])

    async def until_empty(self, within_s: float = PATIENCE_S) -> None:
        """Wait until it has no session, and no socket of a call."""
        async with asyncio.timeout(within_s):
            while await self.sessions() or self.udp_sockets:  # noqa: ASYNC110 - only it knows
                await asyncio.sleep(0.1)


def udp_ports(pid: int) -> list[int]:
    """The UDP ports that a process has bound."""
    held = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            held.add(os.readlink(entry))
    rows = [row.split() for row in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return [int(row[1].partition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in held]


@asynccontextmanager
async def deployed(realtime: Realtime, **settings: str) -> AsyncIterator[Stack]:
    """Two supervised workers; gateways are started by the tests (`gateway`), each on a port of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "the key of a stand-in")
        patch.setenv("OPENAI_BASE_URL", realtime.http_url)
        async with Stack(
            gateways=0,
            workers=2,
            tenants=TENANTS,
            default_tenant="echo",
            openai_realtime_url=realtime.url,
            rtc_addresses="127.0.0.1",
            rtc_private=True,
            resume_grace_s=GRACE_S,
            **settings,  # type: ignore[arg-type]  # mypy takes them for Stack's own
        ) as stack:
            yield stack


async def gateway(stack: Stack) -> Gateway:
    """One more, ready for calls."""
    before = len(await stack.ids("gateway"))
    pid, port = stack.start_gateway()
    await stack.until(lambda counts: counts[0] > before)
    started = Gateway(pid, f"http://127.0.0.1:{port}")
    async with httpx.AsyncClient(base_url=started.origin, trust_env=False) as client, asyncio.timeout(PATIENCE_S):
        while not await _answers(client):  # noqa: ASYNC110 - it comes up
            await asyncio.sleep(0.05)
    return started


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).is_success
    except httpx.TransportError:
        return False


def nearly(words: str, heard: str) -> bool:
    """Whether `words` were heard in a row, one of them missing at most: a busy machine loses packets of its
    own loopback, too. A single word is none to spare."""
    whole, text = words.split(), f" {heard} "
    missing_one = [whole[:place] + whole[place + 1 :] for place in range(len(whole))] if len(whole) > 1 else []
    return any(f" {' '.join(phrase)} " in text for phrase in [whole, *missing_one])


async def until_heard(caller: WebRtcCaller, words: str) -> None:
    """Wait until these words were heard, or `nearly`: then a moment longer, for the last of them may be on its way."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not nearly(words, heard := await asyncio.to_thread(words_in, caller.pcm)):  # noqa: ASYNC110 - as below
                await asyncio.sleep(0.1)
        if f" {words} " not in f" {heard} ":
            await asyncio.sleep(LAST_WORD_S)
    except TimeoutError:
        raise TimeoutError(f"{words!r} not heard: {caller.heard!r}") from None


async def until_silent(caller: WebRtcCaller) -> None:
    """Wait until an answer is over: a word is heard before it has ended, and to speak then is to interrupt."""
    async with asyncio.timeout(PATIENCE_S):
        while await asyncio.to_thread(words_in, caller.pcm[-_ENDING_BYTES:]):  # noqa: ASYNC110 - only the audio knows
            await asyncio.sleep(0.1)


class VoiceOnly:
    """A caller without a data channel. `answered` may change the answer before it is accepted."""

    def __init__(self, origin: str, tenant: str) -> None:
        self.hearing = Hearing()
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self._origin, self._tenant = origin, tenant
        self._to_say = bytearray()

    async def __aenter__(self) -> VoiceOnly:
        self.connection.addTrack(PacedTrack(self._speak))
        bind(self.connection, LOOPBACK)
        await self.connection.setLocalDescription()
        async with Signalling(self._origin, {}) as signalling:
            bridged = await signalling.bridge(self.connection.localDescription.sdp, {"tenant": self._tenant})
        tap(self.connection, self.hearing.add)
        await self.connection.setRemoteDescription(RTCSessionDescription(bridged.answer, "answer"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.connection.close()

    def say(self, pcm: bytes) -> None:
        self._to_say += pcm

    async def until_heard(self, words: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not nearly(words, await asyncio.to_thread(self.hearing.words)):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.1)

    def _speak(self) -> bytes:
        frame = bytes(self._to_say[:FRAME_BYTES])
        del self._to_say[:FRAME_BYTES]
        return frame.ljust(FRAME_BYTES, b"\0")
