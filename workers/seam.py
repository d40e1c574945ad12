"""What one backend makes of an answer that another began. Pure."""

from __future__ import annotations

from workers import context
from workers.backend import Playhead, Snapshot, Spoken


def adapt(snapshot: Snapshot, playhead: Playhead, greeting: str | None) -> None:
    """Make what another backend left into what any backend can go on with.

    How long this one's voice takes for a word is not known to that one: of a sentence that is not wholly at the edge,
    the words that are there stay spoken, and the others are to be said.
    """
    answer = snapshot.answer
    if answer is not None and not answer.text.strip() and not context.owes_answer(snapshot):
        snapshot.answer = answer = None  # an echo's, or one to speech that will be heard again
    if answer is None:
        if not snapshot.items and not playhead.turn:
            snapshot.next_turn = 1  # nothing was said by anybody: it is to be greeted
        return
    if playhead.turn > answer.turn or context.was_cut(snapshot, answer):
        return
    answer.spoken = _at_edge(answer.spoken, playhead.received_ms if playhead.turn == answer.turn else 0)
    said = "".join(spoken.text for spoken in answer.spoken)
    if greeting and not snapshot.items and greeting.startswith(said.rstrip()):
        answer.text, answer.complete = greeting, True


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
            there.append(Spoken(begun, sentence.start_ms, received_ms))
        break
    return there
