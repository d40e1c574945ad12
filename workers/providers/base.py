"""What a provider must offer: speech-to-text, a language model, or text-to-speech.

A provider is one file in this package, named after its vendor, with one factory per thing it offers:
`speech_to_text(options)`, `language_model(options)`, `text_to_speech(options)`; `options` is the tenant's mapping for
that stage. Tenants name it (`stt: {provider: groq, ...}`) and `workers.providers.registry` imports it then: no list of
providers exists anywhere. Vendors do not know each other.

Everything here is cancellable: cancelling the awaiting task (or closing the generator, `contextlib.aclosing`) must
stop the work, or stop caring for it, at once. Errors of a vendor are raised as `trunkline.errors.ProviderError`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a conversation, as a language model reads it."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """The final text of one utterance; empty when nothing was understood."""

    text: str
    confidence: float | None = None


class Transcriber(Protocol):
    """One utterance on its way to text."""

    def push(self, pcm: bytes) -> None:
        """Take the next s16le mono audio, at the provider's `rate_hz`. Never blocks."""

    async def finish(self) -> Transcript:
        """The utterance is over: return its text."""

    def cancel(self) -> None:
        """Forget the utterance; `finish` is not called any more. Safe to call twice and after `finish`."""


class SpeechToText(Protocol):
    rate_hz: int
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

    def reply(self, messages: Sequence[ChatMessage]) -> AsyncGenerator[str, None]:
        """Stream the answer as text deltas. A last message of role `assistant` is an answer that was cut off by a
        fault: stream only what follows it, without repeating it."""

    async def close(self) -> None: ...


class TextToSpeech(Protocol):
    rate_hz: int
    """The rate of the audio it gives, in Hz."""

    @property
    def description(self) -> str: ...

    def speak(self, text: str) -> AsyncGenerator[bytes, None]:
        """Stream `text` as s16le mono audio in chunks of any even size. Deterministic voices are resumed mid-sentence
        after a takeover by speaking the sentence again and skipping what was heard."""

    async def close(self) -> None: ...
