"""Tools on the page and in its client: what a model asks of the browser, and what ours did."""

from __future__ import annotations

import asyncio

import pytest

from tests.browser.conftest import Expected, OpenPage, until
from tests.standins.ws_server import StandIn, ask

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

LIVE = "trunkline.status === 'ready'"


async def test_the_page_answers_for_its_tool_and_says_so(stand_in: StandIn, open_page: OpenPage) -> None:
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        assert await ask(caller, "show_page", page="prices") == {"shown": "prices"}
        await page.wait_for_selector("#transcript .note >> text=Asked to show the page “prices”")
        await page.wait_for_selector("#transcript .tool code >> text=show_page")


async def test_a_tool_that_the_page_lacks_is_refused_at_once(stand_in: StandIn, open_page: OpenPage) -> None:
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        for name in ("dance", "constructor"):
            assert await ask(caller, name) == {"error": f"this page has no {name}"}


async def test_what_a_tool_of_ours_did_is_a_quiet_line(stand_in: StandIn, open_page: OpenPage) -> None:
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        await caller.send("tool_result", call_id="c1", tool="transfer_call", ok=True, ms=12)
        await caller.send("tool_result", call_id="c2", tool="<i>end</i>", ok=False, ms=30_000)
        await page.wait_for_selector("#transcript .tool.failed")
        lines = await page.locator("#transcript .tool").all_inner_texts()
        assert await page.locator("#spoken p").count() == 0  # a screen reader need not hear of it
    assert lines == ["transfer_call took 12 ms", "<i>end</i> failed after 30000 ms"]


async def test_how_the_call_ended_is_said_in_words(stand_in: StandIn, open_page: OpenPage) -> None:
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        await caller.send("closing", reason="assistant_ended")
        await page.wait_for_selector("#transcript .note >> text=The assistant ended the conversation")


async def test_a_backend_of_one_model(stand_in: StandIn, open_page: OpenPage) -> None:
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        await caller.send("backend", backend="relay", providers={"model": "gpt-realtime-2.1: at OpenAI", "ear": "own"})
        await page.wait_for_selector("#backend dt >> nth=2")
        assert await page.locator("#backend dt").all_text_contents() == ["Backend", "Model", "ear"]
        assert await page.locator("#backend dd").all_inner_texts() == ["relay", "gpt-realtime-2.1", "own"]


async def test_the_client_updates_the_session_and_answers_with_any_json(stand_in: StandIn, open_page: OpenPage) -> None:
    async with open_page(stand_in.url) as page:
        assert not await page.evaluate("trunkline.updateSession({ voice: 'cedar' })"), "there is no session yet"
        await page.click("#start")
        caller = await stand_in.caller()
        await until(page, LIVE)
        assert await page.evaluate("trunkline.updateSession({ voice: 'cedar' })")
        assert (await caller.wait_for("session.update"))["session"] == {"voice": "cedar"}
        for value, output in (("'text'", "text"), ("[1, { a: null }]", [1, {"a": None}]), ("undefined", None)):
            await page.evaluate(f"trunkline.sendToolOutput('c1', {value})")
            assert (await caller.wait_for("function_call_output", output=output))["call_id"] == "c1"


async def test_what_is_answered_while_the_network_is_away_is_said_later(
    stand_in: StandIn, open_page: OpenPage, console_errors: Expected
) -> None:
    console_errors.fragments.append("WebSocket connection to")
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        await until(page, LIVE)
        stand_in.away = True
        stand_in.drop(caller)
        await until(page, "trunkline.status === 'reconnecting'")
        await page.evaluate("trunkline.sendToolOutput('c1', 'late')")
        stand_in.away = False
        assert (await caller.wait_for("function_call_output", call_id="c1"))["output"] == "late"
        await until(page, LIVE)
        await asyncio.sleep(0.1)
        assert len([message for message in caller.messages if message["type"] == "function_call_output"]) == 1


async def test_answers_for_a_session_that_is_gone_are_not_said(
    stand_in: StandIn, open_page: OpenPage, console_errors: Expected
) -> None:
    console_errors.fragments.append("WebSocket connection to")
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        await until(page, LIVE)
        stand_in.away = stand_in.refuse_tokens = True
        stand_in.drop(caller)
        await until(page, "trunkline.status === 'reconnecting'")
        await page.evaluate("trunkline.sendToolOutput('c1', 'late')")
        stand_in.away = False
        another = await stand_in.caller(2)
        await until(page, LIVE)
        await page.evaluate("trunkline.updateSession({})")
        await another.wait_for("session.update")
        assert [message["type"] for message in another.messages if message["type"] != "played"] == ["session.update"]
