"""The demo dialogue: what answers when there is no language model. A table of rules, not intelligence, and it says so.

It keeps no state: every answer follows from the messages alone (and the time of day, when that is asked), so that any
worker can carry a conversation on after another died in the middle of a sentence.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from workers.phrases import NUMBERS
from workers.providers.base import ChatMessage, ToolSchema
from workers.providers.options import read_options

_TENS = {2: "twenty", 3: "thirty", 4: "forty", 5: "fifty"}

_STORY = (
    "Once upon a time there was a small lighthouse at the end of a very long pier. "
    "Every night it sent its light across the water, and every night one old ship answered with three short flashes. "
    "One winter the storm was so strong that the light went out. "
    "The ship could not see the shore, but its captain remembered the rhythm of the light, and counted in the dark. "
    "At the right moment the keeper lit a single candle, and that was enough. "
    "The ship came home, and from then on the lighthouse always kept a candle by the window. "
)
_ABILITIES = "the time or the date, your name, counting, or a story"
_ABOUT_ME = (
    "I am the demo voice of Trunkline: a small set of rules without a language model behind it. "
    f"You can ask me about {_ABILITIES}."
)
_ABOUT_TRUNKLINE = (
    "Trunkline is a voice gateway. It connects telephone calls and web browsers to speech models, "
    "and a call goes on even when the process that answers it dies."
)


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that was asked: the words that matched a rule, and all that an answer may depend on."""

    match: re.Match[str]
    users: tuple[str, ...]
    """What the caller said, oldest first, the present utterance last."""
    answers: tuple[str, ...]
    now: datetime


def number_words(number: int) -> str:
    """`number` (0 to 59) in English words."""
    if number < len(NUMBERS):
        return NUMBERS[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens] + (f" {NUMBERS[ones]}" if ones else "")


def _known_name(users: Sequence[str]) -> str | None:
    for said in reversed(users):
        if found := re.search(rf"\b(?:{_NAMING})\b", said):
            return found["name"].title()
    return None


def _greet(question: Question) -> str:
    name = _known_name(question.users)
    return f"Hello, {name}! What can I do for you?" if name else f"Hello! {_ABOUT_ME}"


def _meet(question: Question) -> str:
    return f"Nice to meet you, {question.match['name'].title()}."


def _recall_name(question: Question) -> str:
    name = _known_name(question.users)
    return f"Your name is {name}." if name else "You have not told me your name yet."


def _tell_time(question: Question) -> str:
    hour, minute = question.now.hour, question.now.minute
    part = "in the morning" if hour < 12 else "in the afternoon" if hour < 18 else "in the evening"
    clock = number_words(hour % 12 or 12)
    if minute == 0:
        return f"It is {clock} o'clock {part}."
    minutes = "one minute" if minute == 1 else f"{number_words(minute)} minutes"
    return f"It is {minutes} past {clock} {part}."


def _tell_date(question: Question) -> str:
    now = question.now
    return f"Today is {now:%A}, {now:%B} {now.day}, {now.year}."


def _count(question: Question) -> str:
    word = question.match["number"]
    last = int(word) if word.isdigit() else NUMBERS.index(word)
    return ", ".join(number_words(number) for number in range(1, min(last, 59) + 1)).capitalize() + "."


def _count_turns(question: Question) -> str:
    turns = len(question.users)
    times = "one thing" if turns == 1 else f"{number_words(turns) if turns < 60 else turns} things"
    return f"You have asked me {times}, counting this one."


def _story(question: Question) -> str:
    name = _known_name(question.users)
    return _STORY + (f"And that, {name}, is the end of the story." if name else "And that is the end of the story.")


def _recall_said(question: Question) -> str:
    earlier = question.users[:-1]
    return f"Before this, you said: {earlier[-1]}." if earlier else "This is the first thing that you said."


def _repeat(question: Question) -> str:
    return question.answers[-1] if question.answers else "I have not said anything yet."


def _leave(question: Question) -> str:
    name = _known_name(question.users)
    return f"Goodbye, {name}. It was nice to talk to you." if name else "Goodbye. It was nice to talk to you."


def _always(answer: str) -> Callable[[Question], str]:
    return lambda _: answer


