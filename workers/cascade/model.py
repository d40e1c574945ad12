"""A conversation's language model: asked with all that was said and the tools it may use; also before it is certain
that the user is done, so that the answer is on its way when they are, and its voice has begun with it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from trunkline.errors import ProviderError
from workers import context
from workers.backend import Item, Snapshot
from workers.cascade.ahead import Request, same_words
from workers.cascade.calling import Calling
from workers.cascade.opening import BegunVoice, Opening
from workers.cascade.prompting import ENOUGH, messages
from workers.cascade.shared import Shared
from workers.cascade.speaking import reads
from workers.cascade.stages import Stages
from workers.providers.base import ChatMessage, ToolCall, Voice

ROUNDS = 8
"""Of tools in one answer; then the model is asked to answer without."""

GUESSES = 4
"""Requests that may be made ahead for one answer: somebody who speaks long, with many pauses, would cost many."""


class Model:
    """One conversation's. There is one request ahead at a time."""

    def __init__(self, shared: Shared, stages: Stages, calling: Calling) -> None:
        self.calling = calling
        self.served = stages.served
        self._session = shared.session
        self._language_model = stages.language_model
        self._text_to_speech = stages.text_to_speech
        self._group = shared.group
        self._ahead: Request | None = None
        self._guessed = ""
        """What the user is taken to have said."""
        self._guesses = 0

    # --- ahead

    def guess(self, words: str) -> None:
        """The user may be done, and have said `words`: ask the model, unless it is being asked that already."""
        if not words.strip() or (self._ahead is not None and same_words(words, self._guessed)):
            return
        self.forget()
        if self._guesses < GUESSES:
            self._guesses += 1
            self._guessed = words
            snapshot = replace(self._session.snapshot, answer=None)
            context.remember(snapshot, Item("user", words, snapshot.next_turn))
            self._ahead = Request(
                self._group, self._language_model, self._messages(snapshot), self.calling.schemas, self._opening()
            )

    def forget(self) -> None:
        """What was asked ahead is of no use."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.drop()

    def _opening(self) -> Opening | None:
        tenant, group, text_to_speech = self._session.tenant, self._group, self._text_to_speech
        if not tenant.turn.preemptive_tts:
            return None
        return Opening(lambda text, last: BegunVoice(group, text_to_speech, text, last=last), reads(tenant))

    # --- for an answer

    def voice(self) -> Voice:
        """The voice of an answer that begins now. It may have begun before. Whoever asks for it closes it."""
        opening = None if self._ahead is None else self._ahead.opening
        begun = None if opening is None else opening.take()
        return begun or self._text_to_speech.voice()

    async def reply(self, rounds: int) -> AsyncGenerator[str | ToolCall, None]:
        """What the model says to the conversation as it is now, after so many rounds of tools. Raises ProviderError."""
        self.calling.told()
        tools = self.calling.schemas if rounds < ROUNDS else ()
        asked = self._messages(self._session.snapshot)
        if rounds >= ROUNDS and asked[-1].role == "tool":
            asked.append(ChatMessage("system", ENOUGH))
        ahead, self._ahead, self._guesses = self._ahead, None, 0
        if ahead is not None and not ahead.answers(asked, tools):
            ahead.drop()
            await ahead.gone()
            ahead = None
        reply = self._language_model.reply(asked, tools) if ahead is None else ahead.parts()
        async with aclosing(reply) as parts:
            async for part in parts:
                if isinstance(part, ToolCall) and not tools:
                    raise ProviderError("cascade", "the language model called a tool, and was given none")
                yield part

    def _messages(self, snapshot: Snapshot) -> list[ChatMessage]:
        return messages(self._session.tenant.prompt, snapshot, calls=bool(self.calling.schemas))
