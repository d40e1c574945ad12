"""How an answer sounds: sentences -> a voice -> pieces of audio, ready to send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trunkline.audio.resample import Resampler
from trunkline.errors import ProviderError
from workers.backend import Answer, Session, Spoken
from workers.cascade.pieces import Cutter
from workers.cascade.script import Line, Script
from workers.cascade.speakable import Reader, Reading
from workers.cascade.word_ends import WordEnds, by_length
from workers.context import heard
from workers.providers.base import TextToSpeech, Voice, Word

if TYPE_CHECKING:  # it knows Redis; here it is only a shape
    from trunkline.tenants import Tenant

PIECES_AHEAD = 30
"""Pieces (3 s of audio) the voice may be ahead of what was sent; then it is read no further."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A little audio of an answer: s16le mono at the session's rate."""

    pcm: bytes
    sentence_end: bool = False
    known: asyncio.Future[None] | None = None
    """At the start of a sentence (or where it goes on after a takeover): done once the next worker would know of it."""
    text: str = ""
    """The sentence's text, at the very start of it only."""
    filler: bool = False
    """Whether the sentence that begins here is no part of the answer proper: a filler, or an apology."""


class Speaking:
    """Speaks `answer` and notes in `answer.spoken` what is said when. The edge has its first `received_ms`.

    `number` and `start_ms`: which of `answer.spoken` comes next, and where in the turn (ms) it begins. `commit` begins
    to make the answer, as it is now, what the next worker begins with.
    """

    def __init__(
        self,
        session: Session,
        text_to_speech: TextToSpeech,
        answer: Answer,
        received_ms: int,
        number: int,
        start_ms: int,
        commit: Callable[[], asyncio.Future[None]],
    ) -> None:
        self.pieces: asyncio.Queue[Piece | None] = asyncio.Queue(PIECES_AHEAD)
        """What is to be sent, in order; None at its end."""
        self.position_ms = start_ms
        """Where in the turn the next sentence begins."""
        self.busy = False
        """Whether a sentence is being spoken."""
        self._text_to_speech = text_to_speech
        self._rate_hz = session.rate_hz
        self._answer = answer
        self._received_ms = received_ms
        self._number = number
        self._commit = commit
        self._read = reads(session.tenant)
        for spoken in answer.spoken[:number]:  # so that the same is read as the worker before read it
            self._read(spoken.text)

    def script(self, voice: Voice, sentences: asyncio.Queue[str | None], complete: Callable[[], bool]) -> Script:
        """`sentences` as `voice` is asked for them; `complete` as in `Script`, which must run for `run` to go on."""
        return Script(sentences, complete, lambda sentence, last: self._ask(voice, sentence, last=last))

    async def run(self, script: Script) -> None:
        """Speak all of `script` into `pieces`. Raises ProviderError; of the sentence that failed then counts what came,
        and nothing of those behind it."""
        while (line := await script.next()) is not None:
            self.busy = True
            await self._say(line)
            self.busy = False

    async def sentence(self, voice: Voice, sentence: str) -> None:
        """Speak one sentence, and no other, into `pieces`. Raises ProviderError, as `run` does."""
        await self._say(self._ask(voice, sentence, last=True))

    def _ask(self, voice: Voice, sentence: str, *, last: bool) -> Line:
        reading = self._read(sentence)
        text = reading.spoken.strip()
        return Line(reading, voice.speak(text, last=last) if text else None)

    async def _say(self, line: Line) -> None:
        start_ms, number, spoken = self.position_ms, self._number, self._answer.spoken
        self._number += 1
        if number == len(spoken):  # not one that an earlier worker began
            spoken.append(Spoken(line.text, start_ms, start_ms))  # its end is not known yet
        cutter = Cutter(self._rate_hz, max(0, self._received_ms - start_ms))
        words = WordEnds(line.reading)
        failure: ProviderError | None = None
        if line.audio is not None:
            text = "" if start_ms < self._received_ms else line.text
            first = Piece(b"", known=self._commit(), text=text, filler=self._is_filler(number))

            def note(word: Word) -> None:
                words.add(word)
                spoken[number] = replace(spoken[number], words=words.ends)

            failure = await self._speak(line, cutter, first, note)
        self.position_ms = max(start_ms + cutter.total_ms, self._received_ms)
        said = Spoken(line.text, start_ms, self.position_ms, words.ends)
        if failure is not None:
            came = heard([replace(said, end_ms=start_ms)], start_ms + cutter.total_ms)
            spoken[number:] = [replace(said, text=came)]
            raise failure
        spoken[number] = replace(said, words=words.ends or by_length(line.reading, cutter.total_ms))
        if self._is_filler(number):  # it may be long until the next sentence tells where this one ends
            _ = self._commit()

    def _is_filler(self, number: int) -> bool:
        begins = sum(len(spoken.text) for spoken in self._answer.spoken[:number])
        return any(since <= begins < until for since, until in self._answer.fillers)

    async def _speak(
        self, line: Line, cutter: Cutter, first: Piece, note: Callable[[Word], None]
    ) -> ProviderError | None:
        """Put the audio of `line` into `pieces`; `first` is what is to be said of its first piece."""
        assert line.audio is not None
        resampler = Resampler(self._text_to_speech.rate_hz, self._rate_hz)
        piece, failure = first, None
        try:
            async with aclosing(line.audio) as chunks:
                async for chunk in chunks:
                    if isinstance(chunk, Word):
                        note(chunk)
                        continue
                    for pcm in cutter.push(resampler.push(chunk)):
                        await self.pieces.put(replace(piece, pcm=pcm))
                        piece = Piece(b"")
        except ProviderError as error:
            failure = error
        last = cutter.finish(resampler.flush())
        for number, pcm in enumerate(last, 1):
            await self.pieces.put(replace(piece, pcm=pcm, sentence_end=number == len(last)))
            piece = Piece(b"")
        return failure


def reads(tenant: Tenant) -> Callable[[str], Reading]:
    """Reads one of a tenant's answers for the voice, sentence by sentence."""
    if not tenant.speech.normalise:
        return lambda sentence: Reading(sentence, sentence)
    language = tenant.speech.language or tenant.providers.tts.options.get("language")
    return Reader(language if isinstance(language, str) else None).read
