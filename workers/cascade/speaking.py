"""How an answer sounds: sentences -> a voice -> pieces of audio, ready to send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from trunkline.audio.resample import Resampler
from trunkline.errors import ProviderError
from workers.backend import Answer, Spoken
from workers.cascade.pieces import Cutter
from workers.context import heard
from workers.providers.base import TextToSpeech, Voice, Word

PIECES_AHEAD = 30
"""Pieces (3 s of audio) the voice may be ahead of what was sent; then it is read no further."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A little audio of an answer: s16le mono at the session's rate."""

    pcm: bytes
    sentence_end: bool
    begins: bool
    """Whether a sentence begins here (or goes on after a takeover)."""
    text: str
    """The sentence's text, at the very start of it only."""


class Speaking:
    """Speaks `answer` and notes in `answer.spoken` what is said when. The edge has its first `received_ms`.

    `number` and `start_ms`: which of `answer.spoken` comes next, and where in the turn (ms) it begins.
    """

    def __init__(
        self, text_to_speech: TextToSpeech, rate_hz: int, answer: Answer, received_ms: int, number: int, start_ms: int
    ) -> None:
        self.pieces: asyncio.Queue[Piece | None] = asyncio.Queue(PIECES_AHEAD)
        """What is to be sent, in order; None at its end."""
        self.position_ms = start_ms
        """Where in the turn the next sentence begins."""
        self._text_to_speech = text_to_speech
        self._rate_hz = rate_hz
        self._answer = answer
        self._received_ms = received_ms
        self._number = number

    def voice(self) -> Voice:
        """The voice of these sentences; close it."""
        return self._text_to_speech.voice()

    async def sentence(self, voice: Voice, sentence: str, *, last: bool) -> None:
        """Speak one sentence into `pieces`. Raises ProviderError; of the sentence then counts what came."""
        start_ms, number, spoken = self.position_ms, self._number, self._answer.spoken
        self._number += 1
        if number == len(spoken):  # not one that an earlier worker began
            spoken.append(Spoken(sentence, start_ms, start_ms))  # its end is not known yet
        cutter = Cutter(self._rate_hz, max(0, self._received_ms - start_ms))
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
        resampler = Resampler(self._text_to_speech.rate_hz, self._rate_hz)
        begins, failure = True, None
        try:
            async with aclosing(audio) as chunks:
                async for chunk in chunks:
                    if isinstance(chunk, Word):
                        continue
                    for pcm in cutter.push(resampler.push(chunk)):
                        await self.pieces.put(Piece(pcm, False, begins, text))
                        begins, text = False, ""
        except ProviderError as error:
            failure = error
        last = cutter.finish(resampler.flush())
        for number, pcm in enumerate(last, 1):
            await self.pieces.put(Piece(pcm, number == len(last), begins, text))
            begins, text = False, ""
        return failure
