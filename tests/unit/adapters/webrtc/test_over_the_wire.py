"""The link on a real peer, with plain aiortc as its client: whole exchanges over loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from adapters.bridge import Bridge
from adapters.webrtc.link import WebRtcLink
from tests.standins.bus import Bus
from tests.standins.webrtc import Line, Packet
from tests.standins.webrtc.network import LOOPBACK
from trunkline.bus.messages import Clear, DownlinkAudio, Event, Pause, Resume, Text, TurnEnd
from trunkline.rtc.ice import Network

RATE_HZ = 24_000
WITHIN_S = 15.0
PUMP_S = 0.05
LOW_HZ, SLOPE_HZ_PER_S = 400, 800
LOUD = 500


class Call:
    """A session at its bridge, and the line that its caller has."""

    def __init__(self) -> None:
        self.bus = Bus()
        clock = asyncio.get_running_loop().time
        self.bridge = Bridge("s", RATE_HZ, self.bus, lambda: clock() * 1000, whole_sentences=False)
        self.bridge.worker = "lane:w"
        self._seq = 0

    def worker(self, kind: Callable[..., Any], **fields: Any) -> None:
        """The session's worker says something."""
        self.bridge.receive(kind(session="s", epoch=0, seq=self._seq, **fields))
        self._seq += 1

    def answer(self, turn: int, seconds: float) -> None:
        """A tone that rises, so that each packet says where in the answer it belongs."""
        at_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
        phase = 2 * np.pi * (LOW_HZ * at_s + SLOPE_HZ_PER_S / 2 * at_s**2)
        self.worker(DownlinkAudio, turn=turn, offset_ms=0, pcm=(np.sin(phase) * 8000).astype("<i2").tobytes())
        self.worker(TurnEnd, turn=turn)


class Caller:
    """One line of the caller's, and the link at its other end."""

    def __init__(self, label: str) -> None:
        self.packets: list[Packet] = []
        self.told: list[dict[str, Any]] = []
        self.line = Line(label, heard=self.packets.append, told=lambda text: self.told.append(json.loads(text)))
        self.link = WebRtcLink(Network(addresses=LOOPBACK), RATE_HZ)
        self.outcome: asyncio.Task[str] | None = None

    async def connect(self, call: Call, turn: int = 0, ms: int = 0) -> None:
        """As the door does it."""
        self.link.on_connected = lambda: call.bridge.reconnect(self.link, turn, ms, 0)
        answer = await self.link.open(await self.line.offer())
        self.outcome = asyncio.create_task(self.link.run(call.bridge))
        await self.line.accept(answer)
        await self.line.connected()

    async def until(self, predicate: Callable[[], object]) -> None:
        await self.line.watch.until(predicate, WITHIN_S)

    def kinds(self) -> list[str]:
        return [message["type"] for message in self.told]

    @property
    def heard_hz(self) -> list[float]:
        """The pitch of each loud packet."""
        return [_pitch(packet.pcm) for packet in self.packets if _is_loud(packet)]

    @property
    def heard_s(self) -> float:
        """Where in the answer the last loud packet began, by its pitch."""
        return (self.heard_hz[-1] - LOW_HZ) / SLOPE_HZ_PER_S - 0.01 if self.heard_hz else 0.0


def _is_loud(packet: Packet) -> bool:
    return bool(packet.pcm) and float(np.abs(np.frombuffer(packet.pcm, "<i2").astype(float)).mean()) > LOUD


def _pitch(pcm: bytes) -> float:
    samples = np.frombuffer(pcm, "<i2").astype(float)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size), 1 << 15))
    return float(spectrum.argmax()) * 48_000 / (1 << 15)


def rises_steadily(heard_hz: list[float]) -> bool:
    """Whether nothing is missing and nothing came twice: a packet is 16 Hz above the one before. (The first and the
    last of a stretch are bent by its edges.)"""
    steps = np.diff(heard_hz)
    return bool((np.abs(steps - SLOPE_HZ_PER_S * 0.02) < 30).all())


@asynccontextmanager
async def calling(label: str = "trunkline") -> AsyncIterator[tuple[Call, Caller]]:
    call, caller = Call(), Caller(label)

    async def pump() -> None:
        while True:
            await asyncio.sleep(PUMP_S)
            call.bridge.pump()

    pumping = asyncio.create_task(pump())
    try:
        async with hanging_up(caller):
            await caller.connect(call)
            yield call, caller
    finally:
        pumping.cancel()
        await asyncio.wait([pumping])


