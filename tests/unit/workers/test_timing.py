"""What a session makes of the edge's word: an event for the client, and a line in the log."""

from __future__ import annotations

import json
import logging
from typing import Any, cast

import pytest

from cli.logs import JsonLines
from trunkline.bus.messages import (
    Clear,
    DownlinkAudio,
    Event,
    Joined,
    Left,
    LinkResumed,
    Message,
    Played,
    Silenced,
)
from trunkline.sessions import Record, Records
from trunkline.tenants import Tenant
from workers.latency import Latency, Wait
from workers.session import LiveSession

RATE_HZ = 8000
SECOND = bytes(2 * RATE_HZ)
WAIT = Latency(100.0, 500, 5000).until("first_audio", 100.3)
"""Speech ended at 5000 ms; 800 ms until the worker had audio."""


class Bus:
    def __init__(self) -> None:
        self.sent: list[Message] = []

    def send(self, lane: str, message: Message, *, within_s: float = 0.0) -> None:
        self.sent.append(message)

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        return [(message.name, message.data) for message in self.sent if isinstance(message, Event)]

    def audio(self) -> list[tuple[int, int, bool]]:
        audio = [message for message in self.sent if isinstance(message, DownlinkAudio)]
        return [(piece.turn, piece.offset_ms, piece.timed) for piece in audio]


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def live(bus: Bus) -> LiveSession:
    record = Record("s", "acme", "echo", RATE_HZ, "lane:g", "websocket", "c", epoch=3, link=1)
    session = LiveSession(record, Tenant(id="acme"), "lane:w", bus, cast(Records, bus))
    session._timing._clock = lambda: 0.0
    session.receive(Joined("s", 3, -1, 0, 0, 0, media_ms=40))
    return session


