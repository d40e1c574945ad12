"""What the caller says: session audio in; speech edges and utterances out. Nothing but the detector is waited for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


class VoiceActivity(Protocol):
    """A voice activity detector of one session, such as `workers.turns.company.SharedVoiceActivity`."""

    async def push(self, pcm: bytes, *, patient: bool = False) -> Sequence[float]:
        """Take audio of any length; return a speech probability for every CHUNK_MS that it completes. `patient`: they
        decide nothing, and may take most of a frame's time."""


class Utterance:
    """One stretch of speech, being transcribed. Of a provider that fails, `finish` raises the error."""

    def __init__(
        self, speech_to_text: SpeechToText, rate_hz: int, first_seq: int, start_ms: int, *, before: str = ""
    ) -> None:
        """`before`: what was understood of the speech that this one goes on with, if it was cut."""
        self.first_seq = first_seq
        """The first uplink frame of it, pre-roll included."""
        self.start_ms = start_ms
        """Media time of its first sound."""
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
        judge: Judge | None = None,
    ) -> None:
        """`voice_activity` makes a detector for a rate of 8 or 16 kHz. `judge`, if there is one, hears whether somebody
        who fell silent is done."""
        self.endpointing = Endpointing(settings)
        self.utterance: Utterance | None = None
        """What is being said now, if anything."""
        self.now_ms = 0
        """Media time of the end of what was heard."""
        self._speech_to_text = speech_to_text
        self._settings = settings
        voice_rate_hz = min(rate_hz, VOICE_RATE_HZ)
        self._to_voice_rate = Resampler(rate_hz, voice_rate_hz)
        self._voice_activity = voice_activity(voice_rate_hz)
        self._patience = Patience(settings, voice_rate_hz, judge)
        self._rate_hz = rate_hz
        self._pre_roll = PreRoll(settings.start_ms + CHUNK_MS + PRE_ROLL_MS)
        self._done_seq = 0
        self._chunk_end_ms: float | None = None
        self._frame_end_ms: float = 0

    async def hear(self, frame: UplinkAudio, *, deaf: bool = False) -> list[Edge]:
        """Take the next frame and return the edges it brought. `deaf`: whatever it holds counts as silence.

        A STARTED edge has opened an utterance, pre-roll included. A STOPPED one leaves it open: `take` or `drop` it.
        """
        self._pre_roll.push(frame)
        if self.utterance is not None:
            self.utterance.push(frame.pcm)
        self._advance(frame)
        voice = self._to_voice_rate.push(frame.pcm)
        self._patience.hear(voice)
        edges = []
        for probability in await self._voice_activity.push(voice, patient=not self._decides()):
            edge = self._chunk(0.0 if deaf else probability)
            if edge is not None:
                edges.append(edge)
        return edges

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
        if self.utterance is not None and endpointing.has_new_speech:
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
