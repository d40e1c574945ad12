"""From a stage of a tenant to its chain of providers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from trunkline.tenants import Stage
from workers.failover.chain import Described, Link, Told, unasked
from workers.failover.language_model import LanguageModelChain
from workers.failover.speech_to_text import SpeechToTextChain
from workers.failover.text_to_speech import TextToSpeechChain
from workers.providers.registry import Kind, Providers


class Deadline(NamedTuple):
    """How long a provider is waited for, unless its stage says it."""

    usual_s: float
    alone_s: float
    """Where nobody is left to ask: to give up sooner would help nobody, and a model on this machine takes what it
    takes."""


TEXT = Deadline(1.5, 5.0)
"""From the end of an utterance to its text. Peers' p99: 1.54 s by whole recordings (Groq), 0.35 s as it is spoken."""

TOKEN = Deadline(4.0, 8.0)
"""To the first token, and from one to the next. Models that think before they speak need seconds now and then."""

AUDIO = Deadline(1.5, 5.0)
"""To the first audio of a sentence, and from one piece to the next. Vendors need 0.1 to 0.5 s."""

P = TypeVar("P", bound=Described)


def speech_to_text(
    stage: Stage, providers: Providers, *, last: bool = True, served: Told = unasked
) -> SpeechToTextChain:
    """`last`: no other backend goes on when all have failed. `served` is told who serves. Raises SettingsError as the
    registry does, for any provider of the chain."""
    return SpeechToTextChain(
        _links(stage, "speech_to_text", providers.speech_to_text, providers, TEXT, last=last), served
    )


def language_model(
    stage: Stage, providers: Providers, *, last: bool = True, served: Told = unasked
) -> LanguageModelChain:
    """`last`, `served`, and what it raises, as of `speech_to_text`."""
    return LanguageModelChain(
        _links(stage, "language_model", providers.language_model, providers, TOKEN, last=last), served
    )


def text_to_speech(
    stage: Stage, providers: Providers, *, last: bool = True, served: Told = unasked
) -> TextToSpeechChain:
    """`last`, `served`, and what it raises, as of `speech_to_text`."""
    return TextToSpeechChain(
        _links(stage, "text_to_speech", providers.text_to_speech, providers, AUDIO, last=last), served
    )


def _links(
    first: Stage, kind: Kind, provider: Callable[[Stage], P], providers: Providers, deadline: Deadline, *, last: bool
) -> list[Link[P]]:
    links = []
    for stage in first.chain:
        default_s = deadline.alone_s if last and stage.fallback is None else deadline.usual_s
        deadline_s = default_s if stage.deadline_s is None else stage.deadline_s
        links.append(Link(provider(stage), providers.breaker(kind, stage), deadline_s, stage.hedge_s))
    return links
