from __future__ import annotations

from array import array
from typing import Any

import pytest

from adapters.bridge import Bridge
from adapters.uplink import RING_MS
from trunkline.audio.frame import FULL_SCALE
from trunkline.bus.messages import (
    Attached,
    Clear,
    ClientEvent,
    Close,
    Committed,
    DownlinkAudio,
    Dtmf,
    Ease,
    Event,
    Hangup,
    Joined,
    LinkLost,
    LinkResumed,
    Message,
    Pause,
    Played,
    Resume,
    Superseded,
    Text,
    TurnEnd,
    UplinkAudio,
)

RATE_HZ = 8000
FRAME = bytes(320)


class Wire:
    """A link that remembers."""

    def __init__(self) -> None:
        self.played: list[tuple[int, int, int]] = []
        self.events: list[tuple[int, str, dict[str, Any]]] = []
        self.cleared: list[int] = []
        self.ended: str | None = None
        self.is_replaced = False

    def play(self, turn: int, offset_ms: int, pcm: bytes, sentence_end: bool) -> None:
        self.played.append((turn, offset_ms, len(pcm) // 16))

    def event(self, seq: int, name: str, data: dict[str, Any]) -> None:
        self.events.append((seq, name, data))

    def clear(self, turn: int) -> None:
        self.cleared.append(turn)

    def pause(self, turn: int) -> bool:
        return True

    def end(self, reason: str) -> None:
        self.ended = reason

    def replaced(self) -> None:
        self.is_replaced = True

    @property
    def names(self) -> list[str]:
        return [name for _, name, _ in self.events]


class Edge:
    """A bridge, its wire, its clock, and what it put on the bus."""

    def __init__(self) -> None:
        self.now_ms = 0.0
        self.sent: list[tuple[str, Message]] = []
        self.patient: list[Message] = []
        """Those of `sent` that may wait for others."""
        self.wire = Wire()
        self.bridge = Bridge("s", RATE_HZ, self, lambda: self.now_ms, whole_sentences=False)
        self.bridge.connect(self.wire)

    def send(self, lane: str, message: Message, *, within_s: float = 0.0) -> None:
        self.sent.append((lane, message))
        if within_s:
            self.patient.append(message)

    def take(self, *kinds: type[Any]) -> list[Message]:
        sent, self.sent = self.sent, []
        return [message for _, message in sent if not kinds or isinstance(message, kinds)]

    def attach(
        self,
        epoch: int = 1,
        lane: str = "lane:w1",
        resume_from_seq: int = 0,
        *,
        unhurried: bool = False,
        **more: Any,
    ) -> None:
        self.bridge.receive(Attached("s", epoch, lane, resume_from_seq, unhurried=unhurried, **more))

    def wait(self, ms: int) -> None:
        for _ in range(0, ms, 20):
            self.now_ms += 20
            self.bridge.pump()


@pytest.fixture
def edge() -> Edge:
    return Edge()


def speech(seq: int, turn: int, offset_ms: int, ms: int = 200, epoch: int = 1) -> DownlinkAudio:
    return DownlinkAudio("s", epoch, seq, turn, offset_ms, bytes(ms * 16))


def test_what_the_caller_says_before_a_worker_came_waits_for_it(edge: Edge) -> None:
    edge.bridge.audio(FRAME * 2 + FRAME[:100])
    edge.bridge.text("hello")
    edge.bridge.audio(FRAME[100:])
    assert edge.take() == []
    edge.attach()
    joined, *uplink = edge.take(Joined, UplinkAudio, Text)
    assert joined == Joined("s", 1, -1, 0, 0, 0, media_ms=60)
    assert uplink == [
        UplinkAudio("s", 0, 0, FRAME),
        UplinkAudio("s", 1, 20, FRAME),
        Text("s", 2, "hello"),
        UplinkAudio("s", 3, 40, FRAME),
    ]
    edge.bridge.dtmf("5")
    edge.bridge.client_event("commit")
    assert edge.take() == [Dtmf("s", 4, "5"), ClientEvent("s", 5, "commit", {})]


def test_a_new_worker_is_sent_the_ring_from_where_it_asks(edge: Edge) -> None:
    edge.attach()
    edge.bridge.audio(FRAME * 10)
    edge.take()
    edge.attach(epoch=2, lane="lane:w2", resume_from_seq=7)
    assert [lane for lane, message in edge.sent if isinstance(message, UplinkAudio)] == ["lane:w2"] * 3
    assert ("lane:w1", Superseded("s", 2, "lane:w2")) in edge.sent
    edge.take()
    edge.bridge.audio(FRAME)
    assert edge.sent == [("lane:w2", UplinkAudio("s", 10, 200, FRAME))]


def test_an_unhurried_worker_lets_audio_wait_and_nothing_else(edge: Edge) -> None:
    edge.attach(unhurried=True)
    edge.bridge.audio(FRAME)
    edge.bridge.text("hello")
    edge.bridge.dtmf("5")
    assert edge.patient == [UplinkAudio("s", 0, 0, FRAME)]
    edge.attach(epoch=2)
    edge.bridge.audio(FRAME)
    assert edge.patient == [UplinkAudio("s", 0, 0, FRAME)], "the next worker is in a hurry"


def ease(edge: Edge, audio_ms: int, least_rms: int = 0, most_rms: int = FULL_SCALE, epoch: int = 1) -> None:
    edge.bridge.receive(Ease("s", epoch, audio_ms, least_rms, most_rms))


def say(edge: Edge, *frames: bytes) -> list[Message]:
    """A frame each 20 ms; returns what they brought on the bus."""
    for frame in frames:
        edge.now_ms += 20
        edge.bridge.audio(frame)
    return edge.take()


def test_audio_at_its_ease_comes_together_and_shares_its_entry_with_others(edge: Edge) -> None:
    edge.attach()
    ease(edge, 60)
    edge.take()
    edge.now_ms = 100.0
    assert say(edge, FRAME, FRAME) == [UplinkAudio("s", 0, 0, FRAME)], "at 120 ms, as for every session"
    assert say(edge, FRAME) == []
    assert say(edge, FRAME) == [UplinkAudio("s", 1, 20, FRAME * 3)]
    assert edge.bridge.media_ms == 80
    assert say(edge, *[FRAME] * 9) == [UplinkAudio("s", seq, 80 + (seq - 2) * 60, FRAME * 3) for seq in (2, 3, 4)]


def test_a_burst_comes_in_messages_of_the_length_that_was_asked_for(edge: Edge) -> None:
    edge.attach()
    ease(edge, 60)
    edge.take()
    edge.bridge.audio(FRAME * 7)
    assert edge.take() == [UplinkAudio("s", 0, 0, FRAME * 3), UplinkAudio("s", 1, 60, FRAME * 3)]


def test_what_is_too_loud_does_not_wait_nor_does_what_was_before_it(edge: Edge) -> None:
    loud = array("h", [1000, -1000] * 80).tobytes()
    edge.attach()
    ease(edge, 60, most_rms=999)
    edge.take()
    assert say(edge, FRAME) == []
    assert say(edge, loud) == [UplinkAudio("s", 0, 0, FRAME + loud)]
    assert say(edge, loud, loud) == [UplinkAudio("s", 1, 40, loud), UplinkAudio("s", 2, 60, loud)]
    ease(edge, 60, most_rms=1000)
    assert say(edge, loud) == []


def test_nor_does_what_is_too_soft(edge: Edge) -> None:
    loud = array("h", [1000, -1000] * 80).tobytes()
    edge.attach()
    ease(edge, 60, least_rms=1000)
    edge.take()
    assert say(edge, loud) == []
    assert say(edge, FRAME) == [UplinkAudio("s", 0, 0, loud + FRAME)]
    assert say(edge, FRAME) == [UplinkAudio("s", 1, 40, FRAME)]


@pytest.mark.parametrize("other", [Text("s", 1, "hi"), Dtmf("s", 1, "5"), ClientEvent("s", 1, "commit"), None])
def test_nothing_overtakes_audio_that_waits(edge: Edge, other: Message | None) -> None:
    edge.attach()
    ease(edge, 60)
    edge.take()
    edge.bridge.audio(FRAME)
    match other:
        case Text():
            edge.bridge.text("hi")
        case Dtmf():
            edge.bridge.dtmf("5")
        case ClientEvent():
            edge.bridge.client_event("commit")
        case _:
            edge.bridge.hang_up("bye")
    assert edge.take() == [UplinkAudio("s", 0, 0, FRAME), other or Hangup("s", 1, "bye")]


def test_nothing_waits_at_a_gateway_that_the_caller_is_about_to_leave(edge: Edge) -> None:
    edge.attach()
    ease(edge, 60)
    edge.take()
    assert say(edge, FRAME) == []
    edge.bridge.hurry()
    assert edge.take() == [UplinkAudio("s", 0, 0, FRAME)]
    ease(edge, 60)
    assert say(edge, FRAME) == [UplinkAudio("s", 1, 20, FRAME)], "whatever its worker says"


def test_audio_waits_no_longer_than_its_worker_wants_or_lives(edge: Edge) -> None:
    edge.attach()
    ease(edge, 60)
    edge.take()
    edge.bridge.audio(FRAME)
    ease(edge, 0, epoch=0)
    assert edge.take() == [], "an older worker's word"
    ease(edge, 0)
    assert edge.take() == [UplinkAudio("s", 0, 0, FRAME)]
    ease(edge, 60)
    edge.bridge.audio(FRAME)
    edge.attach(epoch=2, lane="lane:w2")
    uplink = [message for lane, message in edge.sent if lane == "lane:w2" and isinstance(message, UplinkAudio)]
    assert uplink == [UplinkAudio("s", 0, 0, FRAME), UplinkAudio("s", 1, 20, FRAME)]
    edge.take()
    edge.bridge.audio(FRAME)
    assert edge.take() == [UplinkAudio("s", 2, 40, FRAME)], "the next worker has asked for nothing yet"


def test_a_caller_who_stops_sending_is_not_waited_for(edge: Edge) -> None:
    edge.attach()
    ease(edge, 60)
    edge.take()
    edge.bridge.audio(FRAME)
    edge.bridge.hasten(edge.now_ms + 20)
    assert edge.take() == []
    edge.bridge.hasten(edge.now_ms + 40)
    assert edge.take() == [UplinkAudio("s", 0, 0, FRAME)]


def test_who_loses_their_wire_has_said_what_waited(edge: Edge) -> None:
    edge.attach()
    ease(edge, 60)
    edge.take()
    edge.bridge.audio(FRAME)
    edge.bridge.disconnect(edge.wire)
    assert edge.take() == [UplinkAudio("s", 0, 0, FRAME), LinkLost("s")], "another gateway may number what comes next"


def test_a_worker_is_told_how_far_the_caller_is_also_with_what_waits(edge: Edge) -> None:
    edge.attach()
    ease(edge, 60)
    edge.bridge.audio(FRAME)
    edge.take()
    edge.bridge.receive(Event("s", 1, 1, "missed", {}))
    edge.now_ms += 60
    edge.bridge.receive(Event("s", 1, 1, "missed", {}))
    assert edge.take() == [Joined("s", 1, -1, 0, 0, 0, media_ms=20)]


def test_the_ring_holds_no_more_where_audio_comes_together(edge: Edge) -> None:
    edge.attach()
    edge.bridge.text("long ago")
    edge.bridge.audio(FRAME * 750)
    ease(edge, 60)
    for _ in range(250):
        edge.bridge.audio(FRAME * 3)
    edge.take()
    edge.attach(epoch=2)
    uplink = edge.take(UplinkAudio, Text)
    assert uplink == [UplinkAudio("s", 751 + n, 15_000 + n * 60, FRAME * 3) for n in range(RING_MS // 60)]


def test_what_a_worker_committed_is_forgotten(edge: Edge) -> None:
    edge.attach()
    edge.bridge.audio(FRAME * 10)
    edge.bridge.receive(Committed("s", 0, 9))
    edge.bridge.receive(Committed("s", 1, 6))
    edge.take()
    edge.attach()
    joined, *uplink = edge.take(Joined, UplinkAudio)
    assert isinstance(joined, Joined)
    assert joined.uplink_from_seq == 6
    assert len(uplink) == 4


def test_a_session_without_a_worker_keeps_the_last_of_it(edge: Edge) -> None:
    edge.bridge.audio(FRAME * 2000)
    edge.attach()
    joined, *uplink = edge.take(Joined, UplinkAudio)
    assert isinstance(joined, Joined)
    assert RING_MS // 20 <= len(uplink) < RING_MS // 20 + 100
    assert joined.uplink_from_seq == 2000 - len(uplink), "the worker is told what it will never get"


def test_an_older_worker_is_told_to_let_go_and_not_heard(edge: Edge) -> None:
    edge.attach(epoch=2, lane="lane:w2")
    edge.take()
    edge.attach(epoch=1, lane="lane:w1")
    assert edge.sent == [("lane:w1", Superseded("s", 2, "lane:w2"))]
    edge.bridge.receive(speech(0, 1, 0, epoch=1))
    assert edge.wire.played == []
    assert edge.bridge.stale_dropped == 1
    edge.bridge.receive(speech(0, 1, 0, epoch=2))
    assert edge.wire.played == [(1, 0, 200)]


def test_of_two_workers_with_the_same_epoch_the_first_is_served_and_the_other_told(edge: Edge) -> None:
    edge.attach(epoch=2, lane="lane:w1")
    edge.take()
    edge.attach(epoch=2, lane="lane:w2")
    assert edge.sent == [("lane:w2", Superseded("s", 2, "lane:w1"))]
    edge.take()
    edge.attach(epoch=2, lane="lane:w1")
    assert edge.take(Joined), "the first may say so again"
    edge.attach(epoch=3, lane="lane:w2")
    assert edge.bridge.worker == "lane:w2"


def test_duplicates_are_dropped_and_a_gap_is_asked_for(edge: Edge) -> None:
    edge.attach()
    edge.now_ms = 1000
    state = Event("s", 1, 0, "state", {})
    edge.bridge.receive(state)
    edge.bridge.receive(state)
    edge.take()
    for seq in (3, 4):
        edge.bridge.receive(Event("s", 1, seq, "late", {}))
    assert edge.take() == [Joined("s", 1, 0, 0, 0, 0)], "asked once, not for every message"
    for seq, name in ((1, "missing"), (2, "missing"), (3, "late"), (4, "late")):
        edge.bridge.receive(Event("s", 1, seq, name, {}))
    assert edge.wire.names == ["state", "missing", "missing", "late", "late"]


def test_what_will_not_come_again_is_not_waited_for(edge: Edge) -> None:
    edge.attach()
    edge.attach(downlink_from_seq=5)
    edge.bridge.receive(Event("s", 1, 5, "state", {}))
    assert edge.wire.names == ["state"]


def test_a_turn_is_played_reported_and_done(edge: Edge) -> None:
    edge.attach()
    for seq in range(5):
        edge.bridge.receive(speech(seq, 1, seq * 200))
    edge.bridge.receive(TurnEnd("s", 1, 5, 1))
    edge.take()
    edge.wait(1100)
    reports = [message for message in edge.take(Played) if isinstance(message, Played)]
    assert [report.ms for report in reports] == sorted(report.ms for report in reports)
    assert reports[-1] == Played("s", 1, 1, 1000, True)
    assert 5 <= len(reports) <= 12, "about every 100 ms"
    assert sum(ms for _, _, ms in edge.wire.played) == 1000
    assert edge.wire.names == ["response_done"]
    assert not edge.bridge.active


def test_a_clear_flushes_the_wire_and_says_what_was_heard(edge: Edge) -> None:
    edge.attach()
    edge.bridge.receive(speech(0, 1, 0, 1000))
    edge.wait(200)
    edge.take()
    edge.bridge.receive(Clear("s", 1, 1, 1))
    assert edge.wire.cleared == [1]
    assert edge.take(Played) == [Played("s", 1, 1, 200, True)]
    before = len(edge.wire.played)
    edge.bridge.receive(speech(2, 1, 1000))
    edge.wait(500)
    assert len(edge.wire.played) == before


def test_pause_and_resume(edge: Edge) -> None:
    edge.attach()
    edge.bridge.receive(speech(0, 1, 0, 1000))
    edge.bridge.receive(Pause("s", 1, 1, 1))
    before = sum(ms for _, _, ms in edge.wire.played)
    edge.wait(1000)
    assert sum(ms for _, _, ms in edge.wire.played) == before
    edge.bridge.receive(Resume("s", 1, 2, 1))
    edge.wait(1000)
    assert sum(ms for _, _, ms in edge.wire.played) == 1000
    assert edge.wire.names == ["pause", "resume"]


def test_the_end_waits_for_what_was_said(edge: Edge) -> None:
    edge.attach()
    edge.bridge.receive(speech(0, 1, 0, 400))
    edge.bridge.receive(TurnEnd("s", 1, 1, 1))
    edge.bridge.receive(Close("s", 1, 2, "over"))
    edge.wait(380)
    assert edge.wire.ended is None
    edge.wait(40)
    assert [edge.wire.ended, edge.bridge.ended] == ["over", "over"]
    assert edge.take(Hangup) == [Hangup("s", 0, "over")], "the backend's inbox ends"


def test_a_hangup_is_said_once(edge: Edge) -> None:
    edge.attach()
    edge.take()
    edge.bridge.hang_up("stop")
    edge.bridge.hang_up("again")
    edge.bridge.end("again")
    assert edge.take() == [Hangup("s", 0, "stop")]
    assert edge.bridge.ended == "stop"


def test_a_lost_wire_holds_the_answer_and_the_same_gateway_goes_on(edge: Edge) -> None:
    edge.attach()
    for seq in range(5):
        edge.bridge.receive(speech(seq, 1, seq * 200))
    edge.wait(100)
    edge.take()
    edge.bridge.disconnect(Wire())
    assert edge.take() == [], "a wire that was replaced already"
    edge.bridge.disconnect(edge.wire)
    assert edge.take() == [LinkLost("s")]
    got_ms = sum(ms for _, _, ms in edge.wire.played)
    edge.bridge.receive(Event("s", 1, 5, "missed", {}))
    edge.wait(5000)
    back = Wire()
    edge.bridge.reconnect(back, 1, got_ms - 100, edge.bridge.client_seq - 1)
    edge.wait(1000)
    assert back.played[0][:2] == (1, got_ms - 100)
    assert sum(ms for _, _, ms in back.played) == 1000 - got_ms + 100
    assert back.names[0] == "missed"


def test_a_client_that_is_back_before_its_loss_was_noticed(edge: Edge) -> None:
    edge.attach()
    back = Wire()
    edge.bridge.reconnect(back, 0, 0, 0)
    assert edge.wire.is_replaced
    edge.bridge.disconnect(edge.wire)
    assert edge.bridge.link is back


def test_a_pause_outlives_the_wire(edge: Edge) -> None:
    edge.attach()
    edge.bridge.receive(speech(0, 1, 0))
    edge.bridge.receive(Pause("s", 1, 1, 1))
    edge.bridge.disconnect(edge.wire)
    back = Wire()
    edge.bridge.reconnect(back, 1, 0, 0)
    edge.wait(500)
    assert back.played == []


def test_another_gateway_adopts_the_session_where_the_client_stands() -> None:
    edge = Edge()
    edge.bridge.disconnect(edge.wire)
    resumed = LinkResumed("s", "lane:g2", 2, 3, 1240, 7)
    edge.bridge.adopt("lane:w1", 4, resumed)
    assert edge.take() == [resumed]
    attached = []
    edge.bridge.on_attached = lambda: attached.append(True)
    edge.attach(epoch=4, resume_from_seq=500, resume_media_ms=9000, downlink_from_seq=80)
    assert attached
    assert edge.take(Joined) == [Joined("s", 4, 79, 0, 0, 0, 500, 9000)]
    back = Wire()
    edge.bridge.reconnect(back, 3, 1240, 7)
    edge.bridge.receive(speech(80, 3, 1240, epoch=4))
    assert back.played == [(3, 1240, 200)]
    assert edge.bridge.media_ms == 9000
    edge.bridge.audio(FRAME)
    assert edge.take(UplinkAudio) == [UplinkAudio("s", 500, 9000, FRAME)]


@pytest.mark.parametrize(("said", "counts"), [(4 << 32 | 7, 4 << 32 | 7), (2**53 - 1, (5 << 32) - 1)])
def test_what_a_client_is_told_at_another_gateway_is_never_numbered_below_what_it_saw(said: int, counts: int) -> None:
    """The first it is told there may be the gateway's own; and nobody sees an epoch that has not begun."""
    edge = Edge()
    edge.bridge.disconnect(edge.wire)
    edge.bridge.adopt("lane:w1", 4, LinkResumed("s", "lane:g2", 2, 3, 1240, said))
    assert edge.bridge.client_seq == counts
    back = Wire()
    edge.attach(epoch=4, downlink_from_seq=80)
    edge.bridge.reconnect(back, 3, 1240, said)
    edge.bridge.receive(speech(80, 3, 1240, epoch=4))
    edge.bridge.receive(TurnEnd("s", 4, 81, 3))
    edge.wait(1000)
    assert [(seq, name) for seq, name, _ in back.events] == [(counts, "response_done")]


def test_a_worker_that_attaches_while_the_caller_is_away_knows_it(edge: Edge) -> None:
    edge.bridge.disconnect(edge.wire)
    edge.attach()
    assert LinkLost("s") in edge.take()


def test_a_worker_that_attached_before_the_new_wire_hears_that_the_caller_is_back(edge: Edge) -> None:
    edge.attach()
    edge.bridge.disconnect(edge.wire)
    edge.bridge.adopt("lane:w1", 1, LinkResumed("s", "lane:g1", 1, 0, 0))
    edge.attach()
    edge.bridge.reconnect(Wire(), 0, 0, 0)
    said = edge.take(LinkLost, Joined)
    assert isinstance(said[-1], Joined), "else it hangs up on a caller who only listens"


def test_what_a_client_is_told_has_numbers_that_never_fall(edge: Edge) -> None:
    edge.attach(epoch=1)
    edge.bridge.receive(Event("s", 1, 0, "a", {}))
    edge.bridge.receive(Event("s", 1, 1, "b", {}))
    edge.attach(epoch=2, lane="lane:w2")
    edge.bridge.receive(Event("s", 2, 0, "c", {}))
    edge.bridge.receive(TurnEnd("s", 2, 1, 9))
    seqs = [seq for seq, _, _ in edge.wire.events]
    assert seqs == sorted(seqs)
    assert edge.wire.names == ["a", "b", "c", "response_done"]


def test_the_gateways_own_words_are_said_and_end_the_session(edge: Edge) -> None:
    edge.attach()
    edge.bridge.receive(speech(0, 1, 0, 1000))
    edge.bridge.receive(speech(1, 2, 0, 1000))
    edge.take()
    edge.bridge.say(bytes(16 * 900), then_close="failed")
    edge.attach(epoch=2, lane="lane:w2")
    assert edge.take(Superseded) == [Superseded("s", edge.bridge.epoch)], "no worker's word counts any more"
    edge.wait(1000)
    assert sum(ms for turn, _, ms in edge.wire.played if turn == 3) == 900
    assert edge.wire.ended == "failed"


def test_nothing_is_sent_on_a_wire_that_is_gone(edge: Edge) -> None:
    edge.attach()
    edge.bridge.end("over")
    edge.bridge.receive(speech(0, 1, 0))
    edge.bridge.receive(Clear("s", 1, 1, 1))
    edge.bridge.receive(Event("s", 1, 2, "state", {}))
    assert edge.wire.played == []
    assert edge.wire.events == []


def test_a_wire_that_died_unnoticed_costs_the_caller_nothing_of_the_answer(edge: Edge) -> None:
    edge.attach()
    for seq in range(15):
        edge.bridge.receive(speech(seq, 1, seq * 200))
    edge.wait(2000)  # it arrived for 500 ms, and nobody noticed the rest of the time
    edge.bridge.disconnect(edge.wire)
    back = Wire()
    edge.bridge.reconnect(back, 1, 500, 0)
    edge.wait(3000)
    assert back.played[0][1] == 500
