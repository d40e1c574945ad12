"""The page and its client over WebRTC when something goes wrong, for real: it is said in words, or mended unseen."""

from __future__ import annotations

import asyncio
import contextlib

import numpy as np
import pytest

from tests.browser.conftest import Expected, OpenPage, until
from tests.browser.rtc_gateway import RtcGateway
from tests.browser.test_webrtc_page import COLLECT, LIVE, REFUSED, SHOWN, collected, uplink

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


async def test_a_denied_microphone(gateway: RtcGateway, open_page: OpenPage) -> None:
    async with open_page(gateway.url, permissions=(), transport="webrtc") as page:
        await page.click("#start")
        await until(page, SHOWN.format("microphone_denied"))
        assert not gateway.peers
        await page.get_by_role("button", name="Go on by typing").click()
        peer = await gateway.peer()
        assert np.max(np.abs(await uplink(peer, 0.5))) < 5
        await page.fill("#text", "Hello")
        await page.press("#text", "Enter")
        await peer.wait_for("text")


async def test_no_way_for_udp(gateway: RtcGateway, open_page: OpenPage) -> None:
    """Neither side knows where the other is: as behind a firewall. The remedy is one click away."""
    gateway.unreachable = True
    async with open_page(gateway.url, transport="webrtc") as page:
        await page.click("#start")
        await until(page, SHOWN.format("ice_failed"), patience_s=20)
        assert "Try another network" in await page.inner_text("#problem")
        assert await page.inner_text("#status") == "Not connected"
        assert gateway.peers[0].hung_up, "the session was left behind"
        await page.get_by_role("button", name="Use WebSocket instead").click()
        await gateway.caller()
        await until(page, LIVE)
        assert await page.is_hidden("#problem")
        assert await page.is_checked("input[value=websocket]")


async def test_an_answer_that_is_no_answer(gateway: RtcGateway, open_page: OpenPage) -> None:
    gateway.garble = True
    async with open_page(gateway.url, transport="webrtc") as page:
        await page.click("#start")
        await until(page, SHOWN.format("connection_failed"))
        assert await page.inner_text("#problem p")


async def test_no_audio(gateway: RtcGateway, open_page: OpenPage) -> None:
    gateway.mute = True
    async with open_page(gateway.url, init=COLLECT, transport="webrtc") as page:
        await page.click("#start")
        await gateway.peer()
        await until(page, SHOWN.format("no_audio"))
        assert await page.evaluate(LIVE)
        await page.wait_for_timeout(1500)
        told = [problem["code"] for problem in await collected(page, "problem")]
    assert told == ["no_audio"]


async def test_a_closed_channel_is_opened_anew(gateway: RtcGateway, open_page: OpenPage) -> None:
    async with open_page(gateway.url, init=COLLECT, transport="webrtc") as page:
        await page.click("#start")
        peer = await gateway.peer()
        await until(page, LIVE)
        assert peer.channel is not None
        peer.tell("transcript", seq=7, role="user", turn=1, text="One")
        await page.wait_for_selector("#transcript .user")
        peer.channel.close()
        another = await gateway.peer(2)
        await until(page, LIVE)
        await until(page, "document.querySelector('#problem').hidden")
        assert [problem["code"] for problem in await collected(page, "problem")] == ["channel_closed"]
        assert another.offer["resume"] == "token-1"
        assert another.offer["received"]["seq"] == 7
        assert isinstance(another.offer["received"]["rtp_timestamp"], int)


async def test_the_gateways_own_words_are_shown(
    gateway: RtcGateway, open_page: OpenPage, console_errors: Expected
) -> None:
    console_errors.fragments.append(REFUSED)
    told = {"code": "no_tenant", "message": "no tenant 'acne'", "hint": "a tenant of this deployment"}
    gateway.refuse_with = (404, told)
    async with open_page(gateway.url, transport="webrtc") as page:
        await page.click("#start")
        await until(page, SHOWN.format("no_tenant"))
        assert "a tenant of this deployment" in (await page.inner_text("#problem")).lower()


async def test_a_gateway_that_is_gone(open_page: OpenPage, console_errors: Expected) -> None:
    console_errors.fragments.append(REFUSED)
    server = RtcGateway()
    async with contextlib.AsyncExitStack() as serving:
        await serving.enter_async_context(server.serve())
        async with open_page(server.url, transport="webrtc") as page:
            await page.wait_for_load_state("networkidle")
            await serving.aclose()
            await page.click("#start")
            await until(page, SHOWN.format("unreachable"))


# --- losing it, and coming back


