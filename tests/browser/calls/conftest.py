"""What the calls of the page share: its console, with a microphone that says what a test wants said."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.faults import speech
from benchmarks.stack import Stack
from tests.browser.calls.console import AS_IT_IS, LISTEN, RATE_HZ, Console, OpenConsole
from tests.browser.conftest import OpenPage, write_wav


@pytest.fixture
def transport() -> str:
    """What the page calls by; a file of tests may say otherwise."""
    return "websocket"


@pytest.fixture
def open_console(open_page: OpenPage, stack: Stack, tmp_path: Path, transport: str) -> OpenConsole:
    """`async with open_console(2.0, "a sentence", ...) as console`: seconds of silence, and what is said, in turns, by
    eSpeak or as samples. `stack` is the file's own."""
    init = LISTEN if transport == "websocket" else AS_IT_IS + LISTEN

    @contextlib.asynccontextmanager
    async def open_console(*spoken: float | str | bytes, tenant: str = "quiet") -> AsyncIterator[Console]:
        pcm = b"".join([await _said(part) for part in spoken]) + bytes(4 * RATE_HZ)
        wav = write_wav(tmp_path / "microphone.wav", np.frombuffer(pcm, "<i2"), RATE_HZ)
        url = f"http://127.0.0.1:{stack.port}/?tenant={tenant}"
        async with open_page(url, wav=wav, init=init, transport=transport) as page:
            yield Console(page)

    return open_console


async def _said(part: float | str | bytes) -> bytes:
    if isinstance(part, float):
        return bytes(2 * round(part * RATE_HZ))
    return part if isinstance(part, bytes) else await speech(part)
