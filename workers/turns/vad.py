"""Voice activity: how likely each 32 ms of audio holds speech, by the Silero model (version 6, MIT licence).

The model's ONNX file is read out of the installed `silero-vad` distribution, which is never imported: it would need
torch. One model serves the process; what it remembers of the audio before belongs to each caller. A chunk took
0.12 to 0.18 ms of processor time on two cores that were busy with other work.
"""

from __future__ import annotations

import functools
import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from trunkline.errors import AudioError, SettingsError

CHUNK_MS = 32
INSTALL = "pip install --no-deps silero-vad"

_CONTEXT_SAMPLES = {16000: 64, 8000: 32}
_FILE = "silero_vad/data/silero_vad.onnx"


def model_path() -> Path:
    """Where the installed Silero model is. Raises SettingsError saying what to install when it is missing."""
    try:
        path = Path(str(importlib.metadata.distribution("silero-vad").locate_file(_FILE)))
    except importlib.metadata.PackageNotFoundError as error:
        raise SettingsError(f"voice activity detection needs the Silero model: {INSTALL}") from error
    if not path.is_file():
        raise SettingsError(f"the installed silero-vad has no {_FILE}: {INSTALL}")
    return path


@functools.cache
def _model() -> onnxruntime.InferenceSession:
    """The process's model. Thread-safe: it keeps nothing between runs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model_path()), options, providers=["CPUExecutionProvider"])


class VoiceActivity:
    """Speech probabilities of one stream of s16le mono audio at 16 or 8 kHz."""

    def __init__(self, rate_hz: int) -> None:
        """Raises AudioError for another rate, SettingsError when the model is not installed."""
        if rate_hz not in _CONTEXT_SAMPLES:
            raise AudioError(f"voice activity is detected at 16000 or 8000 Hz, not {rate_hz}")
        self.chunk_bytes = rate_hz * CHUNK_MS // 1000 * 2
        self._context_samples = _CONTEXT_SAMPLES[rate_hz]
        self._rate = np.array(rate_hz, np.int64)
        self._model = _model()
        self.reset()

    def reset(self) -> None:
        """Forget all audio so far, as for another caller."""
        self._state: Any = np.zeros((2, 1, 128), np.float32)
        self._context = np.zeros((1, self._context_samples), np.float32)
        self._pending = b""

    def push(self, pcm: bytes) -> list[float]:
        """Take audio of any length; returns a probability for each 32 ms chunk that it completed, oldest first."""
        audio = self._pending + pcm
        whole = len(audio) - len(audio) % self.chunk_bytes
        self._pending = audio[whole:]
        return [self._probability(audio[at : at + self.chunk_bytes]) for at in range(0, whole, self.chunk_bytes)]

    def _probability(self, chunk: bytes) -> float:
        samples = np.frombuffer(chunk, "<i2").astype(np.float32)[None] / 32768
        heard = np.concatenate([self._context, samples], axis=1)
        probability, self._state = self._model.run(None, {"input": heard, "state": self._state, "sr": self._rate})
        self._context = heard[:, -self._context_samples :]
        return float(np.asarray(probability)[0, 0])
