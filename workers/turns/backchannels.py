"""Who speaks over an answer: do they want the floor, or are they only listening along ("mhm", "yeah", "okay")?

The answer is paused meanwhile, at its first sound: to be sure costs a listener nothing but a longer pause.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import Protocol

BACKCHANNELS = frozenset(
    """ah aha alright cool exactly fine gotcha good great hm hmm huh mhm mm mmh mmhm nice oh okay ok really right sure
    true uh-huh uhhuh mm-hmm mhm-mhm wow yeah yep yes yup
    achso ach ähm alles klar echt genau gut ja jaja jo klar mh mhmm naja na okay richtig schön so sicher stimmt
    super toll verstehe""".split()
)
"""Words that, alone or with one another, leave the floor to who has it. English and German."""

PHRASES = ("i see", "got it", "all right", "uh huh", "mm hmm", "of course", "makes sense", "sounds good", "ach so")
"""Several words that do so together, and not each."""

AT_ONCE = frozenset("stop wait no nope hold pause halt warte warten moment nein stopp quiet ruhe".split())
"""One of these takes the floor however few words were asked for."""

LONGEST_MS = 1000
"""Speech longer than this is no backchannel, whatever its words are: they are more of one kind than a listener says."""

REACTION_MS = 1000
"""What is said so soon after a question may be the answer to it."""

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*|\d+")


class Verdict(Enum):
    BARGE_IN = "barge_in"
    BACKCHANNEL = "backchannel"
    """Not so far: what follows may still be more."""
    UNSURE = "unsure"
    """There are no words yet, or too few: wait for more, or for the speaker to fall silent. Who has fallen silent, and
    was not understood yet: wait for the text."""


class Interrupting(Protocol):
    """What a tenant may choose: `trunkline.tenants.TurnSettings`, which imports too much for this module."""

    @property
    def barge_in_ms(self) -> int: ...
    @property
    def min_words(self) -> int: ...
    @property
    def ignore_backchannels(self) -> bool: ...


def is_backchannel(words: str) -> bool:
    """Whether `words` are nothing but what listeners say. No words are none."""
    text = " ".join(_words(words))
    for known in PHRASES:
        text = re.sub(rf"\b{known}\b", "okay", text)
    return bool(text) and all(word in BACKCHANNELS for word in text.split())


def verdict(settings: Interrupting, speech_ms: int, words: str, *, asked: bool, over: bool = False) -> Verdict:
    """Whether `speech_ms` of speech over an answer, understood as `words` so far, end it.

    `asked`: what was heard of the answer last was a question, and "yeah" is the answer to it. `over`: they fell silent
    for good. A cough has no words, so without any it is UNSURE; unless the tenant asks for nothing but length.
    """
    if speech_ms < settings.barge_in_ms:
        return Verdict.BACKCHANNEL if over else Verdict.UNSURE
    if not settings.ignore_backchannels and settings.min_words <= 1:
        return Verdict.BARGE_IN
    said = _words(words)
    if not said:
        return Verdict.UNSURE
    if asked or speech_ms > LONGEST_MS or not AT_ONCE.isdisjoint(said):
        return Verdict.BARGE_IN
    if settings.ignore_backchannels and is_backchannel(words):
        return Verdict.BACKCHANNEL
    if len(said) < settings.min_words:
        return Verdict.BACKCHANNEL if over else Verdict.UNSURE
    return Verdict.BARGE_IN


class Spoken(Protocol):
    """A sentence of an answer, as `workers.backend.Spoken`; while it is being made its end is its start."""

    @property
    def text(self) -> str: ...
    @property
    def start_ms(self) -> int: ...
    @property
    def end_ms(self) -> int: ...


def asks(spoken: Sequence[Spoken], played_ms: int) -> bool:
    """Whether an answer of which `played_ms` were heard is just asking something: the sentence that is being heard is a
    question (people answer before its last word), or the one before was, a moment ago."""
    begun = [sentence for sentence in spoken if sentence.start_ms < played_ms]
    if not begun:
        return False
    if _is_question(begun[-1].text):
        return True
    return len(begun) > 1 and _is_question(begun[-2].text) and played_ms - begun[-1].start_ms < REACTION_MS


def _is_question(text: str) -> bool:
    return text.rstrip().rstrip("\"')\u201d\u201c\u00bb").endswith("?")


def _words(text: str) -> list[str]:
    return [word.replace("\u2019", "'") for word in _WORD.findall(text.lower())]
