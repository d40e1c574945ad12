"""Gathers the calls of tools that a language model writes in fragments, as chat completions stream them."""

from __future__ import annotations

from dataclasses import dataclass

from workers.providers.base import ToolCall


@dataclass(slots=True)
class _Fragments:
    call_id: str = ""
    name: str = ""
    arguments: str = ""


class Calls:
    """The calls of one answer, on their way."""

    def __init__(self) -> None:
        self._by_index: dict[int, _Fragments] = {}

    def add(self, index: int, call_id: str | None, name: str | None, arguments: str | None) -> None:
        """Take the next fragment of call number `index`: id and name come with its first, arguments in any."""
        fragments = self._by_index.setdefault(index, _Fragments())
        fragments.call_id = fragments.call_id or call_id or ""
        fragments.name = fragments.name or name or ""
        fragments.arguments += arguments or ""

    def whole(self) -> list[ToolCall]:
        """The calls, in order, once the model is done with them. One that never got a name is none; a call without
        arguments has an empty object."""
        gathered = [self._by_index[index] for index in sorted(self._by_index)]
        self._by_index.clear()
        return [ToolCall(each.call_id, each.name, each.arguments or "{}") for each in gathered if each.name]
