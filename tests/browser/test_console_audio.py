"""Sound through the page: what the microphone hears reaches the server, what the server sends is really rendered."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.async_api import Page

from tests.browser.conftest import MIC_RATE_HZ, Expected, OpenPage, Samples, find, loudest_hz, tone, until, write_wav
from tests.standins.ws_server import RATE_HZ, StandIn

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

# Firefox refuses to convert a microphone's rate; there the worklets resample. The same refusal, in Chromium:
REFUSES_RATES = """
const Native = AudioContext;
globalThis.AudioContext = class extends Native {
  constructor(options = {}) {
    if (options.sampleRate === undefined) { super({ ...options, sampleRate: 48000 }); return; }
    super(options);
    this.createMediaStreamSource = () => { throw new DOMException("rates differ", "NotSupportedError"); };
  }
};
"""
CLEAR_WITHIN_MS = 30.0
"""Ramp of 4 ms, a render quantum of 8 ms at 16 kHz, and the way between the page's threads on a busy machine."""
REPORT_EVERY_MS = 100


async def start_tap(page: Page) -> None:
    """Record what the page plays. The recording runs when this returns: what comes next is heard from its start."""
    await page.evaluate(
        "async () => { globalThis.tapped = await (await import('/assets/tap.js')).tap(trunkline.output) }"
    )
    await until(page, "tapped.samples.length > 0")


async def tapped(page: Page) -> tuple[np.ndarray[Any, np.dtype[np.float64]], dict[str, float]]:
    recording = await page.evaluate("({samples: tapped.samples, marks: tapped.marks})")
    return np.array(recording["samples"], dtype=np.float64), dict(recording["marks"])


def known_noise(count: int) -> Samples:
    return np.random.default_rng(3).integers(-8000, 8000, count).astype(np.int16)


