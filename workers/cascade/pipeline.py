"""One answer on its way: language model -> sentences -> voice -> session, with a bounded queue between stages."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from trunkline.errors import ProviderError
from workers.backend import Answer, Session
from workers.cascade.fillers import Fillers
from workers.cascade.model import Model
from workers.cascade.prompting import resume_at, said
from workers.cascade.speaking import Speaking
from workers.cascade.stages import LLM, TTS, Floor
from workers.cascade.thinking import Due, Thinking
from workers.latency import Latency
from workers.providers.base import TextToSpeech, Voice


@dataclass(frozen=True, slots=True)
class Means:
    """What a conversation gives its answers with."""

    session: Session
    model: Model
    text_to_speech: TextToSpeech
    floor: Floor


class Pipeline:
    """Generates, speaks and sends `answer`, from `received_ms` of its turn on: 0 for a new one.

    What it does it writes into `answer`, which is in the session's snapshot, so that another worker can go on with it.
    """

    def __init__(
        self, means: Means, answer: Answer, received_ms: int, latency: Latency | None, *, expects: bool = False
    ) -> None:
        """`expects`: what the user said is not known yet; `go_on` says when it is."""
        self.answer = answer
        self.sent = received_ms > 0
        """Whether the edge has any audio of this turn."""
        self.all_sent = False
        self._latency = latency
        """The wait that it ends, until it has."""
        self._filled = False
        """Whether a filler was said in that wait."""
        self.task: asyncio.Task[None] | None = None
        self._parts: set[asyncio.Task[None]] = set()
        self._session = session = means.session
        self._model = model = means.model
        self._floor = floor = means.floor
        number, start_ms = resume_at(answer, received_ms)
        self._thinking = Thinking(model, floor, answer, number, session.tenant.apology, self._mark, expects)
        self._speaking = Speaking(session, means.text_to_speech, answer, received_ms, number, start_ms, self._commit)
        self._stages = asyncio.TaskGroup()
        self._clock = asyncio.get_running_loop().time
        self._sent_ms = received_ms
        self._fillers = Fillers(session, answer, self._thinking, self._speaking, model.calling, floor)
        self._fillers.quiet_from(self._clock() if latency is None else latency.decided_s)
        self._note_unheard()

    @property
    def is_using_tools(self) -> bool:
        """Whether it waits for a tool."""
        return self._thinking.is_using_tools

    @property
    def expects(self) -> bool:
        """Whether it waits for what the user said."""
        return self._thinking.expects

    def go_on(self, due: Due) -> None:
        """What the user said is known, or will not be."""
        self._thinking.go_on(due)

    @property
    def position_ms(self) -> int:
        """How much audio the turn has so far."""
        return self._speaking.position_ms

    async def run(self) -> None:
        """Returns once everything was sent. `stop` it, and nothing of it goes on."""
        voice = self._model.voice()  # before anybody thinks: what was begun ahead is wanted, or dropped, then
        try:
            async with self._stages:
                _ = self._commit()
                thinking = self._start(self._thinking.run())
                fillers = self._start(self._fillers.run())
                thinking.add_done_callback(lambda _: fillers.cancel())
                _ = self._start(self._speak(voice, thinking)), self._start(self._send())
        finally:
            await voice.close()  # should nobody have come to speak

    def stop(self) -> None:
        """Give the answer up. Each part is told by itself: one that has just been woken would take another step before
        their group came to tell it, and send what nobody wants, or end what is over."""
        assert self.task is not None
        self.task.cancel()
        for part in self._parts:
            part.cancel()

    def _start(self, part: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._stages.create_task(part)
        self._parts.add(task)
        task.add_done_callback(self._parts.discard)
        return task

    def _commit(self) -> asyncio.Task[None]:
        """Begin to commit. Nobody waits for it but who sends the audio of what it tells of."""
        return self._start(self._floor.commit())

    def _mark(self, part: str) -> None:
        if self._latency is not None:
            self._latency.mark(part, self._clock())
            if part == "first_token":  # or a later one, of who goes on for a model that has failed
                self._latency.served(LLM, self._model.served.get(LLM))

    # --- sentences -> audio

    async def _speak(self, voice: Voice, thinking: asyncio.Task[None]) -> None:
        script = self._speaking.script(voice, self._thinking.sentences, lambda: self._thinking.done)
        asking = self._start(script.run())
        try:
            await self._speaking.run(script)
        except ProviderError as error:
            asking.cancel()
            await self._floor.fall_back("tts", error)
            self._floor.failed("tts", error)
            thinking.cancel()
            await self._apologise()
        finally:
            await voice.close()
        await self._speaking.pieces.put(None)

    async def _apologise(self) -> None:
        """The voice failed in a sentence: leave out the rest, and try once to say so."""
        self.answer.complete = True
        self.answer.text = said(self.answer)
        apology = self._thinking.apology()
        if not apology:
            return
        voice = self._model.voice()
        try:
            await self._speaking.sentence(voice, apology)
        except ProviderError as error:
            self._floor.failed("tts", error)
            self.answer.text = said(self.answer)
        finally:
            await voice.close()

    # --- audio -> session

    async def _send(self) -> None:
        turn = self.answer.turn
        while (piece := await self._speaking.pieces.get()) is not None:
            if piece.known is not None:
                await piece.known
            await self._floor.may_speak()
            if piece.text:
                self._session.event("transcript_delta", role="assistant", turn=turn, delta=piece.text)
            if not self.sent:
                self.sent = True
                self._floor.began()
            if piece.known is not None:
                self._time(filler=piece.filler)
            await self._session.speak(turn, piece.pcm, sentence_end=piece.sentence_end)
            self._sent_ms += len(piece.pcm) * 1000 // (2 * self._session.rate_hz)
            self._note_unheard()
        self.all_sent = True
        if self.sent:
            self._session.end_turn(turn)
        self._floor.ended()

    def _time(self, *, filler: bool) -> None:
        """A sentence is about to be sent. The first filler ends one wait of the caller's, and the answer the other."""
        if self._latency is None or (filler and self._filled):
            return
        self._latency.served(TTS, self._model.served.get(TTS))
        self._session.timed(self.answer.turn, self._latency.until("first_audio", self._clock(), filler=filler))
        self._filled = True
        if not filler:
            self._latency = None

    def _note_unheard(self) -> None:
        playhead = self._session.playhead
        unheard_ms = self._sent_ms - (playhead.played_ms if playhead.turn == self.answer.turn else 0)
        if unheard_ms > 0:
            self._fillers.quiet_from(self._clock() + unheard_ms / 1000)
