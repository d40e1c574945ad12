"""Cuts a language model's text into pieces worth speaking, as it comes in.

Pieces joined give the text back exactly. Where the text is cut does not depend on how it was cut into deltas. Every
cut is after white space (or, in scripts without spaces, after a full-width mark), so a number, address or time is never
cut; unless there is none for UNBROKEN characters.
"""

from __future__ import annotations

import re

FIRST_CLAUSE = 20
"""The first piece may end at a clause once it has this many characters: less sounds chopped, more sounds late."""

FIRST_CLAUSE_WIDE = 8
"""The same in scripts without spaces, where a character is a syllable or more."""

FIRST_PHRASE = 50
"""The first piece may end before a conjunction once it has this many characters (3 s of speech), ..."""

FIRST_LONGEST = 110
"""... and where it must once it has this many."""

LONGEST = 300
"""A piece of this many characters ends at the next white space, whatever it holds."""

UNBROKEN = 600
"""A piece of this many characters ends, whatever it holds: a model in trouble writes white space, or one sign, without
end, and how long it takes to read a piece may grow with the square of its length."""

_ENDS = ".!?…"
_CLOSERS = "\"'”’»)]*_"
_QUOTES = "\"'”’»“"
_WIDE_ENDS = "。！？"
_WIDE_CLOSERS = "」』】”’…\uff09"
_CLAUSE_ENDS = ",;:—–"
_WIDE_CLAUSE_ENDS = "、\uff0c\uff1b\uff1a"

_ABBREVIATIONS = frozenset(
    """dr mr mrs ms mx prof rev sgt capt lt st mt ft jr sr vs etc approx est dept univ nos vol fig pp ca cf al inc ltd
    co corp ave blvd rd apt tel jan feb apr aug sept oct nov dec mon tue thu bzw usw nr str evtl ggf inkl vgl zzgl exkl
    bspw hr fr dipl tsd mio mrd kap ggü sog allg std geb okt dez bldg ext min gov sen""".split()
)
"""Words that a full stop does not end. Those that also end sentences as they are (`no.`, `sun.`) are left out."""
_BEFORE_ORDINALS = frozenset(
    """am der dem den die das des vom zum zur im beim ab bis seit und oder ein eine einen einem einer eines jeden jedem
    jeder jedes dieser diesen diesem ihr ihre ihren ihrem mein meine meinen sein seine seinen unser unsere unseren
    montag dienstag mittwoch donnerstag freitag samstag sonnabend sonntag""".split()
)
"""German writes ordinals with a full stop: after one of these, `3.` ends nothing."""
_CONJUNCTIONS = frozenset(
    """and but or because so which who when while although unless until
    und aber oder denn weil dass wenn obwohl damit sodass sondern während""".split()
)
_DOTTED = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]", re.UNICODE)
"""A single letter, or letters with dots between: `J.`, `e.g.`, `U.S.`, `p.m.`"""
_DAY_AND_MONTH = re.compile(r"(?:0?[1-9]|[12]\d|3[01])\.(?:0?[1-9]|1[0-2])")
_LAST_TOKEN = re.compile(r"[\w.]+\Z", re.UNICODE)
_LAST_WORD = re.compile(r"[^\W\d_]+\Z")


