"""Speech-to-text by PocketSphinx: keyless, offline, its model inside its package. Made for the demo, and it says so.

It understands a grammar of phrases well (by default those of the demo dialogue) and everything else badly. What does
not fit the grammar is taken as free dictation rather than forced into a phrase.

Decoding happens in processes of its own (`process.py` says why), two of them at most for the whole worker. An
utterance is decoded at once, as soon as it pauses: by the time the turn logic is sure that it ended, the text is
usually there. While all processes are busy, utterances wait in line; one that has waited 10 s fails with a retryable
ProviderError.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import queue
import select
import struct
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from trunkline.errors import ProviderError, SettingsError
from workers.phrases import PHRASES
from workers.providers.base import Transcript
from workers.providers.options import read_options

RATE_HZ = 16000
INSTALL = "pip install pocketsphinx"

_FRAME_BYTES = RATE_HZ // 50 * 2
_PAUSE_FRAMES = 8
"""Quiet frames of 20 ms after which an utterance may have ended."""
_EDGE_FRAMES = 6
"""Quiet frames kept at either end."""
_QUIETEST_RMS = 100.0
_QUIET_SHARE = 0.05
"""A frame is quiet below this share of the loudest frame's RMS (26 dB), or below _QUIETEST_RMS of 32768."""
_LONGEST_BYTES = 60 * RATE_HZ * 2
_START_S = 20.0
_DECODE_S = 10.0


class PocketsphinxOptions(BaseModel):
    """A tenant's options for PocketSphinx."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    grammar: tuple[str, ...] = Field(
        default=PHRASES, min_length=1, description="phrases: words, [optional], (this | that)"
    )
    processes: int = Field(default=2, ge=1, le=8, description="decoders at most; 170 MB each")


class _Decoder:
    """One decoding process. Used by one thread at a time; every call blocks."""

    def __init__(self, phrases: Sequence[str]) -> None:
        """Raises SettingsError for phrases it refuses, ProviderError when it does not start."""
        path = os.pathsep.join(entry for entry in [os.getcwd(), *sys.path] if entry)
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__name__}.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            bufsize=0,
        )
        try:
            first = self._ask(json.dumps(list(phrases)).encode() + b"\n", _START_S)
        except ProviderError:
            self.close()
            raise
        if "error" in first:
            self.close()
            raise SettingsError(str(first["error"]))

    def decode(self, pcm: bytes) -> Transcript:
        """Raises ProviderError when the process died or does not answer; it is of no use afterwards."""
        return Transcript(str(self._ask(struct.pack("<I", len(pcm)) + pcm, _DECODE_S)["text"]))

    def _ask(self, request: bytes, timeout_s: float) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            view = memoryview(request)
            while view:
                view = view[stdin.write(view) :]
        except OSError as error:
            raise ProviderError("pocketsphinx", f"the decoding process is gone: {error}") from error
        if not select.select([stdout], [], [], timeout_s)[0]:
            raise ProviderError("pocketsphinx", f"the decoding process did not answer in {timeout_s:g} s")
        line = stdout.readline()
        if not line:
            raise ProviderError("pocketsphinx", "the decoding process died")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process. Safe to call twice."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.kill()
        self._process.wait()


class _Pool:
    """At most `size` decoding processes, started when first needed; a thread each waits for it."""

    def __init__(self, phrases: Sequence[str], size: int) -> None:
        """Starts the first one. Raises SettingsError and ProviderError as a decoder does."""
        self._phrases = phrases
        self._idle: queue.SimpleQueue[_Decoder] = queue.SimpleQueue()
        self._idle.put(_Decoder(phrases))
        self._threads = ThreadPoolExecutor(max_workers=size, thread_name_prefix="pocketsphinx")

    def submit(self, pcm: bytes) -> Future[Transcript]:
        return self._threads.submit(self._decode, pcm)

    def _decode(self, pcm: bytes) -> Transcript:
        try:
            decoder = self._idle.get_nowait()
        except queue.Empty:
            decoder = _Decoder(self._phrases)
        try:
            transcript = decoder.decode(pcm)
        except ProviderError:
            decoder.close()
            raise
        self._idle.put(decoder)
        return transcript

    def close(self) -> None:
        """Waits for what is being decoded (at most 10 s), then ends the processes."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        while not self._idle.empty():
            self._idle.get_nowait().close()


