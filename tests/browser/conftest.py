"""A real Chromium with a microphone that plays a WAV file, and the scripted stand-in of the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import wave
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, Playwright, async_playwright

from tests.browser.rtc_gateway import RtcGateway
from tests.conftest import CHROMIUM
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


def find(recording: np.ndarray[Any, Any], sent: Samples, length: int = 4000) -> int:
    """Where the middle of `sent` lies in the recording, as the index of its first sample there."""
    middle = len(sent) // 2
    pattern = sent[middle : middle + length].astype(float)
    size = len(recording) + length
    product = np.fft.irfft(np.fft.rfft(recording, size) * np.conj(np.fft.rfft(pattern, size)), size)
    return int(np.argmax(product)) - middle


@pytest.fixture
def console_errors() -> Expected:
    return Expected()


class Browsers:
    """Those that the tests of a file share, one for each set of flags: a page has a context, and nothing else, of its
    own. To start one takes more than a second of CPU, which is more than most pages are used for."""

    def __init__(self, playwright: Playwright) -> None:
        self._playwright = playwright
        self._shared: dict[tuple[str, ...], Browser] = {}

    async def launch(self, chromium: Path, flags: Sequence[str]) -> Browser:
        return await self._playwright.chromium.launch(
            executable_path=chromium, args=flags, ignore_default_args=["--mute-audio"]
        )

    async def shared(self, chromium: Path, flags: Sequence[str]) -> Browser:
        key = (str(chromium), *flags)
        running = self._shared.get(key)
        if running is None or not running.is_connected():
            running = self._shared[key] = await self.launch(chromium, flags)
        return running

    async def close(self) -> None:
        for browser in self._shared.values():
            await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browsers() -> AsyncIterator[Browsers]:
    async with async_playwright() as playwright:
        running = Browsers(playwright)
        try:
            yield running
        finally:
            await running.close()


@pytest.fixture
def open_page(chromium: Path, browsers: Browsers, console_errors: Expected) -> OpenPage:
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
        alone = wav is not None or chromium != CHROMIUM  # its microphone, or its network, is this test's
        browser = await (browsers.launch if alone else browsers.shared)(chromium, flags)
        context = await browser.new_context(permissions=list(permissions))
        try:
            context.set_default_timeout(PATIENCE_MS)
            page = await context.new_page()
            page.on("console", lambda message: take_console(message, console_errors))
            page.on("pageerror", lambda error: console_errors.seen.append(str(error)))
            picked = f"localStorage['trunkline.transport'] ??= '{transport}'"
            await page.add_init_script(f"if (location.protocol === 'http:') {picked}")
            if init:
                await page.add_init_script(init)
            await page.goto(url)
            yield page
        finally:
            await (browser if alone else context).close()
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


@pytest_asyncio.fixture(loop_scope="module")
async def stand_in() -> AsyncIterator[StandIn]:
    async with StandIn(assets=ASSETS).serve() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def gateway() -> AsyncIterator[RtcGateway]:
    async with RtcGateway(assets=ASSETS).serve() as server:
        yield server
