"""A chain of voices as one: when one is mute or falls silent, the next says the rest of the sentence, from the next
word on, and then the rest of the answer."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from functools import partial

from trunkline.audio.frame import RATES_HZ, duration_ms
from trunkline.audio.resample import Resampler
from trunkline.errors import ProviderError, ProvidersExhausted
from workers.breaker import Permit
from workers.failover import foreign
from workers.failover.chain import Course, Link, Told, described, unasked
from workers.failover.race import Entry, race
from workers.failover.remaining import Pace, remaining
from workers.providers.base import TextToSpeech, Voice, Word

Part = bytes | Word
Parts = AsyncGenerator[Part, None]

COMMON_HZ = 24_000
"""Of a chain whose voices differ, and whose first has a rate that nothing can be resampled to."""


class TextToSpeechChain:
    """Implements `TextToSpeech`, at the first one's rate."""

    def __init__(self, links: Sequence[Link[TextToSpeech]], served: Told = unasked) -> None:
        """One link at least."""
        self._links = links
        self._served = served
        self._paces = {link: Pace() for link in links}
        rates = [link.provider.rate_hz for link in links]
        self.rate_hz = rates[0] if len(set(rates)) == 1 or rates[0] in RATES_HZ else COMMON_HZ

    @property
    def description(self) -> str:
        return described(self._links)

    async def speak(self, text: str) -> Parts:
        """Stream `text` by itself. Raises ProvidersExhausted."""
        voice = self.voice()
        try:
            async with aclosing(voice.speak(text, last=True)) as parts:
                async for part in parts:
                    yield part
        finally:
            await voice.close()

    def voice(self) -> ChainedVoice:
        return ChainedVoice(self._links, self.rate_hz, self._paces, self._served)

    async def close(self) -> None:
        """Nothing of its own to close: whoever made the providers closes them."""


@dataclass(slots=True, eq=False)
class _Speaker:
    """One of the chain, speaking the answer."""

    link: Link[TextToSpeech]
    permit: Permit
    voice: Voice


@dataclass(slots=True, eq=False)
class _Sounding:
    """A sentence, or the rest of one, that began to sound."""

    speaker: _Speaker
    parts: Parts
    before: list[Part]
    """What came up to its first audio, and that; without any when it has no sound."""


@dataclass(slots=True, eq=False)
class _Sentence:
    """What was asked for. What came of it is counted from the first sample of whoever says it now."""

    text: str
    """What is still to be said."""
    last: bool
    ahead: tuple[_Speaker, Parts] | None = None
    """Who was asked for it before it was wanted."""
    before_ms: float = 0.0
    """Audio of those who began it."""
    came_ms: float = 0.0
    words: list[Word] = field(default_factory=list)


