"""The page and its client over WebRTC, against a gateway that does what the test says, wrong things too."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamTrack
from playwright.async_api import Page

from tests.browser.conftest import MIC_RATE_HZ, OpenPage, loudest_hz, tone, until, write_wav
from tests.browser.rtc_gateway import RATE_HZ, Peer, RtcGateway

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

LIVE = "trunkline.status === 'ready'"
SHOWN = "document.querySelector('#problem').dataset.code === '{}' && !document.querySelector('#problem').hidden"
COLLECT = """globalThis.collected = [];
addEventListener("load", () => {
  for (const type of ["status", "problem", "connection", "devices"]) {
    trunkline.addEventListener(type, ({ detail }) => collected.push([type, detail, performance.now()]));
  }
});"""
REFUSED = "Failed to load resource"
"""How Chromium logs an answer that is an error, or none; a page cannot prevent that line."""


async def collected(page: Page, kind: str) -> list[Any]:
    return [detail for type_, detail, _ in await page.evaluate("collected") if type_ == kind]


async def uplink(peer: Peer, seconds: float) -> np.ndarray[Any, np.dtype[np.int16]]:
    """What comes from the page next: mono at 48 kHz."""
    track = next(receiver.track for receiver in peer.connection.getReceivers())
    assert isinstance(track, MediaStreamTrack)
    parts: list[Any] = []
    while len(parts) < seconds * 50:
        frame = await asyncio.wait_for(track.recv(), 10)
        parts.append(frame.to_ndarray()[0, ::2])  # type: ignore[union-attr]
    return np.concatenate(parts)


# --- connecting


async def test_it_connects_and_says_how(gateway: RtcGateway, open_page: OpenPage, tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "mic.wav", tone(440, 8, MIC_RATE_HZ))
    async with open_page(gateway.url + "/?tenant=acme", wav=wav, init=COLLECT, transport="webrtc") as page:
        await page.click("#start")
        peer = await gateway.peer()
        assert peer.offer["tenant"] == "acme"
        assert "resume" not in peer.offer
        await until(page, LIVE)
        heard = (await uplink(peer, 1.5))[RATE_HZ // 2 :]
        await until(page, "collected.some(([type, detail]) => type === 'connection' && detail.buffer_ms !== null)")
        connection = (await collected(page, "connection"))[-1]
        timings = await page.evaluate("trunkline.timings")
        marks = await page.evaluate("performance.getEntriesByType('measure').map(({ name }) => name)")
        shown = await page.inner_text("#connection")
        ready = await page.inner_text("#ready summary")
        assert "" in peer.candidates, "the gateway was not told that there are no more"

    assert loudest_hz(heard, RATE_HZ) == pytest.approx(440, abs=1.5)
    parts = [name for name, _ in timings["parts"]]
    assert parts == ["microphone", "offer", "answer", "ice", "dtls", "channel"]
    assert sum(part for _, part in timings["parts"]) == pytest.approx(timings["total_ms"])
    assert [f"trunkline: {name}" for name in parts] == marks
    assert ready == f"Ready in {math.floor(timings['total_ms'] + 0.5)}ms"  # as JavaScript rounds
    assert connection["transport"] == "webrtc"
    assert connection["path"] in ("host udp", "prflx udp")
    assert connection["codec"] == "opus 48 kHz"
    assert 0 <= connection["round_trip_ms"] < 1000
    assert 0 <= connection["lost_down"] <= 1
    assert shown.startswith("Direct, ") or shown.startswith("Direct, through NAT")
    assert "Round trip" in shown
    assert "Lost" in shown


async def test_the_answer_is_heard_and_said_to_be(gateway: RtcGateway, open_page: OpenPage) -> None:
    async with open_page(gateway.url, transport="webrtc") as page:
        await page.click("#start")
        peer = await gateway.peer()
        await until(page, LIVE)
        await page.wait_for_timeout(600)
        assert not peer.messages, "silence was reported"
        peer.tell("state", seq=1, state="speaking")
        peer.voice.hz = 700
        await until(page, "trunkline.levels.speaker > 0.1")
        await until(page, "Number(document.querySelector('#speaker').ariaValueNow) >= 50")
        await page.wait_for_timeout(1000)
        peer.tell("state", seq=2, state="listening")
        peer.voice.hz = 0
        await page.wait_for_timeout(1500)
        reports = [message["rtp_timestamp"] for message in peer.messages if message["type"] == "played"]
        await page.wait_for_timeout(600)
        assert len([message for message in peer.messages if message["type"] == "played"]) == len(reports)

    assert len(reports) >= 5
    steps = np.diff(reports) % 2**32
    assert np.median(steps) / RATE_HZ == pytest.approx(0.2, abs=0.1)


async def test_text_goes_both_ways(gateway: RtcGateway, open_page: OpenPage) -> None:
    async with open_page(gateway.url, transport="webrtc") as page:
        await page.click("#start")
        peer = await gateway.peer()
        await until(page, LIVE)
        await page.fill("#text", "Two tickets, please")
        await page.press("#text", "Enter")
        assert (await peer.wait_for("text"))["text"] == "Two tickets, please"
        peer.tell("transcript", seq=1, role="user", turn=1, text="Two tickets, please")
        peer.tell("transcript", seq=2, role="assistant", turn=2, text="Here they are.")
        await page.wait_for_selector("#transcript .assistant >> text=Here they are.")
        assert await page.locator("#transcript .user").count() == 1
        assert await page.evaluate("trunkline.updateSession({ voice: 'cedar' })")
        assert (await peer.wait_for("session.update"))["session"] == {"voice": "cedar"}
        peer.tell("tool_call", seq=3, call_id="c1", tool="show_page", arguments={"page": "prices"})
        assert (await peer.wait_for("function_call_output"))["output"] == {"shown": "prices"}
        peer.tell("state", seq=4, state="speaking")
        await page.click("#interrupt")
        await peer.wait_for("response.cancel")


async def test_mute_sends_silence_and_unmute_does_not(gateway: RtcGateway, open_page: OpenPage, tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "mic.wav", tone(440, 20, MIC_RATE_HZ))
    async with open_page(gateway.url, wav=wav, transport="webrtc") as page:
        await page.click("#start")
        peer = await gateway.peer()
        await until(page, LIVE)
        loud = (await uplink(peer, 1.5))[RATE_HZ:]
        await page.click("#mute")
        await page.wait_for_selector("#state >> text=Muted")
        muted = (await uplink(peer, 1.5))[RATE_HZ:]
        await page.click("#mute")
        again = (await uplink(peer, 1.5))[RATE_HZ:]
    assert np.sqrt(np.mean(loud.astype(float) ** 2)) > 300
    assert np.max(np.abs(muted)) < 5
    assert np.sqrt(np.mean(again.astype(float) ** 2)) > 300


async def test_hanging_up_is_said_and_closes_the_connection(gateway: RtcGateway, open_page: OpenPage) -> None:
    async with open_page(gateway.url, transport="webrtc") as page:
        await page.click("#start")
        peer = await gateway.peer()
        await until(page, LIVE)
        await page.click("#start")
        await until(page, "trunkline.status === 'closed'")
        await peer.wait_for("stop")
        await peer.gone()
        assert await page.is_hidden("#problem")
        assert await page.is_hidden("#connection")


async def test_a_page_that_is_left_hangs_up(gateway: RtcGateway, open_page: OpenPage) -> None:
    async with open_page(gateway.url, transport="webrtc") as page:
        await page.click("#start")
        peer = await gateway.peer()
        await until(page, LIVE)
        await page.goto("about:blank")
        await peer.gone()
        await peer.wait_for("stop")


async def test_hanging_up_before_it_is_ready_leaves_nothing(gateway: RtcGateway, open_page: OpenPage) -> None:
    async with open_page(gateway.url, transport="webrtc") as page:
        await page.evaluate("for (const _ of 'four') document.querySelector('#start').click()")
        await page.wait_for_timeout(1500)
        assert await page.evaluate("trunkline.status") == "closed"
        assert await page.is_hidden("#problem")
        assert all(peer.hung_up for peer in gateway.peers)


# --- devices


async def test_the_connection_is_picked_once(gateway: RtcGateway, open_page: OpenPage) -> None:
    async with open_page(gateway.url, transport="webrtc") as page:
        assert await page.is_checked("input[value=webrtc]")
        await page.check("input[value=websocket]")
        await page.reload()
        assert await page.is_checked("input[value=websocket]")
        await page.click("#start")
        await gateway.caller()
        await until(page, LIVE)
        assert await page.is_disabled("input[value=webrtc]")
        assert not gateway.peers


async def test_without_webrtc_the_websocket_is_offered(gateway: RtcGateway, open_page: OpenPage) -> None:
    async with open_page(gateway.url, init="delete globalThis.RTCPeerConnection", transport="webrtc") as page:
        assert await page.is_checked("input[value=websocket]")
        assert await page.is_disabled("input[value=webrtc]")
        await page.click("#start")
        await gateway.caller()


CONSTRAINTS = """globalThis.asked = [];
globalThis.streams = [];
globalThis.unplugged = false;
const capture = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (constraints) => {
  asked.push(constraints.audio);
  if (unplugged) throw new DOMException("", "NotFoundError");
  streams.push(await capture(constraints));
  return streams.at(-1);
};
const route = HTMLMediaElement.prototype.setSinkId;
globalThis.routed = [];
HTMLMediaElement.prototype.setSinkId = function (id) { routed.push(id); return route.call(this, id); };"""


async def test_devices_are_picked_during_a_call_and_remembered(gateway: RtcGateway, open_page: OpenPage) -> None:
    async with open_page(gateway.url, init=CONSTRAINTS, transport="webrtc") as page:
        await page.click("#start")
        peer = await gateway.peer()
        await until(page, LIVE)
        await until(page, "document.querySelector('#microphone').options.length >= 3")
        await page.select_option("#microphone", index=2)
        await until(page, "asked.length === 2 && trunkline.levels.mic >= 0")
        await page.select_option("#loudspeaker", index=1)
        await until(page, "routed.length === 1")
        assert len(await uplink(peer, 0.5)) > 0
        chosen = await page.eval_on_selector_all("select", "all => all.map(({ value }) => value)")
        assert [await page.evaluate("asked[1].deviceId.exact"), await page.evaluate("routed[0]")] == chosen
        assert await page.evaluate("asked.every((audio) => audio.echoCancellation && audio.noiseSuppression)")
        await page.reload()
        await until(page, "document.querySelector('#microphone').options.length >= 3")
        assert await page.eval_on_selector_all("select", "all => all.map(({ value }) => value)") == chosen
        await page.click("#start")
        await until(page, LIVE)
        assert await page.evaluate("asked[0].deviceId.ideal") == chosen[0]
        assert await page.evaluate("routed") == [chosen[1]]


async def test_a_microphone_that_goes_away(gateway: RtcGateway, open_page: OpenPage) -> None:
    """Chromium's cannot be unplugged: its event is sent. Another is used, if there is one."""
    gone = "streams.at(-1).getTracks()[0].dispatchEvent(new Event('ended'))"
    async with open_page(gateway.url, init=CONSTRAINTS, transport="webrtc") as page:
        await page.click("#start")
        peer = await gateway.peer()
        await until(page, LIVE)
        await page.evaluate(gone)
        await until(page, SHOWN.format("microphone_changed"))
        assert len(await uplink(peer, 0.5)) > 0
        assert await page.evaluate("asked.length") == 2
        await page.evaluate(f"unplugged = true; {gone}")
        await until(page, SHOWN.format("microphone_lost"))
        await page.fill("#text", "I go on by typing")
        await page.press("#text", "Enter")
        await peer.wait_for("text")
        await page.evaluate("unplugged = false; navigator.mediaDevices.dispatchEvent(new Event('devicechange'))")
        await until(page, SHOWN.format("microphone_changed"))
        assert await page.evaluate(LIVE)


