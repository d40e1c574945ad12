"""What the caller says: session audio in; speech edges and utterances out. Nothing but the detector is waited for, and
by calls: fifty times a second and caller, a task that wakes costs more than what it would do."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from trunkline.audio.resample import Resampler
from trunkline.bus.messages import UplinkAudio
from trunkline.errors import ProviderError
from trunkline.tenants import TurnSettings
from workers.providers.base import SpeechToText, Transcriber, Transcript
from workers.turns.endpointing import CHUNK_MS, PRE_ROLL_MS, Edge, EdgeKind, Endpointing, PreRoll
from workers.turns.patience import Judge, Patience

VOICE_RATE_HZ = 16_000
"""The highest rate a voice activity detector is given; at 8 kHz it works as it is."""

MOST_BEHIND = 2000
"""Messages that may wait for the detector (40 s, more than the edge keeps for a takeover); beyond, the oldest go."""


Found = Callable[[float | Exception], None]
"""Is told how likely a chunk holds speech; with an error, should the detector fail."""


class VoiceActivity(Protocol):
    """A voice activity detector of one session, such as `workers.turns.company.SharedVoiceActivity`."""

    @property
    def hush_rms(self) -> int:
        """The line's own noise is no louder than this (of 32768), as far as that is known."""
        ...

    @property
    def settled(self) -> bool:
        """Whether audio that is no louder than that is no speech by itself: it was quiet for so long."""
        ...

    def cut(self, pcm: bytes) -> Iterable[bytes]:
        """Take audio of any length; return the chunks of CHUNK_MS that it completed: each is to be judged, in order."""

    def judge(self, chunk: bytes, found: Found, *, patient: bool) -> float | None:
        """How likely the next chunk holds speech, if that is known at once. If not, `found` is called later, and the
        chunk after it must wait for that. `patient`: it decides nothing, and may take most of a chunk's time."""


class Utterance:
    """One stretch of speech, being transcribed. Of a provider that fails, `finish` raises the error."""

    def __init__(
        self, speech_to_text: SpeechToText, rate_hz: int, first_seq: int, start_ms: int, *, before: str = ""
    ) -> None:
        """`before`: what was understood of the speech that this one goes on with, if it was cut."""
        self.first_seq = first_seq
        """The first uplink frame of it, pre-roll included."""
        self.start_ms = start_ms
        """Media time of its first sound; of one that goes on with another, of its first audio."""
        self.has_speech = False
        """Whether anybody speaks in it: what follows a cut may be nothing but silence."""
        self._resampler = Resampler(rate_hz, speech_to_text.rate_hz)
        self._transcriber: Transcriber | None = None
        self._error: ProviderError | None = None
        self._paused = False
        self._before = before
        try:
            self._transcriber = speech_to_text.utterance()
        except ProviderError as error:
            self._error = error

    def push(self, pcm: bytes) -> None:
        """Take the next audio, at the session's rate."""
        if self._transcriber is None or self._error is not None:
            return
        try:
            self._transcriber.push(self._resampler.push(pcm))
        except ProviderError as error:
            self._error = error

    def pause(self) -> None:
        """The speaker fell silent: the text may be wanted at once."""
        self._paused = True
        if self._transcriber is None or self._error is not None:
            return
        try:
            self._transcriber.pause()
        except ProviderError as error:
            self._error = error

    def went_on(self) -> None:
        """The speaker speaks again."""
        self._paused = False

    @property
    def interim(self) -> str:
        """What was understood so far; all of it may change."""
        return "" if self._transcriber is None else self._transcriber.interim

    @property
    def words(self) -> str:
        """The last words that were understood, also those of before it was cut."""
        return self.interim or self._before

    @property
    def ended(self) -> bool:
        """Whether the provider believes that the speaker is done."""
        return self._transcriber is not None and self._transcriber.ended

    async def finish(self) -> Transcript:
        """The text of it. Raises ProviderError."""
        if self._error is not None or self._transcriber is None:
            self.cancel()
            raise self._error or ProviderError("cascade", "no transcriber")
        self._transcriber.push(self._resampler.flush())
        if not self._paused:
            self._transcriber.pause()  # speech since the last pause may be too soft for it to notice by itself
        return await self._transcriber.finish()

    def cancel(self) -> None:
        if self._transcriber is not None:
            self._transcriber.cancel()


