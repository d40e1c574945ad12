"""Calls between a `Peer` and plain aiortc on loopback, for the tests of this folder and the hostile ones."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from tests.standins.twilio.watch import Watch
from tests.standins.webrtc import Line, Packet
from tests.standins.webrtc.network import LOOPBACK, bind
from trunkline.rtc.ice import Network
from trunkline.rtc.peer import Gone, Peer

WITHIN_S = 20.0
"""What a busy machine may take for what takes milliseconds."""

HERE = Network(addresses=LOOPBACK)
RATE_HZ = 24000


class Owner:
    """Writes down what happens to a call."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.pcm = bytearray()
        self.why: Gone | None = None
        self.watch = Watch(lambda: f"{self.events}, {len(self.pcm)} bytes of audio")

    def connected(self) -> None:
        self._note("connected")

    def audio(self, pcm: bytes) -> None:
        self.pcm += pcm
        self.watch.tell()

    def channel_opened(self, label: str) -> None:
        self._note(f"opened {label}")

    def channel_closed(self, label: str) -> None:
        self._note(f"closed {label}")

    def message(self, label: str, data: str) -> None:
        self._note(f"{label}: {data}")

    def gone(self, why: Gone) -> None:
        self.why = why
        self._note(f"gone: {why.value}")

    def _note(self, event: str) -> None:
        self.events.append(event)
        self.watch.tell()

    async def until(self, event: str) -> None:
        await self.watch.until(lambda: event in self.events, WITHIN_S)


@dataclass
class Call:
    peer: Peer
    owner: Owner
    line: Line
    packets: list[Packet] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """What the line heard and was told."""

    async def until(self, predicate: Callable[[], object]) -> None:
        await self.line.watch.until(predicate, WITHIN_S)

    def heard(self) -> bytes:
        """What the line heard, at 48 kHz."""
        return b"".join(packet.pcm for packet in self.packets)


@asynccontextmanager
async def a_call(network: Network = HERE, rate_hz: int = RATE_HZ) -> AsyncIterator[Call]:
    """A caller of aiortc's, connected to a peer of ours, with its data channel open."""
    owner = Owner()
    packets: list[Packet] = []
    told: list[str] = []
    line = Line("oai-events", heard=packets.append, told=told.append)
    peer = Peer(owner, rate_hz, network)
    try:
        await line.accept(await peer.answer(await line.offer()))
        await line.connected()
        await owner.until("opened oai-events")
        yield Call(peer, owner, line, packets, told)
    finally:
        await peer.close()
        await line.close()


@asynccontextmanager
async def a_listener(network: Network = HERE) -> AsyncIterator[tuple[Peer, Owner, RTCPeerConnection]]:
    """Like a browser without a microphone: it never sends audio, only answers checks."""
    owner = Owner()
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    connection.addTransceiver("audio", direction="recvonly")
    bind(connection, LOOPBACK)
    peer = Peer(owner, RATE_HZ, network)
    try:
        await connection.setLocalDescription(await connection.createOffer())
        answer = await peer.answer(connection.localDescription.sdp)
        await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await owner.until("connected")
        yield peer, owner, connection
    finally:
        await peer.close()
        await connection.close()


async def within(predicate: Callable[[], object]) -> None:
    """For what tells nobody when it happens."""
    async with asyncio.timeout(WITHIN_S):
        while not predicate():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


def tone(hz: float, seconds: float, rate_hz: int = RATE_HZ) -> bytes:
    return (np.sin(np.arange(int(seconds * rate_hz)) * 2 * np.pi * hz / rate_hz) * 8000).astype("<i2").tobytes()


def pitch(pcm: bytes, rate_hz: int = RATE_HZ) -> float:
    """The strongest frequency, in Hz; 0 in silence."""
    samples = np.frombuffer(pcm, "<i2").astype(float)
    if samples.size == 0:
        return 0.0
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    strongest = int(spectrum.argmax())
    return strongest * rate_hz / samples.size if spectrum[strongest] > 1e3 else 0.0


def open_files() -> int:
    """Sockets, pipes and files of this process."""
    return len(os.listdir("/dev/fd"))


def rtp(ssrc: int, sequence: int, payload: bytes = b"\xf8\xff\xfe", payload_type: int = 96) -> bytes:
    """An RTP packet, unprotected; Opus's own silence by default."""
    return struct.pack("!BBHII", 0x80, payload_type, sequence & 0xFFFF, sequence * 960 & 0xFFFFFFFF, ssrc) + payload
