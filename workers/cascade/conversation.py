"""One conversation of the cascade: hears, asks, answers, is interrupted, and tells the next worker all about it.

Three tasks, owned by one group: the inbox (this moves the turn machine), what was said on its way to text, and commits
that nobody waits for. An answer is a fourth while there is one. Only `Answering` and `_attend` wait for providers.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from trunkline.audio.frame import FRAME_MS
from trunkline.bus.messages import ClientEvent, Played, Text, UplinkAudio
from trunkline.errors import ProviderError
from workers import context
from workers.backend import Answer, Inbound, Item, Session
from workers.cascade.answering import Answering
from workers.cascade.hearing import Ear, Utterance, VoiceActivity
from workers.cascade.prompting import said
from workers.cascade.stages import Stages
from workers.cascade.thinking import SORRY
from workers.keeping import Keeper
from workers.latency import Latency
from workers.turns.backchannels import Verdict, asks, verdict
from workers.turns.endpointing import Edge, EdgeKind
from workers.turns.machine import ANSWERING, HELD, SHOWN, USER, Move, State, TurnMachine
from workers.turns.patience import Judge

KEEP_MS = 5000
"""Media time between commits that do no more than let go of silence. The edge keeps 15 s."""

CONTRIBUTIONS = 8
"""Utterances and typed texts that may wait to be understood; then the inbox is read no further."""

SETTLE_S = 0.5
"""How long to wait for the edge to say how much of a cleared answer was heard. A bus round trip is 1 ms."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Contribution:
    """What the user said, by voice or keyboard, on its way into the conversation."""

    said: Utterance | str
    first_seq: int
    """The oldest uplink that holds it."""
    latency: Latency
    unwanted: bool = False
    """The client cancelled: it is to be remembered, not answered."""


