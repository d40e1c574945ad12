"""What an answer says: language model and tools -> text, cut into sentences."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from trunkline.errors import ProviderError
from workers.backend import Answer
from workers.cascade.asking import Asking
from workers.cascade.prompting import last_words, said
from workers.cascade.sentences import Sentences
from workers.cascade.stages import Floor
from workers.providers.base import ToolCall

SENTENCES_AHEAD = 64
"""Sentences the language model may be ahead of the voice; then it is read no further."""

TOOLS_S = 3.0
"""How long an answer waits for the tools of one before it, which the caller interrupted."""


class Thinking:
    """Writes `answer` on and passes its sentences to the voice: from `answer.spoken[number]` on, what was said before a
    takeover and not heard, then what the language model says, and says when its tools have answered."""

    def __init__(
        self,
        asking: Asking,
        floor: Floor,
        answer: Answer,
        number: int,
        apology: str,
        mark: Callable[[str], None],
    ) -> None:
        self.sentences: asyncio.Queue[str | None] = asyncio.Queue(SENTENCES_AHEAD)
        """What is to be spoken, in order; None at its end."""
        self.done = False
        """Whether all of it is in `sentences`."""
        self.is_using_tools = False
        """Whether it waits for a tool."""
        self._asking = asking
        self._floor = floor
        self._answer = answer
        self._number = number
        self._mark = mark
        self._apology = apology
        self._passed = len(said(answer))
        """How much of the answer's text is in `sentences`, or was."""
        self._cut = Sentences(early=not answer.spoken)

    async def run(self) -> None:
        """Returns once all of it was passed on."""
        await self._say_again()
        if not self._answer.complete:
            try:
                await self._think()
            except ProviderError as error:
                await self._floor.fall_back("llm", error)
                self._floor.failed("llm", error)
                await self._pass_on(self._cut.flush())
                await self._pass_on(self._cut.push(self.apology()))
            self._answer.complete = True
        await self._pass_on(self._cut.flush())
        await self.sentences.put(None)
        self.done = True

    async def _say_again(self) -> None:
        """Pass on what an earlier worker left, or is known from the beginning."""
        answer = self._answer
        for spoken in answer.spoken[self._number :]:
            await self.sentences.put(spoken.text)
        for called in answer.called:
            if called.at > self._passed:
                await self._pass_on(self._cut.push(answer.text[self._passed : called.at]))
                await self._pass_on(self._cut.flush())
        await self._pass_on(self._cut.push(answer.text[self._passed :]))

    # --- the model

    async def _think(self) -> None:
        calling = self._asking.calling
        await calling.rest(TOOLS_S)
        while calls := await self._ask():
            await self._pass_on(self._cut.flush())
            self._cut = Sentences()  # who waited for a tool hears the first clause early, too
            self.is_using_tools = True
            await calling.use(self._answer, calls)
            self.is_using_tools = False

    async def _ask(self) -> list[ToolCall]:
        """Have the model say more. Returns the tools it wants to use then. Raises ProviderError."""
        answer, calls = self._answer, []
        rounds = answer.called[-1].round if answer.called else 0
        apart = not last_words(answer)
        async with aclosing(self._asking.reply(rounds)) as parts:
            async for part in parts:
                self._mark("first_token")
                if isinstance(part, ToolCall):
                    calls.append(part)
                    continue
                await self._add(part, apart=apart)
                apart = False
        return calls

    async def _add(self, text: str, *, apart: bool) -> None:
        """The answer goes on with `text`. `apart`: what was said before does not know of it."""
        if apart and text[:1].strip() and self._answer.text[-1:].strip():
            text = f" {text}"
        self._answer.text += text
        await self._pass_on(self._cut.push(text))

    async def _pass_on(self, sentences: list[str]) -> None:
        for sentence in sentences:
            self._mark("first_sentence")
            self._passed += len(sentence)
            await self.sentences.put(sentence)

    def apology(self) -> str:
        """Say sorry in this answer, once: its text, after what was said before; empty if that was said."""
        apology, self._apology = self._apology, ""
        if apology and self._answer.text[-1:].strip():
            apology = f" {apology}"
        self._answer.fillers.append((len(self._answer.text), len(self._answer.text) + len(apology)))
        self._answer.text += apology
        return apology
