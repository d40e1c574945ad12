"""A chain of speech-to-text as one: who breaks while the caller speaks is replaced there and then, and who is slow at
the end races the next, which hears the utterance again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from trunkline.audio.frame import bytes_in
from trunkline.audio.resample import Resampler
from trunkline.errors import ProviderError
from workers.breaker import Permit
from workers.failover import foreign
from workers.failover.chain import Course, Link, Told, described, unasked
from workers.failover.race import Entry, race
from workers.providers.base import SpeechToText, Transcriber, Transcript

LONGEST_S = 125
"""What is kept of an utterance for a fallback to hear: more than the longest that a tenant may allow, and its beginning
from before it was known to be speech."""

PIECE_MS = 100
"""What is heard again is pushed in pieces of this: as streaming vendors like it, and none must take minutes at once."""


_Telling = Callable[["_Ear"], None]


class SpeechToTextChain:
    """Implements `SpeechToText`, at the first one's rate."""

    def __init__(self, links: Sequence[Link[SpeechToText]], served: Told = unasked) -> None:
        """One link at least."""
        self._links = links
        self._served = served
        self.rate_hz = links[0].provider.rate_hz

    @property
    def description(self) -> str:
        return described(self._links)

    def utterance(self) -> ChainedTranscriber:
        return ChainedTranscriber(self._links, self.rate_hz, self._served)

    async def close(self) -> None:
        """Nothing of its own to close: whoever made the providers closes them."""


@dataclass(slots=True, eq=False)
class _Ear:
    """One of the chain, hearing the utterance."""

    link: Link[SpeechToText]
    permit: Permit
    transcriber: Transcriber
    resampler: Resampler

    def push(self, pcm: bytes) -> None:
        self.transcriber.push(self.resampler.push(pcm))

    async def give_up(self) -> None:
        self.transcriber.cancel()


class ChainedTranscriber:
    """Implements `Transcriber`. One vendor hears at a time, until the end."""

    def __init__(self, links: Sequence[Link[SpeechToText]], rate_hz: int, served: Told = unasked) -> None:
        self._course = Course("speech-to-text", links)
        self._served = served
        self._ears = self._open_ears()
        self._rate_hz = rate_hz
        self._audio = bytearray()
        """All of the utterance, if there is a fallback to hear it."""
        self._room = bytes_in(LONGEST_S * 1000, rate_hz) if len(links) > 1 else 0
        self._paused: int | None = None
        """Where in `_audio` the speaker last fell silent."""
        self._ear = next(self._ears, None)

    # --- while it comes

    def push(self, pcm: bytes) -> None:
        self._audio += pcm[: self._room - len(self._audio)]
        self._tell(lambda ear: ear.push(pcm))

    def pause(self) -> None:
        self._paused = len(self._audio)
        self._tell(lambda ear: ear.transcriber.pause())

    def _tell(self, tell: _Telling) -> None:
        """Tell the vendor, or if it turns out to have failed the next, which hears all of it."""
        ear = self._ear
        if ear is None:
            return
        try:
            tell(ear)
            failure = ear.transcriber.failure
        except ProviderError as error:
            failure = error
        if failure is not None:
            ear.transcriber.cancel()
            self._course.failed(ear.link, ear.permit, failure)
            self._ear = next(self._ears, None)

    @property
    def interim(self) -> str:
        return "" if self._ear is None else self._ear.transcriber.interim

    @property
    def ended(self) -> bool:
        return self._ear is not None and self._ear.transcriber.ended

    @property
    def failure(self) -> ProviderError | None:
        """Why there will be no text: all have failed."""
        return None if self._ear is not None else self._course.exhausted()

    def _open_ears(self) -> Iterator[_Ear]:
        """The next that hears, each with all that was said so far."""
        for link, permit in self._course.left():
            ear: _Ear | None = None
            try:
                ear = _Ear(link, permit, foreign.utterance(link), Resampler(self._rate_hz, link.provider.rate_hz))
                self._repeat(ear)
            except ProviderError as error:
                if ear is not None:
                    ear.transcriber.cancel()
                self._course.failed(link, permit, error)
            else:
                yield ear

    def _repeat(self, ear: _Ear) -> None:
        """Push all that was said, and pause where it did last."""
        piece = bytes_in(PIECE_MS, self._rate_hz)
        paused = len(self._audio) if self._paused is None else self._paused
        for start, end in ((0, paused), (paused, len(self._audio))):
            for at in range(start, end, piece):
                ear.push(bytes(self._audio[at : min(at + piece, end)]))
            if end == self._paused and start == 0:
                ear.transcriber.pause()

    # --- when it is over

    async def finish(self) -> Transcript:
        """The text of whoever has it first. Raises ProvidersExhausted."""
        ear, self._ear = self._ear, None
        entry, transcript = await race(self._entries(ear), self._course)
        self._course.succeeded(entry.link, entry.permit)
        self._served(entry.link.label)
        self._audio.clear()
        return transcript

    def _entries(self, ear: _Ear | None) -> Iterator[Entry[Transcript]]:
        ear = ear if ear is not None else next(self._ears, None)
        while ear is not None:
            yield Entry(ear.link, ear.permit, ear.transcriber.finish, ear.give_up)
            ear = next(self._ears, None)

    def cancel(self) -> None:
        ear, self._ear = self._ear, None
        self._audio.clear()
        if ear is not None:
            ear.transcriber.cancel()
            ear.permit.dropped()