@asynccontextmanager
async def hanging_up(caller: Caller) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await caller.line.close()
        await caller.link.close()
        if caller.outcome is not None:
            await caller.outcome


async def test_a_call() -> None:
    async with calling() as (call, caller):
        caller.line.say(np.arange(-8000, 8000, dtype="<i2").tobytes())
        caller.line.send(json.dumps({"type": "text", "text": "hello"}))
        await caller.until(lambda: any(isinstance(said, Text) and said.text == "hello" for said in call.bus.sent))
        await caller.until(lambda: np.frombuffer(call.bus.pcm(), "<i2").any())
        call.worker(Event, name="state", data={"state": "speaking"})
        call.answer(2, 0.6)
        await caller.until(lambda: "response_done" in caller.kinds())
        assert caller.kinds() == ["session_ready", "state", "response_done"]
        assert (call.bridge.heard.turn, call.bridge.heard.played_ms, call.bridge.heard.done) == (2, 600, True)
        assert 29 <= len(caller.heard_hz) <= 31
        assert rises_steadily(caller.heard_hz[1:-1])
        assert caller.link.stats.packets_sent >= 30
        caller.line.send(json.dumps({"type": "stop"}))
        assert caller.outcome is not None
        assert await caller.outcome == "stop"


async def test_who_hangs_up_by_closing_is_gone() -> None:
    async with calling("oai-events") as (_, caller):
        await caller.until(lambda: caller.kinds() == ["session.created"])
        await caller.line.close()
        assert caller.outcome is not None
        assert await caller.outcome == "stop"


async def test_a_barge_in_is_heard_within_a_packet() -> None:
    async with calling("oai-events") as (call, caller):
        call.answer(2, 3)
        await caller.until(lambda: len(caller.heard_hz) >= 20)
        call.worker(Clear, turn=2)
        left = caller.link._peer.sent[1] // 20
        await caller.until(lambda: "conversation.item.truncated" in caller.kinds())
        await asyncio.sleep(0.3)
        assert left <= len(caller.heard_hz) <= left + 1, "what was on the wire, and the slope that ends it"
        (cut,) = [event for event in caller.told if event["type"] == "conversation.item.truncated"]
        assert abs(cut["audio_end_ms"] / 1000 - caller.heard_s) < 0.3
        call.answer(4, 0.2)
        await caller.until(lambda: len(caller.heard_hz) >= left + 10)


async def test_a_pause_goes_on_where_it_began() -> None:
    async with calling() as (call, caller):
        call.answer(2, 1.6)
        await caller.until(lambda: len(caller.heard_hz) >= 20)
        call.worker(Pause, turn=2)
        await asyncio.sleep(0.3)
        before = len(caller.heard_hz)
        await asyncio.sleep(0.3)
        assert len(caller.heard_hz) == before
        call.worker(Resume, turn=2)
        await caller.until(lambda: "response_done" in caller.kinds())
        heard = caller.heard_hz
        assert rises_steadily(heard[1 : before - 1])
        assert rises_steadily(heard[before + 1 : -1])
        assert abs(heard[before + 1] - heard[before - 2]) < SLOPE_HZ_PER_S * 0.1
        assert call.bridge.heard.played_ms == 1600


async def test_a_caller_who_was_cut_off_hears_the_rest() -> None:
    async with calling() as (call, caller):
        call.answer(2, 3)
        await caller.until(lambda: len(caller.heard_hz) >= 30)
        heard = caller.link.heard(caller.packets[-1].timestamp)
        assert heard is not None
        await caller.line.vanish()
        await asyncio.sleep(0.5)  # what is sent meanwhile is heard by nobody
        again = Caller("trunkline")
        async with hanging_up(again):
            await again.connect(call, *heard)
            assert caller.outcome is not None
            assert await caller.outcome == "ended"
            await again.until(lambda: len(again.heard_hz) >= 20)
            assert abs(again.heard_hz[1] - caller.heard_hz[-1]) < SLOPE_HZ_PER_S * 0.06
            assert rises_steadily(again.heard_hz[1:-1])
