"""Traces that imitate networks, and whatever else: what comes out is in order, once, and exactly as long as what went
in. Times are simulated; a packet's payload is its number."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtc.jitter import (
    AHEAD_MS,
    CONCEAL_TICKS,
    HELD_PACKETS,
    JUMP_TICKS,
    LATE_SEQUENCES,
    MOST_MS,
    OWED_MS,
    START_MS,
    Item,
    JitterBuffer,
    Lost,
    Piece,
    Silence,
)

TICKS = 960


@dataclass(frozen=True)
class Sent:
    number: int
    """Counts on without wrapping."""
    ticks_at: int
    sent_ms: float
    ticks: int = TICKS


@dataclass
class Heard:
    """What a listener had of a stream."""

    items: list[Item] = field(default_factory=list)
    delays_ms: list[float] = field(default_factory=list)
    """For each packet, from its arrival until it was given out."""

    @property
    def ticks(self) -> int:
        return sum(item.ticks for item in self.items)

    @property
    def numbers(self) -> list[int]:
        return [int(item.payload) for item in self.items if isinstance(item, Piece)]

    def lasting(self, kind: type[Lost] | type[Silence]) -> int:
        return sum(item.ticks for item in self.items if isinstance(item, kind))

    def delay_ms(self, percent: float) -> float:
        return sorted(self.delays_ms)[min(len(self.delays_ms) - 1, int(len(self.delays_ms) * percent / 100))]


def speech(seconds: float, *, drift: float = 1.0) -> list[Sent]:
    """Packets of 20 ms; a sender whose clock is `drift` times as fast as ours sends them sooner."""
    return [Sent(number, number * TICKS, number * 20 / drift) for number in range(int(seconds * 50))]


def listen(
    arrivals: list[tuple[float, Sent]],
    buffer: JitterBuffer,
    *,
    sequence: int = 65500,
    timestamp: int = 2**32 - 5 * TICKS,
) -> Heard:
    """Deliver every packet at its time, and poll whenever the buffer wants it. Numbers and timestamps soon wrap."""
    heard = Heard()
    came: dict[int, float] = {}

    def take(items: list[Item], now_ms: float) -> None:
        heard.items += items
        heard.delays_ms += [now_ms - came[int(item.payload)] for item in items if isinstance(item, Piece)]

    for at_ms, sent in sorted(arrivals, key=lambda arrival: arrival[0]):
        while (due_ms := buffer.due_ms()) is not None and due_ms <= at_ms:
            take(buffer.poll(due_ms), due_ms)
        came.setdefault(sent.number, at_ms)
        take(
            buffer.push(
                (sequence + sent.number) & 0xFFFF,
                (timestamp + sent.ticks_at) & 0xFFFF_FFFF,
                sent.ticks,
                b"%d" % sent.number,
                at_ms,
            ),
            at_ms,
        )
    while (due_ms := buffer.due_ms()) is not None:
        take(buffer.poll(due_ms), due_ms)
    return heard


def check(heard: Heard, sent: list[Sent]) -> None:
    """In order, once, and from the first to the last that was heard as long as it was said."""
    numbers = heard.numbers
    assert numbers == sorted(set(numbers))
    by_number = {packet.number: packet for packet in sent}
    first, last = by_number[numbers[0]], by_number[numbers[-1]]
    assert heard.ticks == last.ticks_at + last.ticks - first.ticks_at
    position = first.ticks_at
    for item in heard.items:
        if isinstance(item, Piece):
            assert position == by_number[int(item.payload)].ticks_at, "every packet is at its own time"
        position += item.ticks


def steady(packet: Sent) -> float:
    return packet.sent_ms + 30


def bursts_of_wifi(rng: random.Random) -> Callable[[Sent], float]:
    """In order, but every now and then the air is taken for up to 80 ms, and all that waited comes at once."""
    free_ms = 0.0

    def arrival(packet: Sent) -> float:
        nonlocal free_ms
        if rng.random() < 0.05:
            free_ms = max(free_ms, packet.sent_ms + rng.uniform(10, 80))
        return max(free_ms, packet.sent_ms) + 5

    return arrival


def gilbert_elliott(rng: random.Random, loss: float, burst: float) -> Iterator[bool]:
    """Whether each packet is lost: `loss` of them on average, `burst` in a row on average."""
    bad = False
    while True:
        bad = rng.random() >= 1 / burst if bad else rng.random() < loss / (burst * (1 - loss))
        yield bad


def test_what_comes_in_order_passes_at_once_however_late() -> None:
    sent = speech(60)
    buffer = JitterBuffer()
    arrival = bursts_of_wifi(random.Random(1))
    heard = listen([(arrival(packet), packet) for packet in sent], buffer)
    check(heard, sent)
    assert heard.numbers == [packet.number for packet in sent]
    assert max(heard.delays_ms) == 0
    assert buffer.counts.missing == buffer.counts.concealed_ticks == 0


def test_a_handover_of_lte_is_a_silence_and_then_goes_on() -> None:
    """One second goes nowhere, and one more comes all at once."""
    sent = speech(20)
    buffer = JitterBuffer()
    arrivals = [
        (max(packet.sent_ms, 12_000) + 40 if packet.number >= 500 else packet.sent_ms + 40, packet)
        for packet in sent
        if not 500 <= packet.number < 550
    ]
    heard = listen(arrivals, buffer)
    check(heard, sent)
    assert buffer.counts.missing == 50
    assert heard.lasting(Lost) == CONCEAL_TICKS
    assert heard.lasting(Silence) == 50 * TICKS - CONCEAL_TICKS
    assert heard.ticks == len(sent) * TICKS
    assert heard.delay_ms(99) <= START_MS


@pytest.mark.parametrize(("loss", "burst"), [(0.03, 1.0), (0.10, 4.0)])
def test_losses_are_concealed_and_the_wait_for_them_becomes_none(loss: float, burst: float) -> None:
    sent = speech(120)
    buffer = JitterBuffer()
    lost = gilbert_elliott(random.Random(2), loss, burst)
    kept = [packet for packet, gone in zip(sent, lost, strict=False) if not gone]
    heard = listen([(steady(packet), packet) for packet in kept], buffer)
    check(heard, sent)
    assert heard.numbers == [packet.number for packet in kept]
    assert buffer.counts.missing == kept[-1].number - kept[0].number + 1 - len(kept)
    assert loss / 2 < buffer.counts.missing / len(sent) < loss * 2, "the trace is what it should be"
    assert heard.lasting(Lost) == buffer.counts.concealed_ticks
    assert heard.lasting(Lost) + heard.lasting(Silence) == buffer.counts.missing * TICKS
    assert buffer.wait_ms == 0, "nothing ever came late: do not wait"
    assert max(heard.delays_ms) <= START_MS
    assert heard.delay_ms(95) <= START_MS / 4


def test_every_loss_ends_with_what_fec_may_bring_back() -> None:
    sent = speech(10)
    heard = listen([(steady(packet), packet) for packet in sent if packet.number % 7 not in (3, 4)], JitterBuffer())
    for item, following in pairwise(heard.items):
        if isinstance(item, Lost):
            assert isinstance(following, Piece)
            assert item == Lost(2 * TICKS, following.payload)


@pytest.mark.parametrize("late_ms", [35, 60])
def test_the_wait_grows_with_what_comes_late_and_reordering_costs_nothing_but_it(late_ms: int) -> None:
    """Late by its own time; by what is behind it, 20 ms less. The second is later than the first holes wait."""
    rng = random.Random(3)
    sent = speech(60)
    buffer = JitterBuffer()
    arrivals = [
        (packet.sent_ms + (rng.uniform(late_ms - 15, late_ms) if rng.random() < 0.03 else 0), packet) for packet in sent
    ]
    heard = listen(arrivals, buffer)
    check(heard, sent)
    assert buffer.counts.late <= 3, "the first ones teach"
    assert len(heard.numbers) >= len(sent) - 3
    assert late_ms - 25 <= buffer.wait_ms <= MOST_MS
    assert heard.delay_ms(85) == 0
    assert max(heard.delays_ms) <= late_ms - 20 + 1e-6


def test_a_wait_is_never_longer_than_60_ms() -> None:
    sent = speech(20)
    buffer = JitterBuffer()
    heard = listen([(packet.sent_ms + (500 if packet.number % 50 == 9 else 0), packet) for packet in sent], buffer)
    check(heard, sent)
    assert buffer.counts.late == 20
    assert max(heard.delays_ms) <= MOST_MS


def test_what_comes_twice_is_heard_once() -> None:
    sent = speech(10)
    buffer = JitterBuffer()
    twice = [(packet.sent_ms + late_ms, packet) for packet in sent for late_ms in (0.0, 3.0, 65.0)]
    heard = listen(twice, buffer)
    check(heard, sent)
    assert heard.numbers == [packet.number for packet in sent]
    assert buffer.counts.duplicate == 2 * len(sent)
    assert buffer.counts.late == 0


@pytest.mark.parametrize("drift", [1 - 200e-6, 1 + 200e-6, 1.009])
def test_a_senders_clock_is_its_own(drift: float) -> None:
    """For 40 minutes, with pauses: media time is the sender's, and nothing is ever taken for too much."""
    talk = [count for count in range(20_000) if count % 100 < 80]
    sent = [Sent(number, count * 6 * TICKS, count * 120 / drift, 6 * TICKS) for number, count in enumerate(talk)]
    buffer = JitterBuffer()
    heard = listen([(packet.sent_ms, packet) for packet in sent], buffer)
    check(heard, sent)
    assert buffer.counts.excess == 0
    assert heard.lasting(Silence) == 199 * 20 * 6 * TICKS


