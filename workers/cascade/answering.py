"""One answer on its way: language model -> sentences -> voice -> session, with a bounded queue between stages."""

from __future__ import annotations

import asyncio

from trunkline.errors import ProviderError
from workers.backend import Answer, Session
from workers.cascade.asking import Asking
from workers.cascade.prompting import resume_at, said
from workers.cascade.speaking import Speaking
from workers.cascade.stages import Floor
from workers.cascade.thinking import Thinking
from workers.latency import Latency
from workers.providers.base import TextToSpeech


class Answering:
    """Generates, speaks and sends `answer`, from `received_ms` of its turn on: 0 for a new one.

    What it does it writes into `answer`, which is in the session's snapshot, so that another worker can go on with it.
    """

    def __init__(
        self,
        session: Session,
        asking: Asking,
        text_to_speech: TextToSpeech,
        floor: Floor,
        answer: Answer,
        received_ms: int,
        latency: Latency | None,
    ) -> None:
        self.answer = answer
        self.sent = received_ms > 0
        """Whether the edge has any audio of this turn."""
        self.all_sent = False
        self.latency = latency
        self.task: asyncio.Task[None] | None = None
        self._session = session
        self._floor = floor
        number, start_ms = resume_at(answer, received_ms)
        self._thinking = Thinking(asking, floor, answer, number, session.tenant.apology, self._mark)
        self._speaking = Speaking(session, text_to_speech, answer, received_ms, number, start_ms, self._commit)
        self._stages = asyncio.TaskGroup()
        self._clock = asyncio.get_running_loop().time

    @property
    def is_using_tools(self) -> bool:
        """Whether it waits for a tool."""
        return self._thinking.is_using_tools

    @property
    def position_ms(self) -> int:
        """How much audio the turn has so far."""
        return self._speaking.position_ms

    async def run(self) -> None:
        """Returns once everything was sent. Cancelling it stops the work at once."""
        async with self._stages as stages:
            _ = self._commit()
            thinking = stages.create_task(self._thinking.run())
            stages.create_task(self._speak(thinking))
            stages.create_task(self._send())

    def _commit(self) -> asyncio.Task[None]:
        """Begin to commit. Nobody waits for it but who sends the audio of what it tells of."""
        return self._stages.create_task(self._floor.commit())

    def _mark(self, part: str) -> None:
        if self.latency is not None:
            self.latency.mark(part, self._clock())

    # --- sentences -> audio

    async def _speak(self, thinking: asyncio.Task[None]) -> None:
        voice = self._speaking.voice()
        try:
            await self._speaking.run(voice, self._thinking.sentences, lambda: self._thinking.done)
        except ProviderError as error:
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
        voice = self._speaking.voice()
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
            await self._session.speak(turn, piece.pcm, sentence_end=piece.sentence_end)
        self.all_sent = True
        if self.sent:
            self._session.end_turn(turn)
        self._floor.ended()
