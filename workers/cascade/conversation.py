"""One conversation of the cascade: what the caller does moves the turns. What they are told is in `replying.py`.

Three tasks, owned by one group: the inbox (this moves the turn machine), what was said on its way to text
(`contributions.py`), and commits that nobody waits for. An answer is a fourth while there is one (`answers.py`). Only
an answer and `Contributions` wait for providers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from trunkline.bus.messages import ClientEvent, Dtmf, Hangup, Played, Text
from trunkline.errors import first_error
from workers import context
from workers.backend import Inbound, Session
from workers.cascade.answers import Answers
from workers.cascade.calling import Calling
from workers.cascade.contributions import Contribution, Contributions
from workers.cascade.dialling import Dialling
from workers.cascade.easing import Easing
from workers.cascade.hearing import Ear, Utterance, VoiceActivity
from workers.cascade.interrupting import Interrupting
from workers.cascade.model import Model
from workers.cascade.replying import Replying
from workers.cascade.shared import Shared
from workers.cascade.stages import Stages
from workers.cascade.turn import Turn
from workers.keeping import Keeper
from workers.latency import Latency
from workers.turns.backchannels import Verdict
from workers.turns.endpointing import Edge, EdgeKind
from workers.turns.machine import Move, State
from workers.turns.patience import Judge

KEEP_MS = 5000
"""Media time between commits that do no more than let go of silence. The edge keeps 15 s."""


class Conversation:
    """Serves one session."""

    def __init__(
        self, session: Session, stages: Stages, voice_activity: Callable[[int], VoiceActivity], judge: Judge | None
    ) -> None:
        self._session = session
        self._settings = session.tenant.turn
        self._ear = Ear(
            stages.speech_to_text,
            voice_activity,
            session.rate_hz,
            self._settings,
            judge,
            self._heard,
            self._is_deaf,
            session.on_behalf,
        )
        self._ear.forget(session.snapshot.uplink_seq)
        self._group = asyncio.TaskGroup()
        self._keeper = Keeper(session, self._needed_seq, lambda: self._replying.is_idle)
        self._turn = Turn(session, self._keeper, lambda: self._ear.now_ms)
        shared = Shared(session, self._group, self._ear, self._turn, self._keeper)
        self._calling = Calling(shared, lambda: self._replying.speak_up())
        self._model = Model(shared, stages, self._calling)
        self._answers = Answers(shared, self._model, stages.text_to_speech, self._over)
        self._interrupting = Interrupting(shared, self._answers, self._has_floor)
        self._contributions = Contributions(
            shared,
            stages.served,
            self._answers,
            self._interrupting.decide,
            lambda *said: self._replying.understood(*said),
            lambda: self._replying.disregarded(),
            lambda: self._replying.await_words(),
        )
        self._dialling = Dialling(shared, self._answers, self._contributions, self._is_muted, self._has_floor)
        self._replying = Replying(shared, self._model, self._answers, self._contributions, self._dialling)
        self._easing = Easing(shared)
        self._kept_ms = 0
        self._clock = asyncio.get_running_loop().time

    async def run(self) -> None:
        """Serve until the inbox ends. Raises what ended it otherwise: SessionLost, or a fault."""
        try:
            async with self._group:
                try:
                    await self._serve()
                finally:  # before the group waits for its tasks: who is heard then is answered by nobody
                    self._ear.stop()
        except BaseExceptionGroup as group:
            raise first_error(group) from group
        finally:
            self._stop()
            self._contributions.cancel()

    async def _serve(self) -> None:
        own = [self._group.create_task(task) for task in (self._contributions.run(), self._keeper.run())]
        self._replying.begin()
        self._session.listen(self._ear.hear, in_turn=True)
        async for message in self._session.inbox():
            await self._receive(message)
        for task in own:
            task.cancel()
        self._stop()
        self._calling.stop()
        self._model.forget()
        self._answers.leave()
        await self._contributions.leave()
        await self._keeper.commit()

    def _stop(self) -> None:
        """Nothing is begun any more."""
        self._dialling.stop()
        self._replying.stop()
        self._interrupting.stop()

    # --- the inbox

    async def _receive(self, message: Inbound) -> None:
        if isinstance(message, Played):
            self._answers.played(message)
            return
        await self._ear.caught_up(message.seq)
        match message:
            case Text():
                if not context.is_done(self._session.snapshot, message.seq):  # by another backend
                    await self._typed(message)
            case Dtmf():
                self._dialling.press(message)
            case ClientEvent(name="commit"):
                await self._committed(message.seq)
            case ClientEvent(name="cancel"):
                self._cancelled(message.seq)
            case ClientEvent(name="tool_output"):
                self._calling.answered(message)
            case Hangup():
                self._gone(message.seq)
                self._dialling.leave()

    async def _typed(self, message: Text) -> None:
        if self._turn.is_user_s:
            self._end_utterance(message.seq, self._ear.now_ms, self._ear.now_ms)
        self._ear.drop(message.seq + 1)
        self._answers.silence()
        self._turn.move(Move.ASK)
        await self._contributions.room()
        self._contributions.put(Contribution(message.text, message.seq, Latency(self._clock())))

    async def _committed(self, seq: int) -> None:
        """The client says that the utterance is over."""
        if self._turn.is_held:
            self._interrupting.barge_in()
        if self._turn.is_user_s:
            self._end_utterance(seq + 1, self._ear.now_ms, self._ear.now_ms)
        elif self._turn.state is State.LISTENING:
            hint = "speak first: this event ends an utterance, and nobody is speaking"
            message = "there is no speech to answer"
            self._session.event("error", code="nothing_heard", message=message, hint=hint, fatal=False)

    def _cancelled(self, seq: int) -> None:
        """The client wants no answer to what was said until now."""
        if not self._turn.is_answer_s:
            return
        self._answers.silence()
        self._replying.cancelled()
        self._turn.move(Move.CANCEL)
        self._ear.forget(seq + 1)
        self._has_floor()
        self._keeper.commit_soon()

    def _gone(self, seq: int) -> None:
        """The user is, and the inbox ends. What they were saying is over, if it was not before."""
        utterance, over = self._ear.utterance, self._turn.is_held
        if utterance is None or not utterance.has_speech:
            return
        if over and self._interrupting.verdict(self._ear.endpointing.speech_ms, over=True) is Verdict.BACKCHANNEL:
            return
        utterance = self._ear.take(seq)
        self._contributions.put(Contribution(utterance, utterance.first_seq, Latency(self._clock())))

    # --- the user speaks

    def _heard(self, edge: Edge | None, next_seq: int) -> None:
        """So much more of the caller's audio is known, up to uplink `next_seq`."""
        if edge is not None:
            self._edge(edge, next_seq)
        speech_ms = self._ear.endpointing.speech_ms
        if self._turn.is_held and speech_ms and self._interrupting.verdict(speech_ms) is Verdict.BARGE_IN:
            self._interrupting.barge_in()
        if self._turn.state is State.ENDPOINTING and self._settings.preemptive:
            self._replying.ask_ahead()
        if self._ear.now_ms - self._kept_ms >= KEEP_MS and self._ear.utterance is None:
            self._kept_ms = self._ear.now_ms
            self._keeper.commit_soon()
        self._replying.wait_for_user()
        self._easing.look()

    def _is_deaf(self) -> bool:
        return self._turn.is_answer_s and (self._is_muted() or not self._settings.barge_in)

    def _edge(self, edge: Edge, next_seq: int) -> None:
        match edge.kind:
            case EdgeKind.STARTED:
                self._model.forget()
                self._session.event("speech_started", media_ms=edge.media_ms)
                if not self._turn.is_held:
                    self._turn.move(Move.SPEECH)
                    self._answers.hold(edge.media_ms)
            case EdgeKind.STOPPED:
                self._stopped(edge, next_seq)
            case EdgeKind.CUT:
                self._cut(next_seq)
            case EdgeKind.FELL_SILENT if self._turn.state is State.USER_SPEAKING:
                self._fell_silent()
            case EdgeKind.FELL_SILENT if edge.speech_ms >= self._settings.barge_in_ms:
                if self._ear.utterance is not None:  # what was said over the answer tells whether it is to go on
                    self._ear.utterance.pause()
            case EdgeKind.WENT_ON if self._turn.state is State.ENDPOINTING:
                self._model.forget()
                self._turn.move(Move.SPEECH)

    def _stopped(self, edge: Edge, next_seq: int) -> None:
        now_ms, over_ms = self._ear.now_ms, None
        if self._turn.is_held:
            match self._interrupting.verdict(edge.speech_ms, over=True):
                case Verdict.BARGE_IN:
                    self._interrupting.barge_in()
                case Verdict.BACKCHANNEL:
                    self._session.event("speech_stopped", media_ms=edge.media_ms)
                    self._ear.drop(next_seq)
                    self._interrupting.go_on()
                    return
                case Verdict.UNSURE:
                    over_ms = edge.speech_ms
                    self._interrupting.doubt(over_ms)
        self._end_utterance(next_seq, edge.media_ms, now_ms, over_ms)

    def _cut(self, next_seq: int) -> None:
        """They speak for long: what was said until now is written down already, and answered with the rest."""
        if self._turn.is_held:
            self._interrupting.barge_in()
        utterance = self._ear.cut(next_seq)
        self._contributions.put(Contribution(utterance, utterance.first_seq, Latency(self._clock())))

    def _fell_silent(self) -> None:
        """Perhaps for good: what was said may be wanted at once."""
        self._turn.move(Move.SILENCE)
        if self._ear.utterance is not None:
            self._ear.utterance.pause()

    def _end_utterance(self, next_seq: int, stopped_ms: int, decided_ms: int, over_ms: int | None = None) -> None:
        """`over_ms`: it is not known yet whether so much speech ends the answer that it was said over."""
        self._session.event("speech_stopped", media_ms=stopped_ms)
        utterance = self._ear.take(next_seq)
        if over_ms is None:
            self._turn.move(Move.END)
        said: Utterance | str = utterance
        if not utterance.has_speech:  # since it was cut; some transcribers hear words in silence
            utterance.cancel()
            said = ""
        latency = Latency(self._clock(), decided_ms - stopped_ms, stopped_ms)
        self._contributions.put(Contribution(said, utterance.first_seq, latency, over_ms=over_ms))

    # --- over an answer

    def _is_muted(self) -> bool:
        """Whether the tenant does not want the user listened to just now."""
        mute = self._settings.mute
        return ("greeting" in mute and self._answers.is_greeting) or ("tool" in mute and self._answers.is_using_tools)

    def _has_floor(self) -> None:
        """No answer is in the user's way any more. They may be speaking, and may just be pausing."""
        self._dialling.listen()
        if self._turn.state is not State.USER_SPEAKING:
            return
        if self._ear.utterance is None:  # its text is awaited
            self._turn.move(Move.END)
        elif self._ear.endpointing.quiet:
            self._fell_silent()

    def _over(self) -> None:
        """There is no answer any more."""
        self._model.forget()
        self._has_floor()
        self._replying.speak_up()

    # --- what is kept

    def _needed_seq(self) -> int:
        pending = self._contributions.needed_seq
        return self._ear.needed_seq if pending is None else pending
