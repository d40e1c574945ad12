"""Speech-to-text by vendors that take whole recordings (Groq, OpenAI, faster-whisper), with the text ready in time.

Such a vendor needs 0.1 to 1.5 s for a recording. Waiting for the end of an utterance before asking it would add all of
that to every answer, so it is asked ahead: whenever the speaker pauses, for that may have been all (**speculation**);
and every ten seconds while they speak on, so that what is left at the end is short (**segments**, cut at pauses).
Both cost requests; `BatchSpeech.transcribed_s` and `spoken_s` tell how much was transcribed and how much was said.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from trunkline.audio.frame import FRAME_MS
from trunkline.audio.loudness import Loudness
from trunkline.errors import ProviderError
from workers.providers.base import Transcript

LONGEST_UNHEARD_S = 60
"""Seconds of an utterance that may wait to become text. While more do, its further audio is not listened to."""

RECENT_MS = 10_000
"""Where nobody pauses, a segment is cut at the quietest place of the last so many ms."""

WORD_END_MS = 160
"""Sound so soon after a pause is the end of its last word: a detector of speech calls the closure before a final `t`
silence, and a final `s`, too."""
SOUND_MS = 60
"""Less sound than this later in a pause is a click."""
QUIET_MS = 100
"""Silence after sound that a detector of speech said nothing of."""


class Batch(Protocol):
    """A vendor that takes whole recordings. `BatchSpeech` makes a `SpeechToText` of it."""

    @property
    def rate_hz(self) -> int:
        """The rate of audio it takes, in Hz."""

    @property
    def description(self) -> str: ...

    async def transcribe(self, pcm: bytes, context: str) -> Transcript:
        """The text of s16le mono audio. `context` is the text before it of the same utterance, empty at its beginning.
        Under deadlines of its own; cancelling it ends the request. Raises ProviderError."""

    async def close(self) -> None: ...


class BatchOptions(BaseModel):
    """What a tenant may choose for any vendor of this kind: its options inherit from these."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    speculate: bool = Field(default=True, description="transcribe at each pause, for it may be the end")
    pause_ms: int = Field(
        default=0, ge=0, le=2000, description="silence before a pause is transcribed; each ms is waited"
    )
    segment_s: float = Field(default=10.0, ge=2, le=60, description="transcribe so much at a time of long speech")
    requests: int = Field(default=8, ge=1, le=256, description="at the vendor at once, of all calls of a worker")
    queue_s: float = Field(default=10.0, gt=0, le=60, description="longest wait for one of those requests to end")


class BatchSpeech:
    """A `Batch` as a `SpeechToText`: it owns the vendor, and every request to it."""

    def __init__(self, vendor: Batch, options: BatchOptions, *, least_billed_s: float = 0.0) -> None:
        """`least_billed_s`: what the vendor takes for a request that is shorter."""
        self.options = options
        self.least_billed_s = least_billed_s
        self.rate_hz = vendor.rate_hz
        self.transcribed_s = 0.0
        """Seconds of audio in all requests so far, as they are billed, those that failed or were given up included."""
        self.spoken_s = 0.0
        """Seconds of audio in all utterances so far that were not cancelled."""
        self._vendor = vendor
        self._room = asyncio.Semaphore(options.requests)
        self._tasks: set[asyncio.Task[Transcript]] = set()

    @property
    def description(self) -> str:
        return self._vendor.description

    @property
    def full(self) -> bool:
        """Whether another request would have to wait for one to end."""
        return len(self._tasks) >= self.options.requests

    def utterance(self) -> BatchTranscriber:
        return BatchTranscriber(self)

    def start(self, work: Coroutine[Any, Any, Transcript]) -> asyncio.Task[Transcript]:
        """Run `work` until it ends, somebody cancels it, or this is closed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[Transcript]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever wants the text is told; a failed speculation is nobody's

    @asynccontextmanager
    async def request(self, seconds: float) -> AsyncIterator[Batch]:
        """The vendor, once there is room for a request that it bills as `seconds` of audio. Raises ProviderError when
        there is none."""
        try:
            async with asyncio.timeout(self.options.queue_s):
                await self._room.acquire()
        except TimeoutError as error:
            text = f"its {self.options.requests} requests at once took all of {self.options.queue_s:g} s"
            raise ProviderError(self._vendor.description, text) from error
        try:
            self.transcribed_s += seconds
            yield self._vendor
        finally:
            self._room.release()

    async def close(self) -> None:
        """Give up every request, then close the vendor."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._vendor.close()


