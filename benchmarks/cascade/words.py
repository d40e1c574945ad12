"""Numbers as words that nobody on their way cuts or rewrites, and what is said about them. Pure.

A question is transcribed as four words of sixteen, its number, and all that is said of it repeats them.
"""

from __future__ import annotations

import re

WORDS = (
    *("amber", "birch", "cedar", "dune", "ember", "falcon", "garnet", "harbor"),
    *("indigo", "jasper", "kettle", "linen", "maple", "nectar", "olive", "pepper"),
)
_DIGITS = {word: digit for digit, word in enumerate(WORDS)}
_LENGTH = 4
NUMBERS = 16**_LENGTH
_WORD = rf"(?:{'|'.join(WORDS)})"
_NUMBER = re.compile(rf"\b{_WORD}(?: {_WORD}){{{_LENGTH - 1}}}\b", re.IGNORECASE)

SENTENCE_PIECES = (16, 17, 17)
"""How many pieces of 100 ms each sentence of an answer is spoken in: 5 s together."""

_SENTENCES = [
    range(sum(SENTENCE_PIECES[:place]), sum(SENTENCE_PIECES[: place + 1])) for place in range(len(SENTENCE_PIECES))
]
_ORDINALS = ("first", "second", "third")
_TEXT = "About the first of {0}, the second of {0} comes next. The third of {0} ends it."


def spelled(number: int) -> str:
    """A number, below NUMBERS, in words."""
    return " ".join(WORDS[number >> 4 * place & 15] for place in reversed(range(_LENGTH)))


def last_number(text: str) -> int | None:
    """The number that `text` names last, if it names one."""
    found = _NUMBER.findall(text)
    if not found:
        return None
    number = 0
    for word in found[-1].lower().split():
        number = number << 4 | _DIGITS[word]
    return number


def question(number: int) -> str:
    """What a caller is understood to have said."""
    return f"Please tell me about {spelled(number)}."


def answer(number: int) -> list[str]:
    """What the language model says to it, token by token. The first clause can be spoken once the token after its
    comma, number CLAUSE_TOKENS, has come."""
    return re.findall(r"\s?\S+", _TEXT.format(spelled(number)))


CLAUSE_TOKENS = 4 + _LENGTH + 1
"""The first clause, and the token after it."""


def pieces(text: str) -> tuple[int, list[int]] | None:
    """Which number a part of an answer is about, and the pieces that it is spoken in, of all that the answer has (from
    0); None for any other text."""
    number = last_number(text)
    said = [place for place, ordinal in enumerate(_ORDINALS) if ordinal in text.lower()]
    if number is None or not said:
        return None
    return number, [piece for place in said for piece in _SENTENCES[place]]
