"""A scripted language model that uses tools, and refuses a history that a vendor would refuse."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.standins.voices import UNKNOWN, ScriptedLlm
from workers.providers.base import ChatMessage, ToolCall, ToolSchema


@dataclass(frozen=True)
class Use:
    """A call of a tool, in a script."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


Script = Sequence[str | Use]


class ToolLlm(ScriptedLlm):
    """Answers by table: what came last (the user's words, or what the tools of a round answered; joined by spaces) to
    what it says and calls then. What it is told as a fact comes last, too. A last assistant message is continued."""

    description = "scripted language model with tools"

    def __init__(self, scripts: Mapping[str, Script], first_s: float = 0.3, delta_s: float = 0.02) -> None:
        super().__init__({}, first_s, delta_s)
        self.scripts = dict(scripts)
        self.offered: list[list[str]] = []
        self._ids = itertools.count(1)

    async def reply(
        self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema] = ()
    ) -> AsyncGenerator[str | ToolCall, None]:
        check_history(messages)
        self.asked.append(list(messages))
        self.offered.append([tool.name for tool in tools])
        self.open += 1
        try:
            before = messages[-1].content if messages[-1].role == "assistant" else ""
            script = self.scripts.get(last_words(messages), [UNKNOWN])
            await asyncio.sleep(self.first_s)
            for part in script:
                if isinstance(part, Use):
                    yield ToolCall(f"id_{next(self._ids)}", part.name, json.dumps(part.arguments))
                    continue
                known, before = before[: len(part)], before[len(part) :]
                assert part.startswith(known), f"{known!r} was not said by this model"
                for word in _words(part[len(known) :]):
                    yield word
                    await asyncio.sleep(self.delta_s)
        finally:
            self.open -= 1


def _words(text: str) -> list[str]:
    words = [f"{word} " for word in text.split(" ")]
    return [*words[:-1], words[-1][:-1]] if text else []


def last_words(messages: Sequence[ChatMessage]) -> str:
    """What the model is to answer."""
    rest = list(messages[1:])
    if rest and rest[-1].role == "assistant":
        rest.pop()
    role = rest[-1].role if rest else "user"
    roles = {role} if role == "tool" else {"user", "system"}  # facts are told among what the user says
    said: list[str] = []
    while rest and rest[-1].role in roles:
        said.insert(0, rest.pop().content)
    return " ".join(said)


def check_history(messages: Sequence[ChatMessage]) -> None:
    """What OpenAI's interface asks of a conversation: an answer to each call, right after it, and to nothing else; and
    what we ask: an answer is not cut in two."""
    waiting: list[str] = []
    for before, message in itertools.pairwise([ChatMessage("system", ""), *messages]):
        if message.role == "tool":
            assert message.call_id in waiting, f"an output that no call waits for: {message}"
            waiting.remove(message.call_id)
            continue
        assert not waiting, f"calls that were not answered: {waiting}"
        waiting = [call.call_id for call in message.tool_calls]
        assert all(waiting)
        assert len(set(waiting)) == len(waiting)
        if message.role == "assistant":
            assert message.content or message.tool_calls
            assert before.role != "assistant", "an answer in two messages"
    assert not waiting, f"calls that were not answered: {waiting}"
