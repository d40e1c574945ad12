"""Sequence numbers: duplicates are dropped, and what is missing is asked for again. Pure."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Protocol, TypeVar


class Order(Enum):
    """What a numbered message is to its receiver."""

    NEXT = "next"
    DUPLICATE = "duplicate"
    GAP = "gap"
    """Something before it is missing: it is not taken, and comes again with what is missing."""


class Sequence:
    """The receiving end of one numbered stream."""

    __slots__ = ("duplicates", "expected", "gaps", "lost")

    def __init__(self, expected: int = 0) -> None:
        self.expected = expected
        self.duplicates = 0
        self.gaps = 0
        self.lost = 0

    def accept(self, seq: int) -> Order:
        """Whether to take message `seq`: only the NEXT one is."""
        if seq == self.expected:
            self.expected += 1
            return Order.NEXT
        if seq < self.expected:
            self.duplicates += 1
            return Order.DUPLICATE
        self.gaps += 1
        return Order.GAP

    def skip_to(self, seq: int) -> None:
        """The sender no longer has what is before `seq`: it is lost."""
        if seq > self.expected:
            self.lost += seq - self.expected
            self.expected = seq


class Numbered(Protocol):
    @property
    def seq(self) -> int: ...


T = TypeVar("T", bound=Numbered)


class Ring(deque[T]):
    """The sending end: the last messages, so that they can be sent again. The oldest go when it is full."""

    def since(self, seq: int) -> list[T]:
        """What it holds from `seq` on, in order."""
        if not self or self[-1].seq < seq:
            return []
        return [message for message in self if message.seq >= seq]

    def forget_before(self, seq: int) -> None:
        """Drop what will not be asked for again."""
        while self and self[0].seq < seq:
            self.popleft()