_NAMING = r"(?:my name is|my name's|call me) (?P<name>[^\W\d_]+(?:['-][^\W\d_]+)*)"

_RULES: tuple[tuple[re.Pattern[str], Callable[[Question], str]], ...] = tuple(
    (re.compile(rf"\b(?:{pattern})\b"), answer)
    for pattern, answer in (
        (_NAMING, _meet),
        (r"(?:what is|what's|know|remember|say) my name", _recall_name),
        (r"what time|the time", _tell_time),
        (r"what day|the date|what date", _tell_date),
        (r"what can you do|help(?: me)?|what can i (?:ask|say)", _always(f"You can ask me about {_ABILITIES}.")),
        (r"what is trunkline|about trunkline|what's trunkline", _always(_ABOUT_TRUNKLINE)),
        (r"(?:who|what) are you|are you an? \w+", _always(_ABOUT_ME)),
        (rf"count (?:up )?to (?P<number>\d+|{'|'.join(NUMBERS)})", _count),
        (r"story", _story),
        (r"how many (?:questions|things|times)", _count_turns),
        (r"how are you", _always("I am fine, thank you. How can I help?")),
        (r"what did i (?:just )?say", _recall_said),
        (r"repeat|say (?:that|it) again", _repeat),
        (r"thank you|thanks", _always("You are welcome.")),
        (r"goodbye|good bye|bye(?: bye)?|see you(?: later)?", _leave),
    )
)
_GREETING = re.compile(r"\b(?:hello|hi|hey|good (?:morning|afternoon|evening))\b")


def normalize(text: str) -> str:
    """Lower case, straight apostrophes, no punctuation, `trunk line` as one word."""
    text = re.sub(r"[^\w'\- ]", " ", text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    return " ".join(text.split()).replace("trunk line", "trunkline")


def answer(messages: Sequence[ChatMessage], now: datetime) -> str:
    """The whole answer to the last user message of `messages`. A pure function of both."""
    users = tuple(said for message in messages if message.role == "user" and (said := normalize(message.content)))
    answers = tuple(message.content for message in messages if message.role == "assistant" and message.content)
    if not users or not normalize(next(m.content for m in reversed(messages) if m.role == "user")):
        return "I did not catch that. Please say it again."
    found: list[tuple[int, Question, Callable[[Question], str]]] = []
    for pattern, answer_to in _RULES:
        if match := pattern.search(users[-1]):
            found.append((match.start(), Question(match, users, answers, now), answer_to))
    if not found and (match := _GREETING.search(users[-1])):
        return _greet(Question(match, users, answers, now))
    if not found:
        return (
            f"I heard: {users[-1]}. I am only a small demo, so I cannot answer that. You can ask me about {_ABILITIES}."
        )
    return " ".join(answer_to(question) for _, question, answer_to in sorted(found, key=lambda entry: entry[0]))


class DemoOptions(BaseModel):
    """A tenant's options for the demo dialogue."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    now: datetime | None = Field(default=None, description="the time it believes it is; none: the machine's clock")


class DemoDialogue:
    """The rules above as a `LanguageModel`, a word at a time."""

    def __init__(self, options: DemoOptions) -> None:
        self._now = options.now

    @property
    def description(self) -> str:
        return "built-in demo dialogue: a table of rules, no language model (English only)"

    async def reply(
        self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema] = ()
    ) -> AsyncGenerator[str, None]:
        """Stream the answer word by word. Of an answer that was begun (a last message of role `assistant`), only what
        follows. It calls no tools.

        What was said is counted in words, not compared, since the time of day may have moved on.
        """
        begun = messages[-1].content if messages and messages[-1].role == "assistant" else ""
        asked = messages[:-1] if begun else messages
        now = self._now or datetime.now().astimezone()
        words = answer(asked, now).split()
        for place in range(len(begun.split()), len(words)):
            yield words[place] if place == 0 else f" {words[place]}"
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Nothing to let go of."""


def language_model(options: dict[str, Any]) -> DemoDialogue:
    """Raises SettingsError for wrong options."""
    return DemoDialogue(read_options(DemoOptions, options, "language model 'demo'"))
