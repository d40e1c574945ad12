"""The conversation as a snapshot keeps it: bounded, and only what was really heard. For every backend."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from workers.backend import Answer, Item, Snapshot, Spoken

KEPT_ITEMS = 100
KEPT_CHARACTERS = 40_000
"""What a snapshot keeps: it must stay under 256 KiB."""

CHARACTER_MS = 65
"""Speech takes about this long a character (15 a second): where a sentence ends while its audio is still being made."""

UNKNOWN = json.dumps({"error": "a technical fault interrupted it: whether it was done is not known"})
"""What a model is told of a tool whose worker died."""

_DONE = "done_seq"
RUNNING = json.dumps(
    {"status": "running", "next": "Its result follows when it is done. Do not call it again for that."}
)
"""What is said of a tool that runs on, while the caller is answered otherwise."""

_SETTLED = "settled_turn"
_CUT = "cut_turn"
_SPOKE = "spoke_until"


def remember(snapshot: Snapshot, item: Item) -> None:
    """Add a finished contribution where its turn belongs, and let go of the oldest beyond what is kept."""
    items = sorted([*snapshot.items, item], key=lambda kept: kept.turn)[-KEPT_ITEMS:]
    characters = sum(map(length, items))
    while characters > KEPT_CHARACTERS and len(items) > 1:
        characters -= length(items.pop(0))
    snapshot.items = items


def length(item: Item) -> int:
    """Characters of it, what a model wrote to a tool included."""
    return len(item.text) + (len(item.tool.arguments) if item.tool is not None else 0)


def new_turn(snapshot: Snapshot) -> int:
    """The number of a turn that was never used before."""
    turn = snapshot.next_turn
    snapshot.next_turn += 1
    return turn


def is_new(snapshot: Snapshot) -> bool:
    """Whether nothing has happened in this conversation yet."""
    return not snapshot.items and snapshot.answer is None and snapshot.next_turn == 1


def owes_answer(snapshot: Snapshot) -> bool:
    """Whether the user said something, or a tool answered, and nobody said anything to it; unless the user asked for
    silence, or all was said before."""
    if not snapshot.items or snapshot.items[-1].role == "assistant":
        return False
    return snapshot.items[-1].turn > int(snapshot.flow.get(_SETTLED, 0))


def owe_nothing(snapshot: Snapshot) -> None:
    """There is no answer to be given to anything until now."""
    if snapshot.items:
        settle(snapshot, snapshot.items[-1].turn)


def settle(snapshot: Snapshot, turn: int) -> None:
    """There is no answer to be given to anything until `turn`."""
    snapshot.flow[_SETTLED] = max(turn, int(snapshot.flow.get(_SETTLED, 0)))


def is_settled(snapshot: Snapshot, turn: int) -> bool:
    """Whether nobody waits for an answer to what belongs to `turn`."""
    return turn <= int(snapshot.flow.get(_SETTLED, 0))


def spoke_until(snapshot: Snapshot, media_ms: int | None) -> None:
    """What the user has just said ended at this media time; None if it was not spoken."""
    snapshot.flow[_SPOKE] = [snapshot.items[-1].turn, media_ms]


def waiting_since(snapshot: Snapshot) -> int | None:
    """The media time since which the user waits for an answer; None if they do not, or did not speak."""
    last = next((item for item in reversed(snapshot.items) if item.role != "tool"), None)
    turn, media_ms = snapshot.flow.get(_SPOKE, (None, None))
    return media_ms if last is not None and last.role == "user" and last.turn == turn else None


def done(snapshot: Snapshot, seq: int) -> None:
    """What the caller did by the uplink message `seq`, other than to speak, has become part of the conversation."""
    snapshot.flow[_DONE] = seq + 1


def is_done(snapshot: Snapshot, seq: int) -> bool:
    """Whether that has happened already: it is sent again for the sake of the audio around it."""
    return seq < int(snapshot.flow.get(_DONE, 0))


def mark_cut(snapshot: Snapshot, answer: Answer) -> None:
    """The edge was told to silence `answer`: nobody may go on with it."""
    snapshot.flow[_CUT] = answer.turn


def was_cut(snapshot: Snapshot, answer: Answer) -> bool:
    return answer.turn <= int(snapshot.flow.get(_CUT, 0))


def heard(spoken: Sequence[Spoken], played_ms: int) -> str:
    """The text of the first `played_ms` of a turn, to the last whole word: where the voice said when its words end, by
    that, and in between by proportion."""
    text = ""
    for sentence in spoken:
        points = _points(sentence, making=sentence is spoken[-1])
        at_ms = played_ms - sentence.start_ms
        if at_ms >= points[-1][1]:
            text += sentence.text
            continue
        if at_ms > 0:
            text += _first_words(sentence.text, _reached(points, at_ms, told=bool(sentence.words)))
        break
    return text.strip()


def _points(sentence: Spoken, *, making: bool) -> list[tuple[int, int]]:
    """Where in its text (characters) the sentence is, when (ms from its start), to its end. `making`: its audio may
    not be all there yet; then what is to come takes CHARACTER_MS a character."""
    length = len(sentence.text.rstrip())
    if making and sentence.end_ms <= sentence.start_ms:
        reached, at_ms = sentence.words[-1] if sentence.words else (0, 0)
        end_ms = at_ms + max(0, length - reached) * CHARACTER_MS
    else:
        end_ms = sentence.end_ms - sentence.start_ms
    return [(0, 0), *(point for point in sentence.words if point[0] < length and point[1] < end_ms), (length, end_ms)]


def _reached(points: Sequence[tuple[int, int]], at_ms: int, *, told: bool) -> int:
    """How many characters `at_ms` is at, which is before the last of `points`. `told`: they are ends of words."""
    after = next(number for number, (_, ms) in enumerate(points) if ms > at_ms)
    (begun, begun_ms), (end, end_ms) = points[after - 1], points[after]
    reached = begun + round((end - begun) * (at_ms - begun_ms) / (end_ms - begun_ms))
    return min(reached, end - 1) if told else reached


_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+")
"""Japanese and Chinese are written without spaces: there, a character is a word."""


def _first_words(text: str, length: int) -> str:
    """The words of `text` that end within its first `length` characters."""
    ends = [match.end() for match in _WORD.finditer(text) if match.end() <= length]
    return text[: ends[-1]] if ends else ""
