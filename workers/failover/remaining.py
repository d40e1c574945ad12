"""What is left to say of a sentence of which some audio came. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from workers.context import CHARACTER_MS
from workers.providers.base import Word

_PRIOR_CHARACTERS = 40
"""How many characters of speech at the usual pace a voice's own is believed against."""


class Pace:
    """How fast a voice speaks, by the sentences it has finished."""

    def __init__(self) -> None:
        self._characters = _PRIOR_CHARACTERS
        self._ms = _PRIOR_CHARACTERS * CHARACTER_MS

    def learn(self, text: str, ms: int) -> None:
        """All of `text` took `ms`."""
        if text and ms > 0:
            self._characters += len(text)
            self._ms += ms

    def characters(self, ms: int) -> int:
        """How many it says in `ms`."""
        return ms * self._characters // self._ms


def remaining(text: str, words: Sequence[Word], came_ms: int, pace: Pace) -> str:
    """What follows the last whole word of `text` in its first `came_ms` of audio; all of it if there is no whole one.

    By the times of words as far as they are known, and by the voice's pace beyond.
    """
    said, known_ms, cut = 0, 0, False
    for word in words:
        cut = word.end_ms > came_ms
        if cut:
            break
        place = text.lower().find(word.text.lower(), said)
        if place >= 0:  # a voice may call a number by another name
            said = place + len(word.text)
        known_ms = word.end_ms
    if not cut:
        reached = said + pace.characters(came_ms - known_ms)
        said = max([said, *(match.end() for match in re.finditer(r"\S+", text) if match.end() <= reached)])
    rest = text[said:]
    # The punctuation of a word that was said is no sentence.
    return rest.lstrip() if any(character.isalnum() for character in rest) else ""
