"""The conversation as the language model is to see it: bounded, and only what was really heard."""

from __future__ import annotations

import re
from collections.abc import Sequence

from workers.backend import Answer, Item, Snapshot, Spoken
from workers.providers.base import ChatMessage

KEPT_ITEMS = 100
KEPT_CHARACTERS = 40_000
"""What a snapshot keeps: it must stay under 256 KiB."""

SENT_ITEMS = 40
"""Items the language model is sent."""

CHARACTER_MS = 65
"""Speech takes about this long a character (15 a second): where a sentence ends while its audio is still being made."""

_SETTLED = "settled_turn"
_CUT = "cut_turn"


def messages(prompt: str, snapshot: Snapshot) -> list[ChatMessage]:
    """What to ask the language model: the system prompt, the last items, and what it had begun to answer."""
    result = [ChatMessage("system", prompt)]
    result += [ChatMessage(item.role, item.text) for item in snapshot.items[-SENT_ITEMS:]]
    if snapshot.answer is not None and snapshot.answer.text:
        result.append(ChatMessage("assistant", snapshot.answer.text))
    return result


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


def said(answer: Answer) -> str:
    """The text of an answer that has been handed to the voice."""
    return "".join(sentence.text for sentence in answer.spoken)


def resume_at(answer: Answer, received_ms: int) -> tuple[int, int]:
    """Where to go on with `answer` when the edge's audio of it ends at `received_ms`.

    Returns which of `answer.spoken` is to be spoken again, from within (their count: none of them), and where in the
    turn that one, or the first new sentence, begins (ms).
    """
    for number, sentence in enumerate(answer.spoken):
        unfinished = sentence.end_ms <= sentence.start_ms and sentence is answer.spoken[-1]
        if unfinished or sentence.end_ms > received_ms:
            return number, sentence.start_ms
    return len(answer.spoken), max(received_ms, answer.spoken[-1].end_ms if answer.spoken else 0)