class ChainedVoice:
    """Implements `Voice`. Whoever goes on with an answer stays with it to its end."""

    def __init__(
        self,
        links: Sequence[Link[TextToSpeech]],
        rate_hz: int,
        paces: dict[Link[TextToSpeech], Pace],
        served: Told = unasked,
    ) -> None:
        self._course = Course("text-to-speech", links)
        self._served = served
        self._links = links
        self._rate_hz = rate_hz
        self._paces = paces
        self._open: list[_Speaker] = []
        """All whose voices are open."""
        self._wanted: deque[_Sentence] = deque()
        """Sentences that were asked for and are not being said yet, in order; few, as `Voice` has it."""
        self._speaker: _Speaker | None = None
        self._speaker = next(self._speakers(), None)

    def speak(self, text: str, *, last: bool) -> Parts:
        """Whose voice the answer has now is asked at once, as `Voice` wants it."""
        sentence = _Sentence(text, last)
        self._wanted.append(sentence)
        if self._speaker is not None:
            sentence.ahead = self._speaker, self._speaker.voice.speak(text, last=last)
        return self._spoken(sentence)

    async def close(self) -> None:
        self._speaker = None
        await self._close_others()

    async def _spoken(self, sentence: _Sentence) -> Parts:
        while sentence in self._wanted:
            self._wanted.popleft()  # those before it nobody took
        while sentence.text:
            sounding = await self._sound(sentence)
            try:
                async with aclosing(self._heard(sounding, sentence)) as parts:
                    async for part in parts:
                        yield part
            except ProviderError as error:
                speaker = sounding.speaker
                self._course.failed(speaker.link, speaker.permit, error)
                self._speaker = None
                await self._close_others()
                pace = self._paces[speaker.link]
                sentence.text = remaining(sentence.text, sentence.words, round(sentence.came_ms), pace)
            else:
                return

    # --- who speaks

    def _speakers(self) -> Iterator[_Speaker]:
        """Whom to ask beside or after the one that has the answer."""
        speaking = self._speaker.link if self._speaker is not None else None
        for link, permit in self._course.left([link for link in self._links if link is not speaking]):
            try:
                speaker = _Speaker(link, permit, foreign.voice(link))
            except ProviderError as error:
                self._course.failed(link, permit, error)
            else:
                self._open.append(speaker)
                yield speaker

    async def _sound(self, sentence: _Sentence) -> _Sounding:
        """Whoever has its first audio first: the answer is theirs from now on. Raises ProvidersExhausted."""
        try:
            _, sounding = await race(self._entries(sentence), self._course)
            self._served(sounding.speaker.link.label)
            if sounding.speaker is not self._speaker:
                self._speaker = sounding.speaker
                self._ask_ahead(sounding.speaker)
        except ProvidersExhausted:
            self._speaker = None
            raise
        finally:
            await self._close_others()
        return sounding

    def _ask_ahead(self, speaker: _Speaker) -> None:
        """The answer is `speaker`'s from now on: ask for all that another was asked for."""
        for sentence in self._wanted:
            sentence.ahead = speaker, speaker.voice.speak(sentence.text, last=sentence.last)

    def _entries(self, sentence: _Sentence) -> Iterator[Entry[_Sounding]]:
        if self._speaker is not None:
            asked, parts = sentence.ahead or (None, None)
            if parts is None or asked is not self._speaker:
                parts = self._speaker.voice.speak(sentence.text, last=sentence.last)
            yield _entry(self._speaker, parts, sentence.text)
        for speaker in self._speakers():
            yield _entry(speaker, speaker.voice.speak(sentence.text, last=sentence.last), sentence.text)

    async def _close_others(self) -> None:
        """Of all who were asked, leave the one that has the answer; also when this is cancelled meanwhile."""
        async with AsyncExitStack() as others:
            for speaker in self._open:
                if speaker is not self._speaker:
                    speaker.permit.dropped()
                    others.push_async_callback(self._close, speaker)

    async def _close(self, speaker: _Speaker) -> None:
        """It stays among the open ones until it is closed: who is cancelled meanwhile closes it later."""
        await speaker.voice.close()
        self._open.remove(speaker)

    # --- what they say

    async def _heard(self, sounding: _Sounding, sentence: _Sentence) -> Parts:
        """The audio, at the chain's rate, and each word once all of it came. Raises ProviderError, also for silence."""
        link = sounding.speaker.link
        resampler = Resampler(link.provider.rate_hz, self._rate_hz)
        sentence.before_ms += sentence.came_ms
        sentence.came_ms, told = 0.0, 0
        sentence.words.clear()
        async with aclosing(_parts(sounding)) as parts:
            async for part in parts:
                if isinstance(part, Word):
                    sentence.words.append(part)
                    continue
                sentence.came_ms += duration_ms(len(part), link.provider.rate_hz)
                yield resampler.push(part)
                while told < len(sentence.words) and sentence.words[told].end_ms <= sentence.came_ms:
                    yield _later(sentence.words[told], sentence.before_ms)
                    told += 1
        for word in sentence.words[told:]:
            yield _later(word, sentence.before_ms)
        self._course.succeeded(link, sounding.speaker.permit)
        self._paces[link].learn(sentence.text, round(sentence.came_ms))


def _entry(speaker: _Speaker, parts: Parts, text: str) -> Entry[_Sounding]:
    return Entry(speaker.link, speaker.permit, partial(_begin, speaker, parts, text), parts.aclose)


async def _begin(speaker: _Speaker, parts: Parts, text: str) -> _Sounding:
    """Wait for the first audio. A sentence without a word may have none. Raises ProviderError for any other."""
    before: list[Part] = []
    async for part in parts:
        before.append(part)
        if isinstance(part, bytes):
            return _Sounding(speaker, parts, before)
    if any(character.isalnum() for character in text):
        raise ProviderError(speaker.link.name, "made no sound of a text that has words")
    return _Sounding(speaker, parts, before)


async def _parts(sounding: _Sounding) -> Parts:
    """All of a sentence. Raises ProviderError, also for silence."""
    async with aclosing(sounding.parts) as parts:
        for part in sounding.before:
            yield part
        while (more := await sounding.speaker.link.next(parts)) is not None:
            yield more


def _later(word: Word, ms: float) -> Word:
    return Word(word.text, word.start_ms + round(ms), word.end_ms + round(ms)) if ms else word
