"""Phrases that callers are expected to say, as a grammar for a recogniser.

A phrase is words, in the notation of JSGF: `[optional]` and `(this | that)`, e.g. `what time is it [now]`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from trunkline.errors import SettingsError

Sentence = tuple[str, ...]

_TOKEN = re.compile(r"[()\[\]|]|[a-z][a-z'.-]*|\S")
_WORD = re.compile(r"[a-z][a-z'.-]*")
_CLOSING = {"(": ")", "[": "]"}
MOST_SENTENCES = 5000


def expand(phrase: str) -> list[Sentence]:
    """Every sentence that `phrase` stands for.

    Raises SettingsError for wrong notation, and for more than MOST_SENTENCES sentences.
    """
    tokens = _TOKEN.findall(phrase.lower())
    sentences, end = _alternatives(phrase, tokens, 0)
    if end != len(tokens):
        raise SettingsError(f"phrase {phrase!r}: {tokens[end]!r} without its opening")
    return [sentence for sentence in sentences if sentence]


def _alternatives(phrase: str, tokens: Sequence[str], at: int) -> tuple[list[Sentence], int]:
    found: list[Sentence] = []
    while True:
        sentences, at = _sequence(phrase, tokens, at)
        found += sentences
        if at == len(tokens) or tokens[at] != "|":
            return found, at
        at += 1


def _sequence(phrase: str, tokens: Sequence[str], at: int) -> tuple[list[Sentence], int]:
    sentences: list[Sentence] = [()]
    while at < len(tokens) and tokens[at] not in ")]|":
        token = tokens[at]
        if token in _CLOSING:
            choices, at = _alternatives(phrase, tokens, at + 1)
            if at == len(tokens) or tokens[at] != _CLOSING[token]:
                raise SettingsError(f"phrase {phrase!r}: {token!r} is not closed by {_CLOSING[token]!r}")
            if _CLOSING[token] == "]":
                choices = [(), *choices]
        elif _WORD.fullmatch(token):
            choices = [(token,)]
        else:
            raise SettingsError(f"phrase {phrase!r}: {token!r} is no word; a phrase has words, ( | ) and [ ]")
        if len(sentences) * len(choices) > MOST_SENTENCES:
            raise SettingsError(f"phrase {phrase!r} stands for more than {MOST_SENTENCES} sentences")
        sentences = [before + after for before in sentences for after in choices]
        at += 1
    return sentences, at


@dataclass(frozen=True, slots=True)
class Arc:
    """`word` leads from state `start` to state `end`."""

    start: int
    end: int
    word: str


START, FINAL = 0, 1


def arcs(sentences: Sequence[Sentence]) -> list[Arc]:
    """The sentences as a tree of states from START, every sentence ending in FINAL."""
    states: dict[Sentence, int] = {(): START}
    found: dict[Arc, None] = {}
    for sentence in sentences:
        for length in range(1, len(sentence)):
            states.setdefault(sentence[:length], len(states) + 1)
            found[Arc(states[sentence[: length - 1]], states[sentence[:length]], sentence[length - 1])] = None
        found[Arc(states[sentence[:-1]], FINAL, sentence[-1])] = None
    return list(found)


def complete_words(words: Sequence[str], sentences: frozenset[Sentence]) -> int:
    """How many of `words`, from the first, make up whole sentences one after the other."""
    longest = max((len(sentence) for sentence in sentences), default=0)
    whole = [True] + [False] * len(words)
    for end in range(1, len(words) + 1):
        starts = range(max(0, end - longest), end)
        whole[end] = any(whole[start] and tuple(words[start:end]) in sentences for start in starts)
    return max(end for end, is_whole in enumerate(whole) if is_whole)