class Ear:
    """One session's hearing. At most one utterance is open at a time."""

    def __init__(
        self,
        speech_to_text: SpeechToText,
        voice_activity: Callable[[int], VoiceActivity],
        rate_hz: int,
        settings: TurnSettings,
        judge: Judge | None,
        heard: Callable[[Edge | None, int], None],
        is_deaf: Callable[[], bool],
        on_behalf: Callable[[Found], Found],
    ) -> None:
        """`voice_activity` makes a detector for a rate of 8 or 16 kHz. `judge`, if there is one, hears whether somebody
        who fell silent is done. `heard` is called for every chunk, with the edge that it brought, if any, and the
        number of the uplink after it; what the caller says while `is_deaf` counts as silence. `on_behalf` is the
        session's.
        """
        self.endpointing = Endpointing(settings)
        self.utterance: Utterance | None = None
        """What is being said now, if anything."""
        self.now_ms = 0
        """Media time of the end of what was heard."""
        self._speech_to_text = speech_to_text
        self._settings = settings
        self._heard = heard
        self._is_deaf = is_deaf
        self._frames: deque[UplinkAudio] = deque(maxlen=MOST_BEHIND)
        """What came while the detector was asked about something earlier."""
        self._chunks: deque[bytes] = deque()
        """Of the frame that is being heard: what is still to be judged."""
        self._next_seq = 0
        """The uplink after it."""
        self._asked = False
        """Whether the detector has a chunk."""
        self._moved = asyncio.Event()
        self._stopped = False
        self._found = on_behalf(self._found_later)
        voice_rate_hz = min(rate_hz, VOICE_RATE_HZ)
        self._to_voice_rate = Resampler(rate_hz, voice_rate_hz)
        self._voice_activity = voice_activity(voice_rate_hz)
        self._patience = Patience(settings, voice_rate_hz, judge)
        self._rate_hz = rate_hz
        self._pre_roll = PreRoll(settings.start_ms + CHUNK_MS + PRE_ROLL_MS)
        self._done_seq = 0
        self._chunk_end_ms: float | None = None
        self._frame_end_ms: float = 0

    def hear(self, frame: UplinkAudio) -> None:
        """Take the next frame. `heard` is told of it now, or when the detector has judged what came before it.

        A STARTED edge has opened an utterance, pre-roll included. A STOPPED one leaves it open: `take` or `drop` it.
        """
        if self._stopped:
            return
        self._frames.append(frame)
        self._go_on()

    async def caught_up(self, seq: int) -> None:
        """Wait until `heard` was told of all uplink before `seq` that was given to `hear`."""
        while self._asked and self._next_seq <= seq:
            self._moved.clear()
            await self._moved.wait()

    def stop(self) -> None:
        """Nobody wants to know any more."""
        self._stopped = True
        self._frames.clear()
        self._chunks.clear()
        self.drop(0)

    @property
    def hush_rms(self) -> int:
        """The line's own noise is no louder than this (of 32768), as far as that is known."""
        return self._voice_activity.hush_rms

    @property
    def settled(self) -> bool:
        """Whether audio that is no louder than that is no speech by itself."""
        return self._voice_activity.settled

    def _go_on(self) -> None:
        while not self._asked:
            if self._chunks:
                chunk, hurry = self._chunks.popleft(), self._is_behind or self._decides()
                probability = self._voice_activity.judge(chunk, self._found, patient=not hurry)
                if probability is None:
                    self._asked = True
                else:
                    self._tell(probability)
            elif self._frames:
                self._begin(self._frames.popleft())
            else:
                return

    def _begin(self, frame: UplinkAudio) -> None:
        self._next_seq = frame.seq + 1
        self._pre_roll.push(frame)
        if self.utterance is not None:
            self.utterance.push(frame.pcm)
        self._advance(frame)
        voice = self._to_voice_rate.push(frame.pcm)
        self._patience.hear(voice)
        self._chunks.extend(self._voice_activity.cut(voice))

    def _found_later(self, probability: float | Exception) -> None:
        self._asked = False
        self._moved.set()
        if self._stopped:
            return
        if isinstance(probability, Exception):
            raise probability
        self._tell(probability)
        self._go_on()

    def _tell(self, probability: float) -> None:
        edge = self._chunk(0.0 if self._is_deaf() else probability)
        self._heard(edge, self._next_seq)

    @property
    def _is_behind(self) -> bool:
        """Whether more waits than comes while a patient chunk does. Where the event loop is always late by more than
        10 ms, a patient ear would fall behind for ever."""
        return len(self._frames) > 2

    def _decides(self) -> bool:
        """Whether the next chunk may begin an utterance, or end one. Somebody waits for that, and for nothing else: a
        pause is known long before it is long enough."""
        endpointing = self.endpointing
        if not endpointing.speaking:
            return endpointing.speech_ms + CHUNK_MS >= self._settings.start_ms
        soonest_ms = min(endpointing.stop_ms, self._settings.finished_ms)
        return endpointing.quiet and self.now_ms - endpointing.speech_end_ms >= soonest_ms - CHUNK_MS

    def _chunk(self, probability: float) -> Edge | None:
        assert self._chunk_end_ms is not None
        self._chunk_end_ms += CHUNK_MS
        end_ms, endpointing = round(self._chunk_end_ms), self.endpointing
        if endpointing.quiet and self.utterance is not None:
            words, ended = self.utterance.words, self.utterance.ended
            endpointing.stop_ms = self._patience.quiet(
                endpointing.start_ms, endpointing.speech_end_ms, end_ms, words, ended=ended
            )
        edge = endpointing.push(end_ms, probability)
        if self.utterance is not None and endpointing.speech_end_ms > self.utterance.start_ms:
            self.utterance.has_speech = True
        match edge:
            case Edge(EdgeKind.STARTED):
                self._open(edge.media_ms)
            case Edge(EdgeKind.WENT_ON):
                self._patience.over()
                if self.utterance is not None:
                    self.utterance.went_on()
        return edge

    def _advance(self, frame: UplinkAudio) -> None:
        """Keep chunk times on the media clock: chunks are counted, and shifted where the clock leaps."""
        if self._chunk_end_ms is None:
            self._chunk_end_ms = frame.media_ms
        elif abs(frame.media_ms - self._frame_end_ms) > 1:
            self._chunk_end_ms += frame.media_ms - self._frame_end_ms
        self._frame_end_ms = frame.media_ms + len(frame.pcm) / 2 / self._rate_hz * 1000
        self.now_ms = round(self._frame_end_ms)

    def _open(self, start_ms: int) -> None:
        frames = self._pre_roll.since(start_ms - PRE_ROLL_MS)
        first_seq = frames[0].seq if frames else self._done_seq
        self.utterance = Utterance(self._speech_to_text, self._rate_hz, first_seq, start_ms)
        self.utterance.has_speech = True
        for frame in frames:
            self.utterance.push(frame.pcm)

    def take(self, next_seq: int) -> Utterance:
        """The open utterance ends here, before uplink `next_seq`: it is the caller's from now on."""
        utterance, self.utterance = self.utterance, None
        if utterance is None:
            raise RuntimeError("no utterance is open")
        self.forget(next_seq)
        return utterance

    def cut(self, next_seq: int) -> Utterance:
        """As `take`, but the speaker goes on: what follows is another utterance, open from uplink `next_seq` on."""
        utterance = self.utterance
        if utterance is None:
            raise RuntimeError("no utterance is open")
        self._done_seq = next_seq
        self.utterance = Utterance(self._speech_to_text, self._rate_hz, next_seq, self.now_ms, before=utterance.interim)
        return utterance

    def drop(self, next_seq: int) -> None:
        """Whatever was being said before uplink `next_seq` is not worth knowing."""
        if self.utterance is not None:
            self.utterance.cancel()
            self.utterance = None
        self.forget(next_seq)

    def forget(self, next_seq: int) -> None:
        """Uplink before `next_seq` is dealt with, unless it belongs to an open utterance."""
        self._done_seq = max(self._done_seq, next_seq)
        if self.utterance is None:
            self._patience.over()
            self.endpointing.reset()
            self._pre_roll.clear()

    @property
    def needed_seq(self) -> int:
        """The oldest uplink that a next worker must hear again to know what this one knows."""
        if self.utterance is not None:
            return self.utterance.first_seq
        first = self._pre_roll.first_seq
        return self._done_seq if first is None else max(self._done_seq, first)
