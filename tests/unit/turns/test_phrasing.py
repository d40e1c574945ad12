"""Ends of sentences, in a table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.turns.phrasing import Phrase, phrase

TABLE = {
    Phrase.NOTHING: ["", "  ", "...", "?!"],
    Phrase.QUESTION: [
        "What time is it?",
        "Who is it for?",
        "Can I pay by card?”",
        "Wie spät ist es?",
        "Und das heißt?",
    ],
    Phrase.SENTENCE: [
        "I would like a table for two.",
        "Yes.",
        "Come on!",
        "Yes, it is.",
        "That is where they are.",
        "I'll be there at 7:30.",
        "It costs 25 euros.",
        "I was born in 1984.",
        "Ich rufe Sie morgen an.",
        "Ich möchte bitte einen Tisch für zwei.",
        "Weil das nicht möglich ist.",
        'He said "hello."',
        "My number is 0170 1234567.",
        "It is five five five, one two three, four five six seven.",
    ],
    Phrase.PLAIN: [
        "hello there",
        "tomorrow at eight",
        "I am free at noon",
        "yes I am",
        "the second one",
        "no not yet",
        "two please",
        "it's for two",
        "guten Morgen",
        "Wie heißen Sie",
        "ich weiß nicht ob das möglich ist",
        "das war es",
        "my number is 555 0100 1234",
        "das ist plan b",
    ],
    Phrase.OPEN: [
        "I would like to order a",
        "I would like to order a.",
        "Tomorrow, because",
        "and then we",
        "um",
        "I want the red one and, um",
        "My name is",
        "my name is...",
        "Well,",
        "on Monday or Tuesday –",
        "Can you tell me the price of the",
        "My address is john dot",
        "Ich möchte",
        "Mein Name ist",
        "Ich hätte gern einen",
        "Ich komme nicht, weil ich",
        "und dann würde ich gern wissen ob",
        "Das ist für den Herrn mit dem",
        "äh",
    ],
    Phrase.DICTATING: [
        "five five five",
        "my number is five",
        "My number is 0170.",
        "It's 555-01",
        "The code is 4 7",
        "12345",
        "my name is Meyer, M E Y",
        "A B C",
        "Meine Nummer lautet null eins sieben",
        "Die Kundennummer ist 4",
        "My zip code is 9 4?",
    ],
}


@pytest.mark.parametrize(("text", "expected"), [(text, end) for end, texts in TABLE.items() for text in texts])
def test_ends(text: str, expected: Phrase) -> None:
    assert phrase(text) is expected


@pytest.mark.parametrize("text", [text for texts in TABLE.values() for text in texts])
def test_case_and_space_do_not_matter(text: str) -> None:
    assert phrase(f"  {text.upper()} \n") is phrase(text)


@given(st.text(max_size=60))
def test_any_text_has_an_end(text: str) -> None:
    assert isinstance(phrase(text), Phrase)
