"""A caller hears a story, or asks questions, and a fault comes in between."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks.phone_faults import hearing, model
from benchmarks.phone_faults.deployment import Deployment
from benchmarks.phone_faults.faults import Fault
from benchmarks.phone_faults.hearing import RATE_HZ
from benchmarks.phone_faults.outcome import Outcome
from tests.standins import tones
from tests.standins.twilio import Call, CallOver, Spoken

SEED = 7
PATIENCE_S = 30.0
RECENT_S = 2.5
"""So much of what was heard last is looked at while waiting: to look at all of it would slow down Twilio's clock."""
QUIET_S = 0.5
"""So long after the last sound an answer is over; longer than any silence we want to measure would be too long."""
BETWEEN_S = 3.0
"""From one fault in a story to the next."""
LAST_WORDS = 10
"""2 s: in these there is no fault any more."""


@dataclass(frozen=True)
class Kind:
    """A kind of fault. `in_call` is how many of them one call takes; `short`: the story is; `leaves`: the call's stream
    ends, and Twilio's own time to come back is not ours; `asks`: there is something to see in mid-question."""

    name: str
    fault: Fault
    goal_ms: float | None = None
    in_call: int = 3
    short: bool = False
    leaves: bool = False
    asks: bool = True


class Line:
    """A call, as the scenarios use it."""

    def __init__(self, deployment: Deployment, call: Call) -> None:
        self.deployment = deployment
        self.call = call

    def say(self, text: str) -> Spoken:
        return self.call.say(tones.speak(text, RATE_HZ))

    def words(self, from_s: float) -> list[str]:
        return tones.hear(self.call.heard_pcm(from_s), RATE_HZ).split()

    async def until_heard(self, words: str, since_s: float, within_s: float = PATIENCE_S) -> None:
        """Wait for words that were not there before. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            from_s = since_s
            while words not in tones.hear(self.call.heard_pcm(from_s), RATE_HZ):
                await self._pass(0.1)
                from_s = max(since_s, self.call.heard.ended_s - RECENT_S)

    async def until_answered(self, spoken: Spoken) -> float:
        """Wait for any sound after what was spoken. Returns how long after its end that came, in ms."""
        async with asyncio.timeout(PATIENCE_S):
            while (began_ms := hearing.begins_ms(self.call.heard_pcm(spoken.ended_s))) is None:
                await self._pass(0.1)
            return began_ms

    async def until_quiet(self) -> None:
        """Wait for an answer to be over."""
        async with asyncio.timeout(PATIENCE_S):
            while hearing.begins_ms(self.call.heard_pcm(self.call.heard.ended_s - QUIET_S)) is not None:
                await self._pass(0.05)

    async def _pass(self, duration_s: float) -> None:
        if self.call.ended:
            raise CallOver(self.call.describe())
        await asyncio.sleep(duration_s)

    async def ask(self, question: str, answer: str) -> None:
        """Ask, and hear the answer to its end. Raises TimeoutError when another comes, or none."""
        spoken = self.say(question)
        await self.until_heard(answer, spoken.ended_s)
        await self.until_quiet()

    def unheard(self, spoken: Spoken, text: str) -> set[str]:
        """The words that were said while no stream was open, wholly or in part: Twilio loses them."""
        streams = self.call.streams
        gaps = [
            (before.ended_s or 0.0, after.opened_s or float("inf")) for before, after in itertools.pairwise(streams)
        ]
        word_s = tones.WORD_MS / 1000
        lost = set()
        for place, word in enumerate(text.split()):
            begins_s = spoken.began_s + place * word_s
            if any(begins_s < end_s and begins_s + word_s > begin_s for begin_s, end_s in gaps):
                lost.add(word)
        return lost


async def in_mid_answer(deployment: Deployment, kind: Kind, outcome: Outcome, faults: int) -> None:
    """Faults while a story is told, until there were enough."""
    dice = random.Random(SEED)

    async def strike(line: Line, times: int) -> None:
        await _story(line, kind, outcome, times, dice)

    await _in_calls(deployment, kind, outcome, faults, strike)


async def in_mid_question(deployment: Deployment, kind: Kind, outcome: Outcome, faults: int) -> None:
    """Faults while the caller asks something; then every word must be understood, and answered once."""
    dice = random.Random(SEED)

    async def strike(line: Line, times: int) -> None:
        for _ in range(times):
            await deployment.whole()
            await _question(line, kind, outcome, dice)

    await _in_calls(deployment, kind, outcome, faults, strike)


Strike = Callable[[Line, int], Awaitable[None]]


async def _in_calls(deployment: Deployment, kind: Kind, outcome: Outcome, faults: int, strike: Strike) -> None:
    """Calls with so many faults in each as the kind allows, until there were enough: what was said before them must be
    known after them."""
    while len(outcome.times_ms) < faults:
        await deployment.whole()
        async with deployment.dial() as call:
            outcome.calls += 1
            before = len(outcome.times_ms)
            line = Line(deployment, call)
            try:
                await call.connected()
                await line.ask(model.NAME, model.NAME_ECHOED)
                await strike(line, min(kind.in_call, faults - before))
                await line.ask(model.ASK_NAME, model.NAME_KNOWN)
                outcome.calls_with_context += 1
            except (TimeoutError, CallOver) as error:
                _complain(line, outcome, error)
                if len(outcome.times_ms) == before:
                    outcome.times_ms.append(float("inf"))
            await call.hang_up()


async def _story(line: Line, kind: Kind, outcome: Outcome, faults: int, dice: random.Random) -> None:
    story = model.SHORT if kind.short else model.STORY
    asked = line.say(model.ASK_SHORT if kind.short else model.ASK_STORY)
    await line.until_heard(story[1], asked.ended_s)
    struck_s = []
    for number in range(faults):
        if number:
            await asyncio.sleep(BETWEEN_S - 1.0)
            await line.deployment.whole()
            if story[-LAST_WORDS] in line.words(asked.ended_s):
                break  # what was broken took long to be whole again
        await asyncio.sleep(dice.uniform(0.1, 1.0))
        struck_s.append(line.call.heard.ended_s)
        await kind.fault(line.deployment, line.call)
    await line.until_heard(story[-1], asked.ended_s)
    await line.until_quiet()
    stretches = hearing.silences(line.call.heard_pcm(asked.ended_s))
    for from_s, to_s in zip(struck_s, [*struck_s[1:], float("inf")], strict=True):
        silence_ms = hearing.silence_ms(stretches, (from_s - asked.ended_s) * 1000, (to_s - asked.ended_s) * 1000)
        outcome.times_ms.append(max(0.0, silence_ms - (line.deployment.return_ms if kind.leaves else 0.0)))
    heard = line.words(asked.ended_s)
    outcome.count(hearing.compare(story, heard), heard)


async def _question(line: Line, kind: Kind, outcome: Outcome, dice: random.Random) -> None:
    spoken = line.say(model.QUESTION)
    last_s = spoken.ended_s - spoken.began_s - 0.2
    await asyncio.sleep(dice.uniform(0.1, last_s))
    striking = asyncio.create_task(kind.fault(line.deployment, line.call))
    try:
        began_ms = await line.until_answered(spoken)
        await line.until_quiet()
    finally:
        await striking
    pcm = line.call.heard_pcm(spoken.ended_s)
    outcome.times_ms.append(began_ms)
    heard = tones.hear(pcm, RATE_HZ).split()
    lost = line.unheard(spoken, model.QUESTION)
    expected = ["said", *(word for word in model.QUESTION.split() if word not in lost)]
    # "you" is said twice in a right answer, and a word that Twilio lost in part may be understood or not.
    outcome.count(
        hearing.compare([w for w in expected if w != "you"], [w for w in heard if w not in lost | {"you"}]), heard
    )


def _complain(line: Line, outcome: Outcome, error: Exception) -> None:
    recent = " ".join(line.words(line.call.heard.ended_s - 20.0))
    outcome.complaints.append(f"{type(error).__name__}; call {line.call.sid}, {line.call.describe()}; heard: {recent}")
