"""Text-to-speech by Piper on this machine: neural voices that sound like people.

Used when its package is installed (piper-tts, GPL-3.0-or-later: imported only when a tenant asks for it) and a voice is
present: `<name>.onnx` with `<name>.onnx.json` beside it. `python -m piper.download_voices en_US-lessac-medium` fetches
one.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from trunkline.errors import ProviderError, SettingsError
from workers.providers.options import read_options
from workers.providers.separate import Separate

VOICE_VARIABLE = "TRUNKLINE_PIPER_VOICE"
INSTALL = "pip install piper-tts"
_CHUNK_MS = 100


class PiperOptions(BaseModel):
    """A tenant's options for Piper."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    voice: str | None = Field(default=None, description=f"path of the voice's .onnx; none: {VOICE_VARIABLE}")
    speaker: int | None = Field(default=None, ge=0, description="of a voice with several speakers")
    length_scale: float | None = Field(default=None, gt=0.1, lt=10, description="above 1 is slower")


def installed() -> bool:
    return importlib.util.find_spec("piper") is not None


def voice_path(voice: str | None = None) -> Path:
    """The voice to use. Raises SettingsError saying what to do when there is none."""
    named = voice or os.environ.get(VOICE_VARIABLE)
    if not named:
        raise SettingsError(
            f"text-to-speech 'piper' needs a voice: the option `voice` or {VOICE_VARIABLE}, the path of its .onnx "
            "(python -m piper.download_voices en_US-lessac-medium)"
        )
    path = Path(named).expanduser()
    for needed in (path, Path(f"{path}.json")):
        if not needed.is_file():
            raise SettingsError(f"Piper voice: there is no file {needed}")
    return path


class PiperSpeech:
    """Piper as a `TextToSpeech`. One sentence at a time in the process; what Piper makes is given out in pieces.

    Not deterministic: its network adds noise of its own.
    """

    def __init__(self, options: PiperOptions) -> None:
        """Loads the voice, which may take seconds. Raises SettingsError when package or voice are missing or wrong."""
        path = voice_path(options.voice)
        if not installed():
            raise SettingsError(f"text-to-speech 'piper' needs piper-tts: {INSTALL}")
        piper: Any = importlib.import_module("piper")
        try:
            self._voice: Any = piper.PiperVoice.load(path)
        except Exception as error:  # onnxruntime's errors share no type, and a voice's JSON may be anything
            raise SettingsError(f"Piper voice {path} does not load: {error}") from error
        self._synthesis: Any = piper.SynthesisConfig(
            speaker_id=options.speaker, length_scale=options.length_scale, normalize_audio=False
        )
        self._name = path.stem
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="piper")
        self.rate_hz: int = self._voice.config.sample_rate

    @property
    def description(self) -> str:
        return f"Piper: voice {self._name}, on this machine (GPL-3.0)"

    async def speak(self, text: str) -> AsyncGenerator[bytes, None]:
        """Stream `text` in chunks of 100 ms. Closing the generator stops after the sentence that is being made."""
        loop = asyncio.get_running_loop()
        sentences = self._voice.synthesize(text, self._synthesis)
        stopped = threading.Event()
        chunk_bytes = self.rate_hz * _CHUNK_MS // 1000 * 2

        def next_sentence() -> bytes | None:
            if stopped.is_set():
                return None
            sentence = next(sentences, None)
            return None if sentence is None else bytes(sentence.audio_int16_bytes)

        try:
            while True:
                try:
                    audio = await loop.run_in_executor(self._thread, next_sentence)
                except (RuntimeError, ValueError) as error:
                    raise ProviderError("piper", str(error)) from error
                if audio is None:
                    return
                for start in range(0, len(audio), chunk_bytes):
                    yield audio[start : start + chunk_bytes]
        finally:
            stopped.set()

    def voice(self) -> Separate:
        return Separate(self)

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def text_to_speech(options: dict[str, Any]) -> PiperSpeech:
    """Raises SettingsError for wrong options, a missing package or a missing voice."""
    return PiperSpeech(read_options(PiperOptions, options, "text-to-speech 'piper'"))
