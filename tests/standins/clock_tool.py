"""A tool for conversations: it takes a while, fails on a Sunday, and tells how often it was called."""

from __future__ import annotations

import asyncio
from typing import Any

from workers.tools.base import Caller, ToolError


class Clock:
    """Answers with the day that it is asked for."""

    name = "clock"
    description = "The day."
    parameters: dict[str, Any] = {"type": "object", "properties": {"day": {"type": "string"}}}  # noqa: RUF012

    def __init__(self) -> None:
        self.takes_s = 1.0
        self.calls: list[str] = []
        self.running = 0
        self.most_running = 0
        self.ended = 0
        """Calls that are over, in whatever way."""
        self.waited_for = 0
        """Those of them that were left to run to their end."""

    async def call(self, arguments: dict[str, Any], caller: Caller) -> Any:
        day = arguments.get("day", "monday")
        self.calls.append(day)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(self.takes_s)
        finally:
            self.running -= 1
            self.ended += 1
        self.waited_for += 1
        if day == "sunday":
            raise ToolError("there is no sunday")
        return day
