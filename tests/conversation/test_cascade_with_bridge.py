"""The cascade between a real session and a real bridge, without Redis, in virtual time: do the three mean the same?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from adapters.bridge import Bridge
from tests.conversation.talk import ANSWER, QUESTION, Cast, tenant
from tests.standins.session import Action, Edge, Say
from tests.standins.virtual_time import run
from tests.standins.voices import RATE_HZ, ScriptedLlm, words
from trunkline.bus.messages import Message, UplinkAudio
from trunkline.sessions import Record, Records
from workers.session import LiveSession
from workers.snapshot import unpack

GREETING = "Hello and welcome here."
SECOND = "and what else"
SECOND_ANSWER = "Nothing else at all. I am done."
MS_BYTES = RATE_HZ // 1000 * 2


class Wire:
    """A browser that plays what it is sent. Implements `adapters.link.Link`."""

    def __init__(self) -> None:
        self.audio: dict[int, bytes] = {}
        self.cleared: set[int] = set()
        self.events: list[tuple[str, dict[str, Any]]] = []

    def play(self, turn: int, offset_ms: int, pcm: bytes, sentence_end: bool) -> None:
        assert turn not in self.cleared
        assert offset_ms * MS_BYTES == len(self.audio.get(turn, b"")), "audio is not where it belongs"
        self.audio[turn] = self.audio.get(turn, b"") + pcm

    def event(self, seq: int, name: str, data: dict[str, Any]) -> None:
        self.events.append((name, data))

    def clear(self, turn: int) -> None:
        self.cleared.add(turn)

    def pause(self, turn: int) -> bool:
        return True

    def end(self, reason: str) -> None:
        """The session is over."""

    def replaced(self) -> None:
        raise AssertionError("there is one wire")

    @property
    def text(self) -> str:
        return " ".join(" ".join(words(self.audio[turn])) for turn in sorted(self.audio))


class StoredRecords:
    def __init__(self) -> None:
        self.snapshot = b""

    async def commit(self, record: Record) -> None:
        snapshot = record.snapshot
        await asyncio.sleep(0.001)
        self.snapshot = snapshot


class DirectLanes:
    """Delivers on the next turn of the loop."""

    def __init__(self) -> None:
        self.bridge: Bridge | None = None
        self.sessions: dict[str, LiveSession] = {}

    def send(self, lane: str, message: Message, *, patient: bool = False) -> None:
        loop = asyncio.get_running_loop()
        if lane == "gateway":
            assert self.bridge is not None
            loop.call_soon(self.bridge.receive, cast(Any, message))
        elif lane in self.sessions:
            loop.call_soon(self.sessions[lane].receive, message)


async def converse(script: Sequence[Action], end_ms: int, kills_ms: Sequence[int] = ()) -> tuple[Wire, list[str]]:
    loop = asyncio.get_running_loop()
    lanes, wire, records = DirectLanes(), Wire(), StoredRecords()
    bridge = lanes.bridge = Bridge("s", RATE_HZ, lanes, lambda: loop.time() * 1000, False)
    bridge.connect(wire)
    part = Cast(tenant(GREETING), llm=ScriptedLlm({QUESTION: ANSWER, SECOND: SECOND_ANSWER}))

    async def caller() -> None:
        for at_ms, message in Edge(script, end_ms).uplink:
            await asyncio.sleep(max(0.0, at_ms / 1000 - loop.time()))
            if isinstance(message, UplinkAudio):
                bridge.audio(message.pcm)
            else:
                bridge.hang_up("done")

    async def pumping() -> None:
        while True:
            await asyncio.sleep(0.02)
            bridge.pump()

    async with asyncio.TaskGroup() as group:
        group.create_task(caller())
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
            await asyncio.sleep(0.1)
        pump.cancel()
    return wire, [item.text for item in unpack(records.snapshot).items]


SCRIPT = [Say(2000, QUESTION), Say(10_000, SECOND)]


def test_a_conversation() -> None:
    wire, items = run(converse(SCRIPT, 16_000))
    assert wire.text == f"{GREETING} {ANSWER} {SECOND_ANSWER}"
    assert items == [GREETING, QUESTION, ANSWER, SECOND, SECOND_ANSWER]


@pytest.mark.parametrize("kill_ms", [300, 2300, 3150, 3500, 3900, 4300, 5700, 7500, 8000, 9500])
def test_a_takeover(kill_ms: int) -> None:
    wire, items = run(converse(SCRIPT, 16_000, [kill_ms]))
    assert wire.text == f"{GREETING} {ANSWER} {SECOND_ANSWER}"
    assert items == [GREETING, QUESTION, ANSWER, SECOND, SECOND_ANSWER]


@pytest.mark.parametrize("kills_ms", [[], [5110], [5200], [5300], [5900]])
def test_an_interruption(kills_ms: list[int]) -> None:
    wire, items = run(converse([Say(2000, QUESTION), Say(5000, SECOND)], 12_000, kills_ms))
    assert items[3:] == [SECOND, SECOND_ANSWER]
    assert ANSWER.startswith(items[2])
    assert wire.text.endswith(f" {SECOND_ANSWER}")
    assert wire.cleared == {3}


def test_noise_pauses_and_the_answer_goes_on() -> None:
    wire, items = run(converse([Say(2000, QUESTION), Say(5000, "mhm", word_ms=160)], 12_000))
    assert wire.text == f"{GREETING} {ANSWER}"
    assert items == [GREETING, QUESTION, ANSWER]
    names = [name for name, _ in wire.events]
    assert names.index("pause") < names.index("resume", names.index("pause"))
