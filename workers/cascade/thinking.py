"""What an answer says: language model -> text, cut into sentences."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing

from trunkline.errors import ProviderError
from workers.backend import Answer
from workers.cascade.prompting import said
from workers.cascade.sentences import Sentences
from workers.cascade.stages import Floor
from workers.providers.base import ChatMessage, LanguageModel, ToolCall

SORRY = "Sorry, something went wrong. Could you say that again?"
"""Said when the language model or the transcription failed."""

SENTENCES_AHEAD = 64
"""Sentences the language model may be ahead of the voice; then it is read no further."""


class Thinking:
    """Writes `answer` on and passes its sentences to the voice: from `answer.spoken[number]` on, what was said before a
    takeover and not heard, then what the language model says to `messages`."""

    def __init__(
        self,
        model: LanguageModel,
        floor: Floor,
        answer: Answer,
        number: int,
        messages: Sequence[ChatMessage],
        mark: Callable[[str], None],
    ) -> None:
        self.sentences: asyncio.Queue[str | None] = asyncio.Queue(SENTENCES_AHEAD)
        """What is to be spoken, in order; None at its end."""
        self.done = False
        """Whether all of it is in `sentences`."""
        self.is_using_tools = False
        """Whether the model waits for what it asked of a tool."""
        self._model = model
        self._floor = floor
        self._answer = answer
        self._number = number
        self._messages = messages
        self._mark = mark
        self._apologised = False

    async def run(self) -> None:
        answer = self._answer
        sentences = Sentences(early=not answer.spoken)
        unsaid = answer.text[len(said(answer)) :]
        await self._pass_on([spoken.text for spoken in answer.spoken[self._number :]])
        await self._pass_on(sentences.push(unsaid))
        if not answer.complete:
            try:
                await self._generate(sentences)
            except ProviderError as error:
                self._floor.failed("llm", error)
                await self._pass_on(sentences.flush())
                await self._pass_on(sentences.push(self.apology()))
            answer.complete = True
        await self._pass_on(sentences.flush())
        await self.sentences.put(None)
        self.done = True

    async def _generate(self, sentences: Sentences) -> None:
        async with aclosing(self._model.reply(self._messages)) as deltas:
            async for delta in deltas:
                if isinstance(delta, ToolCall):
                    raise ProviderError("cascade", "the language model called a tool, and was given none")
                self._mark("first_token")
                self._answer.text += delta
                await self._pass_on(sentences.push(delta))

    async def _pass_on(self, sentences: list[str]) -> None:
        for sentence in sentences:
            self._mark("first_sentence")
            await self.sentences.put(sentence)

    def apology(self) -> str:
        """Say sorry in this answer, once: its text, after what was said before; empty if that was said."""
        if self._apologised:
            return ""
        self._apologised = True
        text = f" {SORRY}" if self._answer.text[-1:].strip() else SORRY
        self._answer.text += text
        return text
