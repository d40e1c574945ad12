"""Sequence numbers: duplicates are dropped, gaps are counted. Pure."""

from __future__ import annotations

from collections import deque
from typing import Protocol, TypeVar


class Sequence:
    """The receiving end of one numbered stream."""

    __slots__ = ("duplicates", "expected", "lost")

    def __init__(self, expected: int = 0) -> None:
        self.expected = expected
        self.duplicates = 0
        self.lost = 0

    def accept(self, seq: int) -> int | None:
        """How many messages are missing just before `seq` (mostly 0); None when `seq` was had before."""
        missing = seq - self.expected
        if missing < 0:
            self.duplicates += 1
            return None
        self.lost += missing
        self.expected = seq + 1
        return missing


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