async def test_silence_is_a_loss_and_the_old_one_stays_until_the_new_one_is_up(
    gateway: RtcGateway, open_page: OpenPage
) -> None:
    async with open_page(gateway.url, init=COLLECT, transport="webrtc") as page:
        await page.click("#start")
        peer = await gateway.peer()
        await until(page, LIVE)
        await page.wait_for_timeout(1000)
        peer.voice.mute = True
        gateway.hold = asyncio.Event()
        await until(page, "trunkline.status === 'reconnecting'")
        detail = await page.inner_text("#detail")
        await page.wait_for_timeout(300)
        assert peer.connection.connectionState == "connected"
        peer.tell("closing", seq=9, reason="resumed_elsewhere")  # as the gateway says it on the old one, just before
        gateway.hold.set()
        await gateway.peer(2)
        await until(page, LIVE)
        await peer.gone()
        stats = await page.evaluate("trunkline.stats")
        assert not peer.hung_up
        assert await page.inner_text("#transcript") == ""

    assert detail == "What you say now is not heard. One moment."
    assert stats["reconnects"] == 1


@pytest.mark.parametrize("half", [False, True], ids=["whole", "in the middle"])
async def test_an_answer_to_coming_back_that_is_lost_is_asked_for_again(
    gateway: RtcGateway, open_page: OpenPage, half: bool
) -> None:
    gateway.lose_half = half
    async with open_page(gateway.url, init=COLLECT, transport="webrtc") as page:
        await page.click("#start")
        peer = await gateway.peer()
        await until(page, LIVE)
        gateway.lose_answers = 1
        assert peer.channel is not None
        peer.tell("closing", seq=3, reason="restarting")
        await peer.until(lambda: len(gateway.unheard) == 1)
        peer.tell("closing", seq=4, reason="resumed_elsewhere")  # as the old gateway says when the new one has it
        await peer.connection.close()
        another = await gateway.peer(2)
        await until(page, "trunkline.stats.reconnects === 1")
        await until(page, LIVE)
        assert [offer["resume"] for offer in (gateway.unheard[0], another.offer)] == ["token-1"] * 2
        assert await collected(page, "problem") == []


async def test_a_gateway_that_goes_moves_its_callers_unseen(gateway: RtcGateway, open_page: OpenPage) -> None:
    async with open_page(gateway.url, init=COLLECT, transport="webrtc") as page:
        await page.click("#start")
        peer = await gateway.peer()
        await until(page, LIVE)
        peer.tell("closing", seq=3, reason="restarting")
        another = await gateway.peer(2)
        await peer.gone()
        assert another.offer["resume"] == "token-1"
        assert await collected(page, "status") == ["starting", "connecting", "ready"]
        assert await page.locator("#transcript li").count() == 0


async def test_a_token_that_is_refused_begins_anew(
    gateway: RtcGateway, open_page: OpenPage, console_errors: Expected
) -> None:
    console_errors.fragments.append(REFUSED)
    async with open_page(gateway.url, transport="webrtc") as page:
        await page.click("#start")
        peer = await gateway.peer()
        await until(page, LIVE)
        peer.tell("transcript", seq=1, role="user", turn=1, text="Once")
        await page.wait_for_selector("#transcript .user >> text=Once")
        gateway.refuse_tokens = True
        assert peer.channel is not None
        peer.channel.close()
        another = await gateway.peer(2)
        await until(page, LIVE)
        await until(page, SHOWN.format("resume_rejected"))
        assert "resume" not in another.offer
        another.tell("transcript", seq=1, role="user", turn=1, text="Again")
        await page.wait_for_selector("#transcript .user >> text=Again")
        lines = await page.locator("#transcript li").all_inner_texts()
    assert [line.split() for line in lines] == [
        ["You", "Once"],
        "A new conversation begins here".split(),
        ["You", "Again"],
    ]


ENDINGS = [
    ("provider", "Nobody could answer"),
    ("no_worker", "Nobody was free"),
    ("resumed_elsewhere", "goes on in another window"),
]


@pytest.mark.parametrize(("reason", "words"), ENDINGS)
async def test_why_the_gateway_ended_it(gateway: RtcGateway, open_page: OpenPage, reason: str, words: str) -> None:
    async with open_page(gateway.url, transport="webrtc") as page:
        await page.click("#start")
        peer = await gateway.peer()
        await until(page, LIVE)
        peer.tell("closing", seq=3, reason=reason)
        await peer.connection.close()
        await until(page, "trunkline.status === 'closed'")
        await until(page, SHOWN.format(reason))
        assert words in await page.inner_text("#problem")
        assert len(gateway.peers) == 1
