"""What one backend makes of an answer that another began. Pure."""

from __future__ import annotations

from dataclasses import replace

from workers import context
from workers.backend import Item, Playhead, Snapshot, Spoken


def adapt(snapshot: Snapshot, playhead: Playhead, greeting: str | None) -> None:
    """Make what another backend left into what any backend can go on with.

    How long this one's voice takes for a word is not known to that one: of a sentence that is not wholly at the edge,
    the words that are there stay spoken, and the others are to be said.
    """
    snapshot.items = [  # a tool that nobody waits for any more
        replace(item, text=context.UNKNOWN) if item.role == "tool" and item.text == context.RUNNING else item
        for item in snapshot.items
    ]
    if snapshot.answer is None or playhead.turn > snapshot.answer.turn or context.was_cut(snapshot, snapshot.answer):
        return
    answer, received_ms = snapshot.answer, playhead.received_ms if playhead.turn == snapshot.answer.turn else 0
    for called in answer.called:  # how a tool's result stands inside an answer is each backend's own
        context.remember(snapshot, Item("tool", called.output or context.UNKNOWN, answer.turn, called.call))
    answer.called.clear()
    answer.spoken = _at_edge(answer.spoken, received_ms)
    said = "".join(spoken.text for spoken in answer.spoken)
    if greeting and not snapshot.items and greeting.startswith(said.rstrip()):
        answer.text, answer.complete = greeting, True
    elif not answer.text.strip() and not context.owes_answer(snapshot):
        snapshot.answer = None  # an echo's, or one to speech that will be heard again


def _at_edge(spoken: list[Spoken], received_ms: int) -> list[Spoken]:
    """What is wholly spoken in the first `received_ms` of the turn, to a word."""
    there: list[Spoken] = []
    for sentence in spoken:
        if sentence.start_ms < sentence.end_ms <= received_ms:
            there.append(sentence)
            continue
        words = context.heard([sentence], received_ms)
        if words:
            begun = sentence.text[: sentence.text.index(words) + len(words)]
            rest = sentence.text[len(begun) :]
            begun += rest[: len(rest) - len(rest.lstrip())]
            ends = tuple(end for end in sentence.words if end[0] <= len(begun))
            there.append(Spoken(begun, sentence.start_ms, received_ms, ends))
        break
    return there
