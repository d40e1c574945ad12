"""One answer on its way: language model -> sentences -> voice -> session, with a bounded queue between stages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from trunkline.audio.resample import Resampler
from trunkline.errors import ProviderError
from workers.backend import Answer, Session, Spoken
from workers.cascade.pieces import Cutter
from workers.cascade.prompting import messages, resume_at, said
from workers.cascade.sentences import Sentences
from workers.context import heard
from workers.latency import Latency
from workers.providers.base import LanguageModel, SpeechToText, TextToSpeech, ToolCall, Voice, Word

SORRY = "Sorry, something went wrong. Could you say that again?"
"""Said when the language model or the transcription failed."""

SENTENCES_AHEAD = 64
"""Sentences the language model may be ahead of the voice; then it is read no further."""

PIECES_AHEAD = 30
"""Pieces (3 s of audio) the voice may be ahead of what was sent; then it is read no further."""


@dataclass(frozen=True, slots=True)
class Stages:
    """Who answers."""

    speech_to_text: SpeechToText
    language_model: LanguageModel
    text_to_speech: TextToSpeech


class Floor(Protocol):
    """The conversation, as an answer sees it."""

    async def commit(self) -> None:
        """Make the snapshot, with the answer as it is now, what the next worker begins with."""

    async def may_speak(self) -> None:
        """Wait while the caller may be interrupting."""

    def began(self, answering: Answering) -> None:
        """The first audio goes out now."""

    def ended(self, answering: Answering) -> None:
        """All of it was sent, or it has no audio at all (`sent` says which)."""

    def failed(self, stage: str, error: ProviderError) -> None:
        """A provider failed; the answer deals with it."""


@dataclass(frozen=True, slots=True)
class _Piece:
    pcm: bytes
    sentence_end: bool
    begins: bool
    """Whether a sentence begins here (or goes on after a takeover)."""
    text: str
    """The sentence's text, at the very start of it only."""