class Conversation:
    """Serves one session. Implements `stages.Floor`."""

    def __init__(
        self, session: Session, stages: Stages, voice_activity: Callable[[int], VoiceActivity], judge: Judge | None
    ) -> None:
        self._session = session
        self._stages = stages
        self._settings = session.tenant.turn
        self._machine = TurnMachine()
        self._ear = Ear(stages.speech_to_text, voice_activity, session.rate_hz, self._settings, judge)
        self._ear.forget(session.snapshot.uplink_seq)
        self._heard: asyncio.Queue[_Contribution] = asyncio.Queue(CONTRIBUTIONS)
        self._pending: deque[_Contribution] = deque()
        """Everything in `_heard`, and what was taken from it but is not in the snapshot yet."""
        self._answering: Answering | None = None
        self._clearing: Answering | None = None
        """An answer that was cut, of which we do not know yet how much was heard."""
        self._settled = asyncio.Event()
        self._settled.set()
        self._floor_free = asyncio.Event()
        self._floor_free.set()
        self._keeper = Keeper(session, self._needed_seq, self._is_idle)
        self._kept_ms = 0
        self._shown = ""
        self._group = asyncio.TaskGroup()
        self._clock = asyncio.get_running_loop().time

    async def run(self) -> None:
        """Serve until the inbox ends. Raises what ended it otherwise: SessionLost, or a fault."""
        try:
            async with self._group:
                own = [self._group.create_task(self._attend()), self._group.create_task(self._keeper.run())]
                self._begin()
                async for message in self._session.inbox():
                    await self._receive(message)
                for task in own:
                    task.cancel()
                await self._leave()
        except BaseExceptionGroup as group:
            raise _first(group) from group
        finally:
            self._ear.drop(0)
            for contribution in self._pending:
                if isinstance(contribution.said, Utterance):
                    contribution.said.cancel()

    def _begin(self) -> None:
        """Carry on where the last worker was, or greet."""
        snapshot, playhead = self._session.snapshot, self._session.playhead
        snapshot.next_turn = max(snapshot.next_turn, playhead.turn + 1)
        if playhead.turn:
            self._session.resume(playhead.turn)  # whoever paused it is gone; if the caller still speaks, it will pause
        answer = self._unfinished_answer()
        if answer is not None:
            self._answer(answer, playhead.received_ms if playhead.turn == answer.turn else 0)
        elif context.owes_answer(snapshot):
            self._answer(Answer(context.new_turn(snapshot)))
        elif context.is_new(snapshot) and playhead.turn == 0 and self._session.tenant.greeting:
            self._answer(Answer(context.new_turn(snapshot), self._session.tenant.greeting, complete=True))
        else:
            self._show()
            self._keeper.commit_soon()

    def _unfinished_answer(self) -> Answer | None:
        """The answer that the last worker was giving, if it is to be gone on with."""
        snapshot, playhead = self._session.snapshot, self._session.playhead
        answer = snapshot.answer
        if answer is None:
            return None
        if playhead.turn > answer.turn:  # the edge is beyond it: all of it was heard
            self._record(answer, said(answer).strip(), interrupted=False)
            return None
        if context.was_cut(snapshot, answer):
            played_ms = playhead.played_ms if playhead.turn == answer.turn else 0
            self._record(answer, context.heard(answer.spoken, played_ms), interrupted=True)
            return None
        if not answer.text and not context.owes_answer(snapshot):  # another backend's, which keeps no text
            snapshot.answer = None
            return None
        return answer

    async def _leave(self) -> None:
        """The caller is gone: what was heard of a last answer belongs to the conversation."""
        if self._answering is not None:
            self._silence()
        if self._clearing is not None:
            self._settle(self._played_ms(self._clearing))
        await self._keeper.commit()

    # --- the inbox

    async def _receive(self, message: Inbound) -> None:
        match message:
            case UplinkAudio():
                await self._listen(message)
            case Played():
                self._played(message)
            case Text():
                await self._typed(message)
            case ClientEvent(name="commit"):
                await self._committed(message.seq)
            case ClientEvent(name="cancel"):
                self._cancelled(message.seq)
            case _:
                """Telephone keys mean nothing here; after Hangup the inbox ends."""

    async def _listen(self, frame: UplinkAudio) -> None:
        deaf = not self._settings.barge_in and self._machine.state in ANSWERING
        for edge in await self._ear.hear(frame, deaf=deaf):
            await self._edge(edge, frame.seq + 1)
        if self._machine.state in HELD and self._interrupts(self._ear.endpointing.speech_ms):
            self._barge_in()
        if self._ear.now_ms - self._kept_ms >= KEEP_MS and self._ear.utterance is None:
            self._kept_ms = self._ear.now_ms
            self._keeper.commit_soon()

    async def _edge(self, edge: Edge, next_seq: int) -> None:
        match edge.kind:
            case EdgeKind.STARTED:
                self._session.event("speech_started", media_ms=edge.media_ms)
                self._move(Move.SPEECH)
                self._hold()
            case EdgeKind.STOPPED:
                if self._machine.state in HELD and self._interrupts(edge.speech_ms, over=True):
                    self._barge_in()
                if self._machine.state in HELD:
                    self._session.event("speech_stopped", media_ms=edge.media_ms)
                    self._ear.drop(next_seq)
                    self._move(Move.RESUME)
                    self._release()
                else:
                    await self._end_utterance(next_seq, edge.media_ms, edge.decided_ms)
            case EdgeKind.FELL_SILENT if self._machine.state is State.USER_SPEAKING:
                self._fell_silent()
            case EdgeKind.FELL_SILENT if edge.speech_ms >= self._settings.barge_in_ms:
                if self._ear.utterance is not None:  # what was said over the answer tells whether it is to go on
                    self._ear.utterance.pause()
            case EdgeKind.WENT_ON if self._machine.state is State.ENDPOINTING:
                self._move(Move.SPEECH)

    def _interrupts(self, speech_ms: int, *, over: bool = False) -> bool:
        """Whether what the user says over the answer ends it. While none is heard yet, they are going on themselves."""
        if self._machine.state is State.TALKED_OVER or self._answering is None:
            return speech_ms >= self._settings.barge_in_ms
        words = "" if self._ear.utterance is None else self._ear.utterance.interim
        asked = asks(self._answering.answer.spoken, self._played_ms(self._answering))
        return verdict(self._settings, speech_ms, words, asked=asked, over=over) is Verdict.BARGE_IN

    async def _typed(self, message: Text) -> None:
        if self._machine.state in USER:
            await self._end_utterance(message.seq, self._ear.now_ms, self._ear.now_ms)
        self._ear.drop(message.seq + 1)
        if self._answering is not None:
            self._silence()
        self._floor_free.set()
        self._move(Move.ASK)
        await self._contribute(_Contribution(message.text, message.seq, Latency(self._clock())))

    async def _committed(self, seq: int) -> None:
        """The client says that the utterance is over."""
        if self._machine.state in HELD:
            self._barge_in()
        if self._machine.state in USER:
            await self._end_utterance(seq + 1, self._ear.now_ms, self._ear.now_ms)
        elif self._machine.state is State.LISTENING:
            hint = "speak first: this event ends an utterance, and nobody is speaking"
            message = "there is no speech to answer"
            self._session.event("error", code="nothing_heard", message=message, hint=hint, fatal=False)

    def _cancelled(self, seq: int) -> None:
        """The client wants no answer to what was said until now."""
        if self._machine.state not in ANSWERING:
            return
        if self._answering is not None:
            self._silence()
        context.owe_nothing(self._session.snapshot)
        for contribution in self._pending:
            contribution.unwanted = True
        self._floor_free.set()
        self._move(Move.CANCEL)
        self._ear.forget(seq + 1)
        self._after_hold()
        self._keeper.commit_soon()

    def _played(self, message: Played) -> None:
        if not message.done:
            return
        if self._clearing is not None and message.turn == self._clearing.answer.turn:
            self._settle(message.ms)
        elif self._answering is not None and message.turn == self._answering.answer.turn:
            self._over(self._answering, message.ms)

    # --- what the user says

    async def _end_utterance(self, next_seq: int, stopped_ms: int, decided_ms: int) -> None:
        self._session.event("speech_stopped", media_ms=stopped_ms)
        utterance = self._ear.take(next_seq)
        self._move(Move.END)
        latency = Latency(self._clock(), decided_ms - stopped_ms)
        await self._contribute(_Contribution(utterance, utterance.first_seq, latency))

    async def _contribute(self, contribution: _Contribution) -> None:
        self._pending.append(contribution)
        await self._heard.put(contribution)

    async def _attend(self) -> None:
        """Bring what was said into the conversation, in order, and have the last of it answered."""
        while True:
            contribution = await self._heard.get()
            text = await self._understand(contribution)
            await self._wait_settled()
            self._pending.popleft()
            if text:
                self._remember_user(text, unwanted=contribution.unwanted)
            self._reply(contribution, understood=text is not None)

    async def _understand(self, contribution: _Contribution) -> str | None:
        """The text of it; None when that could not be found out."""
        if isinstance(contribution.said, str):
            return contribution.said.strip()
        try:
            transcript = await contribution.said.finish()
        except ProviderError as error:
            self.failed("stt", error)
            return None
        contribution.latency.mark("transcript", self._clock())
        return transcript.text.strip()

    async def _wait_settled(self) -> None:
        """What was heard of the last answer comes before what was said to it."""
        try:
            async with asyncio.timeout(SETTLE_S):
                await self._settled.wait()
        except TimeoutError:
            if self._clearing is not None:
                self._settle(self._played_ms(self._clearing))

    def _remember_user(self, text: str, *, unwanted: bool) -> None:
        snapshot = self._session.snapshot
        turn = context.new_turn(snapshot)
        self._session.event("transcript", role="user", turn=turn, text=text)
        context.remember(snapshot, Item("user", text, turn))
        if unwanted:
            context.owe_nothing(snapshot)

    def _reply(self, contribution: _Contribution, *, understood: bool) -> None:
        """Answer, unless the user is speaking on: then that is answered together with what comes."""
        snapshot = self._session.snapshot
        waiting = self._machine.state in (State.THINKING, State.TALKED_OVER)
        if not waiting or self._pending:
            self._keeper.commit_soon()
        elif not understood:
            self._answer(Answer(context.new_turn(snapshot), SORRY, complete=True))
        elif context.owes_answer(snapshot):
            self._answer(Answer(context.new_turn(snapshot)), latency=contribution.latency)
        else:
            self._fall_silent()

    # --- the answer

    def _answer(self, answer: Answer, received_ms: int = 0, latency: Latency | None = None) -> None:
        """Begin `answer`, or go on with it where the edge's audio ends."""
        self._session.snapshot.answer = answer
        if self._machine.state not in ANSWERING:
            self._move(Move.ASK)
        answering = Answering(self._session, self._stages, self, answer, received_ms, latency)
        if answering.sent:
            self._move(Move.AUDIO)
        answering.task = self._group.create_task(answering.run())
        self._answering = answering

    def _barge_in(self) -> None:
        self._move(Move.BARGE_IN)
        if self._answering is not None:
            self._silence()
        self._floor_free.set()
        self._after_hold()

    def _silence(self) -> None:
        """Stop the answer, so that nothing of it can be heard any more."""
        answering, self._answering = self._answering, None
        assert answering is not None
        assert answering.task is not None
        answering.task.cancel()
        if answering.sent:
            self._session.clear(answering.answer.turn)
            context.mark_cut(self._session.snapshot, answering.answer)
            self._clearing = answering
            self._settled.clear()
        else:
            self._session.snapshot.answer = None

    def _settle(self, played_ms: int) -> None:
        """A cut answer was heard for `played_ms`: only that much of it happened."""
        assert self._clearing is not None
        answer, self._clearing = self._clearing.answer, None
        text = context.heard(answer.spoken, played_ms)
        self._record(answer, text, interrupted=not answer.complete or text != answer.text.strip())
        self._settled.set()

    def _over(self, answering: Answering, played_ms: int) -> None:
        """The edge is done with the answer: all of it was heard, or an earlier worker cleared it and could not tell."""
        answer = answering.answer
        if answering.all_sent and played_ms + FRAME_MS >= answering.position_ms:
            self._record(answer, answer.text.strip(), interrupted=False)
        else:
            assert answering.task is not None
            answering.task.cancel()
            self._record(answer, context.heard(answer.spoken, played_ms), interrupted=True)
        self._fall_silent()

    def _record(self, answer: Answer, text: str, *, interrupted: bool) -> None:
        snapshot = self._session.snapshot
        if snapshot.answer is answer:
            snapshot.answer = None
        cut = {"interrupted": True} if interrupted else {}
        if text:
            context.remember(snapshot, Item("assistant", text, answer.turn))
            self._session.event("transcript", role="assistant", turn=answer.turn, text=text, **cut)
        self._keeper.commit_soon()

    def _fall_silent(self) -> None:
        """There is no answer any more; the user may have begun to speak meanwhile."""
        if self._answering is not None and self._machine.state is State.INTERRUPTED:
            self._session.resume(self._answering.answer.turn)  # or the edge would hold the next answer too
        self._answering = None
        self._session.snapshot.answer = None
        self._floor_free.set()
        self._move(Move.DONE)
        self._after_hold()
        self._keeper.commit_soon()

    def _played_ms(self, answering: Answering) -> int:
        playhead = self._session.playhead
        return playhead.played_ms if playhead.turn == answering.answer.turn else 0

    # --- stages.Floor

    async def commit(self) -> None:
        await self._keeper.commit()

    async def may_speak(self) -> None:
        while not self._floor_free.is_set():  # it may be taken again before this task comes to run
            await self._floor_free.wait()

    def began(self) -> None:
        self._move(Move.AUDIO)
        answering = self._answering
        assert answering is not None
        if answering.latency is not None:
            self._session.event("latency", turn=answering.answer.turn, **answering.latency.report())

    def ended(self) -> None:
        answering, playhead = self._answering, self._session.playhead
        assert answering is not None
        known_heard = playhead.turn == answering.answer.turn and playhead.done
        if not answering.sent:
            context.owe_nothing(self._session.snapshot)
            self._fall_silent()
        elif known_heard and playhead.played_ms >= answering.position_ms:
            self._over(answering, playhead.played_ms)
        else:
            self._keeper.commit_soon()

    def failed(self, stage: str, error: ProviderError) -> None:
        _log.warning("session %s: %s failed: %s", self._session.id, stage, error)
        self._session.event(
            "error",
            code="provider",
            message=f"{stage}: {error.provider} failed",
            hint="the conversation goes on" + ("; say it again" if error.retryable else ""),
            fatal=False,
        )

    # --- turns and rest

    def _move(self, move: Move) -> None:
        self._machine.move(move, self._ear.now_ms)
        if self._machine.state is not State.LISTENING:
            self._keeper.wake()
        self._show()

    def _show(self) -> None:
        shown = SHOWN[self._machine.state]
        if shown != self._shown:
            self._shown = shown
            self._session.event("state", state=shown)

    def _hold(self) -> None:
        """The user may be interrupting: no more of the answer until that is clear."""
        if self._machine.state in HELD:
            self._floor_free.clear()
        if self._machine.state is State.INTERRUPTED and self._answering is not None:
            self._session.pause(self._answering.answer.turn)

    def _release(self) -> None:
        """It was no interruption."""
        self._floor_free.set()
        if self._machine.state is State.SPEAKING and self._answering is not None:
            self._session.resume(self._answering.answer.turn)

    def _after_hold(self) -> None:
        """The user has the floor now, and may just be pausing."""
        if self._machine.state is State.USER_SPEAKING and self._ear.endpointing.quiet:
            self._fell_silent()

    def _fell_silent(self) -> None:
        """Perhaps for good: what was said may be wanted at once."""
        self._move(Move.SILENCE)
        if self._ear.utterance is not None:
            self._ear.utterance.pause()

    def _needed_seq(self) -> int:
        return self._pending[0].first_seq if self._pending else self._ear.needed_seq

    def _is_idle(self) -> bool:
        busy = self._pending or self._answering or self._clearing or self._ear.utterance
        return self._machine.state is State.LISTENING and not busy


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What a group is about: its first error that is no group itself."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