@dataclass(slots=True, eq=False)
class _Piece:
    """Bytes `start` to `end` of an utterance, on their way to text."""

    start: int
    end: int
    task: asyncio.Task[Transcript]
    spent: bool = False
    """Whether it is not to be asked for again."""

    @property
    def transcript(self) -> Transcript | None:
        """What came of it; None while nothing has, and when it failed."""
        done = self.task.done() and not self.task.cancelled() and self.task.exception() is None
        return self.task.result() if done else None

    @property
    def error(self) -> BaseException | None:
        return self.task.exception() if self.task.done() and not self.task.cancelled() else None


class BatchTranscriber:
    """One utterance: segments that are settled, and then either speech that goes on or a guess that it was all.

    All places are bytes from the utterance's beginning.
    """

    def __init__(self, speech: BatchSpeech) -> None:
        self.transcribed_s = 0.0
        """Seconds of audio in all of its requests so far."""
        self._speech = speech
        self._second = speech.rate_hz * 2
        self._loudness = Loudness(speech.rate_hz)
        self._audio = bytearray()
        self._kept = 0
        """Where `_audio` begins: before it all is text."""
        self._segments: list[_Piece] = []
        self._guess: _Piece | None = None
        """What follows the segments, if nothing but silence follows it."""
        self._guessed = ""
        """What an earlier guess was understood as, since the last segment."""
        self._paused: int | None = None
        """Where the pause began that the speaker is in."""
        self._quiet_rms = 0.0
        """What is silence in this call; 0 until the first pause."""
        self._loud_frames = 0
        """Of FRAME_MS, since the pause."""

    @property
    def _end(self) -> int:
        return self._kept + len(self._audio)

    @property
    def _cut(self) -> int:
        """Where the segments end."""
        return self._segments[-1].end if self._segments else 0

    # --- while it comes

    def push(self, pcm: bytes) -> None:
        """Take the next audio, unless LONGEST_UNHEARD_S of it wait already."""
        self._let_go()
        if len(self._audio) + len(pcm) > LONGEST_UNHEARD_S * self._second:
            return
        self._audio += pcm
        levels = self._loudness.push(pcm)
        if self._paused is None:
            self._speak_on()
        else:
            self._loud_frames += sum(rms >= self._quiet_rms for rms in levels)
            self._stay_silent(self._paused)

    def pause(self) -> None:
        """Begin to transcribe what was said so far, once the pause is long enough."""
        if self._paused == self._end:
            return
        self._go_on()
        self._paused, self._loud_frames = self._end, 0
        self._quiet_rms = self._loudness.quiet_rms()
        self._guess_in_time(self._paused)

    def _speak_on(self) -> None:
        """Cut speech that is long. Once a pause has told what silence is like here, notice the next one, too: what
        ended the last may have been a noise, of which a detector of speech says nothing."""
        self._cut_long_speech()
        latest = self._loudness.rms[-QUIET_MS // FRAME_MS :]
        if self._quiet_rms and max(latest) < self._quiet_rms:
            self.pause()

    def _stay_silent(self, paused: int) -> None:
        """Guess, unless there was sound since the pause: of any length soon after it, for that is the end of a word,
        of SOUND_MS later, for less is a click."""
        soon = self._end - paused <= WORD_END_MS * self._second // 1000
        if self._loud_frames * FRAME_MS >= (FRAME_MS if soon else SOUND_MS):
            self._go_on()
        else:
            self._guess_in_time(paused)

    def _guess_in_time(self, paused: int) -> None:
        options = self._speech.options
        if self._guess is not None or self._end - paused < options.pause_ms * self._second // 1000:
            return
        if not self._speech_is_left():
            return
        if self._end - self._cut >= options.segment_s * self._second:
            self._settle(self._end)
        elif options.speculate and not self._speech.full:
            self._guess = self._begin(self._cut, self._end)

    def _speech_is_left(self) -> bool:
        """Whether there is any after the segments. What follows the beginning of a pause is none, however noisy."""
        speech_end = self._end if self._paused is None else self._paused
        return self._cut < speech_end and self._loudness.sounds(self._cut, speech_end)

    def _go_on(self) -> None:
        """There was speech since the pause: the guess is wrong."""
        self._paused = None
        guess, self._guess = self._guess, None
        if guess is not None:
            self._guessed = guess.transcript.text if guess.transcript is not None else self._guessed
            guess.task.cancel()

    def _cut_long_speech(self) -> None:
        """Nobody pauses: a segment ends in the quietest place of late."""
        longest = 2 * int(self._speech.options.segment_s * self._second)
        if self._end - self._cut < longest:
            return
        since = max(self._cut + longest // 2, self._end - RECENT_MS * self._second // 1000)
        self._settle(self._loudness.quietest(since, self._end))

    def _settle(self, end: int) -> None:
        for piece in self._segments:
            self._retry(piece, for_good=False)  # what is not text takes up room
        self._segments.append(self._begin(self._cut, end))
        self._guessed = ""

    def _begin(self, start: int, end: int) -> _Piece:
        pcm = bytes(self._audio[start - self._kept : end - self._kept])
        before = [piece.transcript for piece in self._segments if piece.end <= start]
        context = " ".join(transcript.text for transcript in before if transcript is not None and transcript.text)
        return _Piece(start, end, self._speech.start(self._transcribe(pcm, context)))

    async def _transcribe(self, pcm: bytes, context: str) -> Transcript:
        seconds = max(len(pcm) / self._second, self._speech.least_billed_s)
        async with self._speech.request(seconds) as vendor:
            self.transcribed_s += seconds
            transcript = await vendor.transcribe(pcm, context)
        return Transcript(transcript.text.strip(), transcript.confidence)

    def _let_go(self) -> None:
        """Forget the audio of segments that are text."""
        for piece in self._segments:
            if piece.transcript is None:
                return
            if piece.end > self._kept:
                del self._audio[: piece.end - self._kept]
                self._kept = piece.end

    @property
    def interim(self) -> str:
        """The text of all segments so far and of the last guess, right or wrong."""
        known = [piece.transcript for piece in self._segments]
        texts = [transcript.text for transcript in known if transcript is not None]
        guess = self._guess.transcript if self._guess is not None else None
        return _joined([*texts, guess.text if guess is not None else self._guessed])

    @property
    def ended(self) -> bool:
        """Whoever is sent recordings has no opinion."""
        return False

    @property
    def failure(self) -> None:
        """Nothing is certain before the end: what failed is asked for again."""

    # --- when it is over

    async def finish(self) -> Transcript:
        """The text of all of it; `confidence` is that of the least certain piece. A request that was made ahead and
        failed is made once more, if that may help. Raises ProviderError."""
        self._speech.spoken_s += self._end / self._second
        if self._guess is None and self._speech_is_left():
            self._guess = self._begin(self._cut, self._end)
            self._guess.spent = True
        pieces = [*self._segments, self._guess] if self._guess is not None else self._segments
        try:
            for piece in pieces:
                self._retry(piece, for_good=True)  # all of them now, so that they run side by side
            known = [await self._text_of(piece) for piece in pieces]
        finally:
            self.cancel()
        confidences = [each.confidence for each in known if each.confidence is not None]
        return Transcript(_joined(each.text for each in known), min(confidences, default=None), self.transcribed_s)

    def _retry(self, piece: _Piece, *, for_good: bool) -> bool:
        """Ask once more for a piece, if it failed and that may help; `for_good`: for the last time."""
        error = piece.error
        if piece.spent or not isinstance(error, ProviderError) or not error.retryable or error.retry_after_s:
            return False
        piece.task, piece.spent = self._begin(piece.start, piece.end).task, for_good
        return True

    async def _text_of(self, piece: _Piece) -> Transcript:
        await asyncio.wait([piece.task])
        if self._retry(piece, for_good=True):
            await asyncio.wait([piece.task])
        if piece.task.cancelled():
            raise ProviderError(self._speech.description, "it was closed while it transcribed")
        return piece.task.result()

    def cancel(self) -> None:
        """Forget all of it, and give up what is on its way."""
        for piece in self._segments:
            piece.task.cancel()
        if self._guess is not None:
            self._guess.task.cancel()
        self._kept += len(self._audio)
        self._audio.clear()


def _joined(texts: Iterable[str]) -> str:
    return " ".join(text for text in texts if text)