def test_a_pause_of_the_sender_is_silence_at_once() -> None:
    """DTX: numbers go on, timestamps jump."""
    sent = [Sent(0, 0, 0), Sent(1, 21 * TICKS, 420), Sent(2, 22 * TICKS + 7, 440)]
    heard = listen([(packet.sent_ms, packet) for packet in sent], JitterBuffer())
    assert heard.items == [
        Piece(b"0", TICKS),
        Silence(20 * TICKS),
        Piece(b"1", TICKS),
        Silence(7),
        Piece(b"2", TICKS),
    ]


@pytest.mark.parametrize("jump", [JUMP_TICKS + 1, -1, -TICKS, 2**31 - 1, -(2**31) + TICKS])
def test_a_timestamp_that_cannot_be_is_of_a_new_stream_and_nothing_is_filled(jump: int) -> None:
    sent = [Sent(0, 0, 0), Sent(1, TICKS + jump, 20), Sent(2, 2 * TICKS + jump, 40)]
    heard = listen([(packet.sent_ms, packet) for packet in sent], JitterBuffer())
    assert heard.items == [Piece(b"0", TICKS), Piece(b"1", TICKS), Piece(b"2", TICKS)]


def test_packets_of_other_lengths_and_of_none() -> None:
    sent = [
        *(Sent(0, 0, 0, 120), Sent(1, 120, 3, 5760), Sent(2, 5880, 123, 480)),
        *(Sent(3, 5880, 124, 0), Sent(4, 6360, 133, 2880)),
    ]
    heard = listen([(packet.sent_ms, packet) for packet in sent], JitterBuffer())
    assert heard.numbers == [0, 1, 2, 4], "the one of no audio was but a number"
    assert heard.ticks == 9240


