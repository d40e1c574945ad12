"""What a provider must offer: speech-to-text, a language model, or text-to-speech.

A provider is one file in this package, named after its vendor, with one factory per thing it offers:
`speech_to_text(options)`, `language_model(options)`, `text_to_speech(options)`; `options` is the tenant's mapping for
that stage. Tenants name it (`stt: {provider: groq, ...}`) and `workers.providers.registry` imports it then: no list of
providers exists anywhere. Vendors do not know each other.

Everything here is cancellable: cancelling the awaiting task (or closing the generator, `contextlib.aclosing`) must
stop the work, or stop caring for it, at once. Errors of a vendor are raised as `trunkline.errors.ProviderError`;
anything else counts as one, and is logged as a fault of the provider's code (`workers.failover.foreign`).

A vendor of speech-to-text that takes whole recordings only implements `batch.Batch` instead, and `batch.BatchSpeech`
makes a `SpeechToText` of it. A vendor of text-to-speech that knows no sentences which belong together returns
`separate.Separate(self)` as its `voice()`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from trunkline.errors import ProviderError


@dataclass(frozen=True, slots=True)
class ToolSchema:
    """A tool that a language model may call. `parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What a language model asks of a tool, whole. `arguments` is JSON as the model wrote it: it may be wrong."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a conversation, as a language model reads it."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    """Of an assistant: what it called after `content`. The answers follow, one message of role `tool` a call."""
    call_id: str = ""
    """Of a tool: which call `content` answers. Without it (another backend's), it is told as a fact."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """The final text of one utterance; empty when nothing was understood."""

    text: str
    confidence: float | None = None
    transcribed_s: float = 0.0
    """Seconds of audio that a vendor of whole recordings bills for it, in all requests together."""


class Transcriber(Protocol):
    """One utterance on its way to text."""

    def push(self, pcm: bytes) -> None:
        """Take the next s16le mono audio, at the provider's `rate_hz`. Never blocks."""

    def pause(self) -> None:
        """The speaker fell silent, maybe for good: the text so far may be wanted at once.

        Sound that is pushed later takes it back (a click need not); silence may go on being pushed, and does not. When
        it is called again, there was speech since the last time, however soft. `finish` after it, with nothing but
        silence in between, does not transcribe again. Never blocks.
        """

    @property
    def interim(self) -> str:
        """What was understood so far; all of it may change. Empty for those that say nothing before the end."""

    @property
    def ended(self) -> bool:
        """Whether the vendor believes, by what was said and how, that the speaker is done: a hint, of those few that
        have an opinion. It is false again when they go on."""

    @property
    def failure(self) -> ProviderError | None:
        """What `finish` will raise, if that is certain before it is asked: another may hear the utterance instead."""

    async def finish(self) -> Transcript:
        """The utterance is over: return its text. Raises ProviderError. Called once."""

    def cancel(self) -> None:
        """Forget the utterance; `finish` is not called any more. Safe to call twice and after `finish`."""


class SpeechToText(Protocol):
    @property
    def rate_hz(self) -> int:
        """The rate of audio it takes, in Hz."""

    @property
    def description(self) -> str:
        """What it is, for people: a short name, and after `: ` its model and what it cannot do. In brackets at the end
        may stand why it was chosen."""

    def utterance(self) -> Transcriber:
        """Begin an utterance. Several may be open at once, of different sessions."""

    async def close(self) -> None: ...


class LanguageModel(Protocol):
    @property
    def description(self) -> str: ...

    def reply(
        self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema] = ()
    ) -> AsyncGenerator[str | ToolCall, None]:
        """Stream the answer: text as deltas, and calls of `tools`, each whole, once the model has written it. A last
        message of role `assistant` without calls is an answer that was cut off by a fault: stream only what follows
        it, without repeating it."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Word:
    """When a word sounds: ms from the first sample of the same `speak`. Words come in order, before or after the audio
    that holds them, as the vendor gives them."""

    text: str
    start_ms: int
    end_ms: int


class Voice(Protocol):
    """The voice of one answer, whose sentences belong together: one melody, one context at the vendor."""

    def speak(self, text: str, *, last: bool) -> AsyncGenerator[bytes | Word, None]:
        """Stream the next sentence, as `TextToSpeech.speak` does. `last`: nothing follows it. It is not always known:
        then `close` says so.

        A sentence may be asked for before those ahead of it were taken, a few at a time and in their order: a vendor
        with contexts is sent the text by this call itself, so that it makes one speech of them without a pause, and
        who wraps a voice passes the call on at once. What was asked for is iterated in the same order, one at a time,
        or never: then `close` gives it up. Each stands for itself: one that fails, or is closed early, leaves those
        after it to be said.
        """

    async def close(self) -> None:
        """The answer is over or given up: the vendor makes no more of it, and bills no more. Waits for nobody, raises
        no ProviderError, and is safe to call twice."""


class TextToSpeech(Protocol):
    @property
    def rate_hz(self) -> int:
        """The rate of the audio it gives, in Hz."""

    @property
    def description(self) -> str: ...

    def speak(self, text: str) -> AsyncGenerator[bytes | Word, None]:
        """Stream `text` as s16le mono audio in chunks of any even size, and the times of its words if they are known.
        Deterministic voices are resumed mid-sentence after a takeover by speaking the sentence again and skipping what
        was heard."""

    def voice(self) -> Voice:
        """Begin an answer. Several may be open at once, of different sessions. Close what this returns."""

    async def close(self) -> None: ...
