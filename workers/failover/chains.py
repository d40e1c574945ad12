"""From a stage of a tenant to its chain of providers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from trunkline.tenants import Stage
from workers.failover.chain import Described, Link
from workers.failover.language_model import LanguageModelChain
from workers.failover.speech_to_text import SpeechToTextChain
from workers.failover.text_to_speech import TextToSpeechChain
from workers.providers.registry import Kind, Providers

TEXT_S = 1.5
"""From the end of an utterance to its text. Peers' p99: 1.54 s by whole recordings (Groq), 0.35 s as it is spoken."""

TOKEN_S = 4.0
"""To the first token, and from one to the next. Models that think before they speak need seconds now and then."""

AUDIO_S = 1.5
"""To the first audio of a sentence, and from one piece to the next. Vendors need 0.1 to 0.5 s."""

ALONE = 2
"""Who has no fallback is waited for twice as long: to give up sooner would help nobody."""

P = TypeVar("P", bound=Described)


def speech_to_text(stage: Stage, providers: Providers) -> SpeechToTextChain:
    """Raises SettingsError as the registry does, for any provider of the chain."""
    return SpeechToTextChain(_links(stage, "speech_to_text", providers.speech_to_text, providers, TEXT_S))


def language_model(stage: Stage, providers: Providers) -> LanguageModelChain:
    """Raises SettingsError as `speech_to_text` does."""
    return LanguageModelChain(_links(stage, "language_model", providers.language_model, providers, TOKEN_S))


def text_to_speech(stage: Stage, providers: Providers) -> TextToSpeechChain:
    """Raises SettingsError as `speech_to_text` does."""
    return TextToSpeechChain(_links(stage, "text_to_speech", providers.text_to_speech, providers, AUDIO_S))


def _links(
    first: Stage, kind: Kind, provider: Callable[[Stage], P], providers: Providers, usual_s: float
) -> list[Link[P]]:
    links = []
    for stage in first.chain:
        default_s = usual_s if stage.fallback is not None else ALONE * usual_s
        deadline_s = default_s if stage.deadline_s is None else stage.deadline_s
        links.append(Link(provider(stage), providers.breaker(kind, stage), deadline_s, stage.hedge_s))
    return links