def test_the_copy_in_a_long_packet_is_asked_for_at_its_own_length() -> None:
    sent = [Sent(0, 0, 0, 2880), Sent(9, 9 * 2880, 540, 2880)]
    heard = listen([(packet.sent_ms, packet) for packet in sent], JitterBuffer())
    assert heard.items[1:-1] == [Lost(CONCEAL_TICKS - 2880, None), Silence(8 * 2880 - CONCEAL_TICKS), Lost(2880, b"9")]


def test_a_sender_that_begins_again_elsewhere_is_heard_from_its_second_packet() -> None:
    sent = [*speech(1), *(Sent(20_000 + number, 999_999 + number * TICKS, 1000 + number * 20) for number in range(50))]
    buffer = JitterBuffer()
    heard = listen([(packet.sent_ms, packet) for packet in sent], buffer)
    assert heard.numbers == [*range(50), *range(20_001, 20_050)]
    assert heard.ticks == 99 * TICKS
    assert buffer.counts.stray == 1


def test_strays_from_far_away_change_nothing() -> None:
    sent = speech(10)
    strays = [Sent(30_000 - 517 * number, 0, number * 200 + 7) for number in range(20)]
    buffer = JitterBuffer()
    heard = listen([(packet.sent_ms, packet) for packet in (*sent, *strays)], buffer)
    check(heard, sent)
    assert buffer.counts.stray == 20


