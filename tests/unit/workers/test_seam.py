from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers import context
from workers.backend import Answer, Called, Item, Playhead, Snapshot, Spoken, ToolCall
from workers.seam import adapt

FIRST, SECOND = "One two three. ", "Four five six. "
ASKED = Item("user", "what now", 1)


def left(text: str = FIRST + SECOND + "Seven.", *, complete: bool = False) -> Snapshot:
    """An answer of which two sentences, of 600 ms each, have their audio."""
    return Snapshot([ASKED], Answer(2, text, complete, [Spoken(FIRST, 0, 600), Spoken(SECOND, 600, 1200)]), 3)


@pytest.mark.parametrize(
    ("received_ms", "there"),
    [
        (0, []),
        (550, [Spoken("One two ", 0, 550)]),
        (600, [Spoken(FIRST, 0, 600)]),
        (1000, [Spoken(FIRST, 0, 600), Spoken("Four five ", 600, 1000)]),
        (1200, [Spoken(FIRST, 0, 600), Spoken(SECOND, 600, 1200)]),
        (1300, [Spoken(FIRST, 0, 600), Spoken(SECOND, 600, 1200)]),
    ],
)
def test_what_the_edge_has_of_a_sentence_is_spoken_to_a_word(received_ms: int, there: list[Spoken]) -> None:
    snapshot = left()
    adapt(snapshot, Playhead(2, received_ms, 0, done=False), None)
    assert snapshot.answer is not None
    assert snapshot.answer.spoken == there
    assert snapshot.answer.text == FIRST + SECOND + "Seven."


def test_an_answer_that_is_over_for_the_edge_is_left_as_it_is() -> None:
    for snapshot, playhead in ((left(), Playhead(3)), (left(), Playhead(2, 700, 650))):
        snapshot.flow["cut_turn"] = 2
        before = left().answer
        adapt(snapshot, playhead, None)
        assert snapshot.answer == before


def test_an_echo_is_no_answer() -> None:
    snapshot = Snapshot(answer=Answer(1), next_turn=2)
    adapt(snapshot, Playhead(1, 5000, 4900, done=False), None)
    assert snapshot == Snapshot(next_turn=2)


def test_a_question_that_nobody_began_to_answer_is_still_asked() -> None:
    snapshot = Snapshot([ASKED], Answer(2), 3)
    adapt(snapshot, Playhead(), "Hello.")
    assert snapshot == Snapshot([ASKED], Answer(2), 3)


@pytest.mark.parametrize("received_ms", [0, 100])
def test_who_was_not_greeted_is_greeted(received_ms: int) -> None:
    snapshot = Snapshot(answer=Answer(1), next_turn=2)
    adapt(snapshot, Playhead(1 if received_ms else 0, received_ms, 0, done=False), "Hello.")
    assert snapshot == Snapshot(answer=Answer(1, "Hello.", complete=True), next_turn=2)


def test_a_greeting_is_said_to_its_end() -> None:
    answer = Answer(1, "One two ", spoken=[Spoken("One two ", 0, 400)])
    snapshot = Snapshot(answer=answer, next_turn=2)
    adapt(snapshot, Playhead(1, 400, 100, done=False), FIRST.strip())
    assert snapshot.answer == Answer(1, FIRST.strip(), complete=True, spoken=[Spoken("One two ", 0, 400)])


def test_what_tools_answered_is_in_the_conversation() -> None:
    snapshot = left()
    assert snapshot.answer is not None
    done, lost = ToolCall("1", "hours", "{}"), ToolCall("2", "book", "{}")
    snapshot.answer.called = [Called(done, 0, 1, "9 to 17"), Called(lost, 0, 1)]
    adapt(snapshot, Playhead(2, 600, 0, done=False), None)
    assert snapshot.items == [ASKED, Item("tool", "9 to 17", 2, done), Item("tool", context.UNKNOWN, 2, lost)]
    assert snapshot.answer.called == []
    assert [sentence.text for sentence in snapshot.answer.spoken] == [FIRST]


def test_the_ends_of_words_stay_where_a_voice_said_that_they_are() -> None:
    snapshot = left()
    assert snapshot.answer is not None
    snapshot.answer.spoken = [Spoken(FIRST, 0, 600, ((3, 100), (7, 300), (14, 580)))]
    adapt(snapshot, Playhead(2, 400, 0, done=False), None)
    assert snapshot.answer.spoken == [Spoken("One two ", 0, 400, ((3, 100), (7, 300)))]


@given(st.lists(st.tuples(st.text(" ab.\n", max_size=12), st.integers(0, 900)), max_size=4), st.integers(0, 4000))
def test_what_is_spoken_stays_the_beginning_of_the_text(sentences: list[tuple[str, int]], received_ms: int) -> None:
    spoken, at_ms = [], 0
    for text, lasts_ms in sentences:
        spoken.append(Spoken(text, at_ms, at_ms + lasts_ms))
        at_ms += lasts_ms
    text = "".join(sentence.text for sentence in spoken) + "c"
    snapshot = Snapshot([ASKED], Answer(2, text, spoken=spoken), 3)
    adapt(snapshot, Playhead(2, received_ms, 0, done=False), None)
    assert snapshot.answer is not None
    assert text.startswith("".join(sentence.text for sentence in snapshot.answer.spoken))
    assert all(sentence.end_ms <= received_ms for sentence in snapshot.answer.spoken)