@pytest.mark.parametrize("init", ["", REFUSES_RATES], ids=["native", "resampled"])
async def test_the_microphone_reaches_the_server_at_the_right_rate(
    stand_in: StandIn, open_page: OpenPage, tmp_path: Path, init: str
) -> None:
    wav = write_wav(tmp_path / "mic.wav", tone(440, 8, MIC_RATE_HZ))
    async with open_page(stand_in.url, wav=wav, init=init) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        began = asyncio.get_running_loop().time()
        await caller.wait_for_uplink(2000)
        took_s = asyncio.get_running_loop().time() - began
        stats = await page.evaluate("trunkline.stats")

    assert caller.starts == [{"type": "start", "audio": {"rate_hz": 16000, "encoding": "binary"}}]
    assert took_s > 1.6, "faster than it can have been heard"
    assert stats["framesSent"] >= 100
    heard = caller.samples[RATE_HZ // 2 : 2 * RATE_HZ]
    assert loudest_hz(heard, RATE_HZ) == pytest.approx(440, abs=1.5)
    assert np.sqrt(np.mean(heard.astype(float) ** 2)) > 500


async def test_no_captured_sample_is_lost_or_altered(stand_in: StandIn, open_page: OpenPage) -> None:
    async with open_page(stand_in.url) as page:
        count = 2 * RATE_HZ
        expected = await send_known_signal(page, count)
        caller = await stand_in.caller()
        await page.evaluate("startSignal()")
        await caller.wait_for_uplink(caller.uplink_ms + 3000)
    assert_contains(caller.samples, expected)


async def send_known_signal(page: Page, count: int) -> Samples:
    """Connect with a known signal instead of the microphone; `startSignal()` in the page starts it."""
    signal = await page.evaluate(
        """async (count) => {
          const { knownSignal, signalSource } = await import("/assets/tap.js");
          await trunkline.connect({ transport: "websocket", source: signalSource(count) });
          return [...knownSignal(count)];
        }""",
        count,
    )
    return np.array(signal, dtype=np.int16)


def assert_contains(uplink: Samples, expected: Samples) -> None:
    sounding = np.flatnonzero(uplink)
    assert len(sounding), "only silence arrived"
    begins = int(sounding[0]) - int(np.flatnonzero(expected)[0])
    got = uplink[begins : begins + len(expected)]
    assert len(got) == len(expected)
    wrong = np.flatnonzero(got != expected)
    assert len(wrong) == 0, f"{len(wrong)} samples differ, first at {wrong[0]}"


async def test_the_answer_is_rendered_whole_and_acknowledged(stand_in: StandIn, open_page: OpenPage) -> None:
    answer = known_noise(RATE_HZ)
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        await until(page, "trunkline.output")
        await start_tap(page)
        await caller.send("state", state="speaking")
        await caller.say(4, answer.tobytes())
        await caller.wait_for("played", turn=4, ms=1000)
        await caller.send("response_done", turn=4)
        await page.wait_for_timeout(100)
        recording, _ = await tapped(page)
        stats = await page.evaluate("trunkline.stats")

    begins = find(recording, answer)
    ramp = RATE_HZ * 5 // 1000
    rendered = recording[begins + ramp : begins + len(answer)] * 32768
    assert np.max(np.abs(rendered - answer[ramp:])) < 1.5
    assert begins > 0
    assert not recording[:begins].any()
    assert not recording[begins + len(answer) + ramp :].any()
    assert stats["underruns"] == 0
    reports = [message["ms"] for message in caller.messages if message["type"] == "played"]
    assert reports == sorted(reports)
    assert max(np.diff([0, *reports])) <= REPORT_EVERY_MS + 1


async def test_the_answer_is_resampled_where_the_browser_keeps_its_rate(stand_in: StandIn, open_page: OpenPage) -> None:
    async with open_page(stand_in.url, init=REFUSES_RATES) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        await until(page, "trunkline.output")
        await start_tap(page)
        await caller.say(4, tone(1000, 1, RATE_HZ).tobytes())
        await caller.wait_for("played", turn=4, ms=1000)
        await page.wait_for_timeout(100)
        recording, _ = await tapped(page)
        assert await page.evaluate("trunkline.output.context.sampleRate") == 48000

    sounding = np.flatnonzero(np.abs(recording) > 0.01)
    heard = recording[sounding[0] : sounding[-1]]
    assert len(heard) == pytest.approx(48000, abs=150)
    assert loudest_hz(heard, 48000) == pytest.approx(1000, abs=2)
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(8000 / 32768 / np.sqrt(2), rel=0.02)


async def test_clear_silences_at_once_and_without_a_click(stand_in: StandIn, open_page: OpenPage) -> None:
    voice = tone(300, 3, RATE_HZ)
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        await until(page, "trunkline.output")
        await start_tap(page)
        await page.evaluate("trunkline.addEventListener('clear', () => tapped.mark('clear'))")
        speaking = asyncio.create_task(caller.say(4, voice.tobytes()))
        await caller.wait_for("played", count=8, turn=4)
        await caller.clear(4)
        await speaking
        await caller.send("audio", turn=4, offset_ms=2000)  # late: a dead turn must not speak
        assert caller.websocket is not None
        await caller.websocket.send_bytes(voice[:6400].tobytes())
        await page.wait_for_timeout(400)
        recording, marks = await tapped(page)
        last = [message for message in caller.messages if message["type"] == "played"][-1]

    sounding = np.flatnonzero(np.abs(recording) > 0)
    silent_after_ms = (sounding[-1] - marks["clear"]) / RATE_HZ * 1000
    assert silent_after_ms < CLEAR_WITHIN_MS
    heard_ms = (sounding[-1] - sounding[0]) / RATE_HZ * 1000
    assert last["ms"] == pytest.approx(heard_ms, abs=6)
    steepest = 2 * np.pi * 300 / RATE_HZ * 8000 / 32768
    assert np.max(np.abs(np.diff(recording))) < 1.3 * steepest


async def test_pause_holds_and_resume_goes_on_where_it_was(stand_in: StandIn, open_page: OpenPage) -> None:
    answer = known_noise(RATE_HZ)
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        await until(page, "trunkline.output")
        await start_tap(page)
        speaking = asyncio.create_task(caller.say(4, answer.tobytes()))
        await caller.wait_for("played", count=3, turn=4)
        await caller.send("pause", turn=4)
        await page.wait_for_timeout(500)
        held_ms = [message["ms"] for message in caller.messages if message["type"] == "played"][-1]
        await caller.send("resume", turn=4)
        await caller.wait_for("played", turn=4, ms=1000)
        await speaking
        recording, _ = await tapped(page)
    sounding = np.flatnonzero(recording)
    silence_ms = np.max(np.diff(sounding)) / RATE_HZ * 1000
    assert silence_ms > 300
    assert (sounding[-1] - sounding[0]) / RATE_HZ * 1000 == pytest.approx(1000 + silence_ms, abs=20)
    assert 300 <= held_ms < 700


async def test_a_late_packet_counts_as_an_underrun_and_makes_no_click(stand_in: StandIn, open_page: OpenPage) -> None:
    voice = tone(300, 1, RATE_HZ)
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        await until(page, "trunkline.output")
        await start_tap(page)
        await caller.say(4, voice[:8100].tobytes())
        await caller.wait_for("played", turn=4, ms=506)
        await page.wait_for_timeout(100)
        await caller.say(4, voice[8100:].tobytes(), offset_ms=506.25)
        await caller.wait_for("played", turn=4, ms=1000)
        await page.wait_for_timeout(50)
        recording, _ = await tapped(page)
        stats = await page.evaluate("trunkline.stats")
    assert stats["underruns"] == 1
    steepest = 2 * np.pi * 300 / RATE_HZ * 8000 / 32768
    assert np.max(np.abs(np.diff(recording))) < 1.3 * steepest


async def test_a_turn_shorter_than_the_jitter_buffer_is_played(stand_in: StandIn, open_page: OpenPage) -> None:
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        await until(page, "trunkline.output")
        await caller.say(2, tone(300, 0.04, RATE_HZ).tobytes())
        await asyncio.wait_for(caller.wait_for("played", turn=2, ms=40), 2)


async def test_the_speaker_meter_and_levels_show_what_is_heard(
    stand_in: StandIn, open_page: OpenPage, console_errors: Expected
) -> None:
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        await until(page, "trunkline.output")
        speaking = asyncio.create_task(caller.say(2, tone(300, 1.5, RATE_HZ).tobytes()))
        await until(page, "trunkline.levels.speaker > 0.1")
        await until(page, "Number(document.querySelector('#speaker').ariaValueNow) >= 50")
        await speaking
    assert not console_errors.seen
