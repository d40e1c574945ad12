"""The user speaks over an answer. It is held at once; their words tell whether it is given up or goes on."""

from __future__ import annotations

from collections.abc import Callable

from workers.alarm import Alarm
from workers.cascade.answers import Answers
from workers.cascade.shared import Shared
from workers.turns.backchannels import LONGEST_MS, Verdict, verdict
from workers.turns.machine import Move, State

DOUBT_S = 1.0
"""How long an answer is held for the text of somebody who has fallen silent. A cough has none: the answer goes on, and
ends if a slow transcriber finds words after all."""


class Interrupting:
    """One session's. `has_floor` is called when an answer is out of the user's way."""

    def __init__(self, shared: Shared, answers: Answers, has_floor: Callable[[], None]) -> None:
        self._settings = shared.session.tenant.turn
        self._ear = shared.ear
        self._turn = shared.turn
        self._answers = answers
        self._has_floor = has_floor
        self._doubted_ms: list[int] = []
        """Speech, in ms each, of those whose text is awaited."""
        self._alarm = Alarm(self._doubt_no_more)

    def stop(self) -> None:
        """The session is over."""
        self._alarm.stop()

    def verdict(self, speech_ms: int, *, over: bool = False) -> Verdict:
        """Whether what is being said over the answer ends it. `over`: it is all that was said."""
        words = "" if self._ear.utterance is None else self._ear.utterance.interim
        return self._verdict(speech_ms, words, over=over)

    def barge_in(self) -> None:
        """It does."""
        self._alarm.stop()
        self._turn.move(Move.BARGE_IN)
        self._answers.silence(spoken_over=True)
        self._has_floor()

    def go_on(self) -> None:
        """It does not, unless there is more of it whose words are not known yet."""
        if self._turn.is_held and not self._doubted_ms and self._ear.utterance is None:
            self._alarm.stop()
            self._turn.move(Move.RESUME)
            self._answers.release()

    # --- those who were not understood when they fell silent

    def doubt(self, speech_ms: int) -> None:
        """Hold the answer for the text, which `decide` is to be told."""
        self._doubted_ms.append(speech_ms)
        self._alarm.set(DOUBT_S)

    def decide(self, speech_ms: int, text: str) -> bool:
        """The text of what was said over an answer is known; empty, if it is none. Returns whether it counts."""
        if speech_ms in self._doubted_ms:  # or it took too long
            self._doubted_ms.remove(speech_ms)
        if self._answers.current is None and self._turn.state is not State.LISTENING:
            return True  # something else has ended the answer, and this is waited for
        interrupts = bool(text) and self._verdict(speech_ms, text, over=True) is Verdict.BARGE_IN
        if not interrupts:
            self.go_on()
        elif self._turn.state is State.LISTENING:
            self._turn.move(Move.ASK)
        else:
            if not self._turn.is_held:
                self._turn.move(Move.SPEECH)
            self.barge_in()
        return interrupts

    def _doubt_no_more(self) -> None:
        longest_ms, self._doubted_ms = max(self._doubted_ms, default=0), []
        if self._turn.is_held and longest_ms > LONGEST_MS:  # no cough: the caller is to be told that we are thinking
            self.barge_in()
        else:
            self.go_on()

    def _verdict(self, speech_ms: int, words: str, *, over: bool) -> Verdict:
        """While none of the answer is heard yet, they are going on themselves."""
        if self._turn.state is State.TALKED_OVER or self._answers.current is None:
            return Verdict.BARGE_IN if speech_ms >= self._settings.barge_in_ms else Verdict.BACKCHANNEL
        return verdict(self._settings, speech_ms, words, asked=self._answers.is_asking, over=over)
