"""One answer: what was said when, what of it was heard, and how another goes on with it."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.backend import Answer
from workers.relay.answering import Answering, Retelling, Truncation, going_on

WORDS = "one two three four five six seven eight nine ten".split()
WORD_MS = 200


def said(count: int = 10, *, complete: bool = True) -> Answering:
    """Each word's text comes before its audio."""
    answering = Answering(Answer(1))
    for word in WORDS[:count]:
        answering.text("item_1", f"{word} ")
        answering.audio("item_1", 0, WORD_MS)
    if complete:
        answering.complete()
    return answering


@pytest.mark.parametrize(("played_ms", "words"), [(0, 0), (800, 4), (1600, 8), (1990, 10), (2000, 10), (5000, 10)])
def test_heard(played_ms: int, words: int) -> None:
    assert said().heard(played_ms) == " ".join(WORDS[:words])


@given(st.lists(st.tuples(st.sampled_from(["text", "audio"]), st.integers(1, 600)), max_size=40), st.booleans())
def test_more_is_never_less_and_all_is_all(moves: list[tuple[str, int]], complete: bool) -> None:
    answering = Answering(Answer(1))
    for number, (move, amount) in enumerate(moves):
        if move == "text":
            answering.text(f"item_{number // 7}", f"w{number} ")
        else:
            answering.audio(f"item_{number // 7}", 0, amount)
    if complete:
        answering.complete()
    whole = answering.answer.text.strip()
    before, cut_before = "", 10**9
    for played_ms in range(0, answering.received_ms + 100, 50):
        heard = answering.heard(played_ms)
        assert heard.startswith(before)
        assert whole.startswith(heard)
        cuts = len(answering.truncations(played_ms))
        assert cuts <= cut_before
        before, cut_before = heard, cuts
    assert not answering.truncations(answering.received_ms)
    if complete:
        assert answering.heard(answering.received_ms) == whole


def test_truncations_are_within_each_item() -> None:
    answering = Answering(Answer(1))
    answering.audio("a", 0, 1000)
    answering.audio("b", 0, 500)
    assert answering.truncations(0) == [Truncation("a", 0, 0), Truncation("b", 0, 0)]
    assert answering.truncations(400) == [Truncation("a", 0, 400), Truncation("b", 0, 0)]
    assert answering.truncations(990) == [Truncation("b", 0, 0)], "within a frame of its end it was heard"
    assert answering.truncations(1200) == [Truncation("b", 0, 200)]
    assert answering.truncations(1490) == []


def test_words_of_two_items_are_two_words() -> None:
    answering = Answering(Answer(1))
    answering.text("a", "one moment")
    answering.text("b", "yes")
    assert answering.answer.text == "one moment yes"


def test_a_new_session_knows_a_text_which_is_told_again_when_it_was_not_heard() -> None:
    answering = said()
    answering.new_session("told")
    assert answering.truncations(400) == []
    assert answering.retellings(2000) == []
    assert answering.retellings(800) == [Retelling("told", "one two three four")]


@pytest.mark.parametrize("received_ms", range(0, 2001, 100))
@pytest.mark.parametrize("complete", [True, False])
def test_another_worker_goes_on_where_the_edge_ends(received_ms: int, complete: bool) -> None:
    answering, rest = going_on(copy.deepcopy(said(complete=complete).answer), received_ms)
    kept = answering.answer.text.split()
    whole = [*kept, *rest.split()]
    assert whole == WORDS[: len(whole)], "in order, and none twice"
    assert abs(len(kept) - received_ms / WORD_MS) <= 2
    assert len(whole) >= 9, "at most a syllable is left out"
    assert answering.received_ms == received_ms
    assert answering.sent == (received_ms > 0)


# --- words that come long before their audio

TEXT = "alpha bravo charlie delta echo"
CHARACTER_MS = 50.0
"""1500 ms in all."""


def ahead(received_ms: int = 0) -> Answering:
    answering = Answering(Answer(1), character_ms=CHARACTER_MS)
    for word in TEXT.split():
        answering.text("a", f"{word} ")
    for _ in range(received_ms // 20):
        answering.audio("a", 0, 20)
    return answering


@pytest.mark.parametrize(
    ("played_ms", "words"), [(0, 0), (200, 0), (260, 1), (600, 2), (1000, 3), (1250, 4), (1500, 5), (3000, 5)]
)
def test_words_ahead_are_heard_at_the_speed_of_speech(played_ms: int, words: int) -> None:
    assert ahead(1500).heard(played_ms) == " ".join(TEXT.split()[:words])


def test_words_ahead_that_are_spoken_slowly_are_not_all_heard_before_the_last_audio() -> None:
    answering = ahead(2000)
    assert answering.heard(1000) == "alpha bravo"
    answering.audio_is_whole()
    answering.complete()
    assert (answering.heard(1000), answering.heard(2000)) == ("alpha bravo", TEXT)


def test_an_answer_tells_how_fast_the_model_speaks() -> None:
    answering = ahead(1200)
    answering.audio_is_whole()
    assert answering.character_ms == 40.0
    assert answering.heard(600) == "alpha bravo"
    short = Answering(Answer(1), character_ms=CHARACTER_MS)
    short.text("a", "yes")
    short.audio("a", 0, 900)
    short.audio_is_whole()
    assert short.character_ms == CHARACTER_MS, "of three letters nobody knows"


@pytest.mark.parametrize("received_ms", [0, 300, 640, 1000])
def test_what_was_not_spoken_yet_is_taken_back_and_said_again(received_ms: int) -> None:
    answering = ahead(received_ms)
    answering.words_are_whole()
    assert answering.answer.complete
    rest = answering.take_back()
    assert f"{answering.answer.text}{rest}" == TEXT
    assert len(answering.answer.text) * CHARACTER_MS <= received_ms + CHARACTER_MS
    assert answering.unsaid == rest
    assert not answering.answer.complete, "nobody else may take it for said"


def test_words_that_are_whole_are_not_heard_before_their_audio_is() -> None:
    answering = ahead(500)
    answering.words_are_whole()
    assert answering.heard(500) == "alpha"


def test_another_worker_says_what_was_to_come() -> None:
    answering = ahead(640)
    answering.words_are_whole()
    taken, rest = going_on(copy.deepcopy(answering.answer), 640)
    assert (taken.answer.text, rest) == ("alpha bravo ", "charlie delta echo")


@pytest.mark.parametrize(
    ("received_ms", "cut"),
    [(0, Truncation("a", 0, 0)), (400, Truncation("a", 0, 390)), (1500, Truncation("a", 0, 390))],
)
def test_an_item_of_which_more_was_to_come_is_truncated_though_all_that_came_was_heard(
    received_ms: int, cut: Truncation
) -> None:
    assert ahead(received_ms).truncations(390) == [cut]


def test_after_a_tool_words_and_audio_begin_anew() -> None:
    answering = ahead(1500)
    answering.audio_is_whole()
    answering.text("b", "foxtrot golf ")
    assert answering.heard(1500) == TEXT
    answering.audio("b", 0, 600)
    assert answering.heard(1900) == f"{TEXT} foxtrot"
    assert answering.truncations(1900) == [Truncation("b", 0, 400)]
