"""Scripted speech, hearing and thought. A word is a constant sample value, so it can be recognised in any audio.

What is said is cut, joined, resumed and replayed in tests; the words that come out tell what was lost or doubled.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import groupby

from trunkline.errors import ProviderError
from workers.providers.base import ChatMessage, ToolCall, ToolSchema, Transcript, Word

RATE_HZ = 8000
LOUD = 1000
"""Everything above is a word; everything below is silence."""

UNKNOWN = "I have no script for this."

_values: dict[str, int] = {}
_words: dict[int, str] = {}


def value_of(word: str) -> int:
    """The sample value that stands for `word`."""
    if word not in _values:
        value = LOUD + 1 + len(_values)
        _values[word], _words[value] = value, word
    return _values[word]


def speech(text: str, word_ms: int) -> bytes:
    """`text` as audio at RATE_HZ, `word_ms` a word."""
    samples = array("h")
    for word in text.split():
        samples.extend([value_of(word)] * (RATE_HZ * word_ms // 1000))
    return samples.tobytes()


def words(pcm: bytes, shortest_ms: int = 1) -> list[str]:
    """The words in audio, in order; parts of a word shorter than `shortest_ms` do not count."""
    least = RATE_HZ * shortest_ms // 1000
    runs = [(value, sum(1 for _ in run)) for value, run in groupby(array("h", pcm))]
    return [_words[value] for value, count in runs if value > LOUD and count >= least]


class LoudnessVad:
    """Speech is what is loud. Chunks of 32 ms, like the real one."""

    def __init__(self, rate_hz: int) -> None:
        self._chunk = rate_hz * 32 // 1000 * 2
        self._buffer = b""

    hush_rms = LOUD
    settled = True

    def cut(self, pcm: bytes) -> list[bytes]:
        self._buffer += pcm
        whole = len(self._buffer) // self._chunk * self._chunk
        chunks, self._buffer = self._buffer[:whole], self._buffer[whole:]
        return [chunks[at : at + self._chunk] for at in range(0, whole, self._chunk)]

    def judge(self, chunk: bytes, found: Callable[[float | Exception], None], *, patient: bool) -> float:
        return 1.0 if self.is_loud(array("h", chunk)) else 0.0

    def is_loud(self, samples: array[int]) -> bool:
        some = samples[::16]
        return sum(sample > LOUD for sample in some) * 2 > len(some)


class Failing:
    """Fails on the n-th uses (from 0) given."""

    def __init__(self, *uses: int, retryable: bool = True, retry_after_s: float | None = None) -> None:
        self._uses = uses
        self._retryable = retryable
        self._retry_after_s = retry_after_s
        self._count = 0

    def check(self, provider: str) -> None:
        use, self._count = self._count, self._count + 1
        if use in self._uses:
            raise ProviderError(
                provider, "scripted failure", retryable=self._retryable, retry_after_s=self._retry_after_s
            )


class ScriptedStt:
    """Hears the words whose larger part is in the utterance; takes `takes_s` for it."""

    rate_hz = RATE_HZ
    description = "scripted speech-to-text"

    def __init__(self, takes_s: float = 0.2, failing: Failing | None = None, shortest_ms: int = 120) -> None:
        self.takes_s = takes_s
        self.failing = failing or Failing()
        self.shortest_ms = shortest_ms
        self.open = 0
        self.heard: list[str] = []
        self.paused: list[str] = []
        """What was heard at each pause of a speaker."""
        self.ended_ms: int | None = None
        """After so much silence it takes the turn to be over."""

    def words(self, pcm: bytes) -> str:
        """What is understood of this."""
        return " ".join(words(pcm, self.shortest_ms))

    def utterance(self) -> ScriptedTranscriber:
        self.open += 1
        return ScriptedTranscriber(self)

    async def close(self) -> None:
        """Nothing to close."""


class ScriptedTranscriber:
    def __init__(self, stt: ScriptedStt) -> None:
        self._stt = stt
        self._pcm = b""
        self._open = True

    def push(self, pcm: bytes) -> None:
        self._pcm += pcm

    def pause(self) -> None:
        self._stt.paused.append(self.interim)

    @property
    def interim(self) -> str:
        return self._stt.words(self._pcm)

    @property
    def ended(self) -> bool:
        if self._stt.ended_ms is None:
            return False
        return max(array("h", self._pcm)[-RATE_HZ * self._stt.ended_ms // 1000 :], default=0) <= LOUD

    @property
    def failure(self) -> ProviderError | None:
        return None

    async def finish(self) -> Transcript:
        await asyncio.sleep(self._stt.takes_s)
        self.cancel()
        self._stt.failing.check("stt")
        self._stt.heard.append(self.interim)
        return Transcript(self.interim)

    def cancel(self) -> None:
        if self._open:
            self._open = False
            self._stt.open -= 1


@dataclass(frozen=True)
class Recording:
    """What a ScriptedBatch was sent: what is in it, and what it was told of before."""

    text: str
    context: str
    length_ms: int


class ScriptedBatch:
    """Takes whole recordings, `takes_s` for each: what `BatchSpeech` makes speech-to-text of."""

    rate_hz = RATE_HZ
    description = "scripted recordings"

    def __init__(self, takes_s: float = 0.7, failing: Failing | None = None) -> None:
        self.takes_s = takes_s
        self.failing = failing or Failing()
        self.asked: list[Recording] = []
        self.given_up = 0
        self.running = 0
        self.most_running = 0
        self.closed = False

    async def transcribe(self, pcm: bytes, context: str) -> Transcript:
        text = " ".join(words(pcm, 120))
        self.asked.append(Recording(text, context, len(pcm) * 1000 // (2 * RATE_HZ)))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(self.takes_s)
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        finally:
            self.running -= 1
        self.failing.check("batch")
        return Transcript(f" {text}")

    async def close(self) -> None:
        self.closed = True


class ScriptedLlm:
    """Answers by table: the last user message's text (all of them joined, when several wait) to a text.

    A last assistant message is continued. `delta_s` between words.
    """

    description = "scripted language model"

    def __init__(
        self, answers: dict[str, str], first_s: float = 0.3, delta_s: float = 0.02, failing: Failing | None = None
    ) -> None:
        self.answers = answers
        self.first_s = first_s
        self.delta_s = delta_s
        self.failing = failing or Failing()
        self.fail_after = 0
        """Words that come before a failure."""
        self.asked: list[list[ChatMessage]] = []
        self.open = 0
        """Answers that are being given."""

    async def reply(
        self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema] = ()
    ) -> AsyncGenerator[str | ToolCall, None]:
        self.asked.append(list(messages))
        self.open += 1
        try:
            async with aclosing(self._parts(messages)) as parts:
                async for part in parts:
                    yield part
        finally:
            self.open -= 1

    async def _parts(self, messages: Sequence[ChatMessage]) -> AsyncGenerator[str, None]:
        before = messages[-1].content if messages[-1].role == "assistant" else ""
        said = [message for message in messages if message.role != "system"]
        if before:
            said.pop()
        question: list[str] = []
        while said and said[-1].role == "user":
            question.insert(0, said.pop().content)
        text = self.answers.get(" ".join(question), UNKNOWN)
        assert text.startswith(before), f"{before!r} was not said by this model"
        await asyncio.sleep(self.first_s)
        parts = [part + " " for part in text[len(before) :].split(" ")]
        parts[-1] = parts[-1][:-1]
        try:
            self.failing.check("llm")
        except ProviderError:
            for part in parts[: self.fail_after]:
                yield part
            raise
        for part in parts:
            yield part
            await asyncio.sleep(self.delta_s)

    async def close(self) -> None:
        """Nothing to close."""


class ScriptedTts:
    """Speaks WORD_MS a word, in chunks of 50 ms, `speed` times faster than real time."""

    WORD_MS = 200
    rate_hz = RATE_HZ
    description = "scripted text-to-speech"

    def __init__(self, first_s: float = 0.1, speed: float = 5.0, failing: Failing | None = None) -> None:
        self.first_s = first_s
        self.speed = speed
        self.failing = failing or Failing()
        self.fail_after_chunks = 0
        self.open = 0
        """Voices that were not closed."""
        self.spoken: list[str] = []
        self.last: list[str] = []
        """What nothing was to follow."""

    async def speak(self, text: str) -> AsyncGenerator[bytes | Word, None]:
        self.spoken.append(text)
        await asyncio.sleep(self.first_s)
        pcm = self.sound(text)
        step = RATE_HZ * 50 // 1000 * 2
        chunks = [pcm[at : at + step] for at in range(0, len(pcm), step)]
        try:
            self.failing.check("tts")
        except ProviderError:
            for chunk in chunks[: self.fail_after_chunks]:
                yield chunk
            raise
        for chunk in chunks:
            yield chunk
            await asyncio.sleep(0.05 / self.speed)

    def sound(self, text: str) -> bytes:
        """How this sounds."""
        return speech(text, self.WORD_MS)

    def voice(self) -> ScriptedVoice:
        self.open += 1
        return ScriptedVoice(self)

    async def close(self) -> None:
        """Nothing to close."""


class ScriptedVoice:
    def __init__(self, tts: ScriptedTts) -> None:
        self._tts = tts
        self._open = True

    def speak(self, text: str, *, last: bool) -> AsyncGenerator[bytes | Word, None]:
        assert self._open, "it was closed"
        if last:
            self._tts.last.append(text)
        return self._tts.speak(text)

    async def close(self) -> None:
        if self._open:
            self._open = False
            self._tts.open -= 1
