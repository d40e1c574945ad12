from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from adapters.bridge import Bridge
from adapters.pace import MAX_ERRORS, MessagePace
from adapters.webrtc import link as module
from adapters.webrtc.link import WebRtcLink
from tests.standins import virtual_time
from tests.standins.bus import Bus
from tests.standins.peer import FakePeer
from trunkline.audio.frame import FULL_SCALE, silence
from trunkline.bus.messages import (
    Clear,
    ClientEvent,
    DownlinkAudio,
    Ease,
    Event,
    Pause,
    Resume,
    Text,
    TurnEnd,
    UplinkAudio,
)
from trunkline.errors import ClientError
from trunkline.rtc.ice import Network
from trunkline.rtc.peer import Gone

RATE_HZ = 24_000
FRAME = bytes(960)
PACKET_S = 0.02


class Call:
    """A link, with a bridge above it and a peer below."""

    def __init__(self) -> None:
        self.bus = Bus()
        clock = asyncio.get_running_loop().time
        self.bridge = Bridge("s", RATE_HZ, self.bus, lambda: clock() * 1000, whole_sentences=False)
        self.bridge.worker = "lane:w"
        self.link = WebRtcLink(Network(), RATE_HZ)
        self.peer = cast(FakePeer, self.link._peer)
        self._seq = 0

    def connect(self) -> None:
        """As the door does it."""
        self.link.on_connected = lambda: self.bridge.reconnect(self.link, 0, 0, 0)
        self.link.connected()

    def worker(self, kind: Callable[..., Any], **fields: Any) -> None:
        """The session's worker says something."""
        self.bridge.receive(kind(session="s", epoch=0, seq=self._seq, **fields))
        self._seq += 1

    def answer(self, turn: int, ms: int, offset_ms: int = 0) -> None:
        self.worker(DownlinkAudio, turn=turn, offset_ms=offset_ms, pcm=silence(ms, RATE_HZ))

    async def pass_s(self, seconds: float) -> None:
        """The peer sends a packet every 20 ms, and the bridge is pumped."""
        for _ in range(round(seconds / PACKET_S)):
            await asyncio.sleep(PACKET_S)
            self.peer.leave(1)
            self.bridge.pump()

    def spoken_ms(self) -> int:
        """Of the caller's, as the bus has it."""
        return 20 * sum(isinstance(message, UplinkAudio) for message in self.bus.sent)

    def told(self, label: str, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.peer.told.get(label, []) if message["type"] == kind]


@asynccontextmanager
async def running(outcome: str = "ended") -> AsyncIterator[Call]:
    """A call that is connected and runs; at the end, it must have ended so."""
    call = Call()
    serving = asyncio.create_task(call.link.run(call.bridge))
    await asyncio.sleep(0)
    call.connect()
    try:
        yield call
    finally:
        call.link.replaced()
        assert await serving == outcome
        assert call.peer.closed == 1


@pytest.fixture(autouse=True)
def on_a_fake_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Peer", FakePeer)
    clock = SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time())
    monkeypatch.setattr(module, "time", clock)


# --- its life


async def test_an_offer_is_answered_or_refused() -> None:
    call = Call()
    assert await call.link.open("v=0 offer") == "v=0 answer"
    await call.link.add_candidates(["candidate:1", ""])
    assert call.peer.candidates == ["candidate:1", ""]
    with pytest.raises(ClientError):
        await Call().link.open("hello")


