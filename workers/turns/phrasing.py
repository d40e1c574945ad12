"""What the words say about whether their speaker is done: English and German, by the end of what was understood so far.

A hint, to be weighed with others (`workers.turns.patience`). A full stop is a weak one, for transcribers put one after
whatever they were given; an open end ("and", "to the", "um") is a strong one, whatever stands after it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum


class Phrase(Enum):
    NOTHING = "nothing"
    """There are no words (yet)."""
    PLAIN = "plain"
    """The end says neither."""
    SENTENCE = "sentence"
    QUESTION = "question"
    DICTATING = "dictating"
    """In a number, a code or a name that is being spelled."""
    OPEN = "open"
    """Something must follow: a conjunction, an article, a filler, a comma."""


NUMBER_DIGITS = 10
"""A dictated number with so many digits is taken for complete: national telephone numbers have about that many."""

_OPEN_ENGLISH = frozenset(
    """a an the my your his its our their and or but because if when unless until although than of to for from with into
    onto at between i we he they she i'm we're they're it's i'd i'll we'd very like dot dash slash underscore mister mrs
    um uh er erm hmm uhm""".split()
)
_OPEN_GERMAN = frozenset(
    """ein eine einen einem einer eines der die den dem des mein meine meinen meinem meiner dein deine ihre ihren ihrem
    seine unser unsere diese dieser diesen und oder aber weil wenn dass ob obwohl sondern als bis von zum zur mit für
    ohne gegen zwischen wegen ungefähr circa also am im ins vom beim punkt strich unterstrich herr doktor äh ähm
    hm""".split()
)
_EITHER = (_OPEN_ENGLISH | _OPEN_GERMAN) - {"an", "am", "die", "also"}
"""Those that end nothing in either language."""

_VERBS_ENGLISH = frozenset("is are was were am will would can could should".split())
_DONE_BEFORE_VERB = frozenset("i you he she it we they that there this who what where".split())
"""\"My name is" is open, "yes, it is" and "where they are" are not."""
_VERBS_GERMAN = frozenset("ist sind war habe hätte hätten möchte würde könnte kann muss soll will lautet".split())
_SUBORDINATE = frozenset("weil dass ob wenn wo was wie wer wann warum welche welcher damit".split())
"""After these the verb comes last: "mein Name ist" is open, "weil das so ist" is not."""
_CONJUNCTIONS_GERMAN = _SUBORDINATE | {"und", "aber", "oder", "denn"}
_SUBJECTS_GERMAN = frozenset("ich wir er sie es man".split())
"""Open after one of those: "weil ich"; but "wie heißen Sie" is done."""

_TELLS_ENGLISH = frozenset(
    """the a is are and i you to of it my would like what how please do can have at this that for with we number me
    not yes they there""".split()
)
_TELLS_GERMAN = frozenset(
    """der die das ich und ist nicht ein eine einen mit für auf sie wir was wie bitte möchte hätte gern gerne habe
    kann wo wann ja nein noch auch mich mir zu von den dem es heute morgen nummer lautet weil dass mein meine""".split()
)

_UNITS = frozenset(
    """zero oh one two three four five six seven eight nine double triple
    null eins zwei zwo drei vier fünf sechs sieben acht neun""".split()
)
_CUE = re.compile(r"number|phone|code|pin|zip|account|reference|iban|postcode|\w*nummer|telefon|plz|durchwahl|kennung")
_CUE_WORDS = 5
"""So shortly before a number its name tells that it is one to be dictated."""

_WORD = re.compile(r"[^\W_]+(?:['\u2019.,:/-][^\W_]+)*")
_DIGITS = re.compile(r"\d+(?:[./-]\d+)*")
_LETTER = re.compile(r"[^\W\d_]")


def phrase(text: str) -> Phrase:
    """What the end of `text` says."""
    words = [word.replace("\u2019", "'").lower() for word in _WORD.findall(text)]
    if not words:
        return Phrase.NOTHING
    if _dictating(words):
        return Phrase.DICTATING
    end = text.rstrip().rstrip("\"')\u201d\u201c\u00bb")
    if end.endswith("?"):
        return Phrase.QUESTION
    if end.endswith((",", "...", "\u2026", "-", "\u2013", ":")) or _open(words):
        return Phrase.OPEN
    return Phrase.SENTENCE if end.endswith((".", "!")) else Phrase.PLAIN


def _open(words: list[str]) -> bool:
    """Whether the last word cannot be the last, in the language that it seems to be: "Ich rufe Sie an" is done, "I
    would like an" is not."""
    english, german = tells(words)
    *before, last = words
    if english > german:
        open_verb = last in _VERBS_ENGLISH and not (before and before[-1] in _DONE_BEFORE_VERB)
        return last in _OPEN_ENGLISH or open_verb
    if german > english:
        open_verb = last in _VERBS_GERMAN and _SUBORDINATE.isdisjoint(before[-8:])
        open_subject = last in _SUBJECTS_GERMAN and bool(before) and before[-1] in _CONJUNCTIONS_GERMAN
        return last in _OPEN_GERMAN or open_verb or open_subject
    return last in _EITHER


def tells(words: Sequence[str]) -> tuple[int, int]:
    """How many of `words` (in lower case) say that they are English, and how many that they are German."""
    return sum(word in _TELLS_ENGLISH for word in words), sum(word in _TELLS_GERMAN for word in words)


def _dictating(words: list[str]) -> bool:
    """Whether it ends in a run of digits or letters, said one by one, that is not yet long enough."""
    run = digits = 0
    for word in reversed(words):
        if _DIGITS.fullmatch(word):
            digits += sum(character.isdigit() for character in word)
        elif word in _UNITS:
            digits += 1
        elif not _LETTER.fullmatch(word) or (run == 0 and word in ("a", "i")):
            break
        run += 1
    if digits == 0:
        return run >= 2
    # "Table for two", "at 7:30" and "in 2026" are amounts; "five five five" and "my number is 0 1" are not.
    told = any(_CUE.fullmatch(word) for word in words[: -run or None][-_CUE_WORDS:])
    return digits < NUMBER_DIGITS and (run >= 3 or digits >= 5 or told)
