"""Tools in Chromium through everything real but the model: gateway, worker, relay, and the stand-in of Realtime."""

from __future__ import annotations

import json

import pytest

from benchmarks.stack import Stack
from tests.browser.conftest import OpenPage, until
from tests.standins.realtime import Call, Prompt, Realtime, Reply, Say, text_of

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

CLINIC = """
id: clinic
backend: relay
relay: {client_may_update: [instructions]}
tools: [{name: end_call}]
client_tools:
  - name: show_page
    description: Show the caller a page.
    parameters: {type: object, properties: {page: {type: string}}, required: [page]}
"""


def model(prompt: Prompt) -> Reply:
    """Shows a page when asked what is new, ends the call at thanks, and says what came of it."""
    last = prompt.last
    if last is None:
        return Say("hello")
    if last["type"] == "function_call_output":
        return Say("you see" if "shown" in last["output"] else "goodbye")
    if "thanks" in text_of(last):
        return Call("end_call")
    return Call("show_page", {"page": "news"})


async def test_a_model_uses_a_tool_of_the_page_and_then_ends_the_call(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of the tests")
    async with (
        Realtime(answer=model) as realtime,
        Stack(workers=1, tenants={"clinic.yaml": CLINIC}, openai_realtime_url=realtime.url) as stack,
        open_page(f"http://127.0.0.1:{stack.port}/?tenant=clinic") as page,
    ):
        await page.evaluate("trunkline.muted = true")  # the beeps of Chromium's microphone would interrupt
        await page.click("#start")
        await until(page, "trunkline.status === 'ready'")
        assert await page.evaluate("trunkline.updateSession({ instructions: 'Speak of ships.' })")
        await page.fill("#text", "what is new")
        await page.press("#text", "Enter")
        await page.wait_for_selector("#transcript .note >> text=Asked to show the page “news”")
        await page.wait_for_selector("#transcript .assistant:not(.growing) >> text=you see")
        await page.fill("#text", "thanks")
        await page.press("#text", "Enter")
        await page.wait_for_selector("#transcript .note >> text=The assistant ended the conversation")
        tools = await page.locator("#transcript .tool code").all_inner_texts()
        said = await page.locator("#transcript .assistant p").all_inner_texts()
        told = [json.loads(item["output"]) for item in realtime.session.items if item["type"] == "function_call_output"]
        log = stack.log_path.read_text(encoding="utf-8")
    assert tools == ["show_page", "end_call"]
    assert said == ["you see", "goodbye"], "the goodbye was heard before the end"
    assert told[0] == {"shown": "news"}
    assert realtime.session.config["instructions"].endswith("Speak of ships.")
    assert "tool 'end_call' ok after" in log
    assert "Traceback" not in log
