"""From a tenant's settings to providers: imports the file named after the provider, and keeps what it made.

A provider exists because its file does; there is no list to add it to.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from types import ModuleType
from typing import Any, Literal, cast

from trunkline.errors import SettingsError
from trunkline.tenants import Stage
from workers import providers as package
from workers.breaker import Breaker
from workers.providers.base import LanguageModel, SpeechToText, TextToSpeech

Kind = Literal["speech_to_text", "language_model", "text_to_speech"]

_WORDS: dict[Kind, str] = {
    "speech_to_text": "speech-to-text",
    "language_model": "language model",
    "text_to_speech": "text-to-speech",
}


def _names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.name != "registry")


def offering(kind: Kind) -> list[str]:
    """Names of the providers that offer `kind`, in alphabetical order; those whose packages are missing do not.

    Imports every file of this package: about a second.
    """
    return [name for name in _names() if importable(name) and hasattr(_module(name), kind)]


def importable(name: str) -> bool:
    """Whether the packages that provider `name` imports are installed."""
    try:
        _module(name)
    except ImportError:
        return False
    return True


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{package.__name__}.{name}")


def _factory(kind: Kind, name: str) -> Any:
    try:
        factory = getattr(_module(name), kind, None) if name in _names() else None
    except ImportError as error:
        raise SettingsError(f"provider {name!r} lacks a package: {error}") from error
    if factory is None:
        known = ", ".join(offering(kind))
        raise SettingsError(f"no provider {name!r} for {_WORDS[kind]}; there are: {known}")
    return factory


def speech_to_text(stage: Stage) -> SpeechToText:
    """Raises SettingsError for an unknown provider, wrong options, or one that this machine cannot run."""
    return cast(SpeechToText, _factory("speech_to_text", stage.provider)(stage.options))


def language_model(stage: Stage) -> LanguageModel:
    """Raises SettingsError as `speech_to_text` does."""
    return cast(LanguageModel, _factory("language_model", stage.provider)(stage.options))


def text_to_speech(stage: Stage) -> TextToSpeech:
    """Raises SettingsError as `speech_to_text` does."""
    return cast(TextToSpeech, _factory("text_to_speech", stage.provider)(stage.options))


class Providers:
    """The providers of one worker process: equal settings share one instance, so that a model is loaded once, and one
    breaker, so that what one session finds out about a vendor all others know.

    Making a provider may load a model and so block for some 0.1 s to seconds: not to be done on an event loop that
    carries calls (`asyncio.to_thread` will do). Not to be used from two threads at once.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[Kind, str, str], SpeechToText | LanguageModel | TextToSpeech] = {}
        self._breakers: dict[tuple[Kind, str, str], Breaker] = {}

    def speech_to_text(self, stage: Stage) -> SpeechToText:
        """The process's instance for `stage`. Raises SettingsError as the registry's function does."""
        key = _key("speech_to_text", stage)
        if key not in self._made:
            self._made[key] = speech_to_text(stage)
        return cast(SpeechToText, self._made[key])

    def language_model(self, stage: Stage) -> LanguageModel:
        """The process's instance for `stage`. Raises SettingsError as the registry's function does."""
        key = _key("language_model", stage)
        if key not in self._made:
            self._made[key] = language_model(stage)
        return cast(LanguageModel, self._made[key])

    def text_to_speech(self, stage: Stage) -> TextToSpeech:
        """The process's instance for `stage`. Raises SettingsError as the registry's function does."""
        key = _key("text_to_speech", stage)
        if key not in self._made:
            self._made[key] = text_to_speech(stage)
        return cast(TextToSpeech, self._made[key])

    def breaker(self, kind: Kind, stage: Stage) -> Breaker:
        """The breaker of the process's instance for `stage`."""
        model = stage.options.get("model")
        name = stage.provider if model is None else f"{stage.provider} {model}"
        return self._breakers.setdefault(_key(kind, stage), Breaker(name))

    async def close(self) -> None:
        """Close every instance, also when one of them fails to; then raises what failed, as an ExceptionGroup."""
        made, self._made = list(self._made.values()), {}
        failures: list[Exception] = []
        for provider in made:
            try:
                await provider.close()
            except Exception as error:
                failures.append(error)
        if failures:
            raise ExceptionGroup("providers failed to close", failures)


def _key(kind: Kind, stage: Stage) -> tuple[Kind, str, str]:
    return kind, stage.provider, json.dumps(stage.options, sort_keys=True, default=str)
