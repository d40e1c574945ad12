from datetime import datetime

import pytest

from workers.phrases import PHRASES
from workers.providers.base import ChatMessage
from workers.providers.demo import answer, language_model, number_words
from workers.providers.pocketsphinx.grammar import expand

NOW = datetime(2026, 11, 21, 16, 5)


def conversation(*said: str) -> list[ChatMessage]:
    """User messages with the demo's own answers between them, up to the last user message."""
    messages: list[ChatMessage] = []
    for text in said:
        if messages:
            messages.append(ChatMessage("assistant", answer(messages, NOW)))
        messages.append(ChatMessage("user", text))
    return messages


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["hello my name is anna"], "Nice to meet you, Anna."),
        (["My name is O'Brien.", "what's my name?"], "Your name is O'Brien."),
        (["what is my name"], "You have not told me your name yet."),
        (["what time is it"], "It is five minutes past four in the afternoon."),
        (["what is the date"], "Today is Saturday, November 21, 2026."),
        (["count to five"], "One, two, three, four, five."),
        (
            ["hello", "what can you do", "how many questions did I ask"],
            "You have asked me three things, counting this one.",
        ),
        (["thank you goodbye"], "You are welcome. Goodbye. It was nice to talk to you."),
        (["count to two", "repeat that"], "One, two."),
        (["what is trunk line"], "Trunkline is a voice gateway."),
        (["the purple elephant"], "I heard: the purple elephant."),
        ([""], "I did not catch that. Please say it again."),
        (["hello", "..."], "I did not catch that. Please say it again."),
    ],
)
def test_answers(said: list[str], expected: str) -> None:
    assert answer(conversation(*said), NOW).startswith(expected)


def test_every_phrase_of_the_grammar_is_understood() -> None:
    for phrase in PHRASES:
        sentence = " ".join(expand(phrase)[0])
        assert "I heard" not in answer([ChatMessage("user", sentence)], NOW), sentence


def test_the_story_is_long_enough_to_interrupt() -> None:
    assert answer([ChatMessage("user", "tell me a story")], NOW).count(". ") >= 5


@pytest.mark.parametrize("said", ["tell me a story", "what time is it", "nonsense"])
async def test_any_worker_continues_an_answer(said: str) -> None:
    messages = conversation("my name is tom", said)
    before, after = language_model({"now": NOW}), language_model({"now": NOW.replace(minute=6)})
    deltas = [delta async for delta in before.reply(messages)]
    for heard in range(1, len(deltas) + 1):
        begun = ChatMessage("assistant", "".join(deltas[:heard]))
        rest = [delta async for delta in after.reply([*messages, begun])]
        assert len(rest) == len(deltas) - heard
        if said != "what time is it":
            assert deltas[heard:] == rest


async def test_no_messages() -> None:
    assert "".join([delta async for delta in language_model({}).reply([])]).startswith("I did not catch")


def test_number_words() -> None:
    assert [number_words(number) for number in (0, 13, 20, 21, 59)] == [
        "zero",
        "thirteen",
        "twenty",
        "twenty one",
        "fifty nine",
    ]
