"""The line drops: the page plays on, comes back with its token, and sends what the lost socket swallowed."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from tests.browser.conftest import Expected, OpenPage, find, until
from tests.browser.test_console_audio import (
    assert_contains,
    known_noise,
    send_known_signal,
    start_tap,
    tapped,
)
from tests.standins.ws_server import RATE_HZ, StandIn

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

REFUSED = "WebSocket connection to"
"""How Chromium logs a socket that failed; a page cannot prevent that line."""


async def test_no_sample_is_lost_over_two_drops(
    stand_in: StandIn, open_page: OpenPage, console_errors: Expected
) -> None:
    console_errors.fragments.append(REFUSED)
    async with open_page(stand_in.url) as page:
        expected = await send_known_signal(page, 7 * RATE_HZ // 2)
        caller = await stand_in.caller()
        first_token = caller.token
        await page.evaluate("startSignal()")
        began_ms = caller.uplink_ms
        await caller.wait_for_uplink(began_ms + 1200)
        stand_in.drop(caller, forget_ms=700)
        await caller.connected.wait()
        await caller.wait_for_uplink(began_ms + 2400)
        stand_in.away = True
        stand_in.drop(caller, forget_ms=133)
        await asyncio.sleep(1)
        assert await page.inner_text("#status") == "Reconnecting"
        stand_in.away = False
        await caller.wait_for_uplink(began_ms + 4500)
        stats = await page.evaluate("trunkline.stats")
        assert await page.inner_text("#status") == "Connected"
        assert await page.is_hidden("#problem")

    assert_contains(caller.samples, expected)
    assert caller.starts[1]["resume"] == first_token
    assert set(caller.starts[1]["received"]) == {"turn", "ms", "seq"}
    assert stats["reconnects"] == 2
    assert stats["lostUplinkMs"] == 0


async def test_what_had_arrived_plays_on_and_the_rest_follows_exactly(
    stand_in: StandIn, open_page: OpenPage, console_errors: Expected
) -> None:
    console_errors.fragments.append(REFUSED)
    answer = known_noise(2 * RATE_HZ)
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        await until(page, "trunkline.output")
        await start_tap(page)
        speaking = asyncio.create_task(caller.say(3, answer.tobytes()))
        await caller.wait_for("played", count=6, turn=3)
        stand_in.drop(caller)
        await caller.wait_for("played", turn=3, ms=2000)
        await speaking
        await page.wait_for_timeout(50)
        recording, _ = await tapped(page)
        stats = await page.evaluate("trunkline.stats")

    received = caller.starts[1]["received"]
    assert received["turn"] == 3
    assert 500 <= received["ms"] <= 1200
    begins = find(recording, answer)
    ramp = RATE_HZ * 5 // 1000
    rendered = recording[begins + ramp : begins + len(answer)] * 32768
    assert np.max(np.abs(rendered - answer[ramp:])) < 1.5
    assert stats["underruns"] == 0


async def test_an_answer_to_coming_back_that_is_lost_is_asked_for_again(
    stand_in: StandIn, open_page: OpenPage, console_errors: Expected
) -> None:
    console_errors.fragments.append(REFUSED)
    async with open_page(stand_in.url) as page:
        expected = await send_known_signal(page, 9 * RATE_HZ // 2)
        caller = await stand_in.caller()
        token = caller.token
        await page.evaluate("startSignal()")
        began_ms = caller.uplink_ms
        await caller.wait_for_uplink(began_ms + 700)
        stand_in.lose_answers = 1
        stand_in.drop(caller, forget_ms=300)
        await until(page, "trunkline.status === 'reconnecting'")
        await until(page, "trunkline.status === 'ready'")
        await caller.wait_for_uplink(began_ms + 5500)
        stats = await page.evaluate("trunkline.stats")
        assert await page.is_hidden("#problem")

    assert [start["resume"] for start in caller.starts[1:]] == [token, token]
    assert stand_in.given_up_with == [1005], "with 1000 it would have hung up"
    assert_contains(caller.samples, expected)
    assert (stats["reconnects"], stats["lostUplinkMs"]) == (1, 0)


async def test_hanging_up_while_coming_back_ends_the_session(
    stand_in: StandIn, open_page: OpenPage, console_errors: Expected
) -> None:
    console_errors.fragments.append(REFUSED)
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        stand_in.lose_answers = 1
        stand_in.drop(caller)
        async with asyncio.timeout(10):
            while len(caller.starts) < 2:  # noqa: ASYNC110 (the stand-in's own)
                await asyncio.sleep(0.01)
        await page.click("#start")
        await caller.wait_for("stop")
        await until(page, "trunkline.status === 'closed'")


async def test_more_than_was_kept_comes_as_silence_and_is_said(
    stand_in: StandIn, open_page: OpenPage, console_errors: Expected
) -> None:
    """Media time must not shift. The ring is fed directly: no test waits 15 seconds for it."""
    async with open_page(stand_in.url) as page:
        result = await page.evaluate(
            """async () => {
              const { SentAudio } = await import("/client/sent-audio.js");
              const sent = new SentAudio(16000);
              for (let i = 0; i < 1000; i += 1) sent.push(new Int16Array(320).fill(i));
              const { blocks, lostMs } = sent.since(1990);
              const samples = blocks.flatMap((block) => [...block]);
              const inside = sent.since(19970).blocks.flatMap((block) => [...block]);
              return { lostMs, length: samples.length, first: samples.findIndex((s) => s !== 0), value: samples.at(-1),
                       endMs: sent.endMs, inside: [inside.length, inside[0], inside[160]] };
            }"""
        )
    assert result["endMs"] == 20_000
    assert result["length"] == (20_000 - 1990) * 16
    assert result["lostMs"] == 5000 - 1990
    assert result["first"] == (5000 - 1990) * 16
    assert result["value"] == 999
    assert result["inside"] == [480, 998, 999]
    assert not console_errors.seen


async def test_a_rejected_token_starts_over_and_says_so(
    stand_in: StandIn, open_page: OpenPage, console_errors: Expected
) -> None:
    console_errors.fragments.append(REFUSED)
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        await caller.wait_for_uplink(200)
        stand_in.refuse_tokens = True
        stand_in.drop(caller)
        second = await stand_in.caller(2)
        await second.wait_for_uplink(200)
        assert "resume" not in second.starts[0]
        await until(page, "document.querySelector('#problem').dataset.code === 'resume_rejected'")
        assert "A new conversation begins here" in await page.inner_text("#transcript")
        assert await page.inner_text("#status") == "Connected"


async def test_hanging_up_before_it_is_ready_leaves_one_session(stand_in: StandIn, open_page: OpenPage) -> None:
    async with open_page(stand_in.url) as page:
        await page.evaluate("for (const _ of 'three') document.querySelector('#start').click()")
        caller = await stand_in.caller()
        await caller.wait_for_uplink(500)
        assert len(stand_in.callers) == 1
        assert await page.is_hidden("#problem")


async def test_the_page_hangs_up_with_stop(stand_in: StandIn, open_page: OpenPage) -> None:
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        await until(page, "trunkline.status === 'ready'")
        await page.click("#start")
        await caller.wait_for("stop")
        await until(page, "trunkline.status === 'closed'")
        assert await page.inner_text("#state") == "Conversation ended"
