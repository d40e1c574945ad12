"""When answers leave for the wire and fall silent there, by the clock of the caller's own audio."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.bridge import Bridge
from adapters.timing import SHIFT_MS, MediaClock
from trunkline.bus.messages import (
    UNKNOWN_MS,
    Attached,
    Clear,
    DownlinkAudio,
    Joined,
    Left,
    Message,
    Pause,
    Resume,
    Silenced,
    TurnEnd,
)

RATE_HZ = 8000
FRAME = bytes(320)
CALLED_MS = 1_000_000.0
"""The process's clock when the caller's first sound left their mouth."""


# --- the clock


def test_it_is_unknown_before_there_was_any_audio() -> None:
    assert MediaClock().at(5.0) == UNKNOWN_MS


def test_it_goes_on_between_frames_and_while_none_come() -> None:
    clock = MediaClock()
    clock.heard(20, CALLED_MS + 20)
    assert [clock.at(CALLED_MS + ms) for ms in (20, 27, 39, 3000)] == [20, 27, 39, 3000]


@settings(max_examples=30)
@given(st.lists(st.integers(0, 60), min_size=50, max_size=100))
def test_jitter_does_not_move_it(late_ms: list[int]) -> None:
    clock, now_ms = MediaClock(), 0.0
    for frame, late in enumerate(late_ms):
        media_ms = 20 * (frame + 1)
        now_ms = max(now_ms, CALLED_MS + media_ms + (late if frame % 10 > 3 else 0))  # they come in order
        clock.heard(media_ms, now_ms)
    assert clock.at(now_ms) == pytest.approx(now_ms - CALLED_MS, abs=5)


def test_a_network_that_stands_still_for_a_while_leaves_it_right() -> None:
    clock = MediaClock()
    for media_ms in range(20, 2000, 20):
        clock.heard(media_ms, CALLED_MS + media_ms)
    for media_ms in range(2000, 2620, 20):  # all of this at once
        clock.heard(media_ms, CALLED_MS + 2600)
    assert clock.at(CALLED_MS + 2600) == 2600


@pytest.mark.parametrize("closed_ms", [SHIFT_MS + 1, 4000])
def test_a_microphone_that_was_closed_sets_it_back(closed_ms: int) -> None:
    clock = MediaClock()
    for media_ms in range(20, 1020, 20):
        clock.heard(media_ms, CALLED_MS + media_ms)
    assert clock.at(CALLED_MS + 1000 + closed_ms) == 1000 + closed_ms, "nobody knows yet that it was closed"
    clock.heard(1020, CALLED_MS + 1020 + closed_ms)
    assert clock.at(CALLED_MS + 1050 + closed_ms) == 1050


def test_it_follows_crystals_that_drift() -> None:
    clock, slow = MediaClock(), 1.0001
    for media_ms in range(20, 300_000, 20):
        clock.heard(media_ms, CALLED_MS + media_ms * slow)
    assert clock.at(CALLED_MS + 300_000 * slow) == pytest.approx(300_000, abs=2)


# --- what leaves


class Wire:
    def __init__(self) -> None:
        self.played: list[tuple[int, int]] = []

    def play(self, turn: int, offset_ms: int, pcm: bytes, sentence_end: bool) -> None:
        self.played.append((turn, offset_ms))

    def event(self, seq: int, name: str, data: object) -> None: ...

    def clear(self, turn: int) -> None: ...

    def pause(self, turn: int) -> bool:
        return True

    def end(self, reason: str) -> None: ...

    def replaced(self) -> None: ...


class Edge:
    """A bridge with a caller whose every frame takes 7 ms to come."""

    def __init__(self, *, speaks: bool = True) -> None:
        self.now_ms = CALLED_MS
        self.sent: list[Message] = []
        self.wire = Wire()
        self.bridge = Bridge("s", RATE_HZ, self, lambda: self.now_ms, whole_sentences=False)
        self.bridge.connect(self.wire)
        self.bridge.receive(Attached("s", 1, "lane:w", 0))
        self._seq = itertools.count()
        self._speaks = speaks

    def send(self, lane: str, message: Message, *, within_s: float = 0.0) -> None:
        self.sent.append(message)

    def wait(self, ms: int) -> None:
        for _ in range(0, ms, 20):
            self.now_ms += 20
            if self._speaks:
                self.now_ms += 7
                self.bridge.audio(FRAME)
                self.now_ms -= 7
            self.bridge.pump()

    def say(self, turn: int, offset_ms: int, ms: int, *, timed: bool = True) -> None:
        pcm = bytes(ms * 16)
        self.bridge.receive(DownlinkAudio("s", 1, next(self._seq), turn, offset_ms, pcm, timed=timed))

    def told(self) -> list[Left | Silenced]:
        told = [message for message in self.sent if isinstance(message, Left | Silenced)]
        self.sent.clear()
        return told


def test_audio_that_can_be_heard_at_once_left_when_it_came() -> None:
    edge = Edge()
    edge.wait(1000)
    edge.now_ms += 12
    edge.say(1, 0, 200)
    assert edge.told() == [Left("s", 1, 1, 0, 1005, 0)]
    edge.say(1, 200, 200, timed=False)
    edge.wait(600)
    assert edge.told() == []


def test_audio_behind_other_is_heard_after_it() -> None:
    edge = Edge()
    edge.wait(1000)
    edge.say(1, 0, 300, timed=False)
    edge.wait(100)
    edge.say(1, 300, 200)
    assert edge.told() == [Left("s", 1, 1, 300, 993 + 300, 200)], "on the wire at 1093, 200 before the first is over"


def test_audio_that_waits_for_room_at_the_edge_is_told_when_it_leaves() -> None:
    edge = Edge()
    edge.wait(1000)
    edge.say(1, 0, 1000, timed=False)
    edge.say(1, 1000, 200)
    assert edge.told() == []
    edge.wait(1000)
    assert edge.told() == [Left("s", 1, 1, 1000, 993 + 1000, 1000)]


def test_audio_that_is_held_has_waited() -> None:
    edge = Edge()
    edge.wait(1000)
    edge.bridge.receive(Pause("s", 1, next(edge._seq), 1))
    edge.say(1, 0, 200)
    edge.wait(400)
    assert edge.told() == []
    edge.bridge.receive(Resume("s", 1, next(edge._seq), 1))
    assert edge.told() == [Left("s", 1, 1, 0, 1393, 400)]


def test_audio_waits_for_a_wire() -> None:
    edge = Edge()
    edge.wait(1000)
    edge.bridge.disconnect(edge.wire)
    edge.say(1, 0, 200)
    edge.now_ms += 3000
    edge.bridge.reconnect(edge.wire, 0, 0, 0)
    assert edge.told() == [Left("s", 1, 1, 0, 3993, 3000)]
    edge.bridge.disconnect(edge.wire)
    edge.bridge.reconnect(edge.wire, 1, 0, 0)
    assert edge.wire.played == [(1, 0), (1, 0)]
    assert edge.told() == [], "it had left before"


def test_audio_that_was_cleared_never_left() -> None:
    edge = Edge()
    edge.wait(1000)
    edge.bridge.receive(Pause("s", 1, next(edge._seq), 1))
    edge.say(1, 0, 200)
    edge.bridge.receive(Clear("s", 1, next(edge._seq), 1))
    edge.told()
    edge.say(2, 0, 200)
    assert edge.told() == [Left("s", 1, 2, 0, 993, 0)]


def test_who_has_sent_no_audio_has_no_clock() -> None:
    edge = Edge(speaks=False)
    edge.wait(1000)
    edge.say(1, 0, 200)
    assert edge.told() == [Left("s", 1, 1, 0, UNKNOWN_MS, 0)]


# --- what falls silent


def test_an_answer_is_silent_from_its_pause_on() -> None:
    edge = Edge()
    edge.say(1, 0, 2000, timed=False)
    edge.wait(1000)
    edge.bridge.receive(Pause("s", 1, next(edge._seq), 1))
    edge.wait(200)
    edge.bridge.receive(Clear("s", 1, next(edge._seq), 1))
    assert edge.told() == [Silenced("s", 1, 1, 993, 1193)]


def test_an_answer_that_went_on_in_between_is_silent_from_its_clear_on() -> None:
    edge = Edge()
    edge.say(1, 0, 2000, timed=False)
    edge.wait(1000)
    edge.bridge.receive(Pause("s", 1, next(edge._seq), 1))
    edge.bridge.receive(Resume("s", 1, next(edge._seq), 1))
    edge.wait(200)
    edge.bridge.receive(Clear("s", 1, next(edge._seq), 1))
    assert edge.told() == [Silenced("s", 1, 1, 1193, 1193)]


def test_an_answer_that_was_over_was_not_silenced() -> None:
    edge = Edge()
    edge.say(1, 0, 200, timed=False)
    edge.bridge.receive(TurnEnd("s", 1, next(edge._seq), 1))
    edge.wait(1000)
    edge.bridge.receive(Clear("s", 1, next(edge._seq), 1))
    assert edge.told() == []


def test_a_worker_learns_how_far_the_caller_was_when_it_came() -> None:
    edge = Edge()
    edge.wait(1000)
    edge.bridge.receive(Attached("s", 2, "lane:w2", 0))
    [joined] = [message for message in edge.sent if isinstance(message, Joined) and message.epoch == 2]
    assert joined.media_ms == 1000
