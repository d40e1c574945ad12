"""How much of the caller's audio may come at once: a message costs three processes more than the frames in it."""

from __future__ import annotations

from trunkline.audio.frame import FULL_SCALE
from workers.cascade.shared import Shared

TOGETHER_MS = 60
"""Of audio on which nothing hangs for now: how much may come as one message. It is known later by that."""

Wish = tuple[int, int, int]
"""As `Session.ease` takes it."""

AS_IT_COMES = (0, 0, 0)
TOGETHER = (TOGETHER_MS, 0, FULL_SCALE)


class Easing:
    """One session's. Somebody waits for speech while an answer is given, for silence while the caller speaks, and for
    the end of a silence that may end a turn; and for nothing else."""

    def __init__(self, shared: Shared) -> None:
        self._session = shared.session
        self._ear = shared.ear
        self._turn = shared.turn
        self._told: Wish = AS_IT_COMES

    def look(self) -> None:
        """Tell the gateway, if it has changed."""
        wanted = self._wanted()
        if not _alike(wanted, self._told):
            self._told = wanted
            self._session.ease(*wanted)

    def _wanted(self) -> Wish:
        ear, endpointing = self._ear, self._ear.endpointing
        if self._turn.is_held or endpointing.quiet:
            return AS_IT_COMES
        if endpointing.speaking:
            return TOGETHER_MS, ear.hush_rms, FULL_SCALE
        if not self._turn.is_answer_s:
            return TOGETHER
        return (TOGETHER_MS, 0, ear.hush_rms) if ear.settled and not endpointing.speech_ms else AS_IT_COMES


def _alike(one: Wish, other: Wish) -> bool:
    """Noise wavers: nobody is told of a quarter more or less."""
    return one[0] == other[0] and all(abs(a - b) <= max(a, b) // 4 for a, b in zip(one[1:], other[1:], strict=True))
