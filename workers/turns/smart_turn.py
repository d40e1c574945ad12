"""Whether a speaker who fell silent is done, by how it sounded: the smart turn model, version 3 (BSD-2-Clause).

It is asked once in a pause, about the last 8 s, and takes tens of ms of a core: so it runs in a thread of its own, one
for the process, and nobody waits for it. Who asks looks for the answer later; when too many ask, or the model fails,
there is none, and silence alone decides. The model's ONNX file (8.7 MB) is not ours: TRUNKLINE_SMART_TURN_MODEL names
it, or it is read out of an installed `pipecat-ai` distribution, which is never imported.
"""

from __future__ import annotations

import functools
import importlib.metadata
import logging
import os
import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import onnxruntime

from trunkline.audio.resample import Resampler
from trunkline.errors import SettingsError
from workers.turns.log_mel import BANDS, FRAMES, RATE_HZ, WINDOW_S, log_mel

VARIABLE = "TRUNKLINE_SMART_TURN_MODEL"

WAITING = 16
"""Questions that may be open in a process. At about 40 ms each, the last of them would be answered after 0.6 s, and be
too late to be of use: who comes then is refused."""

_DISTRIBUTION = "pipecat-ai"
_FILES = "smart-turn-v3*-cpu.onnx"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Judgement:
    """How likely the speaker was done, of what was heard until `media_ms`."""

    probability: float
    media_ms: int


class Question:
    """Asked, and perhaps answered."""

    def __init__(self, future: Future[float], media_ms: int) -> None:
        self._future = future
        self._media_ms = media_ms

    def answer(self) -> Judgement | None:
        """The answer, if there is one by now."""
        if not self._future.done() or self._future.cancelled() or self._future.exception() is not None:
            return None
        return Judgement(self._future.result(), self._media_ms)

    def withdraw(self) -> None:
        """Nobody wants to know any more. What is being computed goes on to its end; what waits is forgotten."""
        self._future.cancel()


class SmartTurn:
    """One model for all sessions of a process."""

    def __init__(self, model: Path) -> None:
        """Loads it, which takes about 40 ms. Raises SettingsError when it is no such model."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        try:
            self._model = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
            shapes = {put.name: put.shape[1:] for put in self._model.get_inputs()}
        except Exception as error:  # onnxruntime's errors are of no common kind
            raise SettingsError(f"{VARIABLE}: {model} cannot be loaded: {error}") from error
        if shapes != {"input_features": [BANDS, FRAMES]}:
            raise SettingsError(f"{VARIABLE}: {model} is no smart turn v3 model: it takes {shapes}")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="smart-turn")
        self._room = threading.BoundedSemaphore(WAITING)

    def ask(self, pcm: bytes, rate_hz: int, media_ms: int) -> Question | None:
        """Ask about a speaker who said `pcm` (s16le mono, of which the last 8 s count) until `media_ms`, the silence
        after it included. None when too many questions are open. Never blocks."""
        if not self._room.acquire(blocking=False):
            return None
        pcm = pcm[-WINDOW_S * rate_hz * 2 :]
        future = self._thread.submit(self.judge, pcm, rate_hz)
        future.add_done_callback(self._answered)
        return Question(future, media_ms)

    def judge(self, pcm: bytes, rate_hz: int) -> float:
        """How likely somebody who said this is done. Blocks for tens of ms: `ask` does not."""
        if rate_hz != RATE_HZ:
            resampler = Resampler(rate_hz, RATE_HZ)
            pcm = resampler.push(pcm) + resampler.flush()
        features = log_mel(np.frombuffer(pcm, "<i2").astype(np.float32))
        [probability] = self._model.run(None, {"input_features": features[None]})  # the sigmoid is in the model
        return float(np.asarray(probability).reshape(-1)[0])

    def _answered(self, future: Future[float]) -> None:
        self._room.release()
        try:
            error = future.exception()
        except CancelledError:
            return
        if error is not None:
            _log.error("smart turn: the model failed, silence decides: %r", error)

    def close(self) -> None:
        """Forget all questions, and end the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)


def model_path() -> Path | None:
    """Where the model is; None when there is none. Raises SettingsError when the variable names no file."""
    named = os.environ.get(VARIABLE, "")
    if named:
        path = Path(named)
        if not path.is_file():
            raise SettingsError(f"{VARIABLE}: there is no file {named}")
        return path
    try:
        files = importlib.metadata.files(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = sorted(str(file.locate()) for file in files if PurePosixPath(file.name).match(_FILES))
    return next((Path(path) for path in reversed(found) if Path(path).is_file()), None)


@functools.cache
def smart_turn() -> SmartTurn | None:
    """The process's; None when no model is installed. Raises SettingsError for a wrong one."""
    path = model_path()
    return None if path is None else SmartTurn(path)
