"""Asks a session's language model, with all that was said and the tools it may use."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from trunkline.errors import ProviderError
from workers.backend import Session
from workers.cascade.calling import Calling
from workers.cascade.prompting import ENOUGH, messages
from workers.providers.base import ChatMessage, LanguageModel, ToolCall

ROUNDS = 8
"""Of tools in one answer; then the model is asked to answer without."""


class Asking:
    """One session's."""

    def __init__(self, session: Session, model: LanguageModel, calling: Calling) -> None:
        self._session = session
        self.calling = calling
        self._model = model

    async def reply(self, rounds: int) -> AsyncGenerator[str | ToolCall, None]:
        """What the model says to the conversation as it is now, after so many rounds of tools. Raises ProviderError."""
        self.calling.told()
        tools = self.calling.schemas if rounds < ROUNDS else ()
        asked = messages(self._session.tenant.prompt, self._session.snapshot, calls=bool(self.calling.schemas))
        if rounds >= ROUNDS and asked[-1].role == "tool":
            asked.append(ChatMessage("system", ENOUGH))
        async with aclosing(self._model.reply(asked, tools)) as parts:
            async for part in parts:
                if isinstance(part, ToolCall) and not tools:
                    raise ProviderError("cascade", "the language model called a tool, and was given none")
                yield part
