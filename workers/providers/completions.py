"""Conversations and tools in the words of chat completions, which OpenAI, Groq and most servers of models speak.

Plain dictionaries: every SDK has its own names for the same types.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from workers.providers.base import ChatMessage, ToolSchema

CONTINUE = (
    "Your last answer was cut off in the middle. Go on with it exactly where it ends, "
    "in the same words that you would have used. Do not repeat any of it, do not apologise, do not comment."
)

_THINKS, _THOUGHT = "<think>", "</think>"


def wire_tools(tools: Sequence[ToolSchema]) -> list[dict[str, Any]]:
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)},
        }
        for tool in tools
    ]


def wire_messages(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """`messages`, and after an answer that was cut off the request to go on with it."""
    wire = [_wire_message(message) for message in messages]
    if messages and messages[-1].role == "assistant" and not messages[-1].tool_calls:
        wire.append({"role": "system", "content": CONTINUE})
    return wire


def _wire_message(message: ChatMessage) -> dict[str, Any]:
    if message.role == "assistant" and message.tool_calls:
        calls = [
            {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
        return {"role": "assistant", "content": message.content or None, "tool_calls": calls}
    if message.role == "tool" and message.call_id:
        return {"role": "tool", "tool_call_id": message.call_id, "content": message.content}
    # The answer to a call that this model never made, another backend's: the interface wants the id of one of its own.
    role = "system" if message.role == "tool" else message.role
    return {"role": role, "content": message.content}


class Thoughts:
    """Takes the thoughts out of an answer that begins with them: `<think>...</think>`, as models of the Qwen and
    DeepSeek families write them where their server does not set them apart."""

    def __init__(self) -> None:
        self._held = ""
        self._place: Literal["beginning", "thoughts", "blanks", "answer"] = "beginning"

    def spoken(self, delta: str) -> str:
        """What is to be spoken now that `delta` has come. The first few characters are held until it is clear."""
        if self._place == "answer":
            return delta
        self._held += delta
        if self._place == "beginning":
            begun = self._held.lstrip()
            if begun.startswith(_THINKS):
                self._place = "thoughts"
            elif not _THINKS.startswith(begun):
                return self.rest()
        if self._place == "thoughts":
            _, closing, after = self._held.partition(_THOUGHT)
            if closing:
                self._place, self._held = "blanks", after
            else:  # enough to know the end by
                self._held = self._held[-len(_THOUGHT) :]
        if self._place == "blanks":
            self._held = self._held.lstrip()
            return self.rest() if self._held else ""
        return ""

    def rest(self) -> str:
        """What was held, now that it is clear, or nothing more comes. Unfinished thoughts are not spoken."""
        held = "" if self._place == "thoughts" else self._held
        self._held, self._place = "", "answer"
        return held
