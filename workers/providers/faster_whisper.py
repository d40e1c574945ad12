"""Speech-to-text by faster-whisper (MIT) on this machine: OpenAI's Whisper models, run by CTranslate2.

Used when its package is installed and its model is at hand: a directory, or in Hugging Face's cache. A model that is
missing is fetched only when the option `download` allows it. Whisper takes no stream, but whole recordings: `batch.py`
makes the best of that.

Trunkline's tests run the package (1.2.1) on a tiny model of their own. OpenAI's models they have not run: there was no
network to fetch one.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from trunkline.errors import ProviderError, SettingsError
from workers.providers.base import Transcript
from workers.providers.batch import BatchOptions, BatchSpeech
from workers.providers.options import read_options

RATE_HZ = 16000
DEFAULT_MODEL = "base.en"
INSTALL = "pip install faster-whisper"


class WhisperOptions(BatchOptions):
    """A tenant's options for faster-whisper."""

    pause_ms: int = Field(
        default=160,
        ge=0,
        le=2000,
        description="silence before a pause is transcribed: it takes this machine's processor",
    )
    requests: int = Field(
        default=2, ge=1, le=256, description="recordings in line at once; while so many are, pauses are not transcribed"
    )
    model: str = Field(default=DEFAULT_MODEL, description="a model's name, or the directory of one")
    language: str = Field(default="en", pattern=r"^[a-z]{2,3}$")
    download: bool = Field(default=False, description="may the model be fetched from Hugging Face")
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda)$")
    compute_type: str = Field(default="default", pattern=r"^[a-z0-9_]+$", description="CTranslate2's, e.g. int8")
    threads: int = Field(default=2, ge=1, le=64, description="processor threads of one transcription")


def installed() -> bool:
    return importlib.util.find_spec("faster_whisper") is not None


def model_directory(model: str, *, download: bool = False) -> Path:
    """Where `model` is on this machine; fetched first, with progress on stderr, when `download` and it is not.

    Raises SettingsError saying what to do when it is not there, or cannot be fetched.
    """
    if Path(model).is_dir():
        return Path(model)
    if not installed():
        raise SettingsError(f"speech-to-text 'faster_whisper' needs faster-whisper: {INSTALL}")
    download_model = importlib.import_module("faster_whisper.utils").download_model

    # It raises whatever Hugging Face's client and its HTTP library raise: OSError, ValueError and kin.
    try:
        return Path(download_model(model, local_files_only=True))
    except (OSError, ValueError) as missing:
        if not download:
            raise SettingsError(
                f"Whisper model {model!r} is not on this machine: set `download: true`, or `model` to its directory"
            ) from missing
    try:
        return Path(_fetch(model))
    except (OSError, ValueError, RuntimeError) as error:
        raise SettingsError(f"Whisper model {model!r} cannot be fetched from Hugging Face: {error}") from error


def _fetch(model: str) -> str:
    """Fetch with the client's progress bars, giving up on a silent network after 5 s."""
    names: dict[str, str] = importlib.import_module("faster_whisper.utils")._MODELS
    return str(
        importlib.import_module("huggingface_hub").snapshot_download(
            names.get(model, model),
            allow_patterns=["config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*"],
            etag_timeout=5,
            max_workers=2,
        )
    )


class Whisper:
    """faster-whisper as a `Batch`. One recording at a time; others wait in line."""

    rate_hz = RATE_HZ

    def __init__(self, options: WhisperOptions) -> None:
        """Loads the model: seconds. Raises SettingsError when it cannot be had."""
        directory = model_directory(options.model, download=options.download)
        if not installed():
            raise SettingsError(f"speech-to-text 'faster_whisper' needs faster-whisper: {INSTALL}")
        package: Any = importlib.import_module("faster_whisper")
        try:
            self._model: Any = package.WhisperModel(
                str(directory),
                device=options.device,
                compute_type=options.compute_type,
                cpu_threads=options.threads,
                local_files_only=True,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise SettingsError(f"Whisper model in {directory} does not load: {error}") from error
        self._options = options
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="whisper")

    @property
    def description(self) -> str:
        return f"faster-whisper: model {self._options.model}, on this machine"

    async def transcribe(self, pcm: bytes, context: str) -> Transcript:
        """Cancelling it leaves off at the model's next segment. Raises ProviderError when the model fails."""
        cancelled = threading.Event()
        work = asyncio.get_running_loop().run_in_executor(self._thread, self._transcribe, pcm, context, cancelled)
        try:
            return await work
        except (RuntimeError, ValueError) as error:
            raise ProviderError("faster_whisper", str(error)) from error
        finally:
            cancelled.set()

    def _transcribe(self, pcm: bytes, context: str, cancelled: threading.Event) -> Transcript:
        segments, _ = self._model.transcribe(
            np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768),
            language=self._options.language,
            beam_size=1,
            temperature=0.0,
            initial_prompt=context or None,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        texts: list[str] = []
        logarithms: list[float] = []
        for segment in segments:  # the decoding happens here
            if cancelled.is_set():
                break
            texts.append(segment.text.strip())
            logarithms.append(segment.avg_logprob)
        confidence = math.exp(sum(logarithms) / len(logarithms)) if logarithms else None
        return Transcript(" ".join(texts).strip(), confidence)

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def speech_to_text(options: dict[str, Any]) -> BatchSpeech:
    """Raises SettingsError for wrong options, a missing package or a missing model."""
    read = read_options(WhisperOptions, options, "speech-to-text 'faster_whisper'")
    return BatchSpeech(Whisper(read), read)
