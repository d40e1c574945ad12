from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.bus.messages import (
    Attached,
    Clear,
    Close,
    Committed,
    Control,
    DownlinkAudio,
    Ease,
    Event,
    Hangup,
    Joined,
    LinkResumed,
    Message,
    Played,
    Superseded,
    Text,
    TurnEnd,
    UplinkAudio,
)
from trunkline.errors import BusError, SessionLost
from trunkline.sessions import Record, Records
from trunkline.tenants import Tenant
from workers.backend import Answer, Inbound, Item, Playhead, Snapshot, Spoken
from workers.downlink import CREDIT_MS
from workers.session import INBOX_LIMIT, LiveSession
from workers.snapshot import MAX_SNAPSHOT_BYTES, pack, unpack

RATE_HZ = 8000
FRAME = bytes(range(160)) * 2
SECOND = FRAME * 50


class Bus:
    """What was sent, and a store that may refuse."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Message]] = []
        self.committed: list[Record] = []
        self.refusal: Exception | None = None

    def send(self, lane: str, message: Message, *, within_s: float = 0.0) -> None:
        self.sent.append((lane, message))

    async def commit(self, record: Record) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.committed.append(record)

    def take(self) -> list[Message]:
        sent, self.sent = self.sent, []
        return [message for _, message in sent]


@pytest.fixture
def bus() -> Bus:
    return Bus()


def made(bus: Bus, snapshot: bytes = b"", epoch: int = 3) -> LiveSession:
    record = Record("s", "acme", "echo", RATE_HZ, "lane:g", "websocket", "c", epoch=epoch, link=1, snapshot=snapshot)
    return LiveSession(record, Tenant(id="acme"), "lane:w", bus, cast(Records, bus))


@pytest.fixture
async def live(bus: Bus) -> LiveSession:
    session = made(bus)
    session.receive(Joined("s", 3, -1, 0, 0, 0))
    return session


def audio(seq: int, media_ms: int | None = None) -> UplinkAudio:
    return UplinkAudio("s", seq, seq * 20 if media_ms is None else media_ms, FRAME)


async def waiting(live: LiveSession) -> list[Inbound]:
    """Everything that waits for the backend."""
    live.receive(Hangup("s", live._uplink.expected, "end"))
    return [message async for message in live.inbox()][:-1]


async def test_a_call_is_ended_when_it_is_as_long_as_one_may_be(bus: Bus, live: LiveSession) -> None:
    live.tenant = Tenant(id="acme", longest_call_s=60)
    live.receive(audio(0, 59_960))
    assert not bus.take()
    for seq in (1, 2, 3):
        live.receive(audio(seq, 59_960 + seq * 20))
    assert bus.take() == [Close("s", 3, 0, "longest_call")], "once"
    assert [message.media_ms for message in await waiting(live) if isinstance(message, UplinkAudio)] == [
        59_960,
        59_980,
        60_000,
        60_020,
    ], "until it has ended, it goes on"


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_uplink_comes_in_order_without_duplicates(live: LiveSession) -> None:
    for message in (audio(0), Text("s", 1, "hello"), audio(0), audio(2, 20), Text("s", 1, "hello"), audio(3, 40)):
        live.receive(message)
    assert await waiting(live) == [audio(0), Text("s", 1, "hello"), audio(2, 20), audio(3, 40)]


async def test_what_comes_after_a_gap_waits_until_the_gateway_sent_the_rest(live: LiveSession, bus: Bus) -> None:
    live.receive(audio(0))
    live.receive(audio(3))
    assert live.unjoined.is_set(), "the host asks the gateway again"
    live.attach()
    (attached,) = bus.take()
    assert isinstance(attached, Attached)
    assert (attached.resume_from_seq, attached.resume_media_ms) == (1, 20)
    for message in (Joined("s", 3, -1, 0, 0, 0), audio(1), audio(2), audio(3)):
        live.receive(message)
    assert await waiting(live) == [audio(seq) for seq in range(4)]
    assert live.gaps == 0


async def test_what_the_gateway_no_longer_has_becomes_silence_of_the_right_length(live: LiveSession) -> None:
    live.receive(audio(0))
    live.receive(Joined("s", 3, -1, 0, 0, 0, uplink_from_seq=4))
    live.receive(audio(4))
    heard = await waiting(live)
    assert [message.media_ms for message in heard if isinstance(message, UplinkAudio)] == [0, 20, 40, 60, 80]
    assert [message.pcm for message in heard if isinstance(message, UplinkAudio)][1:4] == [bytes(320)] * 3
    assert live.gaps == 3


async def test_a_takeover_begins_where_the_last_worker_committed(bus: Bus) -> None:
    live = made(bus, pack(Snapshot(uplink_seq=700)))
    live.attach()
    (attached,) = bus.take()
    assert attached == Attached("s", 3, "lane:w", 700, backend="echo")
    live.receive(audio(699))
    live.receive(audio(700))
    assert await waiting(live) == [audio(700)]


@pytest.mark.parametrize(("backend", "unhurried"), [("cascade", True), ("relay", False), ("echo", False)])
async def test_the_gateway_is_told_who_can_wait_for_audio(bus: Bus, backend: str, unhurried: bool) -> None:
    live = made(bus)
    live.record.backend = backend
    live.attach()
    (attached,) = bus.take()
    assert isinstance(attached, Attached)
    assert attached.unhurried is unhurried


async def test_audio_that_comes_together_is_one_message_or_frames_for_who_expects_them(bus: Bus) -> None:
    together = UplinkAudio("s", 0, 0, FRAME * 3)
    live = made(bus)
    live.record.backend = "cascade"
    live.receive(together)
    live.receive(audio(1, 60))
    assert await waiting(live) == [together, audio(1, 60)], "and nothing is missing between them"
    live = made(bus)
    live.record.backend = "relay"
    live.receive(together)
    live.receive(audio(1, 60))
    assert await waiting(live) == [*(UplinkAudio("s", 0, media_ms, FRAME) for media_ms in (0, 20, 40)), audio(1, 60)]


async def test_a_backend_that_falls_behind_loses_the_oldest_audio_only(live: LiveSession) -> None:
    live.receive(Text("s", 0, "kept"))
    for seq in range(1, INBOX_LIMIT + 10):
        live.receive(audio(seq))
    heard = await waiting(live)
    assert heard[0] == Text("s", 0, "kept")
    assert len(heard) == INBOX_LIMIT - 1
    assert heard[-1] == audio(INBOX_LIMIT + 9)
    assert live.inbox_dropped == 11


async def test_a_backend_that_listens_has_audio_by_call_and_the_rest_by_inbox(live: LiveSession) -> None:
    heard: list[UplinkAudio] = []
    live.receive(audio(0))
    live.receive(Text("s", 1, "hi"))
    live.listen(heard.append, in_turn=False)
    assert heard == [audio(0)], "what waited came first"
    live.receive(audio(3, 20))
    live.receive(audio(2, 20))
    assert heard[1:] == [audio(2, 20)], "in order, and what comes too soon is asked for again"
    live.receive(Hangup("s", 3, "bye"))
    assert [message async for message in live.inbox()] == [Text("s", 1, "hi"), Hangup("s", 3, "bye")]


async def test_who_listens_in_turn_hears_nothing_before_what_came_earlier_is_done_with(live: LiveSession) -> None:
    done: list[object] = []
    live.receive(audio(0))
    live.listen(done.append, in_turn=True)
    live.receive(Text("s", 1, "hi"))
    live.receive(audio(2, 20))
    assert done == []
    async for message in live.inbox():
        live.receive(audio(3, 40))  # while the backend is at it
        done.append(message)
        if isinstance(message, Text):
            live.receive(Hangup("s", 4, "bye"))
            live.receive(audio(5, 60))
    assert done == [audio(0), Text("s", 1, "hi"), audio(2, 20), audio(3, 40), Hangup("s", 4, "bye")]


async def test_who_listens_in_turn_and_has_nothing_else_to_do_is_called_at_once(live: LiveSession) -> None:
    heard: list[UplinkAudio] = []
    live.listen(heard.append, in_turn=True)
    live.receive(audio(0))
    assert heard == [audio(0)]


async def test_a_fault_comes_before_what_is_still_in_the_inbox(live: LiveSession) -> None:
    def call(number: int) -> None:
        raise ZeroDivisionError

    live.receive(Hangup("s", 0, "bye"))
    live.on_behalf(call)(0)
    with pytest.raises(ZeroDivisionError):
        await anext(live.inbox())


async def test_what_a_listener_raises_ends_its_session_and_nobody_else_s(live: LiveSession) -> None:
    def hear(frame: UplinkAudio) -> None:
        raise ZeroDivisionError

    live.listen(hear, in_turn=False)
    live.receive(audio(0))
    live.receive(audio(1))
    with pytest.raises(ZeroDivisionError):
        async for _ in live.inbox():
            pass


async def test_a_call_on_a_session_s_behalf_is_its_code(live: LiveSession) -> None:
    name: ContextVar[str] = ContextVar("name", default="nobody's")

    def call(number: int) -> None:
        seen.append(name.get())
        if number:
            raise ZeroDivisionError

    seen: list[str] = []
    name.set("this session's")
    called = live.on_behalf(call)
    name.set("another's")
    called(0)
    called(1)
    assert seen == ["this session's"] * 2
    with pytest.raises(ZeroDivisionError):
        async for _ in live.inbox():
            pass


async def test_a_hangup_ends_the_inbox(live: LiveSession) -> None:
    live.give_up_on_caller()
    live.receive(audio(0))
    assert [message async for message in live.inbox()] == [Hangup("s", 0, "caller_lost")]


async def test_a_call_known_to_be_over_ends_without_its_gateway(bus: Bus) -> None:
    live = made(bus)
    live.receive(Control("s", "hang_up"))
    assert live.begun.is_set()
    assert live.given_up
    live.receive(Control("s", "hang_up"))
    assert [message async for message in live.inbox()] == [Hangup("s", 0, "hung_up")]


async def test_speech_is_cut_to_frames_and_placed(live: LiveSession, bus: Bus) -> None:
    await live.speak(1, FRAME + FRAME[:100])
    await live.speak(1, FRAME[100:] + FRAME[:40], sentence_end=True)
    await live.speak(1, SECOND)
    live.end_turn(1)
    *spoken, end = bus.take()
    pieces = [message for message in spoken if isinstance(message, DownlinkAudio)]
    assert [piece.seq for piece in pieces] == list(range(7))
    assert [piece.offset_ms for piece in pieces] == [0, 20, 60, 260, 460, 660, 860]
    assert [piece.sentence_end for piece in pieces] == [False, True] + [False] * 5
    assert b"".join(piece.pcm for piece in pieces) == FRAME * 2 + FRAME[:40] + bytes(280) + SECOND
    assert end == TurnEnd("s", 3, 7, 1)


@pytest.fixture
async def blocked(live: LiveSession, bus: Bus) -> AsyncIterator[asyncio.Task[None]]:
    speaking = asyncio.create_task(live.speak(1, SECOND * 4))
    await settled()
    yield speaking
    speaking.cancel()
    await asyncio.wait([speaking])


def sent_ms(bus: Bus) -> int:
    return sum(len(message.pcm) // 16 for _, message in bus.sent if isinstance(message, DownlinkAudio))


async def test_credit_holds_and_what_was_heard_frees(live: LiveSession, bus: Bus, blocked: asyncio.Task[None]) -> None:
    assert sent_ms(bus) == CREDIT_MS
    live.receive(Played("s", 3, 1, 1000))
    await settled()
    assert sent_ms(bus) == CREDIT_MS + 1000
    live.receive(Played("s", 2, 1, 9000))
    live.receive(Played("s", 3, 1, 500))
    await settled()
    assert sent_ms(bus) == CREDIT_MS + 1000, "an older epoch, and less than was heard, give nothing"
    live.receive(Played("s", 3, 1, 2000))
    await asyncio.wait_for(blocked, 1)
    assert sent_ms(bus) == 4000


async def test_a_clear_frees_who_waits_and_the_turn_is_dead(
    live: LiveSession, bus: Bus, blocked: asyncio.Task[None]
) -> None:
    before = len(bus.sent)
    live.clear(1)
    await asyncio.wait_for(blocked, 1)
    await live.speak(1, SECOND)
    live.end_turn(1)
    assert [type(message) for _, message in bus.sent[before:]] == [Clear]
    await live.speak(2, FRAME)
    assert isinstance(bus.sent[-1][1], DownlinkAudio)


async def test_nothing_of_a_cleared_turn_is_sent_again(live: LiveSession, bus: Bus) -> None:
    await live.speak(1, SECOND)
    live.clear(1)
    bus.take()
    live.receive(Joined("s", 3, -1, 0, 0, 0))
    attached, *again = bus.take()
    assert isinstance(attached, Attached), "part of what it misses will not come again"
    assert attached.downlink_from_seq == 5
    assert again == [Clear("s", 3, 5, 1)]


async def test_while_the_gateway_is_away_speech_is_kept_and_then_sent_once(live: LiveSession, bus: Bus) -> None:
    await live.speak(1, FRAME)
    live.unjoin()
    await live.speak(1, FRAME)
    live.event("state", state="speaking")
    assert len(bus.take()) == 1
    live.receive(Joined("s", 3, 0, 1, 20, 0))
    assert [type(message) for message in bus.take()] == [DownlinkAudio, Event]


async def test_an_answer_of_another_epoch_joins_nothing(bus: Bus) -> None:
    live = made(bus)
    live.receive(Joined("s", 2, -1, 0, 0, 0))
    assert not live.joined.is_set()
    live.receive(Joined("s", 3, -1, 4, 800, 300))
    assert live.joined.is_set()
    assert live.playhead == Playhead(4, 800, 300, done=False)
    await live.speak(4, FRAME)
    (piece,) = bus.take()
    assert isinstance(piece, DownlinkAudio)
    assert piece.offset_ms == 800, "goes on exactly where the edge has it"


async def test_a_caller_who_comes_back_is_sent_exactly_what_is_missing(live: LiveSession, bus: Bus) -> None:
    live.event("one")
    await live.speak(1, SECOND)
    live.event("two")
    live.end_turn(1)
    bus.take()
    live.receive(LinkResumed("s", "lane:g2", 2, 1, 330, 3 << 32 | 0))
    bus.take()
    assert not live.joined.is_set()
    live.attach()
    live.receive(Joined("s", 3, -1, 0, 0, 0))
    assert {lane for lane, _ in bus.sent} == {"lane:g2"}
    again = bus.take()
    pieces = [message for message in again if isinstance(message, DownlinkAudio) and message.pcm]
    assert b"".join(piece.pcm for piece in pieces) == SECOND[330 * 16 :]
    assert [piece.offset_ms for piece in pieces] == [330, 400, 600, 800]
    assert [message.name for message in again if isinstance(message, Event) and message.name] == ["two"]
    assert TurnEnd("s", 3, 7, 1) in again


async def test_an_old_gateway_cannot_take_the_caller_back_and_is_told_so(live: LiveSession, bus: Bus) -> None:
    live.receive(LinkResumed("s", "lane:g3", 5, 0, 0))
    bus.take()
    live.receive(LinkResumed("s", "lane:g2", 4, 0, 0))
    live.receive(LinkResumed("s", "lane:g3", 4, 0, 0))
    assert (live.record.gateway, live.record.link) == ("lane:g3", 5)
    assert bus.sent == [("lane:g2", Control("s", "moved", {"link": 5}))], "or it hangs up when nobody comes to it"


async def test_who_takes_a_dead_gateways_caller_is_told_at_once(live: LiveSession, bus: Bus) -> None:
    live.unjoin()  # its lane is gone; the host asks it every 0.25 s
    live.receive(LinkResumed("s", "lane:g2", 2, 0, 0))
    assert [lane for lane, message in bus.sent if isinstance(message, Attached)] == ["lane:g2"]


async def test_the_gateway_that_lost_the_caller_is_told_that_it_moved(live: LiveSession, bus: Bus) -> None:
    live.receive(LinkResumed("s", "lane:g2", 2, 0, 0))
    live.receive(LinkResumed("s", "lane:g2", 2, 0, 0))
    moved = [lane for lane, message in bus.sent if getattr(message, "action", "") == "moved"]
    assert moved == ["lane:g"], "or it would hang up when it gives up waiting"


async def test_only_a_newer_epoch_ends_us(live: LiveSession) -> None:
    live.receive(Superseded("s", 3))
    assert not live.lost.is_set()
    live.receive(Superseded("s", 4))
    assert live.lost.is_set()


async def test_a_commit_tells_the_gateway_what_it_may_forget(live: LiveSession, bus: Bus) -> None:
    live.snapshot.uplink_seq = 42
    await live.commit()
    assert unpack(bus.committed[0].snapshot).uplink_seq == 42
    assert bus.take() == [Committed("s", 3, 42)]


async def test_a_commit_that_did_not_happen_lets_nothing_be_forgotten(live: LiveSession, bus: Bus) -> None:
    bus.refusal = BusError("away")
    await live.commit()
    assert bus.take() == []
    bus.refusal = SessionLost("epoch 3 is over")
    with pytest.raises(SessionLost):
        await live.commit()


async def test_what_is_kept_for_a_silent_session_is_bounded(
    live: LiveSession, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.downlink.KEEP_EVENT_S", 0.0)
    for number in range(1000):
        live.event("transcript_delta", delta=str(number))
    assert len(live._downlink._kept) < 10


PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=9) | st.binary(max_size=9)
ITEMS = st.builds(Item, st.sampled_from(["user", "assistant"]), st.text(max_size=20), st.integers(0, 99))
SPOKEN = st.builds(Spoken, st.text(max_size=9), st.integers(0, 9999), st.integers(0, 9999))
COUNTS = st.integers(0, 2**40)
ANSWERS = st.builds(Answer, st.integers(0, 99), st.text(max_size=30), st.booleans(), st.lists(SPOKEN, max_size=3))


@given(
    st.builds(
        Snapshot,
        st.lists(ITEMS, max_size=4),
        st.none() | ANSWERS,
        COUNTS,
        st.dictionaries(st.text(max_size=5), PLAIN | st.lists(PLAIN, max_size=3), max_size=3),
        COUNTS,
    )
)
def test_a_snapshot_survives(snapshot: Snapshot) -> None:
    assert unpack(pack(snapshot)) == snapshot


def test_no_snapshot_is_a_fresh_one() -> None:
    assert unpack(b"") == Snapshot()


def test_a_long_conversation_forgets_its_beginning() -> None:
    items = [Item("user", f"{number} " + "x" * 1000, number) for number in range(1000)]
    packed = pack(Snapshot(items=list(items)))
    kept = unpack(packed).items
    assert len(packed) <= MAX_SNAPSHOT_BYTES
    assert kept == items[-len(kept) :]
    assert len(kept) > 100


def test_how_audio_may_come_is_told_again_to_whoever_may_not_know_it(bus: Bus) -> None:
    """The gateway joins again when Redis came back empty, and may have lost it with that; or it is another."""
    session = made(bus)
    session.receive(Joined("s", 3, -1, 0, 0, 0))
    assert not any(isinstance(message, Ease) for message in bus.take()), "it comes as it comes"
    session.ease(60, 0, 32768)
    session.ease(0, 0, 0)
    assert bus.take()[-1] == Ease("s", 3, 0, 0, 0)
    session.receive(LinkResumed("s", "lane:g2", 2, 0, 0))
    bus.take()
    session.receive(Joined("s", 3, -1, 0, 0, 0))
    assert [told for told in bus.sent if isinstance(told[1], Ease)] == [("lane:g2", Ease("s", 3, 0, 0, 0))]
