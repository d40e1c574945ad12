"""An answer that another model goes on with: no word runs into the next, and none is said again. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from workers.providers.base import ChatMessage

REPEATS = 12
"""A model that begins with so many characters of what was said, or more, says it again. Less may be chance."""

_WIDE = "\u2e80"
"""From here on, characters of scripts that put no space between words."""


def messages_after(messages: Sequence[ChatMessage], said: str) -> Sequence[ChatMessage]:
    """What to ask when `said` came of `messages` before a fault."""
    if not said:
        return messages
    begun = cut_off(messages)
    return [*(messages[:-1] if begun else messages), ChatMessage("assistant", begun + said)]


def cut_off(messages: Sequence[ChatMessage]) -> str:
    """The answer that is to be gone on with: what another worker's model said of it."""
    last = messages[-1] if messages else None
    return last.content if last is not None and last.role == "assistant" and not last.tool_calls else ""


class Continuation:
    """What follows `said`, in deltas as another model gives them.

    Models are told to go on where it ends, and some begin anew all the same: what they repeat is left out. None begins
    an answer with a space, so one is put where the words would run together.
    """

    def __init__(self, said: str) -> None:
        self._said = said
        self._held = ""
        self._begun = not said

    def push(self, delta: str) -> str:
        """What is new in `delta`, and in what was held because it may have been a repetition."""
        if self._begun:
            return delta
        self._held += delta
        if self._said.strip().startswith(self._held.strip()) and len(self._held.strip()) < len(self._said.strip()):
            return ""
        return self._begin()

    def flush(self) -> str:
        """No text follows (for now): what was held, unless that is a repetition."""
        return "" if self._begun else self._begin()

    def _begin(self) -> str:
        if not self._held.strip():
            self._held, held = "", self._held
            return held
        self._begun = True
        said, held = self._said.strip(), self._held.lstrip()
        if len(said) >= REPEATS and held.startswith(said):
            rest = held[len(said) :]
            return rest.lstrip() if self._said[-1].isspace() else rest
        if len(held) >= REPEATS and said.startswith(held):
            return ""
        return _spaced(self._said, self._held)


def _spaced(said: str, more: str) -> str:
    """`more`, after a space if it needs one to stand beside `said`."""
    if said[-1:].isspace():
        return more.lstrip()
    before, after = said[-1:], more[:1]
    words = after.isalnum() and after < _WIDE and before < _WIDE
    number = after.isdigit() and before in ".,:" and said[-2:-1].isdigit()
    return f" {more}" if words and (before.isalnum() or before in ".,:;!?…") and not number else more
