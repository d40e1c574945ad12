import pytest

from workers.providers.base import ChatMessage, ToolCall, ToolSchema
from workers.providers.completions import CONTINUE, Thoughts, wire_messages, wire_tools


def spoken(*deltas: str) -> list[str]:
    thoughts = Thoughts()
    return [*(thoughts.spoken(delta) for delta in deltas), thoughts.rest()]


def test_an_answer_without_thoughts_passes_as_it_comes() -> None:
    assert spoken("Hello", " there") == ["Hello", " there", ""]
    assert spoken(" and", " so") == [" and", " so", ""], "an answer that is gone on with begins with its space"
    assert spoken("x <think> y", "</think>") == ["x <think> y", "</think>", ""]


def test_what_might_be_a_thought_is_held_until_it_is_clear() -> None:
    assert spoken("<", "th", "ree") == ["", "", "<three", ""]
    assert spoken("\n", "<t") == ["", "", "\n<t"]
    assert spoken("") == ["", ""]


@pytest.mark.parametrize("size", range(1, 20))
def test_thoughts_are_taken_out_wherever_they_are_cut(size: int) -> None:
    text = "\n<think>\nGreet them? </thin> Yes.\n</think>\n\nHello there. </think>"
    assert "".join(spoken(*(text[at : at + size] for at in range(0, len(text), size)))) == "Hello there. </think>"


def test_thoughts_without_end_are_not_spoken_nor_kept() -> None:
    thoughts = Thoughts()
    assert not any(thoughts.spoken(delta) for delta in ("<think>", *["so "] * 10_000))
    assert len(thoughts._held) < 20
    assert thoughts.rest() == ""
    assert spoken("<think>", "</think>", "\n") == ["", "", "", ""]


def test_a_conversation_in_their_words() -> None:
    call = ToolCall("call_0", "find_slot", "{}")
    told = [
        ChatMessage("system", "Be brief."),
        ChatMessage("user", "hello"),
        ChatMessage("assistant", "", tool_calls=(call,)),
        ChatMessage("tool", "10", call_id="call_0"),
        ChatMessage("tool", "of another backend"),
    ]
    function = {"name": "find_slot", "arguments": "{}"}
    assert wire_messages(told) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hello"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_0", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "call_0", "content": "10"},
        {"role": "system", "content": "of another backend"},
    ]
    assert wire_messages([]) == []
    assert wire_messages(told[:3])[-1]["role"] == "assistant", "a call is no answer that was cut off"
    assert wire_messages([ChatMessage("assistant", "The beg")])[1:] == [{"role": "system", "content": CONTINUE}]


def test_tools_in_their_words() -> None:
    parameters = {"type": "object"}
    function = {"name": "find_slot", "description": "Free times.", "parameters": parameters}
    tools = [ToolSchema("find_slot", "Free times.", parameters)]
    assert wire_tools(tools) == [{"type": "function", "function": function}]
