"""The page on a network of its own, whose cable is pulled in the middle of a conversation, and plugged in again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from benchmarks.stack import Stack
from tests.browser.calls.console import LISTEN, REFUSED, Console, answer_to, report
from tests.browser.calls.network import HOST, Network, network
from tests.browser.conftest import Expected, OpenPage, until

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

COUNT = "count to twenty"
"""Its answer lasts longer than the network is out."""
OUT_S = 5.0
BACK_WITHIN_S = 12.0
"""Its attempts are up to 2 s apart, and one that began while the cable was out takes up to 1.5 s."""
NOISE = (REFUSED, "Failed to load resource", "did not take our candidates", "net::ERR_")
"""How Chromium logs requests that nobody answered; a page cannot prevent these lines."""


@pytest.fixture(scope="module")
def cable() -> Iterator[Network]:
    with network() as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(cable: Network) -> AsyncIterator[Stack]:
    async with cable.stack(gateways=2) as running:
        yield running


@pytest.fixture
def origin(stack: Stack) -> str:
    return f"http://{HOST}:{stack.port}"


@pytest.fixture
def chromium(cable: Network, tmp_path: Path) -> Path:
    return cable.chromium(tmp_path)


async def test_a_cable_that_is_out_for_five_seconds(
    open_page: OpenPage, stack: Stack, cable: Network, origin: str, console_errors: Expected
) -> None:
    """In mid-answer: the page says so, comes back by itself, and the conversation goes on, with all that was said."""
    console_errors.fragments += NOISE
    async with open_page(f"{origin}/?tenant=quiet", init=LISTEN, transport="webrtc") as page:
        console = Console(page)
        await console.start()
        await console.type("my name is anna")
        await console.event("response_done")
        session = await console.session()
        await console.type(COUNT)
        await console.event("state", count=2, state="speaking")
        await asyncio.sleep(1)
        with cable.unplugged():
            began_ms = await page.evaluate("performance.now()")
            await until(page, "trunkline.status === 'reconnecting'")
            lost_ms = await page.evaluate("performance.now()") - began_ms
            shown = await page.inner_text("#status")
            await asyncio.sleep(max(0.0, OUT_S - lost_ms / 1000))
            in_again_ms = await page.evaluate("performance.now()")
        await until(page, "trunkline.status === 'ready'", BACK_WITHIN_S)
        back_ms = await page.evaluate("performance.now()") - in_again_ms
        await console.event("response_done", count=2, timeout_s=30)
        await console.type("what is my name")
        await console.event("response_done", count=3)
        words = await console.words()
        problems = [event.detail["code"] for event in await console.events("problem")]
        record = await stack.record(session)
        path = await page.inner_text("#connection")

    report("a cable out for 5 s", noticed_after_ms=round(lost_ms), back_after_ms=round(back_ms), link=record.link)
    assert shown == "Reconnecting"
    assert [text for who, text in words if who == "Trunkline"] == [
        "Nice to meet you, Anna.",
        answer_to(COUNT),
        "Your name is Anna.",
    ]
    assert problems == []
    assert record.link >= 1
    assert "Direct" in path
