"""`local`, the default: the best that this machine has without a key, and plain words on what that is and why.

Speech-to-text: faster-whisper when its model is present, else PocketSphinx. Language model: a chat completions server
by setting, a running Ollama, else the demo dialogue. Text-to-speech: Piper when a voice is present, else eSpeak.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trunkline.errors import SettingsError
from workers.providers import demo, espeak, faster_whisper, openai_compatible, piper, pocketsphinx
from workers.providers.base import (
    ChatMessage,
    LanguageModel,
    SpeechToText,
    TextToSpeech,
    ToolCall,
    ToolSchema,
    Transcriber,
    Voice,
    Word,
)

StageName = Literal["stt", "llm", "tts"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to serve a stage on this machine."""

    stage: StageName
    provider: str
    available: bool
    why: str
    """What was found, or what is missing."""
    remedy: str
    """What to do to have it; empty when it is available."""


def candidates() -> list[Candidate]:
    """Every stage's candidates, the best first: the first one available is what `local` takes. Blocks 0.3 s at most."""
    return [
        _whisper(),
        _package("stt", "pocketsphinx", "pocketsphinx", pocketsphinx.INSTALL),
        _chat_server(),
        Candidate("llm", "demo", True, "built in; a table of rules, not a language model", ""),
        _piper(),
        _package("tts", "espeak", "espeakng_loader", espeak.INSTALL),
    ]


def _package(stage: StageName, provider: str, package: str, install: str) -> Candidate:
    if importlib.util.find_spec(package) is None:
        return Candidate(stage, provider, False, f"the package {package} is not installed", install)
    return Candidate(stage, provider, True, "installed; needs no model download", "")


def _whisper() -> Candidate:
    if not faster_whisper.installed():
        return Candidate("stt", "faster_whisper", False, "its package is not installed", faster_whisper.INSTALL)
    try:
        directory = faster_whisper.model_directory(faster_whisper.DEFAULT_MODEL)
    except SettingsError as error:
        remedy = "use provider faster_whisper with `download: true` once, or `model` set to a directory"
        return Candidate("stt", "faster_whisper", False, str(error), remedy)
    return Candidate("stt", "faster_whisper", True, f"model in {directory}", "")


def _chat_server() -> Candidate:
    name = "openai_compatible"
    if address := os.environ.get("OPENAI_BASE_URL"):
        if os.environ.get(openai_compatible.MODEL_VARIABLE):
            return Candidate("llm", name, True, f"OPENAI_BASE_URL is {address}", "")
        return Candidate(
            "llm", name, False, "OPENAI_BASE_URL is set, but no model", f"set {openai_compatible.MODEL_VARIABLE}"
        )
    models = openai_compatible.ollama_models()
    if models:
        return Candidate("llm", name, True, f"an Ollama runs here and has {models[0]}", "")
    if models is not None:
        return Candidate("llm", name, False, "an Ollama runs here without a chat model", "ollama pull llama3.2")
    why = f"OPENAI_BASE_URL is not set, and no Ollama answers at {openai_compatible.OLLAMA_URL}"
    return Candidate(
        "llm", name, False, why, "start Ollama (ollama serve), or set OPENAI_BASE_URL and TRUNKLINE_CHAT_MODEL"
    )


def _piper() -> Candidate:
    if not piper.installed():
        return Candidate("tts", "piper", False, "its package is not installed", piper.INSTALL)
    try:
        return Candidate("tts", "piper", True, f"voice {piper.voice_path()}", "")
    except SettingsError as error:
        return Candidate("tts", "piper", False, str(error), f"fetch a voice and set {piper.VOICE_VARIABLE}")


def chosen(stage: StageName) -> tuple[str, str]:
    """The provider that `local` takes for `stage`, and why in words.

    Raises SettingsError listing every candidate and what to do when there is none.
    """
    passed_over: list[Candidate] = []
    for candidate in (candidate for candidate in candidates() if candidate.stage == stage):
        if candidate.available:
            reasons = [f"{other.provider}: {other.why}" for other in passed_over]
            return candidate.provider, "; ".join([f"chosen: {candidate.why}", *reasons])
        passed_over.append(candidate)
    ways = "; or ".join(f"{other.provider}: {other.why}: {other.remedy}" for other in passed_over)
    raise SettingsError(f"nothing on this machine serves {stage}: {ways}")


class LocalSpeechToText:
    """The chosen speech-to-text, with the reason in its description."""

    def __init__(self, chosen_one: SpeechToText, why: str) -> None:
        self._chosen = chosen_one
        self._why = why
        self.rate_hz = chosen_one.rate_hz

    @property
    def description(self) -> str:
        return f"{self._chosen.description} [{self._why}]"

    def utterance(self) -> Transcriber:
        return self._chosen.utterance()

    async def close(self) -> None:
        await self._chosen.close()


class LocalLanguageModel:
    """The chosen language model, with the reason in its description."""

    def __init__(self, chosen_one: LanguageModel, why: str) -> None:
        self._chosen = chosen_one
        self._why = why

    @property
    def description(self) -> str:
        return f"{self._chosen.description} [{self._why}]"

    def reply(
        self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema] = ()
    ) -> AsyncGenerator[str | ToolCall, None]:
        return self._chosen.reply(messages, tools)

    async def close(self) -> None:
        await self._chosen.close()


class LocalTextToSpeech:
    """The chosen text-to-speech, with the reason in its description."""

    def __init__(self, chosen_one: TextToSpeech, why: str) -> None:
        self._chosen = chosen_one
        self._why = why
        self.rate_hz = chosen_one.rate_hz

    @property
    def description(self) -> str:
        return f"{self._chosen.description} [{self._why}]"

    def speak(self, text: str) -> AsyncGenerator[bytes | Word, None]:
        return self._chosen.speak(text)

    def voice(self) -> Voice:
        return self._chosen.voice()

    async def close(self) -> None:
        await self._chosen.close()


def speech_to_text(options: dict[str, Any]) -> LocalSpeechToText:
    """`options` are those of the provider that is chosen. Raises SettingsError as it does, or when there is none."""
    name, why = chosen("stt")
    makers: dict[str, Callable[[dict[str, Any]], SpeechToText]] = {
        "faster_whisper": faster_whisper.speech_to_text,
        "pocketsphinx": pocketsphinx.speech_to_text,
    }
    return LocalSpeechToText(makers[name](options), why)


def language_model(options: dict[str, Any]) -> LocalLanguageModel:
    """`options` are those of the provider that is chosen. Raises SettingsError as it does."""
    name, why = chosen("llm")
    if name == "openai_compatible" and "OPENAI_BASE_URL" not in os.environ:
        # An Ollama was found; OPENAI_API_KEY may be set for other tenants and is not for it.
        options = {"base_url": f"{openai_compatible.OLLAMA_URL}/v1", "api_key": "ollama", **options}
        options.setdefault("model", next(iter(openai_compatible.ollama_models() or ()), None))
    makers: dict[str, Callable[[dict[str, Any]], LanguageModel]] = {
        "openai_compatible": openai_compatible.language_model,
        "demo": demo.language_model,
    }
    return LocalLanguageModel(makers[name](options), why)


def text_to_speech(options: dict[str, Any]) -> LocalTextToSpeech:
    """`options` are those of the provider that is chosen. Raises SettingsError as it does, or when there is none."""
    name, why = chosen("tts")
    makers: dict[str, Callable[[dict[str, Any]], TextToSpeech]] = {
        "piper": piper.text_to_speech,
        "espeak": espeak.text_to_speech,
    }
    return LocalTextToSpeech(makers[name](options), why)
