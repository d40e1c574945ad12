"""The conversation as a snapshot keeps it: bounded, and only what was really heard. For every backend."""

from __future__ import annotations

import re
from collections.abc import Sequence

from workers.backend import Answer, Item, Snapshot, Spoken

KEPT_ITEMS = 100
KEPT_CHARACTERS = 40_000
"""What a snapshot keeps: it must stay under 256 KiB."""

CHARACTER_MS = 65
"""Speech takes about this long a character (15 a second): where a sentence ends while its audio is still being made."""

_SETTLED = "settled_turn"
_CUT = "cut_turn"


def remember(snapshot: Snapshot, item: Item) -> None:
    """Add a finished contribution, and let go of the oldest beyond what is kept."""
    items = [*snapshot.items, item][-KEPT_ITEMS:]
    characters = sum(len(kept.text) for kept in items)
    while characters > KEPT_CHARACTERS and len(items) > 1:
        characters -= len(items.pop(0).text)
    snapshot.items = items


def new_turn(snapshot: Snapshot) -> int:
    """The number of a turn that was never used before."""
    turn = snapshot.next_turn
    snapshot.next_turn += 1
    return turn


def is_new(snapshot: Snapshot) -> bool:
    """Whether nothing has happened in this conversation yet."""
    return not snapshot.items and snapshot.answer is None and snapshot.next_turn == 1


def owes_answer(snapshot: Snapshot) -> bool:
    """Whether the user said something that nobody answered, and did not ask for silence either."""
    if not snapshot.items or snapshot.items[-1].role != "user":
        return False
    return snapshot.items[-1].turn > int(snapshot.flow.get(_SETTLED, 0))


def owe_nothing(snapshot: Snapshot) -> None:
    """The user wants no answer to anything said until now."""
    if snapshot.items:
        snapshot.flow[_SETTLED] = snapshot.items[-1].turn


def mark_cut(snapshot: Snapshot, answer: Answer) -> None:
    """The edge was told to silence `answer`: nobody may go on with it."""
    snapshot.flow[_CUT] = answer.turn


def was_cut(snapshot: Snapshot, answer: Answer) -> bool:
    return answer.turn <= int(snapshot.flow.get(_CUT, 0))


def heard(spoken: Sequence[Spoken], played_ms: int) -> str:
    """The text of the first `played_ms` of a turn, to the last whole word, by proportion within a sentence."""
    text = ""
    for sentence in spoken:
        end_ms = sentence.end_ms
        if end_ms <= sentence.start_ms and sentence is spoken[-1]:  # its audio is not all there yet
            end_ms = sentence.start_ms + len(sentence.text.strip()) * CHARACTER_MS
        if played_ms >= end_ms:
            text += sentence.text
            continue
        if played_ms > sentence.start_ms:
            text += _first_words(sentence.text, (played_ms - sentence.start_ms) / (end_ms - sentence.start_ms))
        break
    return text.strip()


def _first_words(text: str, part: float) -> str:
    """The words of `text` that end within its first `part` (0 to 1)."""
    length = round(len(text.rstrip()) * part)
    ends = [match.end() for match in re.finditer(r"\S+", text) if match.end() <= length]
    return text[: ends[-1]] if ends else ""
