"""The page behind a firewall that lets no UDP through but to a TURN server: coturn, with the passwords that the gateway
gives out."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from benchmarks.faults import speech
from benchmarks.stack import Stack
from tests.browser.calls.console import ALIKE, AS_IT_IS, LISTEN, RATE_HZ, Console, alike, as_spoken, edges, report
from tests.browser.calls.network import HOST, IP, Network, network
from tests.browser.conftest import Expected, OpenPage, until, write_wav

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

SECRET = "of-the-tests-only"
TURN_PORT = 21_600
RELAYED, MEDIA = (21_500, 21_549), (21_550, 21_599)
"""UDP ports of coturn and of the gateway."""
FORCE = """{
  const Real = RTCPeerConnection;
  globalThis.RTCPeerConnection = class extends Real {
    constructor(given) { super({ ...given, iceTransportPolicy: "POLICY" }); }
  };
}
"""
NO_ANSWER = "Failed to load resource"
"""How Chromium logs a request that was refused; a page cannot prevent that line."""


@pytest.fixture(scope="module")
def behind_a_firewall() -> Iterator[Network]:
    """The browser's network: of UDP, only what goes to the TURN server and comes from there."""
    iptables = shutil.which("iptables", path="/usr/sbin:/sbin:/usr/bin")
    if iptables is None or shutil.which("turnserver") is None:
        pytest.skip("needs iptables and coturn: apt-get install iptables coturn")
    with network() as made:
        assert IP is not None
        for rule in (f"OUTPUT -p udp ! --dport {TURN_PORT} -j DROP", f"INPUT -p udp ! --sport {TURN_PORT} -j DROP"):
            subprocess.run([IP, "netns", "exec", made.name, iptables, "-w", "-A", *rule.split()], check=True)
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def turn(behind_a_firewall: Network, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """coturn, at our end of the cable. Gives its URL."""
    here, folder = behind_a_firewall.ours, tmp_path_factory.mktemp("coturn")
    options = f"""-n --use-auth-secret --static-auth-secret={SECRET} --realm=trunkline.test --no-cli --no-tls --no-dtls
      --listening-ip={here} --relay-ip={here} --listening-port={TURN_PORT}
      --min-port={RELAYED[0]} --max-port={RELAYED[1]} --simple-log --log-file={folder}/log --pidfile={folder}/pid"""
    silent = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec("turnserver", *options.split(), stdout=silent, stderr=silent)
    try:
        await _until_it_listens(here)
        yield f"turn:{here}:{TURN_PORT}?transport=udp"
    finally:
        process.terminate()
        await process.wait()


async def _until_it_listens(host: str) -> None:
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(OSError), socket.create_connection((host, TURN_PORT), timeout=1):
                return
            await asyncio.sleep(0.05)


def deployed(here: Network, turn: str, secret: str) -> Stack:
    return here.stack(rtc_ports="{}-{}".format(*MEDIA), turn_urls=turn, turn_secret=secret)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(behind_a_firewall: Network, turn: str) -> AsyncIterator[Stack]:
    async with deployed(behind_a_firewall, turn, SECRET) as running:
        yield running


@pytest.fixture
def chromium(behind_a_firewall: Network, tmp_path: Path) -> Path:
    return behind_a_firewall.chromium(tmp_path)


@pytest.mark.parametrize("policy", ["all", "relay"])
async def test_a_call_by_turn(open_page: OpenPage, stack: Stack, tmp_path: Path, policy: str) -> None:
    """Also where the page does not ask for it: nothing else gets through. Words both ways, and the page says how."""
    pcm = bytes(8 * RATE_HZ) + await speech("my name is anna") + bytes(16 * RATE_HZ)
    wav = write_wav(tmp_path / "microphone.wav", np.frombuffer(pcm, "<i2"), RATE_HZ)
    force = FORCE.replace("POLICY", policy)
    origin = f"http://{HOST}:{stack.port}"
    async with open_page(
        f"{origin}/?tenant=quiet", wav=wav, init=force + AS_IT_IS + LISTEN, transport="webrtc"
    ) as page:
        console = Console(page)
        await console.start()
        await console.event("response_done")
        await console.event("transcript", role="assistant")
        recording = await console.recording()
        words = await console.words()
        timings = await page.evaluate("trunkline.timings")
        await until(page, "document.querySelector('#way').innerText.startsWith('Through TURN')")
    report(f"by TURN, {policy}", total=round(timings["total_ms"]), **{name: round(ms) for name, ms in timings["parts"]})
    assert words == [("You", "my name is anna"), ("Trunkline", "Nice to meet you, Anna.")]
    _, asked_to = edges(recording.microphone)
    assert alike(recording.output[asked_to:], await as_spoken("Nice to meet you, Anna.")) > ALIKE


async def test_a_secret_that_is_not_the_turn_servers(
    open_page: OpenPage, behind_a_firewall: Network, turn: str, console_errors: Expected
) -> None:
    """coturn lets nobody in: the page says that there is no way, what to do, and offers the other transport."""
    console_errors.fragments.append(NO_ANSWER)
    async with deployed(behind_a_firewall, turn, "another secret of the tests") as stack:
        origin = f"http://{HOST}:{stack.port}"
        async with open_page(f"{origin}/?tenant=quiet", transport="webrtc") as page:
            await page.click("#start")
            await page.wait_for_selector("#problem[data-code=ice_failed]", timeout=30_000)
            told = await page.inner_text("#problem")
            await page.get_by_role("button", name="Use WebSocket instead").click()
            await until(page, "trunkline.status === 'ready'")
    assert "No way was found" in told
    assert "TURN" in told
