"""Whose turn it is in one session: moves the table, and tells the client and the keeper of it."""

from __future__ import annotations

from collections.abc import Callable

from workers.backend import Session
from workers.keeping import Keeper
from workers.turns.machine import ANSWERING, HELD, SHOWN, USER, Move, State, TurnMachine


class Turn:
    """`now_ms` gives the media time of what was heard so far."""

    def __init__(self, session: Session, keeper: Keeper, now_ms: Callable[[], int]) -> None:
        self._session = session
        self._keeper = keeper
        self._now_ms = now_ms
        self._machine = TurnMachine()
        self._shown = ""

    @property
    def state(self) -> State:
        return self._machine.state

    @property
    def is_user_s(self) -> bool:
        return self.state in USER

    @property
    def is_answer_s(self) -> bool:
        """Whether an answer is being prepared or spoken."""
        return self.state in ANSWERING

    @property
    def is_held(self) -> bool:
        """Whether an answer waits, because the user may be interrupting it."""
        return self.state in HELD

    def move(self, move: Move) -> None:
        """Raises IllegalMove."""
        self._machine.move(move, self._now_ms())
        if self.state is not State.LISTENING:
            self._keeper.wake()
        self.show()

    def show(self) -> None:
        """Tell the client what it does not know yet."""
        shown = SHOWN[self.state]
        if shown != self._shown:
            self._shown = shown
            self._session.event("state", state=shown)
