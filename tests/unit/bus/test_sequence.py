from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from trunkline.bus.messages import Text
from trunkline.bus.sequence import Order, Ring, Sequence


def test_in_order_each_is_the_next() -> None:
    sequence = Sequence(3)
    assert [sequence.accept(seq) for seq in (3, 4, 5)] == [Order.NEXT] * 3
    assert (sequence.expected, sequence.duplicates, sequence.gaps, sequence.lost) == (6, 0, 0, 0)


def test_what_comes_after_a_gap_is_not_taken_until_the_gap_is_filled() -> None:
    sequence = Sequence()
    assert sequence.accept(0) is Order.NEXT
    assert sequence.accept(2) is Order.GAP
    assert sequence.accept(3) is Order.GAP
    assert [sequence.accept(seq) for seq in (1, 2, 3)] == [Order.NEXT] * 3
    assert (sequence.expected, sequence.gaps, sequence.lost) == (4, 2, 0)


def test_duplicates_are_dropped_and_counted() -> None:
    sequence = Sequence(10)
    assert sequence.accept(9) is Order.DUPLICATE
    assert sequence.accept(10) is Order.NEXT
    assert sequence.accept(10) is Order.DUPLICATE
    assert sequence.duplicates == 2


def test_what_the_sender_no_longer_has_is_lost_and_never_taken() -> None:
    sequence = Sequence()
    sequence.skip_to(5)
    sequence.skip_to(2)
    assert (sequence.expected, sequence.lost) == (5, 5)
    assert sequence.accept(4) is Order.DUPLICATE
    assert sequence.accept(5) is Order.NEXT


@given(st.lists(st.integers(0, 30)), st.integers(0, 10))
def test_each_is_taken_once_and_in_order(arrivals: list[int], start: int) -> None:
    sequence = Sequence(start)
    taken = [seq for seq in arrivals if sequence.accept(seq) is Order.NEXT]
    assert taken == list(range(start, start + len(taken)))
    assert sequence.duplicates + sequence.gaps == len(arrivals) - len(taken)
    assert sequence.expected == start + len(taken)


def ring(*numbers: int, room: int | None = None) -> Ring[Text]:
    return Ring((Text("s", seq, "") for seq in numbers), maxlen=room)


def seqs(messages: list[Text] | deque[Text]) -> list[int]:
    return [message.seq for message in messages]


def test_a_ring_gives_what_it_holds_from_a_place_on() -> None:
    held = ring(3, 4, 5)
    assert seqs(held.since(0)) == [3, 4, 5]
    assert seqs(held.since(4)) == [4, 5]
    assert held.since(6) == []
    assert ring().since(0) == []


def test_a_full_ring_loses_its_oldest() -> None:
    assert seqs(ring(*range(10), room=4).since(0)) == [6, 7, 8, 9]


def test_a_ring_forgets_what_will_not_be_asked_for() -> None:
    held = ring(3, 4, 5)
    held.forget_before(3)
    assert seqs(held) == [3, 4, 5]
    held.forget_before(5)
    assert seqs(held) == [5]
    held.forget_before(99)
    assert not held
    held.forget_before(100)
