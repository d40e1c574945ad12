"""What the stand-in's model says: a function from what it sees to a reply. The default repeats what it was told."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.standins import tones


@dataclass(frozen=True, slots=True)
class Say:
    """A message. Its audio is `aloud` where that differs from the text; every word of it must be in the vocabulary."""

    text: str
    aloud: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A function call, after a few words if `say_first` has some."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    say_first: str | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """The response ends as failed; after a Say, in mid-way."""

    code: str = "server_error"
    message: str = "The server had an error while processing your request."


@dataclass(frozen=True, slots=True)
class Incomplete:
    reason: Literal["max_output_tokens", "content_filter"] = "max_output_tokens"


Step = Say | Call | Fail | Incomplete
Reply = Step | Sequence[Step]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model sees when a response begins."""

    items: list[dict[str, Any]]
    """In order; what a user said aloud stands in `content[0]["transcript"]`, whether transcription is on or not."""

    instructions: str
    """The response's, or the session's."""

    response: dict[str, Any]
    """The parameters of `response.create`; empty where voice detection made the response."""

    config: dict[str, Any]
    """The effective session."""

    @property
    def last(self) -> dict[str, Any] | None:
        """The last item that asks for an answer: a user's message or a function's output."""
        asking = (item for item in reversed(self.items) if item.get("role") == "user" or _is_output(item))
        return next(asking, None)


Answer = Callable[[Prompt], Reply]


def echo(prompt: Prompt) -> Reply:
    """Text in double quotes in the response's instructions, word for word; else what the user said, or a tool gave.

    User "T": "you said T" ("you said nothing" if no word of it is in the vocabulary). Function output: "yes" and its
    words. Nobody said anything yet: "hello".
    """
    quoted = re.search(r'"([^"]+)"', prompt.response.get("instructions") or "")
    if quoted:
        return Say(quoted[1], aloud=tones.known(quoted[1]))
    last = prompt.last
    if last is None:
        return Say("hello")
    if _is_output(last):
        return Say(f"yes {tones.known(last['output'])}".strip())
    return Say(f"you said {tones.known(text_of(last)) or 'nothing'}")


def text_of(item: dict[str, Any]) -> str:
    """The words of a message item, typed or spoken."""
    parts = (part.get("text") or part.get("transcript") or "" for part in item.get("content", []))
    return " ".join(part for part in parts if part)


def steps_of(reply: Reply) -> list[Step]:
    """One reply as a list, what a call says first as a message of its own."""
    steps: list[Step] = []
    for step in [reply] if isinstance(reply, Say | Call | Fail | Incomplete) else reply:
        if isinstance(step, Call) and step.say_first:
            steps.append(Say(step.say_first))
        steps.append(step)
    return steps


def _is_output(item: dict[str, Any]) -> bool:
    return bool(item["type"] == "function_call_output")
