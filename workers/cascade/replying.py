"""What is said to the user, and when: answers to what they said, and what is said to them unasked."""

from __future__ import annotations

import asyncio

from workers import context
from workers.alarm import Alarm
from workers.backend import Answer
from workers.cascade.answers import Answers
from workers.cascade.contributions import Contribution, Contributions
from workers.cascade.dialling import Dialling
from workers.cascade.fillers import LOOK_AGAIN_S
from workers.cascade.model import Model
from workers.cascade.shared import Shared
from workers.cascade.thinking import Due
from workers.latency import Latency
from workers.turns.endpointing import CHUNK_MS
from workers.turns.idling import Idling
from workers.turns.machine import State

JUDGED_MS = 2 * CHUNK_MS
"""After so much silence it is known whether the words before it say that more is to come."""

_GOES_ON = "user_goes_on"
"""Of the last thing that the user said: whether there was more to come."""


class Replying:
    """One session's."""

    def __init__(
        self, shared: Shared, model: Model, answers: Answers, contributions: Contributions, dialling: Dialling
    ) -> None:
        self._session = session = shared.session
        self._settings = session.tenant.turn
        self._ear = shared.ear
        self._turn = shared.turn
        self._keeper = shared.keeper
        self._model = model
        self._calling = model.calling
        self._answers = answers
        self._contributions = contributions
        self._dialling = dialling
        self._idling = Idling(session.tenant.idle, session.snapshot.flow)
        self._words_late = Alarm(self._begin_without)
        self._lost = False
        """Whether something that the user said could not be understood, and nothing was since."""
        self._more_to_come = False
        """The user was speaking when the last worker died: what they said is answered when they are done."""
        self._silent_ms: int | None = None
        """Since when they do not go on, so far."""
        self._clock = asyncio.get_running_loop().time

    def stop(self) -> None:
        """The session is over: nothing is said unasked."""
        self._words_late.stop()

    @property
    def is_idle(self) -> bool:
        """Whether nobody speaks, and nothing is on its way."""
        busy = self._contributions or self._answers or self._calling or self._ear.utterance or self._dialling
        return self._turn.state is State.LISTENING and not busy

    def begin(self) -> None:
        """Carry on where the last worker was, or greet."""
        snapshot, playhead = self._session.snapshot, self._session.playhead
        snapshot.next_turn = max(snapshot.next_turn, playhead.turn + 1)
        if playhead.turn:
            self._session.resume(playhead.turn)  # whoever paused it is gone; if the caller still speaks, it will pause
        self._calling.take_up()
        answer = self._answers.unfinished()
        since_ms = context.waiting_since(snapshot)
        latency = None if since_ms is None else Latency(self._clock(), None, since_ms)
        if answer is not None and playhead.turn == answer.turn:
            self._answers.give(answer, playhead.received_ms)
        elif answer is not None:
            self._answers.give(answer, latency=latency)
        elif context.owes_answer(snapshot) and not self._dialling and not snapshot.flow.get(_GOES_ON):
            self._answers.give(Answer(context.new_turn(snapshot)), latency=latency)
        elif context.is_new(snapshot) and playhead.turn == 0 and self._session.tenant.greeting:
            self._answers.give(Answer(context.new_turn(snapshot), self._session.tenant.greeting, complete=True))
        else:
            self._more_to_come = context.owes_answer(snapshot) and not self._dialling
            self._turn.show()
            self._keeper.commit_soon()
            self.speak_up()
        self._dialling.begin()

    # --- what was said is answered

    def ask_ahead(self) -> None:
        """Unless their words say that more is to come, the user may be done: the model may begin to think."""
        endpointing, utterance = self._ear.endpointing, self._ear.utterance
        judged = self._ear.now_ms - endpointing.speech_end_ms >= JUDGED_MS
        unfinished = endpointing.stop_ms > self._settings.stop_ms
        elsewhere = self._answers or self._contributions or self._dialling.entering
        if utterance is not None and judged and not unfinished and not elsewhere:
            self._model.guess(utterance.interim)

    def await_words(self) -> None:
        """What the user said is on its way, to text or behind what is. If that takes long, they are told to wait."""
        self._words_late.set(self._session.tenant.fillers.delay_s)

    def _begin_without(self) -> None:
        """The words of the user take long to be known: what is said to them begins with a filler."""
        snapshot = self._session.snapshot
        if self._answers.current is not None or not self._contributions or not self._session.tenant.fillers.phrases:
            return
        if self._turn.state is State.TALKED_OVER:  # by a cough, perhaps
            self._words_late.set(LOOK_AGAIN_S)
        elif self._turn.state is State.THINKING:
            latency = self._contributions.precede_answer()
            self._answers.give(Answer(context.new_turn(snapshot)), latency=latency, expects=True)

    def understood(self, contribution: Contribution, known: bool) -> None:
        """It is in the conversation, unless it was nothing, or is not `known`."""
        if contribution.keys:
            self._dialling.known(contribution.keys)
        self._session.snapshot.flow[_GOES_ON] = self._turn.is_user_s
        if context.owes_answer(self._session.snapshot):
            self._idling.heard_from()
            self._calling.go_on()
        self._lost = not known or (self._lost and not context.owes_answer(self._session.snapshot))
        if not self._continue():
            self._reply(contribution)

    def disregarded(self) -> None:
        """What was said over an answer was nothing. That answer may have waited for it with what was said before."""
        self._continue()

    def _continue(self) -> bool:
        """If an answer was begun with a filler, and all that was said is known, have it go on; else return False."""
        begun = self._answers.current
        if begun is None or not begun.expects or self._contributions:
            return False
        owed = Due.ANSWER if context.owes_answer(self._session.snapshot) else Due.NOTHING
        begun.go_on(Due.APOLOGY if self._lost else owed)
        self._lost = False
        self._keeper.commit_soon()
        return True

    def _reply(self, contribution: Contribution) -> None:
        """Answer, unless the user is speaking on, or entering a number: then both are answered together."""
        snapshot = self._session.snapshot
        waiting = self._turn.state in (State.THINKING, State.TALKED_OVER)
        if self._turn.state is State.LISTENING:  # the answer that was begun for it failed before it was known
            waiting = context.owes_answer(snapshot)
        if not waiting or self._contributions or self._dialling.entering:
            self._lost = self._lost and self._turn.state is not State.LISTENING  # nobody waits to be told
            self._keeper.commit_soon()
        elif self._lost:
            self._lost = False
            text = self._session.tenant.apology
            apology = Answer(context.new_turn(snapshot), text, complete=True, fillers=[(0, len(text))])
            self._answers.give(apology, latency=contribution.latency)
        elif context.owes_answer(snapshot):
            self._answers.give(Answer(context.new_turn(snapshot)), latency=contribution.latency)
        else:
            self._answers.fall_silent()

    def cancelled(self) -> None:
        """The client wants no answer to anything said until now."""
        self._model.forget()
        self._idling.heard_from()
        self._lost = False
        context.settle(self._session.snapshot, self._session.snapshot.next_turn - 1)  # also what a tool still answers
        self._contributions.unwant()

    # --- what is said unasked

    def speak_up(self) -> None:
        """If nobody speaks: a tool has answered since, and the caller has not been told; or the call is to end."""
        snapshot = self._session.snapshot
        if self._turn.state is not State.LISTENING or self._answers or self._contributions:
            return
        ending = self._calling.ending
        if context.owes_answer(snapshot) and snapshot.items[-1].role == "tool":
            self._answers.give(Answer(context.new_turn(snapshot)))
        elif ending is not None and not self._calling:
            self._session.close(ending.reason, transfer_to=ending.transfer_to)

    def wait_for_user(self) -> None:
        """Ask whether they are there, when they have said nothing for long, and at last end the call."""
        if not self.is_idle:
            self._more_to_come = False
            self._idling.busy()
            return
        if self._more_to_come:
            self._answer_silence()
            return
        prompt = self._idling.quiet(self._ear.now_ms)
        if prompt is None:
            return
        if prompt.last:
            self._calling.end("idle")
        self._answers.give(Answer(context.new_turn(self._session.snapshot), prompt.text, complete=True))

    def _answer_silence(self) -> None:
        """Whoever was speaking when the last worker died may have been done."""
        now_ms = self._ear.now_ms
        self._silent_ms = now_ms if self._silent_ms is None else self._silent_ms
        if now_ms - self._silent_ms >= self._settings.unfinished_ms:
            self._answers.give(Answer(context.new_turn(self._session.snapshot)))