async def speak(live: LiveSession, turn: int = 1, wait: Wait | None = WAIT) -> None:
    if wait is not None:
        live.timed(turn, wait)
    await live.speak(turn, SECOND[: len(SECOND) // 2])


async def test_the_first_piece_is_timed_and_its_wait_told_when_it_left(live: LiveSession, bus: Bus) -> None:
    await speak(live)
    assert bus.audio() == [(1, 0, True), (1, 200, False), (1, 400, False)]
    assert bus.events() == []
    live.receive(Left("s", 3, 1, 0, 5810, 4))
    live.receive(Left("s", 3, 1, 0, 9999, 4))  # once is enough
    assert bus.events() == [("latency", {"turn": 1, **WAIT.told(Left("s", 3, 1, 0, 5810, 4))})]
    assert bus.events()[0][1]["total_ms"] == 810


async def test_a_filler_s_wait_and_the_answer_s_are_both_told(live: LiveSession, bus: Bus) -> None:
    await speak(live, wait=Wait((("first_audio", 700),), 5000, 5000, filler=True))
    await speak(live, wait=Wait((("first_audio", 1700),), 5000, 5000))
    assert [piece for piece in bus.audio() if piece[2]] == [(1, 0, True), (1, 500, True)]
    live.receive(Left("s", 3, 1, 0, 5700, 0))
    live.receive(Left("s", 3, 1, 500, 6720, 0))
    told = [(data["total_ms"], data["filler"]) for _, data in bus.events()]
    assert told == [(700, True), (1720, False)]


async def test_a_gateway_that_says_nothing_costs_no_more_than_its_part(live: LiveSession, bus: Bus) -> None:
    await speak(live)
    live.receive(Played("s", 3, 1, 0))
    assert bus.events() == []
    live.receive(Played("s", 3, 1, 100))
    live.receive(Played("s", 3, 1, 200))
    assert bus.events() == [("latency", {"turn": 1, **WAIT.told(None)})]


async def test_an_answer_that_nobody_heard_has_no_latency(live: LiveSession, bus: Bus) -> None:
    await speak(live)
    live.clear(1)
    live.receive(Played("s", 3, 1, 0, True))
    live.receive(Played("s", 3, 2, 500))
    assert bus.events() == []


async def test_the_edge_s_word_to_an_earlier_worker_is_not_for_this_one(live: LiveSession, bus: Bus) -> None:
    await speak(live)
    live.receive(Left("s", 2, 1, 0, 5810, 4))
    assert bus.events() == []


async def test_a_clock_that_cannot_be_right_is_named(
    live: LiveSession, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    await speak(live)
    live.receive(Left("s", 3, 1, 0, 5300, 4))
    [(_, told)] = bus.events()
    assert not told["voice_to_voice"]
    assert told["total_ms"] == 800
    assert "the edge saw 300 ms from voice to voice, of which the worker alone took 800" in caplog.text


async def test_a_worker_that_came_late_says_so(bus: Bus) -> None:
    record = Record("s", "acme", "echo", RATE_HZ, "lane:g", "websocket", "c", epoch=4, link=1)
    live = LiveSession(record, Tenant(id="acme"), "lane:w", bus, cast(Records, bus))
    live._timing._clock = lambda: 0.0
    live.receive(Joined("s", 4, -1, 0, 0, 0, media_ms=6500))
    live.receive(Joined("s", 4, -1, 0, 0, 0, media_ms=99_000))  # the gateway, asked again
    await speak(live)
    live.receive(Left("s", 4, 1, 0, 7400, 0))
    [(_, told)] = bus.events()
    assert dict(told["parts"])["takeover"] == 1600


async def test_what_a_client_had_before_it_came_back_is_timed_no_more(live: LiveSession, bus: Bus) -> None:
    await speak(live)
    live.receive(LinkResumed("s", "lane:g2", 2, 1, 60))
    bus.sent.clear()
    live.receive(Joined("s", 3, -1, 1, 60, 60))
    assert bus.audio()[0] == (1, 60, False)


async def test_a_barge_in_is_told(live: LiveSession, bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await speak(live, wait=None)
    live.clear(1, spoken_over_ms=8000)
    assert isinstance(bus.sent[-1], Clear)
    live.receive(Silenced("s", 3, 1, 8120, 8380))
    live.receive(Silenced("s", 3, 1, 8120, 8380))
    assert bus.events() == [("barge_in", {"turn": 1, "silent_ms": 120, "clear_ms": 380})]
    assert "turn 1: spoken over: silent after 120 ms, cleared after 380 ms" in caplog.text


async def test_an_answer_that_was_cleared_for_another_reason_was_not_spoken_over(live: LiveSession, bus: Bus) -> None:
    await speak(live, wait=None)
    live.clear(1)
    live.receive(Silenced("s", 3, 1, 8120, 8380))
    assert bus.events() == []


@pytest.mark.parametrize("silent_ms", [-1, 7900])
async def test_an_edge_that_cannot_tell_when_it_fell_silent(live: LiveSession, bus: Bus, silent_ms: int) -> None:
    await speak(live, wait=None)
    live.clear(1, spoken_over_ms=8000)
    live.receive(Silenced("s", 3, 1, silent_ms, 8380))
    assert bus.events() == []


async def test_the_log_has_a_line_for_machines_and_for_people(
    live: LiveSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await speak(live)
    live.receive(Left("s", 3, 1, 0, 5810, 4))
    [record] = [record for record in caplog.records if record.name == "workers.timing"]
    assert record.getMessage() == (
        "session s: turn 1: voice to voice 810 ms: endpoint 500, first_audio 300, bus 6, playout 4"
    )
    line = json.loads(JsonLines("worker-1").format(record))
    assert line["event"] == "latency"
    assert (line["session"], line["tenant"], line["turn"]) == ("s", "acme", 1)
    assert line["parts"] == {"endpoint": 500, "first_audio": 300, "bus": 6, "playout": 4}
    assert (line["total_ms"], line["voice_to_voice"], line["speech_end_ms"]) == (810, True, 5000)
    assert line["providers"] == {}


async def test_both_say_who_served(live: LiveSession, bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    served = {"stt": "deepgram nova-3", "llm": "groq openai/gpt-oss-120b", "tts": "cartesia"}
    await speak(live, wait=Wait((("first_audio", 300),), 5000, 5000, providers=tuple(served.items())))
    live.receive(Left("s", 3, 1, 0, 5310, 4))
    assert bus.events()[0][1]["providers"] == served
    [record] = [record for record in caplog.records if record.name == "workers.timing"]
    assert record.getMessage().endswith("; by stt deepgram nova-3, llm groq openai/gpt-oss-120b, tts cartesia")
    assert json.loads(JsonLines("worker-1").format(record))["providers"] == served