def test_what_is_held_is_bounded_and_so_is_what_comes_out() -> None:
    """65,536 packets at once, of every number, with timestamps that ask for as much silence as they can."""
    rng = random.Random(4)
    numbers = list(range(65536))
    rng.shuffle(numbers)
    buffer = JitterBuffer()
    ticks = 0
    for number in numbers:
        ticks += sum(
            item.ticks for item in buffer.push(number, number * (JUMP_TICKS - TICKS) & 0xFFFF_FFFF, TICKS, b"x", 0.0)
        )
        assert buffer.held_ticks <= HELD_PACKETS * TICKS
        assert len(buffer._missed) <= LATE_SEQUENCES
    for number in range(65536):  # and in order
        ticks += sum(
            item.ticks for item in buffer.push(number, number * (JUMP_TICKS - TICKS) & 0xFFFF_FFFF, TICKS, b"x", 1.0)
        )
    assert buffer.counts.excess > 60_000
    assert ticks / 48 <= AHEAD_MS + HELD_PACKETS * 20


def test_what_a_network_held_back_for_ten_seconds_is_taken_all_at_once() -> None:
    sent = speech(30)
    arrivals = [(12_000.0 if 2_000 <= packet.sent_ms < 12_000 else packet.sent_ms, packet) for packet in sent]
    buffer = JitterBuffer()
    heard = listen(arrivals, buffer)
    check(heard, sent)
    assert len(heard.numbers) == len(sent)


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Sent], list[tuple[float, Sent]]]:
    """A stream with pauses, of which anything may be lost, late, early or doubled."""
    sent, at = [], 0
    for number in range(draw(st.integers(1, 20))):
        at += draw(st.sampled_from([0, 0, 0, 0, 7, 480, 19_200]))
        ticks = draw(st.sampled_from([960, 120, 480, 2880, 5760, 0])) if number else 960
        sent.append(Sent(number, at, at / 48, ticks))
        at += ticks
    arrivals = []
    for packet in sent[1:]:
        late = draw(st.lists(st.floats(0, 300), max_size=2))
        arrivals += [(packet.sent_ms + late_ms, packet) for late_ms in late]
    return sent, [(0.0, sent[0]), *arrivals]


@given(deliveries(), st.integers(0, 65535), st.integers(0, 2**32 - 1))
def test_nothing_is_repeated_reordered_or_shifted_ever(
    delivery: tuple[list[Sent], list[tuple[float, Sent]]], sequence: int, timestamp: int
) -> None:
    sent, arrivals = delivery
    buffer = JitterBuffer()
    heard = listen(arrivals, buffer, sequence=sequence, timestamp=timestamp)
    check(heard, sent)
    came = {packet.number for _, packet in arrivals}
    counts = buffer.counts
    given_out = len(heard.numbers) + sum(not packet.ticks for packet in sent if packet.number in came)
    assert given_out + counts.late + counts.duplicate + counts.stray >= len(arrivals) >= given_out - len(sent)
    assert (buffer.due_ms(), buffer.held_ticks) == (None, 0)
    assert max(heard.delays_ms, default=0) <= MOST_MS + 1e-6


@given(
    st.lists(
        st.tuples(
            *(st.integers(0, 65535), st.integers(0, 2**32 - 1)),
            *(st.sampled_from([0, 120, 960, 5760]), st.floats(0, 500)),
        ),
        max_size=100,
    )
)
def test_whatever_comes_is_bounded_and_in_whole_steps(packets: list[tuple[int, int, int, float]]) -> None:
    buffer = JitterBuffer()
    now_ms, ticks = 0.0, 0
    for sequence, timestamp, length, later_ms in packets:
        now_ms += later_ms
        items = [*buffer.poll(now_ms), *buffer.push(sequence, timestamp, length, b"x", now_ms)]
        for item in items:
            ticks += item.ticks
            assert item.ticks > 0
            if isinstance(item, Lost):
                assert item.ticks <= CONCEAL_TICKS
                assert item.ticks % 120 == 0
    items = buffer.flush()
    assert buffer.due_ms() is None
    assert (ticks + sum(item.ticks for item in items)) / 48 <= now_ms * 1.01 + AHEAD_MS + OWED_MS + 120 * (
        HELD_PACKETS + 1
    )
