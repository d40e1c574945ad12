"""Where text is cut for the voice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.cascade.sentences import LONGEST, Sentences


def cut(text: str, *, early: bool = False) -> list[str]:
    sentences = Sentences(early=early)
    return [*sentences.push(text), *sentences.flush()]


@pytest.mark.parametrize(
    "pieces",
    [
        ["Hello there. ", "How are you? ", "Fine!"],
        ['He said "stop." ', "Then he left."],
        ["Well… ", "perhaps."],
        ["Really?! ", "Yes."],
        ["First line\n", "second line"],
        ["It is 42. ", "Next one."],
        ["こんにちは。", "元気ですか？", "はい"],
        ["I said no. ", "Then I went."],
        ["So do I. ", "Good."],
        ["He owes me (so he says.) ", "Yes."],
    ],
)
def test_sentences_are_cut(pieces: list[str]) -> None:
    assert cut("".join(pieces)) == pieces


@pytest.mark.parametrize(
    "text",
    [
        "Pi is 3.14 and a bit",
        "That makes 1,000 euros or 2.500,50 of them",
        "Ask Dr. Smith and Mrs. Jones about it",
        "Fruit, e.g. apples, i.e. food",
        "The U.S. market and J. R. Tolkien",
        "Meet me at 10:30 or at 5 p.m. sharp",
        "Go to https://example.com/a.b?c=d!e and write to some.body@example.co.uk now",
        "version v1.2.3 of file.tar.gz",
        "Acme Inc. versus Widgets Ltd. today",
        "1. the first of a list",
        "It was approx. 5 km vs. 3 miles",
    ],
)
def test_numbers_abbreviations_addresses_and_times_are_not(text: str) -> None:
    assert cut(text) == [text]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("That is a good question, and I will answer it.", "That is a good question, "),
        ("Well, that is a good question; here it is.", "Well, that is a good question; "),
        ("On the 3rd of March 3, 2024 it was", "On the 3rd of March 3, 2024 it was"),
        ("There are some fruits e.g., apples to eat", "There are some fruits e.g., apples to eat"),
        ("At the station at 10:30 tomorrow", "At the station at 10:30 tomorrow"),
        ("Short. But then a longer one, with a clause.", "Short. "),
    ],
)
def test_first_piece_may_be_a_clause(text: str, first: str) -> None:
    assert cut(text, early=True)[0] == first


def test_only_the_first_piece_may() -> None:
    text = "That is a good question, and it has an answer, which is long. And here, as you see, is more."
    assert len(cut(text, early=True)) == 3


def test_a_sentence_leaves_as_soon_as_white_space_follows() -> None:
    sentences = Sentences()
    assert sentences.push("Yes.") == []
    assert sentences.push(" ") == ["Yes. "]


def test_endless_text_is_cut_at_white_space() -> None:
    pieces = cut("word " * 200)
    assert max(map(len, pieces)) <= LONGEST + len("word ")


def test_flush_begins_anew() -> None:
    sentences = Sentences()
    sentences.push("Half a sen")
    assert sentences.flush() == ["Half a sen"]
    assert sentences.flush() == []


TEXT = st.text(st.sampled_from("abcDI 13.,!?:;-\n\"')。é@/…"), max_size=400)


@given(TEXT, st.booleans())
def test_pieces_joined_are_the_text(text: str, early: bool) -> None:
    pieces = cut(text, early=early)
    assert "".join(pieces) == text
    assert all(pieces)


@given(st.lists(TEXT, max_size=8), st.booleans())
def test_how_it_came_in_makes_no_difference(deltas: list[str], early: bool) -> None:
    sentences = Sentences(early=early)
    pieces = [piece for delta in deltas for piece in sentences.push(delta)] + sentences.flush()
    assert pieces == cut("".join(deltas), early=early)


@given(
    st.lists(st.from_regex(r"[0-9]{1,4}([.,:][0-9]{1,3}){0,3}|[a-z]+@[a-z]+\.[a-z]{2,3}", fullmatch=True), max_size=20)
)
def test_no_cut_within_a_word(tokens: list[str]) -> None:
    words = [word for piece in cut(" ".join(tokens)) for word in piece.split()]
    assert words == tokens