class Sentences:
    """One text on its way. `early`: its first piece may be a clause, for quick first audio."""

    def __init__(self, *, early: bool = True) -> None:
        self._buffer = ""
        self._early = early
        self._doubt: int | None = None
        """Where a piece ends (characters), unless what follows shows that the sentence goes on."""

    def push(self, delta: str) -> list[str]:
        """Take the next text and return the pieces it completed."""
        pieces = []
        for character in delta:
            if self._doubt is not None and self._settles(character):
                pieces.append(self._take(self._doubt))
            self._buffer += character
            if len(self._buffer) >= UNBROKEN:
                pieces.append(self._take(UNBROKEN))
            elif self._doubt is None and (end := self._end(character)):
                pieces.append(self._take(end))
        return pieces

    def flush(self) -> list[str]:
        """The text is over (for now): return what is left of it, nothing if there is none."""
        return [self._take(len(self._buffer))] if self._buffer else []

    def _take(self, end: int) -> str:
        piece, self._buffer = self._buffer[:end], self._buffer[end:]
        self._early, self._doubt = False, None
        return piece

    def _settles(self, character: str) -> bool:
        """Whether the piece in doubt ends before `character`. If it does not, it may still end behind it."""
        end, self._doubt = self._doubt, None
        assert end is not None
        if self._buffer[end - 1].isspace():
            goes_on, undecided = character.islower(), character.isspace() and character != "\n"
        else:
            goes_on, undecided = False, character in _WIDE_ENDS + _WIDE_CLOSERS
        if undecided:
            self._doubt = end + 1
        elif not goes_on:
            self._doubt = end
            return True
        return False

    def _end(self, last: str) -> int:
        """Where the text that ends with `last` is to be cut; 0 for nowhere, or not yet."""
        if last in _WIDE_ENDS:
            self._doubt = len(self._buffer)
            return 0
        if self._early and last in _WIDE_CLAUSE_ENDS:
            return len(self._buffer) if len(self._buffer) > FIRST_CLAUSE_WIDE and not self._buffer[-2].isdigit() else 0
        text = self._buffer.rstrip() if last.isspace() else ""
        if not text:
            return 0
        if last == "\n" or len(text) >= LONGEST:
            return len(self._buffer)
        if _ends_sentence(text):
            if not _may_go_on(text):
                return len(self._buffer)
            self._doubt = len(self._buffer)
            return 0
        return self._first_end(text) if self._early else 0

    def _first_end(self, text: str) -> int:
        """Where the first piece ends in the middle of a sentence."""
        if _ends_clause(text) or len(text) >= FIRST_LONGEST:
            return len(self._buffer)
        word = _LAST_WORD.search(text)
        begins = word is not None and len(text[: word.start()].strip()) >= FIRST_PHRASE
        if (
            word is None
            or not begins
            or word.group().lower() not in _CONJUNCTIONS
            or not text[word.start() - 1].isspace()
        ):
            return 0
        return word.start()


def _ends_sentence(text: str) -> bool:
    bare = text.rstrip(_CLOSERS)
    if not bare or bare[-1] not in _ENDS:
        return False
    return bare[-1] != "." or bare.endswith("..") or not _is_abbreviated(bare[:-1])


def _may_go_on(text: str) -> bool:
    """Whether a word in lower case would show that the sentence is not over: `"Stop!" he said`, `der 3. von links`."""
    return text[-1] in _QUOTES or (text[-1] == "." and text[-2:-1].isdigit())


def _ends_clause(text: str) -> bool:
    if len(text.lstrip()) < FIRST_CLAUSE or text[-1] not in _CLAUSE_ENDS:
        return False
    before = text[:-1].rstrip()
    return not before[-1:].isdigit() and not (before.endswith(".") and _is_abbreviated(before[:-1]))


def _is_abbreviated(text: str) -> bool:
    """Whether a full stop after `text` belongs to its last word: an abbreviation, an initial, an ordinal, or a list's
    number."""
    match = _LAST_TOKEN.search(text)
    if match is None:
        return False
    word, before = match.group(), text[: match.start()].rstrip()
    if word.isdigit():
        return not before or _is_ordinal(text[: match.start()])
    if word in ("I", "No"):
        return word == "No" and before[-1:].isalnum()  # "Room No. 5", but "No. Never."
    return word.lower() in _ABBREVIATIONS or any(form.fullmatch(word) for form in (_DOTTED, _DAY_AND_MONTH))


def _is_ordinal(before: str) -> bool:
    """Whether a number with a full stop after `before` is one: `am 3.`, `1./2.`"""
    if before[-1:] in ("/", "-", "–"):
        return before[-2:-1] == "."
    word = _LAST_WORD.search(before.rstrip(" ,\n"))
    return word is not None and word.group().lower() in _BEFORE_ORDINALS