class Answering:
    """Generates, speaks and sends `answer`, from `received_ms` of its turn on: 0 for a new one.

    What it does it writes into `answer`, which is in the session's snapshot, so that another worker can go on with it.
    """

    def __init__(
        self, session: Session, stages: Stages, floor: Floor, answer: Answer, received_ms: int, latency: Latency | None
    ) -> None:
        self.answer = answer
        self.sent = received_ms > 0
        """Whether the edge has any audio of this turn."""
        self.all_sent = False
        self.latency = latency
        self.task: asyncio.Task[None] | None = None
        self._session = session
        self._stages = stages
        self._floor = floor
        self._received_ms = received_ms
        # Which of answer.spoken is next, and where in the turn it begins.
        self._number, self.position_ms = resume_at(answer, received_ms)
        self._messages = messages(session.tenant.prompt, session.snapshot)
        self._sentences: asyncio.Queue[str | None] = asyncio.Queue(SENTENCES_AHEAD)
        self._pieces: asyncio.Queue[_Piece | None] = asyncio.Queue(PIECES_AHEAD)
        self._apologised = False
        self._clock: Callable[[], float] = asyncio.get_running_loop().time

    async def run(self) -> None:
        """Returns once everything was sent. Cancelling it stops the work at once."""
        await self._floor.commit()
        async with asyncio.TaskGroup() as stages:
            thinking = stages.create_task(self._think())
            stages.create_task(self._voice(thinking))
            stages.create_task(self._say())

    def _mark(self, part: str) -> None:
        if self.latency is not None:
            self.latency.mark(part, self._clock())

    # --- language model -> sentences

    async def _think(self) -> None:
        sentences = Sentences(early=not self.answer.spoken)
        unsaid = self.answer.text[len(said(self.answer)) :]
        await self._pass_on([spoken.text for spoken in self.answer.spoken[self._number :]])
        await self._pass_on(sentences.push(unsaid))
        if not self.answer.complete:
            try:
                await self._generate(sentences)
            except ProviderError as error:
                self._floor.failed("llm", error)
                await self._pass_on(sentences.flush())
                await self._pass_on(sentences.push(self._apology()))
            self.answer.complete = True
        await self._pass_on(sentences.flush())
        await self._sentences.put(None)

    async def _generate(self, sentences: Sentences) -> None:
        async with aclosing(self._stages.language_model.reply(self._messages)) as deltas:
            async for delta in deltas:
                if isinstance(delta, ToolCall):
                    raise ProviderError("cascade", "the language model called a tool, and was given none")
                self._mark("first_token")
                self.answer.text += delta
                await self._pass_on(sentences.push(delta))

    async def _pass_on(self, sentences: list[str]) -> None:
        for sentence in sentences:
            self._mark("first_sentence")
            await self._sentences.put(sentence)

    def _apology(self) -> str:
        """Say sorry in this answer: its text, after what was said before."""
        self._apologised = True
        text = f" {SORRY}" if self.answer.text[-1:].strip() else SORRY
        self.answer.text += text
        return text

    # --- sentences -> audio

    async def _voice(self, thinking: asyncio.Task[None]) -> None:
        voice = self._stages.text_to_speech.voice()
        try:
            while (sentence := await self._sentences.get()) is not None:
                # Whether the language model will say more is not worth waiting for.
                await self._synthesise(voice, sentence, last=thinking.done() and self._sentences.qsize() == 1)
        except ProviderError as error:
            self._floor.failed("tts", error)
            thinking.cancel()
            await self._speak_apology()
        finally:
            await voice.close()
        await self._pieces.put(None)

    async def _speak_apology(self) -> None:
        """The voice failed in a sentence: leave out the rest, and try once to say so."""
        self.answer.complete = True
        self.answer.text = said(self.answer)
        if self._apologised:
            return
        voice = self._stages.text_to_speech.voice()
        try:
            await self._synthesise(voice, self._apology(), last=True)
        except ProviderError as error:
            self._floor.failed("tts", error)
            self.answer.text = said(self.answer)
        finally:
            await voice.close()

    async def _synthesise(self, voice: Voice, sentence: str, *, last: bool) -> None:
        """Speak one sentence into the queue of pieces. Raises ProviderError; of the sentence then counts what came."""
        start_ms, number, spoken = self.position_ms, self._number, self.answer.spoken
        self._number += 1
        if number == len(spoken):  # not one that an earlier worker began
            spoken.append(Spoken(sentence, start_ms, start_ms))  # its end is not known yet
        cutter = Cutter(self._session.rate_hz, max(0, self._received_ms - start_ms))
        failure: ProviderError | None = None
        if sentence.strip():
            audio = voice.speak(sentence.strip(), last=last)
            failure = await self._speak(audio, cutter, text="" if start_ms < self._received_ms else sentence)
        self.position_ms = max(start_ms + cutter.total_ms, self._received_ms)
        if failure is not None:
            came = heard([Spoken(sentence, start_ms, start_ms)], start_ms + cutter.total_ms)
            spoken[number:] = [Spoken(came, start_ms, self.position_ms)]
            raise failure
        spoken[number] = Spoken(sentence, start_ms, self.position_ms)

    async def _speak(
        self, audio: AsyncGenerator[bytes | Word, None], cutter: Cutter, *, text: str
    ) -> ProviderError | None:
        resampler = Resampler(self._stages.text_to_speech.rate_hz, self._session.rate_hz)
        begins, failure = True, None
        try:
            async with aclosing(audio) as chunks:
                async for chunk in chunks:
                    if isinstance(chunk, Word):
                        continue
                    for pcm in cutter.push(resampler.push(chunk)):
                        await self._pieces.put(_Piece(pcm, False, begins, text))
                        begins, text = False, ""
        except ProviderError as error:
            failure = error
        last = cutter.finish(resampler.flush())
        for number, pcm in enumerate(last, 1):
            await self._pieces.put(_Piece(pcm, number == len(last), begins, text))
            begins, text = False, ""
        return failure

    # --- audio -> session

    async def _say(self) -> None:
        turn = self.answer.turn
        while (piece := await self._pieces.get()) is not None:
            if piece.begins:
                await self._floor.commit()
            await self._floor.may_speak()
            if piece.text:
                self._session.event("transcript_delta", role="assistant", turn=turn, delta=piece.text)
            self._mark("first_audio")
            if not self.sent:
                self.sent = True
                self._floor.began(self)
            await self._session.speak(turn, piece.pcm, sentence_end=piece.sentence_end)
        self.all_sent = True
        if self.sent:
            self._session.end_turn(turn)
        self._floor.ended(self)
