"""Cuts a language model's text into pieces worth speaking, as it comes in.

Pieces joined give the text back exactly. Where the text is cut does not depend on how it was cut into deltas. Every
cut is after white space (or after a full-width full stop), so a number, address or time is never cut.
"""

from __future__ import annotations

import re

FIRST_CLAUSE = 20
"""The first piece may end at a clause once it has this many characters: less sounds chopped, more sounds late."""

LONGEST = 300
"""A piece of this many characters ends at the next white space, whatever it holds."""

_ENDS = ".!?…"
_CLOSERS = "\"'”’»)]*_"
_WIDE_ENDS = "。！？"
_CLAUSE_ENDS = ",;:—–"

_ABBREVIATIONS = frozenset(
    "dr mr mrs ms mx prof rev sgt capt lt st mt ft jr sr vs etc approx est dept univ nos vol fig pp ca cf al inc ltd "
    "co corp ave blvd rd apt tel jan feb apr aug sept oct nov dec mon tue thu bzw usw nr str evtl ggf inkl vgl".split()
)
"""Words that a full stop does not end. Those that also end sentences as they are (`no.`, `sun.`) are left out."""
_DOTTED = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]", re.UNICODE)
"""A single letter, or letters with dots between: `J.`, `e.g.`, `U.S.`, `p.m.`"""
_LAST_TOKEN = re.compile(r"[\w.]+\Z", re.UNICODE)


class Sentences:
    """One text on its way. `early`: its first piece may be a clause, for quick first audio."""

    def __init__(self, *, early: bool = True) -> None:
        self._buffer = ""
        self._early = early

    def push(self, delta: str) -> list[str]:
        """Take the next text and return the pieces it completed."""
        pieces = []
        for character in delta:
            self._buffer += character
            if self._is_complete(character):
                pieces.append(self._take())
        return pieces

    def flush(self) -> list[str]:
        """The text is over (for now): return what is left of it, nothing if there is none."""
        return [self._take()] if self._buffer else []

    def _take(self) -> str:
        piece, self._buffer = self._buffer, ""
        self._early = False
        return piece

    def _is_complete(self, last: str) -> bool:
        if last in _WIDE_ENDS:
            return True
        text = self._buffer.rstrip()
        if not last.isspace() or not text:
            return False
        if last == "\n" or len(text) >= LONGEST:
            return True
        return _ends_sentence(text) or (self._early and _ends_clause(text))


def _ends_sentence(text: str) -> bool:
    bare = text.rstrip(_CLOSERS)
    if not bare or bare[-1] not in _ENDS:
        return False
    return bare[-1] != "." or bare.endswith("..") or not _is_abbreviated(bare[:-1])


def _ends_clause(text: str) -> bool:
    if len(text.lstrip()) < FIRST_CLAUSE or text[-1] not in _CLAUSE_ENDS:
        return False
    before = text[:-1].rstrip()
    return not before[-1:].isdigit() and not (before.endswith(".") and _is_abbreviated(before[:-1]))


def _is_abbreviated(text: str) -> bool:
    """Whether a full stop after `text` belongs to its last word: an abbreviation, an initial, or a list's number."""
    match = _LAST_TOKEN.search(text)
    if match is None:
        return False
    word = match.group()
    if word.isdigit():
        return not text[: match.start()].strip()
    if word == "I":
        return False
    return word.lower() in _ABBREVIATIONS or _DOTTED.fullmatch(word) is not None
