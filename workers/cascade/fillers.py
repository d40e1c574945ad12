"""What is said to a caller who waits, so that they know that somebody is there: a phrase of the tenant or of a tool."""

from __future__ import annotations

import asyncio

from workers.backend import Answer, Session
from workers.cascade.calling import Calling
from workers.cascade.prompting import said
from workers.cascade.speaking import Speaking
from workers.cascade.stages import Floor
from workers.cascade.thinking import Thinking

LOOK_AGAIN_S = 0.2
"""How soon to look again whether text that is on its way has become audio, or who made a sound is silent again."""

TICK_S = 0.001
"""Less is not waited for: an event loop may wake somebody a little early, again and again."""

STALLED_S = 0.7
"""A sentence that has begun to come is waited for, unless nothing more of it has come for so long."""

_SAID = "fillers_said"


class Fillers:
    """Those of one answer: said while its text is not all known, and the caller has nothing left to hear."""

    def __init__(
        self, session: Session, answer: Answer, thinking: Thinking, speaking: Speaking, calling: Calling, floor: Floor
    ) -> None:
        self._session = session
        self._settings = session.tenant.fillers
        self._answer = answer
        self._thinking = thinking
        self._speaking = speaking
        self._calling = calling
        self._floor = floor
        self._clock = asyncio.get_running_loop().time
        self._quiet_s = 0.0
        """Since when the caller has nothing to hear, or from when on they will have nothing (s, the loop's clock)."""
        self._said_s = 0.0
        """When the last one was begun."""

    def quiet_from(self, at_s: float) -> None:
        """The caller has nothing to hear from `at_s` on, by what was sent until now."""
        self._quiet_s = max(self._quiet_s, at_s)

    async def run(self) -> None:
        """Say them when they are due, until cancelled."""
        while True:
            now_s = self._clock()
            if (wait_s := self._due_s() - now_s) > TICK_S:
                await asyncio.sleep(wait_s)
                continue
            await self._floor.may_speak()
            if self._clock() > now_s:  # the user spoke meanwhile, and waits since then
                self.quiet_from(self._clock())
            elif self._thinking.done:
                return
            elif self._is_coming or not (phrase := self._phrase()):
                await asyncio.sleep(LOOK_AGAIN_S)
            else:
                self._said_s = now_s
                self._thinking.fill(phrase)

    def _due_s(self) -> float:
        fillers = self._answer.fillers
        if fillers and fillers[-1][1] == self._thinking.passed:  # nothing else was said since
            return max(self._quiet_s, self._said_s + self._settings.interval_s)
        return self._quiet_s + self._settings.delay_s

    @property
    def _is_coming(self) -> bool:
        """Whether there is text that only wants to be spoken and sent, or about to be."""
        thinking, length = self._thinking, len(self._answer.text)
        if len(said(self._answer)) < thinking.passed or self._speaking.busy or not self._speaking.pieces.empty():
            return True
        return thinking.passed < length and self._clock() - thinking.came_s < STALLED_S

    def _phrase(self) -> str:
        """The next one; empty if there is none."""
        if named := self._calling.take_filler():
            return named
        phrases, flow = self._settings.phrases, self._session.snapshot.flow
        if not phrases:
            return ""
        number = int(flow.get(_SAID, 0))
        flow[_SAID] = number + 1  # in the next answer, and with another worker, others are said
        return phrases[number % len(phrases)]
