"""What the model is shown of tools and fillers, and what is remembered of an answer that used them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.standins.tool_model import check_history
from workers.backend import Answer, Called, Item, Snapshot, ToolCall
from workers.cascade import prompting
from workers.cascade.prompting import SENT_CHARACTERS
from workers.context import KEPT_CHARACTERS, RUNNING, length, new_turn, remember
from workers.providers.base import ChatMessage

CALL = ToolCall("c1", "clock", "{}")
OTHER = ToolCall("c2", "clock", '{"day": "friday"}')


def shown(snapshot: Snapshot, *, calls: bool = True) -> list[ChatMessage]:
    messages = prompting.messages("Be kind.", snapshot, calls=calls)
    check_history(messages)
    return messages[1:]


def parts(messages: list[ChatMessage]) -> list[tuple[str, str, int]]:
    return [(message.role, message.content, len(message.tool_calls)) for message in messages]


def test_text_calls_and_the_rest_of_an_answer_in_progress() -> None:
    text = "One moment. It was"
    answer = Answer(2, text, called=[Called(CALL, 11, 1, "1"), Called(OTHER, 11, 1, "2")])
    assert parts(shown(Snapshot([Item("user", "hi", 1)], answer))) == [
        ("user", "hi", 0),
        ("assistant", "One moment.", 2),
        ("tool", "1", 0),
        ("tool", "2", 0),
        ("assistant", "It was", 0),
    ]


def test_rounds_in_progress_stay_apart() -> None:
    answer = Answer(2, "", called=[Called(CALL, 0, 1, "1"), Called(OTHER, 0, 2)])
    assert parts(shown(Snapshot([Item("user", "hi", 1)], answer))) == [
        ("user", "hi", 0),
        ("assistant", "", 1),
        ("tool", "1", 0),
        ("assistant", "", 1),
        ("tool", RUNNING, 0),
    ]


def test_fillers_are_not_the_model_s_words() -> None:
    text = "Wait. The first is here. Still on it. The second"
    answer = Answer(2, text, fillers=[(0, 6), (25, 38)])
    assert text[25:38] == "Still on it. "
    assert parts(shown(Snapshot([Item("user", "hi", 1)], answer))) == [
        ("user", "hi", 0),
        ("assistant", "The first is here. The second", 0),
    ]
    assert prompting.last_words(Answer(2, "Wait. ", fillers=[(0, 6)])) == ""


def test_what_was_said_before_a_call_is_one_message_with_it_later_too() -> None:
    items = [
        Item("user", "hi", 1),
        Item("assistant", "One moment.", 2),
        Item("tool", "1", 2, CALL),
        Item("assistant", "It was.", 2),
        Item("user", "and", 3),
    ]
    expected = [("user", "hi", 0), ("assistant", "One moment.", 1), ("tool", "1", 0), ("assistant", "It was.", 0)]
    assert parts(shown(Snapshot(items))) == [*expected, ("user", "and", 0)]


def test_whom_no_tools_are_offered_is_told_of_them_as_facts() -> None:
    items = [Item("user", "hi", 1), Item("tool", "1", 2, CALL), Item("tool", "later", 4)]
    told = parts(shown(Snapshot(items), calls=False))
    assert told == [("user", "hi", 0), ("system", "clock({}) answered: 1", 0), ("system", "later", 0)]


def test_a_window_that_begins_after_the_words_before_a_call() -> None:
    items = [Item("assistant", "One moment.", 2), Item("tool", "1", 2, CALL)]
    items += [Item("user", str(number), 3 + number) for number in range(prompting.SENT_ITEMS - 1)]
    assert parts(shown(Snapshot(items)))[:2] == [("assistant", "", 1), ("tool", "1", 0)]


@given(st.text("ab. ", max_size=40), st.lists(st.integers(0, 40), max_size=4), st.integers(0, 40))
def test_what_was_heard_is_remembered_around_the_calls(text: str, places: list[int], length: int) -> None:
    """Every word of it once, and every call, in order; and the history is one that vendors take."""
    called = [
        Called(ToolCall(f"c{number}", "clock", "{}"), min(at, len(text)), number, str(number))
        for number, at in enumerate(sorted(places))
    ]
    heard = text.strip()[:length].strip()
    items = prompting.remembered(Answer(2, text, called=called), heard)
    assert "".join(item.text for item in items if item.role == "assistant").replace(" ", "") == heard.replace(" ", "")
    assert [item.text for item in items if item.role == "tool"] == [each.output for each in called]
    shown(Snapshot([Item("user", "hi", 1), *items]))
    shown(Snapshot([Item("user", "hi", 1)], Answer(2, text, called=called)))


def size(messages: list[ChatMessage]) -> int:
    return sum(len(each.content) + sum(len(call.arguments) for call in each.tool_calls) for each in messages)


def test_long_calls_of_tools_leave_room_for_less_of_what_was_before_them() -> None:
    """Forty calls of 32 KiB each were what a model could be sent once."""
    snapshot = Snapshot()
    for number in range(40):
        remember(snapshot, Item("user", f"question {number}", new_turn(snapshot)))
        call = ToolCall(f"c{number}", "clock", json.dumps({"day": "x" * 5000}))
        remember(snapshot, Item("tool", "1", new_turn(snapshot), call))
    told = shown(snapshot)
    assert SENT_CHARACTERS - 6000 < size(told) <= SENT_CHARACTERS
    assert told[-3].content == "question 39"
    assert sum(map(length, snapshot.items)) <= KEPT_CHARACTERS


def before() -> list[Item]:
    """10,000 characters, and then what is answered."""
    items = [Item("user", f"before {number} " + "x" * 1000, number) for number in range(10)]
    return [*items, Item("assistant", "Yes?", 10), Item("user", "first part", 11), Item("user", "second part", 12)]


def calls(*outputs: str, rounds: tuple[int, ...] = ()) -> list[Called]:
    """One a round, unless said otherwise."""
    numbers = rounds or tuple(range(len(outputs)))
    return [
        Called(ToolCall(f"c{at}", "clock", "{}"), 0, number, output)
        for at, (number, output) in enumerate(zip(numbers, outputs, strict=True))
    ]


def results(messages: list[ChatMessage]) -> list[str]:
    return [message.content for message in messages if message.role == "tool"]


def test_an_answer_in_progress_is_whole_and_what_it_answers_is() -> None:
    told = shown(Snapshot(before(), Answer(13, "It is", called=calls("o" * 32_768))))
    assert told[0].content.startswith("before 3"), "as much as there is room for"
    assert ("user", "first part", 0) in parts(told)
    assert results(told) == ["o" * 32_768]
    assert size(told) <= SENT_CHARACTERS


def test_of_what_tools_answered_too_much_the_middle_is_left_out_of_the_longest_and_of_the_latest_last() -> None:
    """No call loses its result, and what was said before them is not forgotten for them."""
    outputs = ["first " + "o" * 20_000 + " end", "short", "second " + "o" * 20_000 + " end", "last " + "o" * 20_000]
    told = shown(Snapshot(before(), Answer(13, "It is", called=calls(*outputs))))
    assert SENT_CHARACTERS - 2000 < size(told) <= SENT_CHARACTERS
    assert told[0].content.startswith("before ")
    first, short, second, last = results(told)
    assert (short, last) == ("short", outputs[-1])
    for cut, whole in ((first, outputs[0]), (second, outputs[2])):
        assert cut[:500] == whole[:500]
        assert cut[-500:] == whole[-500:]
        assert f" [... the middle is left out: all of it is {len(whole)} characters ...] " in cut


def test_results_that_the_model_waits_for_share_what_room_there_is() -> None:
    """Two of one round; of those before it is left as little as tells what they were."""
    outputs = ["o" * 9000, "a" * 32_768, "b" * 24_000]
    told = results(shown(Snapshot(before(), Answer(13, "", called=calls(*outputs, rounds=(1, 2, 2))))))
    assert [len(result) for result in told] == pytest.approx([prompting.SENT_OF_A_RESULT, 16_900, 16_900], abs=100)
    assert "left out" in told[0]


def test_a_result_that_came_late_is_bounded_too() -> None:
    items = [*before(), Item("tool", "first " + "o" * 30_000, 13), Item("tool", "second " + "o" * 30_000, 14)]
    told = [message.content for message in shown(Snapshot(items)) if message.role == "system"]
    assert told[1] == items[-1].text
    assert told[0].startswith("first o")
    assert size(shown(Snapshot(items))) <= SENT_CHARACTERS


@given(
    said=st.lists(st.tuples(st.sampled_from(["user", "tool"]), st.integers(0, 20_000)), max_size=8),
    outputs=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 32_768)), max_size=6),
)
def test_what_tools_answered_takes_no_more_than_there_is_room_for(
    said: list[tuple[Any, int]], outputs: list[tuple[int, int]]
) -> None:
    items = [
        Item(role, f"{turn} ".ljust(length, "x"), turn, CALL if role == "tool" else None)
        for turn, (role, length) in enumerate(said, 1)
    ]
    items.append(Item("user", "and now?", 19))
    rounds = tuple(sorted(number for number, _ in outputs))
    answer = Answer(20, "It is", called=calls(*("o" * length for _, length in outputs), rounds=rounds))
    told = shown(Snapshot(items, answer))
    users = sum(len(item.text) for item in items if item.role == "user")
    least = prompting.SENT_OF_A_RESULT * (len(said) + len(outputs))
    assert size(told) <= max(SENT_CHARACTERS, users + least + 100)
    assert len(results(told)) >= len(outputs)


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "tool"]), st.integers(0, 15_000)), max_size=60))
def test_what_is_sent_is_the_end_of_the_conversation_whole_and_bounded(said: list[tuple[Any, int]]) -> None:
    items = [
        Item(role, f"{turn} ".ljust(characters, "x"), turn, CALL if role == "tool" else None)
        for turn, (role, characters) in enumerate(said)
    ]
    sent = prompting._sent(Snapshot(items))
    assert sent == items[len(items) - len(sent) :]
    users = [index for index, item in enumerate(sent) if item.role == "user"]
    assert bool(users) == any(item.role == "user" for item in items[-prompting.SENT_ITEMS :]) or not sent
    if len(sent) < len(items[-prompting.SENT_ITEMS :]):
        more = sum(map(length, sent)) + length(items[-len(sent) - 1])
        assert more > SENT_CHARACTERS, "no more fits"
