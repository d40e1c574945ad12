"""Voice activity: how likely each 32 ms of audio holds speech, by the Silero model (version 6, MIT licence).

The model's ONNX file is read out of the installed `silero-vad` distribution, which is never imported: it would need
torch. One model serves the process; what it remembers of the audio before belongs to each stream. Streams may be run
together: `judge` takes a chunk of each, and `workers.turns.company` brings them together. docs/turns.md has the cost.
"""

from __future__ import annotations

import functools
import importlib.metadata
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from trunkline.errors import AudioError, SettingsError

CHUNK_MS = 32
INSTALL = "pip install --no-deps silero-vad"

FLOOR = 16
"""Samples that stay within this (-66 dBFS) are no speech, and the model is not asked: a muted microphone, a telephone
line between words, what a browser's noise suppression leaves."""

SETTLED_MS = 512
"""Only after so much quiet is it not asked. Silence after speech says something: a model that went on from before it
would take the next noise for more of that speech (5 chunks at 0.9). After samples within FLOOR it begins anew."""

HUSH = 2.0
"""Nor is it asked of a chunk that has no more than this times the energy (+3 dB) of the line's own noise, when all was
quiet before it: the even hiss of a telephone line. Of noise that wavers it is still asked two chunks in three.
What that moves of the edges of speech is in docs/turns.md."""

LOUDEST_HUSH = 3276
"""A line's own noise is never taken to be louder than this (-20 dBFS)."""

RISE = 1.02
"""The line's noise is its quietest chunk; what that was counts for so much more (2.7 dB a second) as time goes by."""

QUIET = 0.15
"""Less than this counts as quiet; Silero's own threshold for the end of speech is 0.35."""

FORGET_MS = 5000
"""After this much quiet the model begins anew. In long quiet it grows deaf: after 5 minutes it found up to a fifth less
of a sentence at 0.5 than a fresh one. A fresh one gives noise less than 0.45, for a few chunks."""

_CONTEXT_SAMPLES = {16000: 64, 8000: 32}
_FILE = "silero_vad/data/silero_vad.onnx"
_SCALE = np.float32(1 / 32768)


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
        _model()
        self.rate_hz = rate_hz
        self.chunk_bytes = rate_hz * CHUNK_MS // 1000 * 2
        self._context_samples = _CONTEXT_SAMPLES[rate_hz]
        self._silence = self.chunk_bytes // 2 * float(FLOOR * _SCALE) ** 2
        """The most energy that a chunk can have whose samples stay within FLOOR."""
        self.reset()

    def reset(self) -> None:
        """Forget all audio so far, as for another caller."""
        self.heard: NDArray[np.float32] = np.zeros((1, self._context_samples + self.chunk_bytes // 2), np.float32)
        """The chunk to be judged, after the last samples of the one before it: what the model is given."""
        self._pending = b""
        self._quiet_ms = 0
        self._hiss = math.inf
        """Energy of the line's own noise, in a chunk: the sum of the squares of its samples."""
        self._forget()

    def _forget(self) -> None:
        self.state: NDArray[np.float32] = np.zeros((2, 1, 128), np.float32)
        """What the model remembers of everything before."""
        self._since_ms = 0

    def push(self, pcm: bytes) -> list[float]:
        """Take audio of any length; returns a probability for each 32 ms chunk that it completed, oldest first."""
        return [judge([self])[0] if self.load(chunk) else 0.0 for chunk in self.cut(pcm)]

    @property
    def hush_rms(self) -> int:
        """The line's own noise is no louder than this (of 32768), as far as that is known."""
        if self._hiss == math.inf:
            return FLOOR
        hush_rms = math.sqrt(self._hiss * HUSH / (self.chunk_bytes // 2)) / float(_SCALE)
        return max(FLOOR, min(int(hush_rms), LOUDEST_HUSH))

    @property
    def settled(self) -> bool:
        """Whether the model would not be asked about audio that is no louder than that."""
        return self._quiet_ms >= SETTLED_MS

    # --- the same in steps, for those who run several streams together

    def cut(self, pcm: bytes) -> Sequence[bytes]:
        """Take audio of any length; returns the chunks that it completed: each is to be loaded, and judged."""
        audio = self._pending + pcm
        size, length = self.chunk_bytes, len(audio)
        if length < size:
            self._pending = audio
            return ()
        whole = length - length % size
        self._pending = audio[whole:]
        if whole == size:  # a frame of 20 ms completes one at most
            return (audio[:size],)
        return [audio[at : at + size] for at in range(0, whole, size)]

    def load(self, chunk: bytes) -> bool:
        """The next chunk is to be judged. Returns whether the model must be asked; if not, it is no speech: 0."""
        heard, context = self.heard[0], self._context_samples
        heard[:context] = heard[-context:]
        fresh = heard[context:]
        np.multiply(np.frombuffer(chunk, "<i2"), _SCALE, out=fresh, casting="unsafe")
        if self._quiet_ms == 0:
            return True
        energy = float(fresh @ fresh)
        self._hiss = min(energy, self._hiss * RISE)
        if self._quiet_ms < SETTLED_MS:
            return True
        if energy <= self._silence and max(fresh.max(), -fresh.min()) <= FLOOR * _SCALE:
            if self._since_ms:
                self._forget()
            return False
        return energy > self._hiss * HUSH

    def judged(self, probability: float) -> None:
        """What was loaded is done with: it holds speech with this probability."""
        self._quiet_ms = self._quiet_ms + CHUNK_MS if probability < QUIET else 0
        self._since_ms += CHUNK_MS
        if min(self._quiet_ms, self._since_ms) >= FORGET_MS:
            self._forget()


def judge(streams: Sequence[VoiceActivity]) -> list[float]:
    """The speech probabilities of what was loaded into `streams`: all of one rate, none twice."""
    alone = len(streams) == 1
    heard = streams[0].heard if alone else np.concatenate([stream.heard for stream in streams])
    state = streams[0].state if alone else np.concatenate([stream.state for stream in streams], axis=1)
    fed: dict[str, Any] = {"input": heard, "state": state, "sr": np.array(streams[0].rate_hz, np.int64)}
    output, after = _model().run(None, fed)
    probabilities: list[float] = np.asarray(output)[:, 0].tolist()
    states = np.asarray(after)
    for number, (stream, probability) in enumerate(zip(streams, probabilities, strict=True)):
        stream.state = states[:, number : number + 1]
        stream.judged(probability)
    return probabilities
