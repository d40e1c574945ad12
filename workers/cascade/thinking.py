"""What an answer says: language model and tools -> text, cut into sentences."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from enum import Enum

from trunkline.errors import ProviderError
from workers.backend import Answer
from workers.cascade.model import Model
from workers.cascade.prompting import last_words, said
from workers.cascade.sentences import Sentences
from workers.cascade.stages import Floor
from workers.providers.base import ToolCall

SENTENCES_AHEAD = 64
"""Sentences the language model may be ahead of the voice; then it is read no further."""

LONGEST_ANSWER = 16_000
"""Characters that a model may say in one answer, 18 minutes of speech. A snapshot holds it, and a call that is to end
waits for its end."""

LONGEST_BLANK = 400
"""White space that a model may write at a stretch. One in trouble writes nothing else, at 50 characters a second or
more, while the caller waits."""

MOST_CALLS = 32
LONGEST_CALLS = 32 * 1024
"""Calls at once, and characters of arguments in one answer, for a snapshot holds them, too."""

TOOLS_S = 3.0
"""How long an answer waits for the tools of one before it, which the caller interrupted."""


_log = logging.getLogger(__name__)


class Due(Enum):
    """What the user is owed."""

    ANSWER = "answer"
    APOLOGY = "apology"
    """Nobody could find out what they said."""
    NOTHING = "nothing"
    """They said nothing."""


class Thinking:
    """Writes `answer` on and passes its sentences to the voice: from `answer.spoken[number]` on, what was said before a
    takeover and not heard, then what the language model says, and says when its tools have answered."""

    def __init__(
        self,
        model: Model,
        floor: Floor,
        answer: Answer,
        number: int,
        apology: str,
        mark: Callable[[str], None],
        expects: bool,
    ) -> None:
        """`expects`: what the user said is not known yet; `go_on` says when it is."""
        self.sentences: asyncio.Queue[str | None] = asyncio.Queue(SENTENCES_AHEAD)
        """What is to be spoken, in order; None at its end."""
        self.done = False
        """Whether all of it is in `sentences`."""
        self.is_using_tools = False
        """Whether it waits for a tool."""
        self._model = model
        self._floor = floor
        self._answer = answer
        self._number = number
        self._mark = mark
        self._apology = apology
        self.passed = len(said(answer))
        """How much of the answer's text is in `sentences`, or was."""
        self.came_s = 0.0
        """When the model last said something (s, the loop's clock)."""
        self._cut = Sentences(early=not answer.spoken)
        self._due: asyncio.Future[Due] = asyncio.get_running_loop().create_future()
        if not expects:
            self.go_on(Due.ANSWER)

    @property
    def expects(self) -> bool:
        """Whether it waits for what the user said."""
        return not self._due.done()

    def go_on(self, due: Due) -> None:
        """What the user said is known, or will not be."""
        self._due.set_result(due)

    async def run(self) -> None:
        """Returns once all of it was passed on."""
        await self._say_again()
        if not self._answer.complete:
            try:
                await self._give(await asyncio.shield(self._due))  # a voice that fails cancels this, and no more
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
            if called.at > self.passed:
                await self._pass_on(self._cut.push(answer.text[self.passed : called.at]))
                await self._pass_on(self._cut.flush())
        await self._pass_on(self._cut.push(answer.text[self.passed :]))

    async def _give(self, due: Due) -> None:
        """Raises ProviderError."""
        match due:
            case Due.ANSWER:
                await self._think()
                if not self._answer.called and not any(map(str.isalnum, last_words(self._answer))):
                    self._floor.failed("llm", ProviderError("cascade", "the language model said nothing"))
                    await self._pass_on([*self._cut.flush(), *self._cut.push(self.apology())])
            case Due.APOLOGY:
                await self._pass_on(self._cut.push(self.apology()))
            case Due.NOTHING:
                """What was said so far has to do."""

    # --- the model

    async def _think(self) -> None:
        calling = self._model.calling
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
        async with aclosing(self._model.reply(rounds)) as parts:
            async for part in parts:
                self._mark("first_token")
                if isinstance(part, ToolCall):
                    calls.append(part)
                    self._check_length(calls)
                    continue
                await self._add(part, apart=apart)
                apart = False
                if self._is_endless:
                    _log.warning("the language model does not stop, after %d characters", len(answer.text))
                    break
        return calls

    @property
    def _is_endless(self) -> bool:
        """Whether more of what the model says is not worth waiting for."""
        text = self._answer.text
        return len(text) >= LONGEST_ANSWER or (len(text) >= LONGEST_BLANK and text[-LONGEST_BLANK:].isspace())

    def _check_length(self, calls: list[ToolCall]) -> None:
        """Raises ProviderError for calls that nobody could remember."""
        written = sum(len(called.call.arguments) for called in self._answer.called)
        written += sum(len(call.arguments) for call in calls)
        if len(calls) > MOST_CALLS or written > LONGEST_CALLS:
            raise ProviderError("cascade", f"{len(calls)} calls of tools, with {written} characters of arguments")

    async def _add(self, text: str, *, apart: bool) -> None:
        """The answer goes on with `text`. `apart`: what was said before does not know of it."""
        if apart and text[:1].strip() and self._answer.text[-1:].strip():
            text = f" {text}"
        text = text[: max(0, LONGEST_ANSWER - len(self._answer.text))]
        self._answer.text += text
        if text.strip():
            self.came_s = asyncio.get_running_loop().time()
        await self._pass_on(self._cut.push(text))

    async def _pass_on(self, sentences: list[str]) -> None:
        for sentence in sentences:
            self._mark("first_sentence")
            self.passed += len(sentence)
            await self.sentences.put(sentence)

    def fill(self, phrase: str) -> None:
        """Say `phrase` before anything that was not passed on yet. Only when nothing waits in `sentences`."""
        before, after = self._answer.text[: self.passed], self._answer.text[self.passed :]
        phrase = f" {phrase} " if before[-1:].strip() else f"{phrase} "
        self._answer.text = before + phrase + after
        self._answer.fillers.append((self.passed, self.passed + len(phrase)))
        self.passed += len(phrase)
        self.sentences.put_nowait(phrase)

    def apology(self) -> str:
        """Say sorry in this answer, once: its text, after what was said before; empty if that was said."""
        apology, self._apology = self._apology, ""
        if apology and self._answer.text[-1:].strip():
            apology = f" {apology}"
        self._answer.fillers.append((len(self._answer.text), len(self._answer.text) + len(apology)))
        self._answer.text += apology
        return apology
