"""A vendor of whole recordings made a speech-to-text, and people who speak to it, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tests.standins.virtual_time import run
from tests.standins.voices import RATE_HZ, ScriptedBatch, speech
from workers.providers.batch import BatchOptions, BatchSpeech, BatchTranscriber

FRAME_MS = 20
FRAME_BYTES = RATE_HZ * FRAME_MS // 1000 * 2
NOISE = b"\x80\x00\x80\xff"
"""Samples of +-128: noise 18 dB below the words, and above what counts as silence everywhere."""


def now_ms() -> int:
    return round(asyncio.get_running_loop().time() * 1000)


async def live(utterance: BatchTranscriber, pcm: bytes) -> None:
    """Push it as it would come, in real time."""
    for at in range(0, len(pcm), FRAME_BYTES):
        utterance.push(pcm[at : at + FRAME_BYTES])
        await asyncio.sleep(FRAME_MS / 1000)


async def say(utterance: BatchTranscriber, text: str, silence_ms: int = 0) -> None:
    """Speak, fall silent, and stay so."""
    await live(utterance, speech(text, 200))
    utterance.pause()
    await live(utterance, silence(silence_ms))


def silence(length_ms: int, noise: bytes = bytes(4)) -> bytes:
    return noise * (RATE_HZ * length_ms // 2000)


def counted(first: int, last: int) -> str:
    return " ".join(f"n{number}" for number in range(first, last + 1))


def with_vendor(
    vendor: ScriptedBatch, script: Callable[[BatchSpeech], Coroutine[Any, Any, None]], **options: Any
) -> BatchSpeech:
    """Run `script` with the vendor made a speech-to-text, then close it: nothing may be left running."""

    async def whole() -> BatchSpeech:
        stt = BatchSpeech(vendor, BatchOptions(**options))
        try:
            await script(stt)
        finally:
            await stt.close()
        assert vendor.closed
        assert vendor.running == 0
        return stt

    return run(whole())