class PocketsphinxUtterance:
    """One utterance. Decoded ahead whenever it pauses; what follows a pause makes that void."""

    def __init__(self, pool: _Pool) -> None:
        self._pool = pool
        self._audio = bytearray()
        self._rms: list[float] = []
        self._decoding: Future[Transcript] | None = None

    def push(self, pcm: bytes) -> None:
        """Take the next audio. Beyond 60 s an utterance is not listened to any more."""
        self._audio += pcm[: _LONGEST_BYTES - len(self._audio)]
        whole = len(self._audio) // _FRAME_BYTES
        if whole == len(self._rms):
            return
        frames = np.frombuffer(
            self._audio, "<i2", (whole - len(self._rms)) * _FRAME_BYTES // 2, len(self._rms) * _FRAME_BYTES
        )
        power = np.square(frames.astype(np.float32)).reshape(-1, _FRAME_BYTES // 2).mean(axis=1)
        del frames  # it holds the bytearray's memory in place
        self._rms.extend(np.sqrt(power).tolist())
        first, end = self._speech()
        if end == first or whole - end < _PAUSE_FRAMES:
            if max(self._rms[-len(power) :]) >= self._quiet():
                self._forget_decoding()
        elif self._decoding is None:
            self._decoding = self._pool.submit(self._cut(first, end))

    interim = ""
    ended = False
    failure = None

    def pause(self) -> None:
        """Nothing: it finds pauses by itself. Those of 160 ms, for decoding at each breath would take the processor
        from everybody's calls."""

    async def finish(self) -> Transcript:
        """The text of what was pushed; empty when there was no sound. Raises ProviderError when decoding fails."""
        first, end = self._speech()
        if first == end:
            return Transcript("")
        if self._decoding is None:
            self._decoding = self._pool.submit(self._cut(first, end))
        try:
            async with asyncio.timeout(_DECODE_S):
                return await asyncio.wrap_future(self._decoding)
        except TimeoutError as error:
            raise ProviderError("pocketsphinx", f"all decoding processes were busy for {_DECODE_S:g} s") from error
        finally:
            self._forget_decoding()

    def cancel(self) -> None:
        self._forget_decoding()
        self._audio.clear()
        self._rms.clear()

    def _forget_decoding(self) -> None:
        if self._decoding is not None:
            self._decoding.cancel()
            self._decoding = None

    def _quiet(self) -> float:
        return max(_QUIETEST_RMS, _QUIET_SHARE * max(self._rms))

    def _speech(self) -> tuple[int, int]:
        """The first frame that is not quiet, and the one after the last; twice the same when all are."""
        if not self._rms:
            return 0, 0
        quiet = self._quiet()
        loud = [at for at, rms in enumerate(self._rms) if rms >= quiet]
        return (loud[0], loud[-1] + 1) if loud else (0, 0)

    def _cut(self, first: int, end: int) -> bytes:
        start = max(0, first - _EDGE_FRAMES) * _FRAME_BYTES
        return bytes(self._audio[start : (end + _EDGE_FRAMES) * _FRAME_BYTES])


class PocketsphinxSpeech:
    """PocketSphinx as a `SpeechToText`."""

    rate_hz = RATE_HZ

    def __init__(self, options: PocketsphinxOptions) -> None:
        if importlib.util.find_spec("pocketsphinx") is None:
            raise SettingsError(f"speech-to-text 'pocketsphinx' needs pocketsphinx: {INSTALL}")
        self._phrases = len(options.grammar)
        self._pool = _Pool(options.grammar, options.processes)

    @property
    def description(self) -> str:
        return (
            f"PocketSphinx: on this machine; understands {self._phrases} kinds of phrases, guesses at anything else "
            "(US English, for demos; not tested on human voices)"
        )

    def utterance(self) -> PocketsphinxUtterance:
        return PocketsphinxUtterance(self._pool)

    async def close(self) -> None:
        await asyncio.to_thread(self._pool.close)


def speech_to_text(options: dict[str, Any]) -> PocketsphinxSpeech:
    """Starts a decoding process: blocks for about 0.8 s. Raises SettingsError for wrong options or a missing
    package."""
    return PocketsphinxSpeech(read_options(PocketsphinxOptions, options, "speech-to-text 'pocketsphinx'"))
