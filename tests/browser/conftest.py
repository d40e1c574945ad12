"""A real Chromium with a microphone that plays a WAV file, and the scripted stand-in of the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from playwright.async_api import ConsoleMessage, Page, async_playwright

from tests.standins.ws_server import StandIn

ASSETS = Path(__file__).parent / "assets"
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync "
    "--use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
).split()
MIC_RATE_HZ = 48_000
PATIENCE_MS = 10_000
"""For anything a page is waited for; Chromium shares two cores with everything else here."""

Samples: TypeAlias = np.ndarray[Any, np.dtype[np.int16]]
OpenPage: TypeAlias = Callable[..., AbstractAsyncContextManager[Page]]


@dataclass
class Expected:
    """What a page may write to its console as an error: each test says it before it happens."""

    fragments: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def check(self) -> None:
        surprises = [text for text in self.seen if not any(fragment in text for fragment in self.fragments)]
        assert not surprises, f"errors in the page's console: {surprises}"


def write_wav(path: Path, samples: Samples, rate_hz: int = MIC_RATE_HZ) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def tone(hz: float, seconds: float, rate_hz: int, amplitude: int = 8000) -> Samples:
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    return np.asarray(amplitude * np.sin(2 * np.pi * hz * t)).astype(np.int16)


def loudest_hz(samples: np.ndarray[Any, Any], rate_hz: float) -> float:
    spectrum = np.abs(np.fft.rfft(samples.astype(float) * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate_hz / len(samples))


@pytest.fixture
def console_errors() -> Expected:
    return Expected()


@pytest.fixture
def open_page(chromium: Path, console_errors: Expected) -> OpenPage:
    """`async with open_page(url, wav=..., init=...) as page`: a page whose console errors fail the test.

    `wav` is what its microphone hears, once; without it, Chromium's beeps. `init` is JavaScript to run first.
    `transport` is what was picked on this page earlier. `autoplay`: whether it may sound before anybody clicked.
    """

    @contextlib.asynccontextmanager
    async def open_page(
        url: str,
        *,
        wav: Path | None = None,
        init: str = "",
        permissions: tuple[str, ...] = ("microphone",),
        transport: str = "websocket",
        autoplay: bool = True,
    ) -> AsyncIterator[Page]:
        flags = [*FLAGS, f"--use-file-for-fake-audio-capture={wav}%noloop"] if wav else FLAGS
        if autoplay:
            flags = [*flags, "--autoplay-policy=no-user-gesture-required"]
        if "microphone" not in permissions:
            flags = [flag for flag in flags if flag != "--use-fake-ui-for-media-stream"]
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=chromium, args=flags, ignore_default_args=["--mute-audio"]
            )
            context = await browser.new_context(permissions=list(permissions))
            context.set_default_timeout(PATIENCE_MS)
            page = await context.new_page()
            page.on("console", lambda message: take_console(message, console_errors))
            page.on("pageerror", lambda error: console_errors.seen.append(str(error)))
            picked = f"localStorage['trunkline.transport'] ??= '{transport}'"
            await page.add_init_script(f"if (location.protocol === 'http:') {picked}")
            if init:
                await page.add_init_script(init)
            await page.goto(url)
            try:
                yield page
            finally:
                await browser.close()
        console_errors.check()

    return open_page


async def until(page: Page, expression: str, patience_s: float = PATIENCE_MS / 1000) -> None:
    """Wait for something to be true in the page. (Playwright's own `wait_for_function` breaks on the page's policy.)"""
    async with asyncio.timeout(patience_s):
        while not await page.evaluate(f"Boolean({expression})"):  # noqa: ASYNC110 (only the page knows)
            await asyncio.sleep(0.02)


def take_console(message: ConsoleMessage, errors: Expected) -> None:
    if message.type in ("error", "warning"):
        errors.seen.append(message.text)


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    async with StandIn(assets=ASSETS).serve() as server:
        yield server
