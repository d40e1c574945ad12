"""Groq: speech-to-text by Whisper, and language models that answer at hundreds of tokens a second.

The official SDK is the client, without its retries (they would sleep unheard while a caller waits) and with deadlines
of our own: to connect, to the first result, and between results.
"""

from __future__ import annotations

from typing import Any

from workers.providers.batch import BatchSpeech
from workers.providers.groq.hearing import LEAST_BILLED_S, Hearing, HearingOptions
from workers.providers.groq.thinking import Thinking, ThinkingOptions
from workers.providers.options import read_options

__all__ = ["language_model", "speech_to_text"]


def speech_to_text(options: dict[str, Any]) -> BatchSpeech:
    """Raises SettingsError for wrong options, a model that was shut down, or a missing key."""
    read = read_options(HearingOptions, options, "speech-to-text 'groq'")
    return BatchSpeech(Hearing(read), read, least_billed_s=LEAST_BILLED_S)


def language_model(options: dict[str, Any]) -> Thinking:
    """Raises SettingsError for wrong options, a model that was shut down, or a missing key."""
    return Thinking(read_options(ThinkingOptions, options, "language model 'groq'"))
