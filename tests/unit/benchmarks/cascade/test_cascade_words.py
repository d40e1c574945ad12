from __future__ import annotations

import pytest

from benchmarks.cascade import words
from benchmarks.phone import audio
from workers.cascade.sentences import Sentences


@pytest.mark.parametrize("number", [0, 1, 0x1234, words.NUMBERS - 1])
def test_a_number_comes_through_question_and_answer(number: int) -> None:
    assert words.last_number(words.question(number)) == number
    text = "".join(words.answer(number))
    assert words.last_number(text) == number
    assert words.pieces(text) == (number, list(range(audio.ANSWER_PIECES)))


def test_the_newest_of_several_numbers_counts() -> None:
    assert words.last_number(f"{words.question(1)} {words.question(2)}") == 2
    assert words.last_number("amber birch, cedar dune") is None


def test_the_sentences_of_an_answer_are_all_its_pieces_in_order() -> None:
    sentences = Sentences()
    tokens = words.answer(7)
    said = [(place, part) for place, token in enumerate(tokens, 1) for part in sentences.push(token)]
    said += [(len(tokens), part) for part in sentences.flush()]
    spoken = [words.pieces(part) for _, part in said]
    assert [found[0] for found in spoken if found] == [7] * len(said)
    assert [piece for found in spoken if found for piece in found[1]] == list(range(audio.ANSWER_PIECES))
    assert said[0][0] == words.CLAUSE_TOKENS


def test_other_texts_are_no_part_of_an_answer() -> None:
    assert words.pieces("Sorry, something went wrong. Could you say that again?") is None
    assert words.pieces("the first of many") is None
