"""`TrunklineClient` as others embed it: called twice, hung up at any moment, begun without a click."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Page

from tests.browser.conftest import ASSETS, Expected, OpenPage, until
from tests.browser.rtc_gateway import RtcGateway

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

LEDGER = (ASSETS / "ledger.js").read_text(encoding="utf-8")
TRANSPORTS = pytest.mark.parametrize("transport", ["webrtc", "websocket"])
NOTHING = {"peers": 0, "contexts": 0, "tracks": 0, "sockets": 0, "intervals": 0, "listeners": 0}


async def assert_nothing_is_left(page: Page) -> None:
    expected = ", ".join(f"{name}: {count}" for name, count in NOTHING.items())
    try:
        await until(page, f"Object.values(ledger.open()).every((count) => count === 0) /* {expected} */")
    except TimeoutError:
        pytest.fail(f"left open: {await page.evaluate('ledger.open()')}")


@TRANSPORTS
async def test_connecting_twice_makes_one_conversation_and_leaves_nothing(
    gateway: RtcGateway, open_page: OpenPage, transport: str
) -> None:
    async with open_page(gateway.url, init=LEDGER, transport=transport) as page:
        for _ in range(5):
            ready = await page.evaluate(
                """(transport) => {
                  const both = [trunkline.connect({ transport }), trunkline.connect({ transport })];
                  return Promise.all(both.map((each) => each.then(() => trunkline.status)));
                }""",
                transport,
            )
            assert ready == ["ready", "ready"]
            await page.evaluate("trunkline.disconnect()")
            await assert_nothing_is_left(page)
        made = await page.evaluate("Object.values(ledger.made).map(({ length }) => length)")
        assert await page.evaluate("performance.getEntriesByType('measure').length") <= 6, "they pile up"
    assert made == ([5, 5, 5, 0] if transport == "webrtc" else [0, 5, 5, 5])


@TRANSPORTS
async def test_hanging_up_wherever_it_is_told_a_status(
    gateway: RtcGateway, open_page: OpenPage, transport: str
) -> None:
    """A listener that hangs up is called from inside the client, which must not go on with what it was about to do."""
    async with open_page(gateway.url, init=LEDGER, transport=transport) as page:
        for number, at in enumerate(["starting", "connecting", "ready", "reconnecting"]):
            await page.evaluate(
                """([transport, at]) => {
                  const hangUp = ({ detail }) => detail === at && trunkline.disconnect();
                  trunkline.addEventListener("status", hangUp);
                  globalThis.over = trunkline.connect({ transport }).then(async () => {
                    while (trunkline.status !== "closed") await new Promise((resolve) => setTimeout(resolve, 20));
                    trunkline.removeEventListener("status", hangUp);
                  });
                }""",
                [transport, at],
            )
            if at == "reconnecting":
                await until(page, "trunkline.status === 'ready'")
                await drop(gateway, transport)
            async with asyncio.timeout(10):
                await page.evaluate("over")
            await assert_nothing_is_left(page)
            came = len(gateway.peers) + len(gateway.callers)
            await page.wait_for_timeout(300)
            assert len(gateway.peers) + len(gateway.callers) == came, f"it went on after {at}"
            assert number == 0 or came <= number


async def drop(gateway: RtcGateway, transport: str) -> None:
    if transport == "websocket":
        gateway.drop(gateway.callers[-1])
        return
    peer = await gateway.peer(len(gateway.peers))
    assert peer.channel is not None
    peer.channel.close()


async def test_hanging_up_while_the_gateway_is_asked(gateway: RtcGateway, open_page: OpenPage) -> None:
    """The session that its answer begins is nobody's: it is ended, not left to wait for its caller."""
    gateway.hold = asyncio.Event()
    async with open_page(gateway.url, init=LEDGER, transport="webrtc") as page:
        await page.click("#start")
        await until(page, "performance.getEntriesByName('trunkline: offer').length === 1")
        await page.click("#start")
        assert await page.inner_text("#status") == "Not connected"
        gateway.hold.set()
        async with asyncio.timeout(10):
            while not (gateway.peers and gateway.peers[0].hung_up):  # noqa: ASYNC110 (only the stand-in knows)
                await asyncio.sleep(0.02)
        await assert_nothing_is_left(page)
        assert await page.is_hidden("#problem")


@TRANSPORTS
async def test_what_nobody_clicked_sounds_at_the_next_key(
    gateway: RtcGateway, open_page: OpenPage, console_errors: Expected, transport: str
) -> None:
    """Playwright's `evaluate` counts as a click: the page connects by itself, and is asked nothing until it has."""
    console_errors.fragments.append("AudioContext was not allowed to start")
    begin = f"trunkline.connect({{ transport: '{transport}', microphone: false }})"
    init = f"{LEDGER}; addEventListener('load', () => setTimeout(() => {begin}, 100)); globalThis.told = [];"
    listen = (
        "addEventListener('load', () => trunkline.addEventListener('problem', (event) => told.push(event.detail.code)))"
    )
    async with open_page(gateway.url, init=init + listen, autoplay=False) as page:
        await (gateway.peer() if transport == "webrtc" else gateway.caller())
        await page.wait_for_timeout(1500)
        assert await page.evaluate("trunkline.status") == "ready"
        assert await page.evaluate("told") == ["audio_suspended"]
        assert await page.evaluate("trunkline.output.context.state") == "suspended"
        await page.keyboard.press("Shift")
        await until(page, "trunkline.output.context.state === 'running'")
        await page.evaluate("trunkline.disconnect()")
        await page.click("h1")  # which wakes nothing that is over
        await assert_nothing_is_left(page)
        assert await page.evaluate("told") == ["audio_suspended"]


async def test_a_microphone_that_is_chosen_is_used_later_too_and_the_last_choice_counts(
    gateway: RtcGateway, open_page: OpenPage
) -> None:
    asked = """globalThis.asked = [];
    {
      const { mediaDevices } = navigator;
      const capture = mediaDevices.getUserMedia.bind(mediaDevices);
      mediaDevices.getUserMedia = async (constraints) => {
        asked.push(constraints.audio.deviceId);
        if (asked.length === 2) await new Promise((resolve) => setTimeout(resolve, 300)); // a slow one
        return capture(constraints);
      };
    }"""
    async with open_page(gateway.url, init=LEDGER + asked, transport="webrtc") as page:
        await page.evaluate("navigator.mediaDevices.getUserMedia({ audio: {} }).then((s) => s.getTracks()[0].stop())")
        first, second = [
            device["id"] for device in await page.evaluate("trunkline.constructor.devices().then((d) => d.microphones)")
        ][:2]
        await page.evaluate("asked.length = 0")
        await page.evaluate("(id) => trunkline.useMicrophone(id)", first)
        await page.evaluate("trunkline.connect({ transport: 'webrtc' })")
        assert await page.evaluate("asked") == [{"ideal": first}]
        await page.evaluate(
            "([a, b]) => Promise.all([trunkline.useMicrophone(a), trunkline.useMicrophone(b)])", [first, second]
        )
        live = await page.evaluate(
            "ledger.made.tracks.filter(({ readyState }) => readyState === 'live').map((t) => t.getSettings().deviceId)"
        )
        assert live == [second]
        await page.evaluate("trunkline.disconnect()")
        await assert_nothing_is_left(page)
