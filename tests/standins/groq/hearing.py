"""A request to transcribe, as Groq understands it, and its answer in each format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import FormData, UploadFile

from tests.standins import tones
from tests.standins.groq.faults import Fault
from tests.standins.groq.refusal import Refused
from trunkline.audio.wav import parse_wav
from trunkline.errors import AudioError

MODELS = {"whisper-large-v3", "whisper-large-v3-turbo"}
LANGUAGES = {"en": "English", "de": "German", "fr": "French", "es": "Spanish"}
PROMPT_BYTES = 896
SHORTEST_MS = 10

_FIELDS = {"file", "model", "language", "prompt", "response_format", "temperature", "timestamp_granularities[]"}
_FORMATS = {"json", "verbose_json", "text"}


@dataclass(slots=True)
class Heard:
    """One request to transcribe."""

    text: str
    model: str
    prompt: str | None
    language: str | None
    response_format: str
    duration_ms: int


@dataclass(slots=True)
class Ghost:
    """Words that Whisper makes up about silence, and what it says about itself then."""

    text: str
    no_speech_prob: float
    avg_logprob: float


@dataclass(slots=True)
class Manner:
    """How it hears."""

    avg_logprob: float = -0.12
    ghosts: list[Ghost] = field(default_factory=list)
    fault: Fault | None = None
    latency_s: float = 0.0
    """How much longer than `Groq.latency_s` it takes."""


async def understood(form: FormData) -> Heard:
    unknown = sorted(set(form) - _FIELDS)
    if unknown:
        raise Refused(f"unknown param `{unknown[0]}`")
    model, response_format = str(form.get("model", "")), str(form.get("response_format", "json"))
    if model not in MODELS:
        raise Refused(f"The model `{model}` does not exist or you do not have access to it.", "model_not_found", 404)
    if response_format not in _FORMATS:
        raise Refused(f"response_format must be one of {sorted(_FORMATS)}")
    if "timestamp_granularities[]" in form and response_format != "verbose_json":
        raise Refused("timestamp_granularities needs response_format verbose_json")
    language, prompt = form.get("language"), form.get("prompt")
    if language is not None and language not in LANGUAGES:
        raise Refused(f"language must be one of {sorted(LANGUAGES)}")
    if prompt is not None and (size := len(str(prompt).encode())) > PROMPT_BYTES:
        raise Refused(f"prompt length must be {PROMPT_BYTES} characters or fewer, but has {size} characters")
    pcm, rate_hz = await _audio(form.get("file"))
    return Heard(
        text=tones.hear(pcm, rate_hz),
        model=model,
        prompt=None if prompt is None else str(prompt),
        language=None if language is None else str(language),
        response_format=response_format,
        duration_ms=len(pcm) * 1000 // (2 * rate_hz),
    )


async def _audio(file: UploadFile | str | None) -> tuple[bytes, int]:
    if not isinstance(file, UploadFile) or not (file.filename or "").endswith(".wav"):
        raise Refused("file must be one of the following types: [flac mp3 mp4 mpeg mpga m4a ogg opus wav webm]")
    try:
        pcm, rate_hz = parse_wav(await file.read())
    except AudioError as error:
        raise Refused(f"could not process file - is it a valid media file? ({error})") from error
    if len(pcm) * 1000 < SHORTEST_MS * rate_hz * 2:
        raise Refused("Audio file is too short. Minimum audio length is 0.01 seconds.")
    return pcm, rate_hz


def answer(heard: Heard, manner: Manner) -> str | dict[str, Any]:
    """A text, or what is to become JSON. Whisper's texts begin with a space."""
    segments = [Ghost(heard.text, 0.01, manner.avg_logprob)] if heard.text else []
    segments += manner.ghosts
    text = "".join(f" {segment.text}" for segment in segments)
    if heard.response_format == "text":
        return text
    request = {"x_groq": {"id": "req_01"}}
    if heard.response_format == "json":
        return {"text": text, **request}
    seconds = heard.duration_ms / 1000
    return {
        "task": "transcribe",
        "language": LANGUAGES[heard.language or "en"],
        "duration": seconds,
        "text": text,
        "segments": [_segment(place, segment, seconds) for place, segment in enumerate(segments)],
        **request,
    }


def _segment(place: int, segment: Ghost, seconds: float) -> dict[str, Any]:
    return {
        "id": place,
        "seek": 0,
        "start": 0,
        "end": seconds,
        "text": f" {segment.text}",
        "tokens": [50365],
        "temperature": 0,
        "avg_logprob": segment.avg_logprob,
        "compression_ratio": 0.76,
        "no_speech_prob": segment.no_speech_prob,
    }
