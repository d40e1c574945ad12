"""Telephone keys in a conversation: the first of a number interrupts an answer, and the whole number is said."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from trunkline.bus.messages import Dtmf
from workers.cascade.answers import Answers
from workers.cascade.contributions import Contribution, Contributions
from workers.cascade.shared import Shared
from workers.keys import Keys, pressed, told
from workers.latency import Latency
from workers.turns.machine import Move

_log = logging.getLogger(__name__)


class Dialling:
    """One session's. `is_muted` tells whether the user is not listened to just now: keys wait until `listen`.
    `has_floor` is called when an answer is out of the user's way."""

    def __init__(
        self,
        shared: Shared,
        answers: Answers,
        contributions: Contributions,
        is_muted: Callable[[], bool],
        has_floor: Callable[[], None],
    ) -> None:
        self._session = shared.session
        self._ear = shared.ear
        self._turn = shared.turn
        self._keeper = shared.keeper
        self._group = shared.group
        self._answers = answers
        self._contributions = contributions
        self._is_muted = is_muted
        self._has_floor = has_floor
        self._keys = Keys(shared.session, self._whole)
        self._early: list[str] = []
        """What was whole while the user was not listened to."""
        self._saying: set[asyncio.Task[None]] = set()
        self._said = 0
        """How many of those that the conversation has not yet are on their way to it."""
        self._clock = asyncio.get_running_loop().time

    def __bool__(self) -> bool:
        """Whether any key is not in the conversation yet."""
        return bool(pressed(self._session.snapshot))

    @property
    def entering(self) -> bool:
        """Whether more may belong to the last of them."""
        return self._keys.entering

    def begin(self) -> None:
        """Go on with those that an earlier worker left."""
        self._keys.begin()

    def stop(self) -> None:
        """The session is over: who waits for room waits for nothing."""
        self._keys.stop()
        for task in self._saying:
            task.cancel()

    def press(self, key: Dtmf) -> None:
        """It ends an answer, as typed text does; what the user says is not interrupted."""
        if self._keys.is_new(key) and self._turn.is_answer_s and not self._is_muted():
            self._interrupt()
        self._keys.press(key)
        self._keeper.wake()
        self._keeper.commit_soon()

    def listen(self) -> None:
        """The user is listened to again."""
        early, self._early = self._early, []
        for keys in early:
            self._whole(keys)

    def known(self, keys: str) -> None:
        """The conversation has these."""
        self._said -= len(keys)
        self._keys.known(keys)

    def leave(self) -> None:
        """The user is gone: what they had entered until then is all there is of it."""
        self.stop()
        keys = pressed(self._session.snapshot)
        if rest := keys[self._said :]:
            self._put(rest)
        self.known(keys)

    def _interrupt(self) -> None:
        self._answers.silence()
        self._turn.move(Move.CANCEL)
        self._has_floor()

    def _whole(self, keys: str) -> None:
        if self._is_muted():
            self._early.append(keys)
        else:
            task = self._group.create_task(self._say(keys))
            self._saying.add(task)
            task.add_done_callback(self._saying.discard)

    async def _say(self, keys: str) -> None:
        await self._contributions.room()
        _log.info("session %s: %d telephone keys", self._session.id, len(keys))
        if self._turn.is_held:  # somebody speaks over an answer: they are answered together
            self._interrupt()
        if not self._turn.is_user_s:
            self._answers.silence()
            self._turn.move(Move.ASK)
        self._put(keys)

    def _put(self, keys: str) -> None:
        self._said += len(keys)
        self._contributions.put(Contribution(told(keys), self._ear.needed_seq, Latency(self._clock()), keys=keys))
