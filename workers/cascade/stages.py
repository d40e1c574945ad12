"""Who answers, and what the parts of an answer ask of the conversation that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from trunkline.errors import ProviderError
from workers.providers.base import LanguageModel, SpeechToText, TextToSpeech

STT, LLM, TTS = "stt", "llm", "tts"
"""The stages as a tenant names them."""


@dataclass(frozen=True, slots=True)
class Stages:
    """The providers of a conversation."""

    speech_to_text: SpeechToText
    language_model: LanguageModel
    text_to_speech: TextToSpeech
    served: dict[str, str] = field(default_factory=dict)
    """By `STT`, `LLM` and `TTS`: who of several served last, as they tell it. A conversation has its own."""


class Floor(Protocol):
    """The conversation, as an answer sees it."""

    async def commit(self) -> None:
        """Make the snapshot, with the answer as it is now, what the next worker begins with."""

    async def may_speak(self) -> None:
        """Wait while the caller may be interrupting."""

    def began(self) -> None:
        """The first audio goes out now."""

    def ended(self) -> None:
        """All of it was sent, or it has no audio at all (`Pipeline.sent` says which)."""

    async def fall_back(self, stage: str, error: ProviderError) -> None:
        """A stage failed, with all its fallbacks: have another backend go on. Returns when there is none."""

    def failed(self, stage: str, error: ProviderError) -> None:
        """A provider failed; the answer deals with it."""
