"""What the vendors write down while they serve, by the number of each question."""

from __future__ import annotations

from collections import Counter
from typing import Any

from benchmarks.cascade import words
from benchmarks.figures import Result

Entries = dict[int, Result]


class Book:
    """Times are seconds, monotonic."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.heard: Entries = {}
        """Of speech-to-text. `told_s`: when the text was sent. `levels`: how loud what was heard was (`levels`)."""
        self.thought: Entries = {}
        """Of the language model. `asked_s`: when the request had come. `clause_s`: when the first clause was sent, and
        the token after it, without which nobody knows that it is over."""
        self.spoken: Entries = {}
        """Of text-to-speech. `asked_s`: when the first text had come. `first_s`: when its first audio was sent."""
        self._numbers = 0

    def new_number(self) -> int:
        """Of a question that is being understood."""
        self._numbers += 1
        number: int = self._numbers % words.NUMBERS
        return number

    def report(self) -> dict[str, Any]:
        return {
            "heard": self.heard,
            "thought": self.thought,
            "spoken": self.spoken,
            "counts": dict(self.counts),
        }