@pytest.mark.parametrize(
    ("act", "outcome"),
    [
        (lambda call: call.link.gone(Gone.CLOSED), "stop"),
        (lambda call: call.link.gone(Gone.LOST), "lost"),
        (lambda call: call.link.gone(Gone.FAILED), "lost"),
        (lambda call: call.peer.says("trunkline", {"type": "stop"}), "stop"),
        (lambda call: call.bridge.end("done"), "ended"),
        (lambda call: call.link.replaced(), "ended"),
        (lambda call: (call.link.send_away(), call.link.gone(Gone.CLOSED)), "lost"),
        (lambda call: (call.link.send_away(), call.peer.says("trunkline", {"type": "stop"})), "stop"),
        (lambda call: (call.link.gone(Gone.LOST), call.link.end("late")), "lost"),
    ],
)
async def test_how_it_ends(act: Callable[[Call], object], outcome: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LAST_WORDS_S", 0.0)
    async with running(outcome) as call:
        call.peer.opens("trunkline")
        act(call)


async def test_a_call_that_is_cancelled_is_closed() -> None:
    call = Call()
    serving = asyncio.create_task(call.link.run(call.bridge))
    await asyncio.sleep(0)
    call.connect()
    call.answer(1, 400)
    serving.cancel()
    await asyncio.wait([serving])
    assert serving.cancelled()
    assert call.peer.closed == 1
    await call.link.close()


async def test_a_link_that_is_over_knows_what_was_heard_and_keeps_no_session() -> None:
    async with running() as call:
        call.answer(1, 100)
        call.peer.leave(3)
    bridge, link = weakref.ref(call.bridge), call.link
    assert link.heard(call.peer.timestamp()) == (1, 59)
    del call
    gc.collect()
    assert bridge() is None


async def test_a_fault_of_ours_ends_the_call_and_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Call()
    serving = asyncio.create_task(call.link.run(call.bridge))
    await asyncio.sleep(0)
    call.peer.opens("trunkline")
    monkeypatch.setattr(call.bridge, "take", lambda message: 1 // 0)
    call.peer.says("trunkline", {"type": "text", "text": "hi"})
    with pytest.raises(ZeroDivisionError):
        await serving
    assert call.peer.closed == 1


async def test_a_fault_of_ours_when_the_wire_is_up_ends_the_call_and_is_raised() -> None:
    def fails() -> None:
        raise ZeroDivisionError

    call = Call()
    serving = asyncio.create_task(call.link.run(call.bridge))
    await asyncio.sleep(0)
    call.link.on_connected = fails
    call.link.connected()
    with pytest.raises(ZeroDivisionError):
        await serving
    assert call.peer.closed == 1


async def test_a_channel_that_its_client_closed_is_forgotten_and_the_call_goes_on() -> None:
    async with running() as call:
        call.peer.opens("trunkline")
        call.peer.opens("oai-events")
        call.peer.shuts("trunkline")
        call.worker(Event, name="state", data={"state": "listening"})
        call.peer.says("trunkline", {"type": "text", "text": "nobody reads this"})
        assert call.told("trunkline", "state") == []
        assert len(call.told("oai-events", "trunkline.state")) == 1
        assert [message for message in call.bus.sent if isinstance(message, Text)] == []
        assert call.link._unsent == 0
        call.peer.opens("trunkline")
        call.worker(Event, name="state", data={"state": "thinking"})
        assert [told["state"] for told in call.told("trunkline", "state")] == ["thinking"]


async def test_an_error_is_never_numbered_below_what_the_client_saw_before_it_came_back() -> None:
    call = Call()
    call.bridge.link = None
    call.worker(Event, name="state", data={"state": "listening"})
    call.worker(Event, name="state", data={"state": "thinking"})
    call.link.on_connected = lambda: call.bridge.reconnect(call.link, 0, 0, call.bridge.client_seq)
    serving = asyncio.create_task(call.link.run(call.bridge))
    await asyncio.sleep(0)
    call.link.connected()
    call.peer.opens("trunkline")
    call.peer.says("trunkline", "no JSON")
    assert [told["seq"] for told in call.told("trunkline", "error")] == [call.bridge.client_seq] == [1]
    call.link.replaced()
    await serving


async def test_a_channel_that_is_closed_before_the_call_is_served_is_not_opened() -> None:
    call = Call()
    call.peer.opens("trunkline")
    call.peer.shuts("trunkline")
    serving = asyncio.create_task(call.link.run(call.bridge))
    await asyncio.sleep(0)
    assert call.peer.told["trunkline"] == []
    call.link.replaced()
    await serving


async def test_who_opens_a_channel_when_it_was_sent_away_is_told_there() -> None:
    """A call that was being set up when its gateway was told to stop."""
    async with running() as call:
        call.link.send_away()
        call.peer.opens("trunkline")
        assert [told["reason"] for told in call.told("trunkline", "closing")] == ["restarting"]


def test_what_is_said_to_a_gateway_that_goes_does_not_wait_there() -> None:
    async def say() -> None:
        async with running() as call:
            call.bridge.receive(Ease("s", 0, 60, 0, FULL_SCALE))
            call.link.audio(FRAME)
            before_ms = call.spoken_ms()
            call.link.audio(FRAME)
            assert call.spoken_ms() == before_ms, "it waits for what comes next"
            call.link.send_away()
            assert call.spoken_ms() == before_ms + 20
            call.bridge.receive(Ease("s", 0, 60, 0, FULL_SCALE))
            call.link.audio(FRAME)
            assert call.spoken_ms() == before_ms + 40

    virtual_time.run(say())


def test_a_call_that_was_sent_away_before_it_ran_is_in_a_hurry_too() -> None:
    async def say() -> None:
        call = Call()
        call.link.send_away()
        serving = asyncio.create_task(call.link.run(call.bridge))
        await asyncio.sleep(0)
        call.connect()
        call.bridge.receive(Ease("s", 0, 60, 0, FULL_SCALE))
        for _ in range(3):
            call.link.audio(FRAME)
        assert call.spoken_ms() == 60
        call.link.replaced()
        assert await serving == "ended"

    virtual_time.run(say())


async def test_the_client_is_told_why_before_it_is_closed() -> None:
    async with running() as call:
        call.peer.opens("trunkline")
        call.peer.opens("oai-events")
        call.bridge.end("assistant_ended")
        await asyncio.sleep(0)
        assert not call.peer.closed
    assert call.told("trunkline", "closing")[0]["reason"] == "assistant_ended"
    assert call.told("oai-events", "trunkline.closing")[0]["reason"] == "assistant_ended"


async def test_who_is_replaced_is_told_so_and_nothing_else_and_heard_no_more() -> None:
    call = Call()
    serving = asyncio.create_task(call.link.run(call.bridge))
    await asyncio.sleep(0)
    call.connect()
    call.peer.opens("trunkline")
    said = len(call.peer.told["trunkline"])
    call.link.replaced()
    call.link.audio(FRAME)
    call.peer.says("trunkline", {"type": "text", "text": "hi"})
    call.bridge.receive(Event("s", 0, 0, "state", {"state": "listening"}))
    assert await serving == "ended"
    assert call.bus.sent[1:] == []
    [closing] = call.peer.told["trunkline"][said:]
    assert (closing["type"], closing["reason"]) == ("closing", "resumed_elsewhere")


async def test_who_is_replaced_hears_nothing_more_of_this_link() -> None:
    """What it heard is the other link's to say from now on."""
    async with running() as call:
        call.answer(1, 400)
        await call.pass_s(0.1)
        call.link.replaced()
        assert call.link._looking is None
        assert not call.link._playing


# --- what the caller says


async def test_the_callers_audio_reaches_the_bus_also_when_it_comes_first() -> None:
    call = Call()
    for _ in range(5):
        call.link.audio(FRAME)
    serving = asyncio.create_task(call.link.run(call.bridge))
    await asyncio.sleep(0)
    call.link.audio(FRAME)
    assert call.spoken_ms() == 120
    call.link.replaced()
    await serving


async def test_of_too_much_early_audio_the_newest_is_kept() -> None:
    call = Call()
    for number in range(module.EARLY_AUDIO_MS // 20 + 10):
        call.link.audio(number.to_bytes(2, "little") * 480)
    assert call.link._early_bytes == sum(map(len, call.link._early_audio)) == 480 * 2 * (module.EARLY_AUDIO_MS // 20)
    assert call.link._early_audio[0][0] == 10


def test_a_flood_of_audio_is_held_to_what_somebody_can_say() -> None:
    async def flood() -> None:
        async with running() as call:
            for _ in range(1000):  # 10 s at five times the speed
                for _ in range(5):
                    call.link.audio(FRAME)
                await asyncio.sleep(PACKET_S / 2)
            assert call.spoken_ms() == pytest.approx(10_000 * 1.1 + 1100, abs=50)

    virtual_time.run(flood())


def test_what_comes_at_once_after_a_hole_is_no_flood() -> None:
    async def hole() -> None:
        async with running() as call:
            call.link.audio(FRAME)
            await asyncio.sleep(5)
            call.link.audio(silence(5000, RATE_HZ))
            assert call.spoken_ms() == 5020

    virtual_time.run(hole())


async def test_messages_of_both_languages_go_to_the_bridge() -> None:
    async with running() as call:
        call.peer.opens("oai-events")
        call.peer.opens("trunkline")
        call.peer.opens("chat")
        call.peer.says("chat", {"text": "nobody reads this"})
        call.peer.says("trunkline", {"type": "text", "text": "one"})
        call.peer.says("oai-events", {"text": "two"})
        call.peer.says("oai-events", {"type": "response.create"})
        call.peer.says("oai-events", {"type": "response.create"})
        call.peer.says("oai-events", {"type": "session.update", "session": {"voice": "marin"}})
        assert call.bus.sent[1:] == [
            Text("s", 0, "one"),
            Text("s", 1, "two"),
            ClientEvent("s", 2, "commit", {}),
            ClientEvent("s", 3, "session_update", {"session": {"voice": "marin"}}),
        ], "the first response.create is about the text before it"
        assert len(call.told("oai-events", "session.updated")) == 1


async def test_an_input_buffer_is_cleared_only_while_nobody_speaks() -> None:
    async with running() as call:
        call.peer.opens("oai-events")
        call.peer.says("oai-events", {"type": "input_audio_buffer.clear"})
        call.worker(Event, name="speech_started", data={"media_ms": 0})
        call.peer.says("oai-events", {"type": "input_audio_buffer.clear", "event_id": "e7"})
        assert len(call.told("oai-events", "input_audio_buffer.cleared")) == 1
        assert call.told("oai-events", "error")[0]["error"]["event_id"] == "e7"


@pytest.mark.parametrize("label", ["trunkline", "oai-events"])
async def test_wrong_messages_are_forgiven_up_to_a_number(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LAST_WORDS_S", 0.0)
    async with running("refused") as call:
        call.peer.opens(label)
        for _ in range(MAX_ERRORS):
            call.peer.says(label, "{")
        call.peer.says(label, {"type": "input_text", "text": "still here"})
        call.peer.says(label, {"type": "nonsense", "event_id": "e1"})
        assert len(call.told(label, "error")) == MAX_ERRORS + 1
        assert call.bus.sent[1:] == [Text("s", 0, "still here")]


async def test_a_flood_of_messages_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LAST_WORDS_S", 0.0)
    async with running("refused") as call:
        call.link._message_pace = MessagePace(per_s=1, at_once=10)
        call.peer.opens("trunkline")
        for _ in range(100):
            call.peer.says("trunkline", {"type": "text", "text": "hi"})
        assert len(call.bus.sent) == 1 + 10
        assert call.told("trunkline", "error")[-1]["code"] == "too_fast"


# --- what the client is told


async def test_what_is_told_before_a_channel_is_open_is_kept() -> None:
    async with running() as call:
        for number in range(module.EARLY_EVENTS + 5):
            call.worker(Event, name="state", data={"state": str(number)})
        call.peer.opens("trunkline")
        call.worker(Event, name="state", data={"state": "last"})
        assert call.peer.told["trunkline"][0] == {
            **{"type": "session_ready", "seq": 0, "session_id": "s", "rate_hz": RATE_HZ}
        }
        states = [message["state"] for message in call.told("trunkline", "state")]
        assert states == [str(number) for number in range(5, module.EARLY_EVENTS + 5)] + ["last"]
        call.peer.opens("oai-events")
        assert [message["type"] for message in call.peer.told["oai-events"]] == ["session.created"]


async def test_a_channel_that_opens_into_an_answer_is_told_that_it_plays() -> None:
    async with running() as call:
        call.answer(1, 400)
        call.peer.leave(2)
        call.peer.opens("oai-events")
        assert call.peer.told["oai-events"][-1]["type"] == "output_audio_buffer.started"


async def test_a_channel_that_takes_nothing_costs_its_client_only_that() -> None:
    async with running() as call:
        call.peer.opens("trunkline")
        call.peer.deaf = True
        for _ in range(50):
            call.worker(Event, name="state", data={"state": "lost"})
        call.peer.deaf = False
        call.worker(Event, name="state", data={"state": "back"})
        assert [message["state"] for message in call.told("trunkline", "state")] == ["back"]
        assert call.link._unsent == 50


# --- what the caller hears


def test_an_answer_is_heard_as_far_as_it_was_sent_a_moment_ago() -> None:
    async def listen() -> None:
        async with running() as call:
            call.peer.opens("trunkline")
            call.answer(1, 1000)
            call.worker(TurnEnd, turn=1)
            await call.pass_s(0.6)
            assert 400 <= call.bridge.heard.played_ms <= 600
            assert len(call.peer.queue) * 20 <= 400, "no more than the playout's lead waits at the peer"
            await call.pass_s(0.7)
            assert (call.bridge.heard.played_ms, call.bridge.heard.done) == (1000, True)
            assert call.told("trunkline", "response_done")[0]["turn"] == 1
            await asyncio.sleep(1)
            assert call.link._looking is None, "nothing is looked at while nothing is said"

    virtual_time.run(listen())


def test_a_client_that_says_what_it_hears_is_believed() -> None:
    async def listen() -> None:
        async with running() as call:
            call.peer.opens("trunkline")
            call.answer(1, 2000)
            call.worker(TurnEnd, turn=1)
            for _ in range(5):
                await call.pass_s(0.2)
                at = call.peer.timestamp() - 48 * 150  # its jitter buffer holds 150 ms
                call.peer.says("trunkline", {"type": "played", "rtp_timestamp": at})
            assert 800 <= call.bridge.heard.played_ms <= 860
            call.peer.says("trunkline", {"type": "played", "rtp_timestamp": 5})
            await call.pass_s(2)
            call.peer.says("trunkline", {"type": "played", "rtp_timestamp": call.peer.timestamp() - 48 * 20})
            assert not call.bridge.heard.done
            await call.pass_s(0.8)
            assert call.bridge.heard.done, "nothing came after its last word"

    virtual_time.run(listen())


def test_a_barge_in_empties_the_queue_and_what_comes_next_is_kept() -> None:
    async def interrupt() -> None:
        async with running() as call:
            call.peer.opens("oai-events")
            call.answer(1, 300)
            call.worker(TurnEnd, turn=1)
            call.answer(2, 1000)
            await call.pass_s(0.1)
            assert {turn for turn, _ in call.peer.queue} == {1, 2}
            call.worker(Clear, turn=1)
            assert call.peer.queue[0] == (2, 20)
            await call.pass_s(0.1)
            ahead = list(call.peer.queue)
            call.worker(Clear, turn=2)
            assert (bool(ahead), call.peer.queue) == (True, [])
            assert call.peer.left == [(1, ms) for ms in range(20, 101, 20)] + [(2, ms) for ms in range(20, 101, 20)]
            cut = call.told("oai-events", "conversation.item.truncated")
            assert [event["item_id"] for event in cut] == ["item_2"], "nothing of the first was announced when it ended"

    virtual_time.run(interrupt())


def test_a_pause_holds_and_what_was_held_goes_on_at_the_same_packet() -> None:
    async def pause() -> None:
        async with running() as call:
            call.answer(1, 2000)
            await call.pass_s(0.5)
            at = call.peer.sent
            call.worker(Pause, turn=1)
            await call.pass_s(3)
            assert call.peer.sent == at
            call.worker(Resume, turn=1)
            await call.pass_s(2)
            assert call.peer.left == [(1, ms) for ms in range(20, 2001, 20)]
            call.answer(2, 500)
            call.worker(Pause, turn=2)
            call.worker(Clear, turn=2)
            call.answer(3, 100)
            await call.pass_s(0.1)
            assert call.peer.sent == (3, 100), "a clear ends the pause"

    virtual_time.run(pause())


def test_a_caller_who_comes_back_hears_the_rest_of_the_answer() -> None:
    async def come_back() -> None:
        async with running() as old, running() as new:
            old.answer(1, 3000)
            await old.pass_s(1)
            heard = old.link.heard(old.peer.timestamp() + 1 - 48 * 100)  # browsers name the packet that they play
            assert heard == (1, 900)
            await old.pass_s(2)  # nobody hears this
            new.link.on_connected = lambda: old.bridge.reconnect(new.link, *heard, old.bridge.client_seq)
            new.link.connected()
            assert old.link._over.is_set()
            for _ in range(150):
                await asyncio.sleep(PACKET_S)
                new.peer.leave(1)
                old.bridge.pump()
            assert new.peer.left == [(1, ms) for ms in range(920, 3001, 20)]

    virtual_time.run(come_back())
