"""The answer that a session is being given, from its beginning to what is remembered of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from trunkline.audio.frame import FRAME_MS
from trunkline.bus.messages import Played
from trunkline.errors import ProviderError
from workers import context
from workers.backend import Answer
from workers.cascade.model import Model
from workers.cascade.pipeline import Means, Pipeline
from workers.cascade.prompting import last_words, remembered, said
from workers.cascade.shared import Shared
from workers.latency import Latency
from workers.providers.base import TextToSpeech
from workers.turns.backchannels import asks
from workers.turns.machine import Move, State

SETTLE_S = 0.5
"""How long to wait for the edge to say how much of a cleared answer was heard. A bus round trip is 1 ms."""

_log = logging.getLogger(__name__)


class Answers:
    """One session's; at most one is being given. Implements `stages.Floor` for it.

    `over` is called when there is none any more: it was heard, or there is nothing to say.
    """

    def __init__(
        self,
        shared: Shared,
        model: Model,
        text_to_speech: TextToSpeech,
        over: Callable[[], None],
    ) -> None:
        self.current: Pipeline | None = None
        self._session = shared.session
        self._model = model
        self._means = Means(shared.session, model, text_to_speech, self)
        self._turn = shared.turn
        self._keeper = shared.keeper
        self._group = shared.group
        self._over = over
        self._clearing: Pipeline | None = None
        """An answer that was cut, of which we do not know yet how much was heard."""
        self._settled = asyncio.Event()
        self._settled.set()
        self._spoken_over_ms: int | None = None
        """The media time since which the user spoke over an answer, the last time they did."""
        self._free = asyncio.Event()
        """Set unless an answer may not be heard just now."""
        self._free.set()

    def __bool__(self) -> bool:
        """Whether there is one, or one whose end is not known yet."""
        return self.current is not None or self._clearing is not None

    def unfinished(self) -> Answer | None:
        """The answer that the last worker was giving, if it is to be gone on with. Another is recorded."""
        snapshot, playhead = self._session.snapshot, self._session.playhead
        answer = snapshot.answer
        if answer is None:
            return None
        if playhead.turn > answer.turn:  # the edge is beyond it: all of it was heard
            self._record(answer, said(answer).strip())
            return None
        if context.was_cut(snapshot, answer):
            played_ms = playhead.played_ms if playhead.turn == answer.turn else 0
            self._record(answer, context.heard(answer.spoken, played_ms))
            return None
        begun = answer.complete or answer.called or last_words(answer)
        if not begun and not context.owes_answer(snapshot):  # an echo's, or to words that will be heard again
            if playhead.turn == answer.turn:
                self._session.end_turn(answer.turn)
            received_ms = playhead.received_ms if playhead.turn == answer.turn else 0
            self._record(answer, context.heard(answer.spoken, received_ms))
            return None
        return answer

    def give(
        self, answer: Answer, received_ms: int = 0, latency: Latency | None = None, *, expects: bool = False
    ) -> None:
        """Begin `answer`, or go on with it where the edge's audio ends. `expects`: it is not known yet what to; the
        pipeline is told to `go_on`."""
        self._session.snapshot.answer = answer
        if not self._turn.is_answer_s:
            self._turn.move(Move.ASK)
        pipeline = Pipeline(self._means, answer, received_ms, latency, expects=expects)
        if pipeline.sent:
            self._turn.move(Move.AUDIO)
        pipeline.task = self._group.create_task(pipeline.run())
        self.current = pipeline

    @property
    def is_asking(self) -> bool:
        """Whether what is heard now is a question, or was a moment ago."""
        return self.current is not None and asks(self.current.answer.spoken, self._played_ms(self.current))

    @property
    def is_greeting(self) -> bool:
        """Whether the call is being greeted."""
        answer = None if self.current is None else self.current.answer
        return answer is not None and answer.turn == 1 and answer.text == self._session.tenant.greeting

    @property
    def is_using_tools(self) -> bool:
        """Whether the answer waits for a tool."""
        return self.current is not None and self.current.is_using_tools

    # --- the user takes the floor, or may be about to

    def hold(self, since_ms: int) -> None:
        """The user may be interrupting, since this media time: no more of the answer until that is clear."""
        self._spoken_over_ms = since_ms
        if self._turn.is_held:
            self._free.clear()
        if self._turn.state is State.INTERRUPTED and self.current is not None:
            self._session.pause(self.current.answer.turn)

    def release(self) -> None:
        """It was no interruption."""
        self._free.set()
        if self._turn.state is State.SPEAKING and self.current is not None:
            self._session.resume(self.current.answer.turn)

    def silence(self, *, spoken_over: bool = False) -> None:
        """Stop the answer, if there is one, so that nothing of it can be heard any more. The next may be.
        `spoken_over`: because the user does, for whom it was held."""
        pipeline, self.current = self.current, None
        if pipeline is not None:
            self._stop(pipeline, spoken_over_ms=self._spoken_over_ms if spoken_over else None)
        self._free.set()

    def _stop(self, pipeline: Pipeline, *, spoken_over_ms: int | None) -> None:
        pipeline.stop()
        if pipeline.sent:
            self._session.clear(pipeline.answer.turn, spoken_over_ms=spoken_over_ms)
            context.mark_cut(self._session.snapshot, pipeline.answer)
            self._clearing = pipeline
            self._settled.clear()
        else:
            self._record(pipeline.answer, "")

    def leave(self) -> None:
        """The caller is gone: what was heard of a last answer belongs to the conversation."""
        self.silence()
        if self._clearing is not None:
            self._settle(self._played_ms(self._clearing))

    # --- what was heard of it

    def played(self, message: Played) -> None:
        """The edge tells how much was heard."""
        if not message.done:
            return
        if self._clearing is not None and message.turn == self._clearing.answer.turn:
            self._settle(message.ms)
        elif self.current is not None and message.turn == self.current.answer.turn:
            self._heard(self.current, message.ms)

    async def settled(self) -> None:
        """Wait until it is known, and recorded, how much was heard of an answer that was cut."""
        try:
            async with asyncio.timeout(SETTLE_S):
                await self._settled.wait()
        except TimeoutError:
            if self._clearing is not None:
                self._settle(self._played_ms(self._clearing))

    def fall_silent(self) -> None:
        """There is no answer any more; the user may have begun to speak meanwhile."""
        if self.current is not None and self._turn.state is State.INTERRUPTED:
            self._session.resume(self.current.answer.turn)  # or the edge would hold the next answer too
        self.current = None
        self._session.snapshot.answer = None
        self._free.set()
        self._turn.move(Move.DONE)
        self._over()
        self._keeper.commit_soon()

    def _settle(self, played_ms: int) -> None:
        """A cut answer was heard for `played_ms`: only that much of it happened."""
        assert self._clearing is not None
        answer, self._clearing = self._clearing.answer, None
        self._record(answer, context.heard(answer.spoken, played_ms))
        self._settled.set()

    def _heard(self, pipeline: Pipeline, played_ms: int) -> None:
        """The edge is done with the answer: all of it was heard, or an earlier worker cleared it and could not tell."""
        answer = pipeline.answer
        if pipeline.all_sent and played_ms + FRAME_MS >= pipeline.position_ms:
            self._record(answer, answer.text.strip())
        else:
            pipeline.stop()
            self._record(answer, context.heard(answer.spoken, played_ms))
        self.fall_silent()

    def _record(self, answer: Answer, text: str) -> None:
        """`text` is what was heard of it."""
        snapshot = self._session.snapshot
        interrupted = not answer.complete or text != answer.text.strip()
        if snapshot.answer is answer:
            snapshot.answer = None
        cut = {"interrupted": True} if interrupted else {}
        for item in remembered(answer, text):
            context.remember(snapshot, item)
        if interrupted:
            self._model.calling.go_on()
        else:
            context.settle(snapshot, answer.turn)
        if text:
            self._session.event("transcript", role="assistant", turn=answer.turn, text=text, **cut)
        self._keeper.commit_soon()

    def _played_ms(self, pipeline: Pipeline) -> int:
        playhead = self._session.playhead
        return playhead.played_ms if playhead.turn == pipeline.answer.turn else 0

    # --- stages.Floor

    async def commit(self) -> None:
        await self._keeper.commit()

    async def may_speak(self) -> None:
        while not self._free.is_set():  # it may be taken again before this task comes to run
            await self._free.wait()

    def began(self) -> None:
        self._turn.move(Move.AUDIO)

    def ended(self) -> None:
        pipeline, playhead = self.current, self._session.playhead
        assert pipeline is not None
        known_heard = playhead.turn == pipeline.answer.turn and playhead.done
        if not pipeline.sent:
            pipeline.answer.text = ""  # whatever it was, nobody can say it
            self._record(pipeline.answer, "")
            self.fall_silent()
        elif known_heard and playhead.played_ms >= pipeline.position_ms:
            self._heard(pipeline, playhead.played_ms)
        else:
            self._keeper.commit_soon()

    async def fall_back(self, stage: str, error: ProviderError) -> None:
        if self._session.tenant.fallback_backend is not None:
            _log.warning("session %s: %s failed: %s", self._session.id, stage, error)
            await self._keeper.commit()
            await self._session.fall_back()

    def failed(self, stage: str, error: ProviderError) -> None:
        _log.warning("session %s: %s failed: %s", self._session.id, stage, error)
        self._session.event(
            "error",
            code="provider",
            message=f"{stage}: {error.provider} failed",
            hint="the conversation goes on" + ("; say it again" if error.retryable else ""),
            fatal=False,
        )
