"""How long a silence must last until the speaker is taken to be done: by the words, by how it sounded, and by time.

Each hint counts as log-odds for "done", and they add up (as independent evidence does): what the words say, whether the
transcriber takes the turn to be over, and what the smart turn model says, bounded, for it is sure of itself more often
than it is right (it cuts off 35 of 100 speakers at 300 ms, by LiveKit's eot-bench). Where there are no hints, `stop_ms`
decides, as it does without all this.
"""

from __future__ import annotations

import math
from typing import Protocol

from workers.turns.endpointing import PRE_ROLL_MS
from workers.turns.phrasing import Phrase, phrase

ASK_MS = 192
"""The model is asked after this much silence: it was made for audio that ends in about 200 ms of it, and less would ask
it in the middle of words."""

HEARD_MS = 8000
"""What it takes into account."""

SURE = 2.0
"""Log-odds (7 to 1) from which on all of a setting counts, and the most that the model's word weighs."""

EVIDENCE = {
    Phrase.NOTHING: 0.0,
    Phrase.PLAIN: 0.0,
    Phrase.SENTENCE: 1.0,
    Phrase.QUESTION: 2.0,
    Phrase.DICTATING: -3.0,
    Phrase.OPEN: -3.0,
}
"""Log-odds of "done". A question is meant to be answered; an open end outweighs a model that heard a falling pitch."""

ENDED = 2.0
"""Log-odds of "done" when the transcriber has ended the turn: Deepgram's Flux, the only one that does, cuts off 13 of
100 speakers at 300 ms (the same benchmark). That it has not ended it says nothing: its word takes a moment to come."""


class Limits(Protocol):
    """What a tenant may choose: `trunkline.tenants.TurnSettings`, which imports too much for this module."""

    @property
    def finished_ms(self) -> int: ...
    @property
    def stop_ms(self) -> int: ...
    @property
    def unfinished_ms(self) -> int: ...


class Judgement(Protocol):
    """As `workers.turns.smart_turn.Judgement`."""

    @property
    def probability(self) -> float: ...
    @property
    def media_ms(self) -> int: ...


class Question(Protocol):
    """As `workers.turns.smart_turn.Question`."""

    def answer(self) -> Judgement | None: ...
    def withdraw(self) -> None: ...


class Judge(Protocol):
    """As `workers.turns.smart_turn.SmartTurn`."""

    def ask(self, pcm: bytes, rate_hz: int, media_ms: int) -> Question | None: ...


def patience_ms(limits: Limits, said: Phrase, done: float | None, *, ended: bool = False) -> int:
    """The silence that ends an utterance which ends like `said`, and is done with probability `done`, if that is known.
    `ended`: the transcriber takes the turn to be over.

    From `unfinished_ms` (surely not done) by `stop_ms` (no idea) to `finished_ms` (surely done).
    """
    odds = EVIDENCE[said] + (0.0 if done is None else _log_odds(done)) + (ENDED if ended else 0.0)
    part = max(-1.0, min(odds / SURE, 1.0))
    surely_ms = min(limits.finished_ms, limits.stop_ms) if part > 0 else max(limits.unfinished_ms, limits.stop_ms)
    return round(limits.stop_ms + (surely_ms - limits.stop_ms) * abs(part))


def _log_odds(probability: float) -> float:
    bounded = max(0.001, min(probability, 0.999))
    return max(-SURE, min(math.log(bounded / (1 - bounded)), SURE))


class Patience:
    """One session's: hears what endpointing hears, asks the model once in a silence, and says how long to wait."""

    def __init__(self, limits: Limits, rate_hz: int, judge: Judge | None = None) -> None:
        """`judge` may be None: the words and time decide alone."""
        self._limits = limits
        self._rate_hz = rate_hz
        self._judge = judge
        self._heard = bytearray()
        self._question: Question | None = None
        self._asked = False

    def hear(self, pcm: bytes) -> None:
        """Take the next s16le mono audio at the session's rate, speech or not."""
        if self._judge is None:
            return
        self._heard += pcm
        most = self._bytes(HEARD_MS)
        if len(self._heard) > most + most // 8:  # seldom, for all of it is moved
            del self._heard[:-most]

    def quiet(self, start_ms: int, speech_end_ms: int, now_ms: int, words: str, *, ended: bool = False) -> int:
        """The speaker of an utterance from `start_ms` is silent since `speech_end_ms`, and was understood as `words` so
        far; `ended`: the transcriber takes the turn to be over. `now_ms` is the end of what was heard. Returns how long
        (ms) the silence must last to end the utterance."""
        if self._judge is not None and not self._asked and now_ms - speech_end_ms >= ASK_MS:
            self._asked = True
            spoken = self._bytes(now_ms - start_ms + PRE_ROLL_MS)
            self._question = self._judge.ask(bytes(self._heard[-spoken:]), self._rate_hz, now_ms)
        judgement = None if self._question is None else self._question.answer()
        done = None if judgement is None else judgement.probability
        return patience_ms(self._limits, phrase(words), done, ended=ended)

    def over(self) -> None:
        """The silence is over: the speaker went on, or was taken to be done."""
        if self._question is not None:
            self._question.withdraw()
        self._question = None
        self._asked = False

    def _bytes(self, duration_ms: int) -> int:
        return duration_ms * self._rate_hz // 1000 * 2
