"""How much of the caller's audio may come at once: a message costs three processes more than the frames in it."""

from __future__ import annotations

from trunkline.audio.frame import FULL_SCALE
from workers.backend import Session
from workers.cascade.hearing import Ear
from workers.cascade.turn import Turn

TOGETHER_MS = 60
"""Of audio on which nothing hangs for now: how much may come as one message. It is known later by that."""

AS_IT_COMES = (0, 0)
TOGETHER = (TOGETHER_MS, FULL_SCALE)


class Easing:
    """One session's. Somebody waits for the end of a pause that may end a turn, and, while an answer is given, for
    speech; and for nothing else."""

    def __init__(self, session: Session, ear: Ear, turn: Turn) -> None:
        self._session = session
        self._ear = ear
        self._turn = turn
        self._told = AS_IT_COMES

    def look(self) -> None:
        """Tell the gateway, if it has changed."""
        wanted = self._wanted()
        if wanted[0] != self._told[0] or abs(wanted[1] - self._told[1]) > self._told[1] // 4:
            self._told = wanted
            self._session.ease(*wanted)

    def _wanted(self) -> tuple[int, int]:
        endpointing, turn = self._ear.endpointing, self._turn
        if turn.is_held or endpointing.quiet:
            return AS_IT_COMES
        if not turn.is_answer_s:
            return TOGETHER
        if endpointing.speech_ms:
            return AS_IT_COMES
        return TOGETHER_MS, self._ear.quiet_rms
