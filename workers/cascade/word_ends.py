"""Where in a written sentence words end, and when: as a voice tells, or as far as lengths do."""

from __future__ import annotations

import unicodedata

from workers.cascade.speakable import Reading
from workers.providers.base import Word

LOOK_AHEAD = 40
"""Letters that may be passed over to find a word: vendors leave out some, and write others in their own way."""


def by_length(reading: Reading, length_ms: int) -> tuple[tuple[int, int], ...]:
    """The same of a voice that tells nothing, and took `length_ms` for all of it: where what is said differs from what
    is written, by how much is said there. Between those places, and without any, what is written tells."""
    ends: list[tuple[int, int]] = []
    for written_from, written_to, spoken_from, spoken_to in reading.edits:
        for written, spoken in ((written_from, spoken_from), (written_to, spoken_to)):
            at_ms = length_ms * spoken // len(reading.spoken) if reading.spoken else 0
            before, before_ms = ends[-1] if ends else (0, 0)
            if written > before and at_ms > before_ms:
                ends.append((written, at_ms))
    return tuple(ends)


class WordEnds:
    """Follows a voice through `reading`. A word that is not found is left out: those around it tell enough."""

    def __init__(self, reading: Reading) -> None:
        self.ends: tuple[tuple[int, int], ...] = ()
        """Characters of the written text, and ms from the sentence's start; both grow."""
        self._reading = reading
        letters = [
            (letter, number)
            for number, character in enumerate(reading.spoken, 1)
            if character.isalnum()
            for letter in character.lower()
        ]
        self._letters = "".join(letter for letter, _ in letters)
        self._places = [place for _, place in letters]
        """Of each letter, where it ends in the spoken text."""
        self._at = 0

    def add(self, word: Word) -> None:
        """The voice's next word."""
        letters = "".join(character.lower() for character in word.text if character.isalnum())
        found = self._find(letters) if letters else None
        if found is None:
            return
        self._at = found + len(letters)
        written = self._end(self._reading.written_at(self._places[self._at - 1]))
        before, before_ms = self.ends[-1] if self.ends else (0, 0)
        if written > before and word.end_ms > before_ms:
            self.ends += ((written, word.end_ms),)

    def _find(self, letters: str) -> int | None:
        """Where these letters are next: here, or at the beginning of a word soon."""
        if self._letters.startswith(letters, self._at):
            return self._at
        at = self._at
        while (at := self._letters.find(letters, at + 1, self._at + LOOK_AHEAD + len(letters))) >= 0:
            if self._places[at] - self._places[at - 1] > 1:
                return at
        return None

    def _end(self, end: int) -> int:
        """With the punctuation behind the word, and without the space before what is not all said."""
        text = self._reading.written
        if text[:end].rstrip() != text[:end]:
            return len(text[:end].rstrip())
        while end < len(text) and unicodedata.category(text[end]) in ("Po", "Pd", "Pe", "Pf"):
            end += 1
        return end
