"""What a second voice says of a sentence that the first began."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.context import CHARACTER_MS
from workers.failover.remaining import Pace, remaining
from workers.providers.base import Word

TEXT = "Your appointment is at ten, Mr. Okafor."
WORDS = [Word("Your", 0, 200), Word("appointment", 200, 900), Word("is", 900, 1000), Word("at", 1000, 1200)]


@pytest.mark.parametrize(
    ("came_ms", "rest"),
    [
        (0, TEXT),
        (199, TEXT),
        (200, "appointment is at ten, Mr. Okafor."),
        (899, "appointment is at ten, Mr. Okafor."),
        (900, "is at ten, Mr. Okafor."),
        (1199, "at ten, Mr. Okafor."),
        (1200, "ten, Mr. Okafor."),
    ],
)
def test_it_goes_on_with_the_first_word_that_was_not_whole(came_ms: int, rest: str) -> None:
    assert remaining(TEXT, WORDS, came_ms, Pace()) == rest


def test_beyond_the_words_that_are_known_it_goes_by_pace() -> None:
    assert remaining(TEXT, WORDS, 1200 + 5 * CHARACTER_MS, Pace()) == "Mr. Okafor."


def test_without_words_it_goes_by_the_voice_s_own_pace() -> None:
    usual, slow = Pace(), Pace()
    slow.learn("a" * 4000, 4000 * 3 * CHARACTER_MS)
    came_ms = len("Your appointment ") * CHARACTER_MS
    assert remaining(TEXT, [], came_ms, usual) == "is at ten, Mr. Okafor."
    assert remaining(TEXT, [], came_ms, slow) == "appointment is at ten, Mr. Okafor."


def test_of_a_sentence_that_was_all_heard_nothing_is_left() -> None:
    assert remaining("Yes.", [Word("Yes", 0, 300)], 320, Pace()) == ""


def test_words_that_the_voice_calls_otherwise_are_passed_over() -> None:
    words = [Word("It", 0, 100), Word("costs", 100, 300), Word("five", 300, 500), Word("dollars", 500, 900)]
    assert remaining("It costs $5 today.", words, 300, Pace()) == "$5 today."


@given(
    st.lists(st.text("abc.,' ", min_size=1, max_size=9)).map(" ".join),
    st.integers(0, 20_000),
    st.lists(st.tuples(st.sampled_from(["a", "b", "abc", "x"]), st.integers(0, 900))),
)
def test_what_is_left_is_an_end_of_the_sentence(text: str, came_ms: int, known: list[tuple[str, int]]) -> None:
    words, at_ms = [], 0
    for word, ms in known:
        words.append(Word(word, at_ms, at_ms + ms))
        at_ms += ms
    rest = remaining(text, words, came_ms, Pace())
    assert text.endswith(rest)
    assert not rest or any(character.isalnum() for character in rest)
