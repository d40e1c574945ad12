"""From a stage of a tenant to its chain of providers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from trunkline.tenants import Stage
from workers.failover.chain import Described, Link
from workers.failover.language_model import LanguageModelChain
from workers.failover.speech_to_text import SpeechToTextChain
from workers.failover.text_to_speech import TextToSpeechChain
from workers.providers.registry import Kind, Providers


class Deadline(NamedTuple):
    """How long a provider is waited for, unless its stage says it."""

    usual_s: float
    alone_s: float
    """Without a fallback: to give up sooner would help nobody, and a model on this machine takes what it takes."""


TEXT = Deadline(1.5, 5.0)
"""From the end of an utterance to its text. Peers' p99: 1.54 s by whole recordings (Groq), 0.35 s as it is spoken."""

TOKEN = Deadline(4.0, 8.0)
"""To the first token, and from one to the next. Models that think before they speak need seconds now and then."""

AUDIO = Deadline(1.5, 5.0)
"""To the first audio of a sentence, and from one piece to the next. Vendors need 0.1 to 0.5 s."""

P = TypeVar("P", bound=Described)


def speech_to_text(stage: Stage, providers: Providers) -> SpeechToTextChain:
    """Raises SettingsError as the registry does, for any provider of the chain."""
    return SpeechToTextChain(_links(stage, "speech_to_text", providers.speech_to_text, providers, TEXT))


def language_model(stage: Stage, providers: Providers) -> LanguageModelChain:
    """Raises SettingsError as `speech_to_text` does."""
    return LanguageModelChain(_links(stage, "language_model", providers.language_model, providers, TOKEN))


def text_to_speech(stage: Stage, providers: Providers) -> TextToSpeechChain:
    """Raises SettingsError as `speech_to_text` does."""
    return TextToSpeechChain(_links(stage, "text_to_speech", providers.text_to_speech, providers, AUDIO))


def _links(
    first: Stage, kind: Kind, provider: Callable[[Stage], P], providers: Providers, deadline: Deadline
) -> list[Link[P]]:
    links = []
    for stage in first.chain:
        default_s = deadline.usual_s if stage.fallback is not None else deadline.alone_s
        deadline_s = default_s if stage.deadline_s is None else stage.deadline_s
        links.append(Link(provider(stage), providers.breaker(kind, stage), deadline_s, stage.hedge_s))
    return links
