"""What the language model is shown, and what counts as heard."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers import context
from workers.backend import Answer, Item, Snapshot, Spoken
from workers.cascade import prompting

SPOKEN = [Spoken("One two three. ", 0, 1000), Spoken("Four five six.", 1000, 2000)]


def test_heard_is_cut_to_the_word() -> None:
    assert context.heard(SPOKEN, 0) == ""
    assert context.heard(SPOKEN, 500) == "One two"
    assert context.heard(SPOKEN, 1000) == "One two three."
    assert context.heard(SPOKEN, 1300) == "One two three. Four"
    assert context.heard(SPOKEN, 2000) == "One two three. Four five six."
    assert context.heard([], 500) == ""


def test_heard_of_a_sentence_still_being_made_goes_by_its_length() -> None:
    making = [SPOKEN[0], Spoken("Four five six.", 1000, 1000)]
    assert context.heard(making, 1000) == "One two three."
    assert context.heard(making, 1000 + 5 * context.CHARACTER_MS) == "One two three. Four"
    assert context.heard(making, 5000) == "One two three. Four five six."


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_more_played_is_never_less_heard(one_ms: int, other_ms: int) -> None:
    less, more = sorted((one_ms, other_ms))
    assert context.heard(SPOKEN, more).startswith(context.heard(SPOKEN, less))


def test_going_on_begins_with_the_sentence_where_the_audio_ends() -> None:
    answer = Answer(2, "", spoken=SPOKEN)
    assert prompting.resume_at(answer, 0) == (0, 0)
    assert prompting.resume_at(answer, 999) == (0, 0)
    assert prompting.resume_at(answer, 1000) == (1, 1000)
    assert prompting.resume_at(answer, 1400) == (1, 1000)
    assert prompting.resume_at(answer, 2000) == (2, 2000), "all of it arrived"
    assert prompting.resume_at(Answer(2), 0) == (0, 0)


def test_the_last_sentence_may_not_be_all_there() -> None:
    making = [SPOKEN[0], Spoken("Four five six.", 1000, 1000)]
    assert prompting.resume_at(Answer(2, "", spoken=making), 1900) == (1, 1000)


def test_messages_end_with_what_it_had_begun_to_answer() -> None:
    snapshot = Snapshot([Item("user", "hi", 1)], Answer(2, "Hello th"))
    assert [(message.role, message.content) for message in prompting.messages("Be kind.", snapshot)] == [
        ("system", "Be kind."),
        ("user", "hi"),
        ("assistant", "Hello th"),
    ]


def test_only_the_last_items_are_sent_and_kept() -> None:
    snapshot = Snapshot()
    for number in range(context.KEPT_ITEMS + 20):
        context.remember(snapshot, Item("user", str(number), number))
    assert len(snapshot.items) == context.KEPT_ITEMS
    assert len(prompting.messages("", snapshot)) == 1 + prompting.SENT_ITEMS
    for number in range(20):
        context.remember(snapshot, Item("user", "x" * 4000, number))
    assert sum(len(item.text) for item in snapshot.items) <= context.KEPT_CHARACTERS


def test_what_is_owed() -> None:
    snapshot = Snapshot()
    assert context.is_new(snapshot)
    assert not context.owes_answer(snapshot)
    context.remember(snapshot, Item("user", "hi", context.new_turn(snapshot)))
    assert not context.is_new(snapshot)
    assert context.owes_answer(snapshot)
    context.owe_nothing(snapshot)
    assert not context.owes_answer(snapshot)
    context.remember(snapshot, Item("user", "hello?", context.new_turn(snapshot)))
    assert context.owes_answer(snapshot)
    context.remember(snapshot, Item("assistant", "yes", context.new_turn(snapshot)))
    assert not context.owes_answer(snapshot)
