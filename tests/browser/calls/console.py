"""The page in a conversation in real time: what it was told, what its microphone gave, and what it rendered."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np
from playwright.async_api import Page

from benchmarks.faults import QUIET
from benchmarks.stack import ROOT, Stack
from tests.browser.conftest import ASSETS, Samples
from tests.waiting import until
from trunkline.audio.resample import Resampler
from workers.cascade.pieces import Cutter
from workers.cascade.sentences import Sentences
from workers.cascade.speakable import Reader
from workers.providers import demo, espeak
from workers.providers.base import ChatMessage

RATE_HZ = 16_000
LISTEN = (ASSETS / "listen.js").read_text(encoding="utf-8")
TENANTS = {"demo.yaml": (ROOT / "deploy/tenants/demo.yaml").read_text(encoding="utf-8"), "quiet.yaml": QUIET}
"""Both need no keys; the second does not greet."""
REFUSED = "WebSocket connection to"
"""How Chromium logs a socket that failed; a page cannot prevent that line."""

STORY, AGAIN = "tell me a story", "say that again"
FELT_MS = 2000
"""From the end of a question to its answer on a busy machine of two cores; what is usually felt is far below."""

LOUD = 500
"""Of 32768: speech, not the noise of a codec or a filter."""
SECTION = 4000
"""A quarter of a second: what is looked for in a recording at a time."""
ALIKE = 0.9
"""Correlation of an answer with what was heard of it, after Opus."""
AS_IT_IS = """if (navigator.mediaDevices) {
  const { mediaDevices } = navigator;
  const capture = mediaDevices.getUserMedia.bind(mediaDevices);
  const raw = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  mediaDevices.getUserMedia = ({ audio }) => capture({ audio: { ...audio, ...raw } });
}
"""
"""A microphone of a file has no echo of what is played: Chromium's canceller takes its speech for one meanwhile."""


@dataclass(frozen=True)
class Event:
    """What the page's client said; `at` in samples of the recording, `ms` on the page's clock."""

    at: int
    ms: float
    type: str
    detail: Any


@dataclass(frozen=True)
class Recording:
    """16 bits at RATE_HZ, on one clock."""

    microphone: Samples
    output: Samples


class Console:
    """The page in a conversation."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def start(self) -> None:
        await self.page.evaluate("heard.begin()")
        await self.page.click("#start")
        await self.event("state")

    async def type(self, text: str) -> None:
        await self.page.fill("#text", text)
        await self.page.press("#text", "Enter")

    async def events(self, kind: str) -> list[Event]:
        found = await self.page.evaluate("heard.events")
        return [Event(**event) for event in found if event["type"] == kind]

    async def event(self, kind: str, *, count: int = 1, timeout_s: float = 20, **fields: object) -> Event:
        """The `count`th event of a kind that has these fields, when it has come."""
        async with asyncio.timeout(timeout_s):
            while True:
                matching = [event for event in await self.events(kind) if _has(event.detail, fields)]
                if len(matching) >= count:
                    return matching[count - 1]
                await asyncio.sleep(0.05)

    async def session(self) -> str:
        return str((await self.event("session_ready")).detail["session_id"])

    async def recording(self) -> Recording:
        rate_hz = await self.page.evaluate("heard.rateHz")  # of the page's sound: over WebRTC the machine's own
        async with asyncio.timeout(20):
            await self.page.evaluate("heard.caughtUp()")
        channels = [base64.b64decode(channel) for channel in await self.page.evaluate("heard.samples()")]
        if rate_hz != RATE_HZ:
            channels = [(resampler := Resampler(rate_hz, RATE_HZ)).push(pcm) + resampler.flush() for pcm in channels]
        return Recording(*(np.frombuffer(channel, dtype="<i2") for channel in channels))

    async def words(self) -> list[tuple[str, str]]:
        """The transcript that is shown: who, and what."""
        rows = await self.page.locator("#transcript li").all()
        return [(await row.locator(".who").inner_text(), await row.locator("p").inner_text()) for row in rows]


def _has(detail: object, fields: dict[str, object]) -> bool:
    return not fields or (isinstance(detail, dict) and fields.items() <= detail.items())


OpenConsole: TypeAlias = Callable[..., contextlib.AbstractAsyncContextManager[Console]]


async def as_spoken(text: str) -> Samples:
    """What the cascade's voice makes of an answer, sample for sample."""
    sentences = Sentences(early=True)
    cut = [sentence for word in text.split(" ") for sentence in sentences.push(f"{word} ")]
    voice = espeak.text_to_speech({})
    reader, pcm = Reader(), b""
    for sentence in [*cut, *sentences.flush()]:
        resampler, cutter = Resampler(voice.rate_hz, RATE_HZ), Cutter(RATE_HZ)
        async for chunk in voice.speak(reader.read(sentence).spoken.strip()):
            if isinstance(chunk, bytes):
                pcm += b"".join(cutter.push(resampler.push(chunk)))
        pcm += b"".join(cutter.finish(resampler.flush()))
    await voice.close()
    return np.frombuffer(pcm, "<i2")


def answer_to(*asked: str) -> str:
    return demo.answer([ChatMessage("user", text) for text in asked], datetime.now(UTC))


async def over(stack: Stack, session: str) -> None:
    """Wait until this session has ended, everywhere."""

    async def closed() -> bool:
        return bool((await stack.record(session)).closed)

    await until(closed, f"the end of session {session}")


def edges(samples: Samples, begin: int = 0) -> tuple[int, int]:
    """The first and the last loud sample from `begin` on."""
    loud = np.flatnonzero(np.abs(samples[begin:].astype(int)) > LOUD) + begin
    assert len(loud), "nothing was heard"
    return int(loud[0]), int(loud[-1])


def ms(samples: float) -> int:
    return round(samples * 1000 / RATE_HZ)


def report(name: str, **figures: object) -> None:
    print(f"\n  {name}: " + ", ".join(f"{key} {value}" for key, value in figures.items()))  # noqa: T201 (for -s)


# --- speaking and hearing


def silence(output: Samples, longest_ms: int = 300) -> int:
    """Where the first silence of this length begins."""
    sounding = np.append(np.flatnonzero(output), len(output))
    pauses = np.diff(sounding)
    return int(sounding[np.argmax(pauses > longest_ms * RATE_HZ // 1000)])


def alike(output: Samples, expected: Samples) -> float:
    """How alike what was heard is, from 0 to 1: the median of what is meant to sound, section by section."""
    sections = [expected[start : start + SECTION] for start in range(0, len(expected) - SECTION, SECTION)]
    return float(np.median([_likeness(output, section) for section in sections if np.max(np.abs(section)) > LOUD]))


def _likeness(output: Samples, section: Samples) -> float:
    """The correlation of a section and the part of the output that is most like it."""
    whole, part = output.astype(float), section.astype(float)
    size = len(whole) + len(part)
    product = np.fft.irfft(np.fft.rfft(whole, size) * np.conj(np.fft.rfft(part, size)), size)[: len(whole) - len(part)]
    energy = np.concatenate([[0.0], np.cumsum(whole**2)])
    energies = energy[len(part) : -1] - energy[: -len(part) - 1]
    return float(np.max(product / np.sqrt(np.dot(part, part) * np.maximum(energies, 1e6))))
