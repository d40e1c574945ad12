"""Where one model's words end and another's begin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.failover.continuing import Continuation, messages_after
from workers.providers.base import ChatMessage, ToolCall

QUESTION = ChatMessage("user", "what is new")


def joined(said: str, *deltas: str) -> str:
    continuation = Continuation(said)
    return said + "".join(continuation.push(delta) for delta in deltas) + continuation.flush()


def test_what_was_said_is_the_last_message() -> None:
    assert messages_after([QUESTION], "") == [QUESTION]
    assert messages_after([QUESTION], "Well, ") == [QUESTION, ChatMessage("assistant", "Well, ")]
    begun = [QUESTION, ChatMessage("assistant", "Well, ")]
    assert messages_after(begun, "it is") == [QUESTION, ChatMessage("assistant", "Well, it is")]


def test_what_was_said_after_a_call_is_a_message_of_its_own() -> None:
    called = ChatMessage("assistant", "Let me see.", (ToolCall("1", "look", "{}"),))
    assert messages_after([QUESTION, called], "So")[-2:] == [called, ChatMessage("assistant", "So")]


@pytest.mark.parametrize(
    ("said", "more", "whole"),
    [
        ("The first", "sentence.", "The first sentence."),
        ("The first ", "sentence.", "The first sentence."),
        ("The first", " sentence.", "The first sentence."),
        ("It is here.", "And that is all.", "It is here. And that is all."),
        ("It is here", ". And that is all.", "It is here. And that is all."),
        ("It costs 3.", "50 in all.", "It costs 3.50 in all."),
        ("It costs $", "5.", "It costs $5."),
        ("he said (", "loudly)", "he said (loudly)"),
        ("今天天气", "很好", "今天天气很好"),
    ],
)
def test_words_do_not_run_together(said: str, more: str, whole: str) -> None:
    assert joined(said, more) == whole


@pytest.mark.parametrize(
    "deltas",
    [
        ["The first sentence is here now."],
        ["The ", "first ", "sent", "ence is here ", "now."],
        [" The first sentence is", " here now."],
        ["is here ", "now."],
        ["", " ", "is here now."],
    ],
)
def test_a_model_that_begins_anew_is_heard_only_from_where_it_goes_on(deltas: list[str]) -> None:
    assert joined("The first sentence ", *deltas) == "The first sentence is here now."


def test_a_word_that_was_cut_is_finished_by_who_begins_anew() -> None:
    assert joined("The first sent", "The first ", "sentence.") == "The first sentence."


def test_the_same_few_letters_are_no_repetition() -> None:
    assert joined("No.", "No", " and no.") == "No. No and no."


def test_who_only_repeats_says_nothing() -> None:
    assert joined("The first sentence is here now.", "The first", " sentence") == "The first sentence is here now."


@given(st.text(), st.lists(st.text()))
def test_nothing_of_a_continuation_is_lost_but_a_repetition(said: str, deltas: list[str]) -> None:
    more = "".join(deltas)
    whole = joined(said, *deltas)
    assert whole.startswith(said)
    new = "".join(whole[len(said) :].split())
    assert "".join(more.split()).endswith(new)
    if not said.strip()[:12] or not said.strip().startswith(more.strip()[:12]):
        assert new == "".join(more.split())
