"""Whether the other side still lives: when it is asked for a sign, and when it is lost. Time is an argument, in s.

Any authenticated datagram is a sign: a STUN message with integrity, SRTP or SRTCP that unprotects. While there are
signs, it is asked every 5 s, which RFC 7675 wants for the consent to send. How often signs come by themselves depends:
libwebrtc (Chrome, Safari) checks its stable, selected pair every 2.5 s, and every 0.9 s once an answer was late
(p2p_constants.h: STRONG_AND_STABLE_WRITABLE_CONNECTION_PING_INTERVAL, WEAK_OR_STABILIZING_...), Firefox every 4 to 6 s;
a muted microphone goes on sending packets, but DTX, or having no microphone, sends none.

So 3 s of silence say nothing by themselves. The silent are asked: from 1 s on every 0.5 s, and an ICE agent must
answer. Lost is who was silent for 3 s and left at least 3 questions unanswered. That count also protects from our own
stalls: a loop that stood still for 10 s has asked nothing meanwhile.

Some agents leave checks unanswered once a pair is chosen. One that never answered any of these questions is given 15 s,
in which its own checks, 4 to 6 s apart, should have come twice. To learn who answers, the first question goes at once.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable

ASK_EVERY_S = 5.0
"""RFC 7675 section 5.1, to be randomised by 0.8 to 1.2."""
QUIET_S = 1.0
ASK_AGAIN_S = 0.5
LOST_S = 3.0
LOST_WITHOUT_ANSWERS_S = 15.0
UNANSWERED = 3
INTRODUCTIONS = 5
"""Questions a second apart at the start, until one is answered."""


class Beat(enum.Enum):
    WAIT = "wait"
    ASK = "ask"
    LOST = "lost"


class Pulse:
    def __init__(self, now_s: float, dice: Callable[[], float] = random.random) -> None:
        self._dice = dice
        self._heard_s = now_s
        self._asked = 0
        self._asked_s = now_s
        self._ask_s = now_s
        self._introductions = INTRODUCTIONS
        self._answers = False

    def heard(self, now_s: float) -> None:
        """An authenticated datagram came."""
        self._heard_s = now_s
        self._asked = 0

    def answered(self, now_s: float) -> None:
        """The other side answered a question."""
        self._answers = True
        self.heard(now_s)

    @property
    def due_s(self) -> float:
        """When to `beat` next, if nothing is heard meanwhile."""
        return self._next_ask_s if self._asked < UNANSWERED else min(self._next_ask_s, self._lost_s)

    def beat(self, now_s: float) -> Beat:
        """What is to be done now. `Beat.ASK` is taken as done."""
        if self._asked >= UNANSWERED and now_s >= self._lost_s:
            return Beat.LOST
        if now_s < self._next_ask_s:
            return Beat.WAIT
        self._asked += 1
        self._asked_s = now_s
        if self._answers or self._introductions == 0:
            self._ask_s = now_s + ASK_EVERY_S * (0.8 + 0.4 * self._dice())
        else:
            self._introductions -= 1
            self._ask_s = now_s + QUIET_S
        return Beat.ASK

    @property
    def _next_ask_s(self) -> float:
        return min(self._ask_s, max(self._heard_s + QUIET_S, self._asked_s + ASK_AGAIN_S))

    @property
    def _lost_s(self) -> float:
        """Not before the last question had its time, either."""
        return max(self._heard_s + (LOST_S if self._answers else LOST_WITHOUT_ANSWERS_S), self._asked_s + ASK_AGAIN_S)