# --- the pure parts


async def test_the_pulse(gateway: RtcGateway, open_page: OpenPage) -> None:
    """Looks at (packets, ms), and what each says."""
    tables = [
        ([(0, 0), (0, 1000), (0, 2900)], ["alive", "alive", "alive"]),
        ([(0, 500), (0, 1500), (0, 2500), (0, 3500), (0, 4000)], [*["alive"] * 3, "never", "never"]),
        ([(3, 0), (3, 500), (3, 1400), (3, 1450)], ["alive", "alive", "alive", "lost"]),
        ([(3, 0), (3, 60_000), (3, 60_500), (4, 61_000)], ["alive", "alive", "alive", "alive"]),  # it was asleep
    ]
    async with open_page(gateway.url) as page:
        for looks, verdicts in tables:
            said = await page.evaluate(
                """async (looks) => {
                  const { Pulse } = await import("/client/pulse.js");
                  const pulse = new Pulse(0);
                  return looks.map(([received, ms]) => pulse.look(received, ms));
                }""",
                looks,
            )
            assert said == verdicts


async def test_the_gauge(gateway: RtcGateway, open_page: OpenPage) -> None:
    """The window forgets what is older than 10 s; a late packet takes its loss back."""
    counts = [(0, 0, 0), (1_000, 50, 0), (2_000, 95, 5), (3_000, 149, 1), (20_000, 900, 50), (21_000, 950, 50)]
    async with open_page(gateway.url) as page:
        lost = await page.evaluate(
            """async (counts) => {
              const { Gauge } = await import("/client/connection.js");
              const gauge = new Gauge();
              const inbound = { type: "inbound-rtp", kind: "audio", codecId: "c" };
              const codec = { mimeType: "audio/opus", clockRate: 48000 };
              return counts.map(([ms, packetsReceived, packetsLost]) => {
                const report = new Map([["i", { ...inbound, packetsReceived, packetsLost }], ["c", codec]]);
                return gauge.read(report, ms).lost_down;
              });
            }""",
            counts,
        )
    assert lost == [0, 0, pytest.approx(5 / 100), pytest.approx(1 / 150), 0, 0]
