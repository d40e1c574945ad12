"""A cascade behind a real session, and that behind a real bridge, in virtual time: without Redis, but for how long it
takes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from adapters.bridge import Bridge
from tests.conversation.talk import Cast
from tests.standins.session import Action, Edge, Told
from tests.standins.virtual_time import run
from tests.standins.voices import RATE_HZ, words
from trunkline.bus.messages import ClientEvent, Dtmf, Hangup, Message, Text, UplinkAudio
from trunkline.sessions import Record, Records
from workers.backend import Inbound
from workers.session import LiveSession
from workers.snapshot import unpack

MS_BYTES = RATE_HZ // 1000 * 2


class Wire:
    """A browser that plays what it is sent. Implements `adapters.link.Link`."""

    def __init__(self) -> None:
        self.audio: dict[int, bytes] = {}
        self.came_ms: dict[int, float] = {}
        """When the first audio of each turn came."""
        self.played: list[tuple[float, int, int, int]] = []
        """When (ms) what came: turn, place in it, length (ms)."""
        self.cleared: set[int] = set()
        self.events: list[Told] = []
        self._clock = asyncio.get_running_loop().time

    @property
    def _now_ms(self) -> float:
        return self._clock() * 1000

    def play(self, turn: int, offset_ms: int, pcm: bytes, sentence_end: bool) -> None:
        assert turn not in self.cleared
        assert offset_ms * MS_BYTES == len(self.audio.get(turn, b"")), "audio is not where it belongs"
        self.came_ms.setdefault(turn, self._now_ms)
        self.played.append((self._now_ms, turn, offset_ms, len(pcm) // MS_BYTES))
        self.audio[turn] = self.audio.get(turn, b"") + pcm

    def event(self, seq: int, name: str, data: dict[str, Any]) -> None:
        self.events.append(Told(round(self._now_ms), name, data))

    def clear(self, turn: int) -> None:
        self.cleared.add(turn)

    def pause(self, turn: int) -> bool:
        return True

    def end(self, reason: str) -> None:
        """The session is over."""

    def replaced(self) -> None:
        raise AssertionError("there is one wire")

    def heard_ms(self, turn: int, at_ms: int) -> float:
        """When somebody hears what is at `at_ms` of a turn, who plays all at once as it comes."""
        until_ms = 0.0
        for came_ms, number, offset_ms, length_ms in self.played:
            from_ms = max(came_ms, until_ms)
            until_ms = from_ms + length_ms
            if number == turn and offset_ms <= at_ms < offset_ms + length_ms:
                return from_ms + at_ms - offset_ms
        raise AssertionError("it was not played")

    @property
    def text(self) -> str:
        return " ".join(" ".join(words(self.audio[turn])) for turn in sorted(self.audio))

    def told(self, name: str) -> list[Told]:
        return [event for event in self.events if event.name == name]


class StoredRecords:
    def __init__(self) -> None:
        self.snapshot = b""

    async def commit(self, record: Record) -> None:
        snapshot = record.snapshot
        await asyncio.sleep(0.001)
        self.snapshot = snapshot


class DirectLanes:
    """Delivers after `up_ms` to a worker, `down_ms` to the gateway; 0: on the next turn of the loop."""

    def __init__(self, up_ms: float = 0, down_ms: float = 0) -> None:
        self.bridge: Bridge | None = None
        self.sessions: dict[str, LiveSession] = {}
        self._up_s, self._down_s = up_ms / 1000, down_ms / 1000
        self._on_their_way: dict[bool, deque[Callable[[], None]]] = {True: deque(), False: deque()}

    def send(self, lane: str, message: Message, *, within_s: float = 0.0) -> None:
        if lane == "gateway":
            assert self.bridge is not None
            bridge = self.bridge
            self._later(self._down_s, lambda: bridge.receive(cast(Any, message)))
        else:
            self._later(self._up_s, lambda: self._receive(lane, message), up=True)

    def _receive(self, lane: str, message: Message) -> None:
        if lane in self.sessions:
            self.sessions[lane].receive(message)

    def _later(self, after_s: float, deliver: Callable[[], None], *, up: bool = False) -> None:
        """Timers of one moment come in any order; messages do not."""
        loop, lane = asyncio.get_running_loop(), self._on_their_way[up]
        lane.append(deliver)
        if after_s:
            loop.call_later(after_s, lambda: lane.popleft()())
        else:
            loop.call_soon(lambda: lane.popleft()())


@dataclass
class Outcome:
    wire: Wire
    items: list[str]
    """What the conversation holds at its end."""


def converse(
    script: Sequence[Action],
    end_ms: int,
    kills_ms: Sequence[float] = (),
    cast_: Cast | None = None,
    *,
    gap_ms: int = 100,
    lanes: Callable[[], DirectLanes] = DirectLanes,
    caller: Callable[[Bridge, Inbound], None] | None = None,
) -> Outcome:
    """The whole conversation. At each of `kills_ms` the worker dies; the next comes `gap_ms` later. `caller` does to
    the bridge what the caller does."""
    return run(_converse(script, end_ms, kills_ms, cast_ or Cast(), gap_ms, lanes, caller or act))


def act(bridge: Bridge, message: Inbound) -> None:
    """What a link makes of what its caller does."""
    match message:
        case UplinkAudio():
            bridge.audio(message.pcm)
        case Text():
            bridge.text(message.text)
        case Dtmf():
            bridge.dtmf(message.digit)
        case ClientEvent():
            bridge.client_event(message.name, **message.data)
        case Hangup():
            bridge.hang_up("done")


async def _converse(
    script: Sequence[Action],
    end_ms: int,
    kills_ms: Sequence[float],
    part: Cast,
    gap_ms: int,
    make_lanes: Callable[[], DirectLanes],
    act: Callable[[Bridge, Inbound], None],
) -> Outcome:
    loop = asyncio.get_running_loop()
    lanes, wire, records = make_lanes(), Wire(), StoredRecords()
    bridge = lanes.bridge = Bridge("s", RATE_HZ, lanes, lambda: loop.time() * 1000, False)
    bridge.connect(wire)

    async def calling() -> None:
        for at_ms, message in Edge(script, end_ms).uplink:
            await asyncio.sleep(max(0.0, at_ms / 1000 - loop.time()))
            act(bridge, message)

    async def pumping() -> None:
        while True:
            await asyncio.sleep(0.02)
            bridge.hasten(loop.time() * 1000)
            bridge.pump()

    async with asyncio.TaskGroup() as group:
        group.create_task(calling())
        pump = group.create_task(pumping())
        for epoch, kill_ms in enumerate([*kills_ms, None], 1):
            name = f"worker{epoch}"
            record = Record("s", "test", "cascade", RATE_HZ, "gateway", "websocket", "c", epoch=epoch)
            session = LiveSession(
                replace(record, snapshot=records.snapshot), part.tenant, name, lanes, cast(Records, records)
            )
            lanes.sessions[name] = session
            session.attach()
            await session.joined.wait()
            serving = group.create_task(part.cascade.run(session))
            if kill_ms is not None:
                await asyncio.sleep(kill_ms / 1000 - loop.time())
                del lanes.sessions[name]
                serving.cancel()
            await asyncio.wait([serving])
            await asyncio.sleep(gap_ms / 1000)
        pump.cancel()
    return Outcome(wire, [item.text for item in unpack(records.snapshot).items])
