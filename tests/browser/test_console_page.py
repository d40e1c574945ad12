"""What the page shows: words, latency, who answers, and what to do when something is wrong."""

from __future__ import annotations

import pytest

from tests.browser.conftest import Expected, OpenPage, until
from tests.standins.ws_server import StandIn

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

LIVE = "trunkline.status === 'ready'"


async def test_both_sides_words_appear_as_they_come(stand_in: StandIn, open_page: OpenPage) -> None:
    async with open_page(stand_in.url + "/?tenant=acme") as page:
        await page.click("#start")
        caller = await stand_in.caller()
        assert caller.starts[0]["tenant"] == "acme"
        await caller.send("transcript_delta", role="user", turn=1, delta="Are you")
        await caller.send("transcript_delta", role="user", turn=1, delta=" open?")
        await page.wait_for_selector("#transcript .user.growing >> text=Are you open?")
        await caller.send("transcript", role="user", turn=1, text="Are you open today?")
        await caller.send("state", state="speaking")
        await caller.send("transcript_delta", role="assistant", turn=2, delta="Yes, until <b>nine</b>")
        await page.wait_for_selector("#transcript .assistant.growing >> text=Yes, until <b>nine</b>")
        assert await page.inner_text("#state") == "Speaking"
        await caller.send("transcript", role="assistant", turn=2, text="Yes, until", interrupted=True)
        await page.wait_for_selector("#transcript .assistant .cut")
        words = await page.locator("#transcript li p").all_inner_texts()
        spoken = await page.locator("#spoken p").all_text_contents()
    assert words == ["Are you open today?", "Yes, until"]
    assert spoken == ["You: Are you open today?", "Trunkline: Yes, until (interrupted)"]


async def test_typed_words_are_sent_and_shown_once(stand_in: StandIn, open_page: OpenPage) -> None:
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        await until(page, LIVE)
        await page.fill("#text", "Two tickets, please")
        await page.press("#text", "Enter")
        assert (await caller.wait_for("text"))["text"] == "Two tickets, please"
        await caller.send("transcript", role="user", turn=1, text="Two tickets, please")
        await caller.send("transcript", role="assistant", turn=2, text="Here they are.")
        await page.wait_for_selector("#transcript .assistant")
        assert await page.locator("#transcript .user").count() == 1
        assert await page.input_value("#text") == ""


async def test_latency_and_who_answers(stand_in: StandIn, open_page: OpenPage) -> None:
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        await caller.send(
            "backend", backend="cascade", providers={"stt": "local, rough", "llm": "rules", "tts": "robotic"}
        )
        await caller.send("latency", turn=2, total_ms=600, parts=[["endpoint", 200], ["first_token", 400]])
        await page.wait_for_selector("#latency-bar span")
        assert await page.inner_text("#latency-total") == "600ms"
        widths = await page.eval_on_selector_all("#latency-bar span", "bars => bars.map((bar) => bar.offsetWidth)")
        assert widths[1] / widths[0] == pytest.approx(2, rel=0.05)
        assert await page.locator("#backend dd").all_inner_texts() == ["cascade", "local, rough", "rules", "robotic"]


async def test_who_answers_is_a_name_and_more_on_demand(stand_in: StandIn, open_page: OpenPage) -> None:
    who = {"stt": "Ear: of wax; hears little [chosen: other: none]", "llm": "llama3.2:1b at localhost"}
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        await caller.send("backend", backend="cascade", providers=who)
        await page.click("#backend summary")
        await page.wait_for_selector("#backend [open] p >> text=of wax; hears little")
        await caller.send("backend", backend="cascade", providers=who)  # another worker took over
        await caller.send("state", state="thinking")
        await page.wait_for_selector("#state >> text=Thinking")
        assert await page.locator("#backend summary").all_inner_texts() == ["Ear"]
        assert await page.locator("#backend [open] p").all_inner_texts() == [
            "Of wax; hears little",
            "Chosen: other: none",
        ]
        assert (await page.locator("#backend dd").all_inner_texts())[-1] == "llama3.2:1b at localhost"


async def test_no_button_moves_during_a_call(stand_in: StandIn, open_page: OpenPage) -> None:
    places = "['start', 'interrupt', 'mute'].map((id) => document.getElementById(id).getBoundingClientRect().left)"
    async with open_page(stand_in.url) as page:
        await page.dblclick("#start")
        caller = await stand_in.caller()
        await until(page, LIVE)
        assert await page.get_attribute("#mute", "aria-pressed") == "false"  # the second click met nothing
        listening = await page.evaluate(places)
        assert await page.is_disabled("#interrupt")
        await caller.send("state", state="speaking")
        await page.wait_for_selector("#interrupt:enabled")
        assert await page.evaluate(places) == listening


async def test_interrupt_and_mute(stand_in: StandIn, open_page: OpenPage) -> None:
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        caller = await stand_in.caller()
        await caller.send("state", state="speaking")
        await page.click("#interrupt")
        await caller.wait_for("response.cancel")
        await caller.send("state", state="listening")
        await page.click("#mute")
        assert await page.get_attribute("#mute", "aria-pressed") == "true"
        await page.wait_for_selector("#state >> text=Muted")
        await page.wait_for_timeout(200)
        muted_from = caller.uplink_ms
        await caller.wait_for_uplink(muted_from + 1500)  # Chromium's fake microphone beeps every second
        assert not caller.samples[int(muted_from * 16) :].any()


async def test_a_denied_microphone_says_what_to_do_and_lets_one_type(stand_in: StandIn, open_page: OpenPage) -> None:
    async with open_page(stand_in.url, permissions=()) as page:
        await page.click("#start")
        problem = page.locator("#problem")
        await page.wait_for_selector("#problem[data-code=microphone_denied]")
        assert "The microphone is blocked" in await problem.inner_text()
        assert "Allow it in the site settings" in await problem.inner_text()
        assert await problem.get_attribute("role") == "alert"
        assert await page.inner_text("#status") == "Not connected"
        await page.get_by_role("button", name="Go on by typing").click()
        caller = await stand_in.caller()
        await caller.wait_for_uplink(500)
        assert not caller.samples.any()
        await page.fill("#text", "Hello")
        await page.press("#text", "Enter")
        await caller.wait_for("text")


NO_MICROPHONE = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', '%s') }"


@pytest.mark.parametrize(
    ("init", "code"),
    [
        (NO_MICROPHONE % "NotFoundError", "microphone_missing"),
        (NO_MICROPHONE % "NotReadableError", "microphone_busy"),
        ("Object.defineProperty(globalThis, 'isSecureContext', { value: false })", "insecure_context"),
        ("delete globalThis.AudioWorkletNode", "browser_unsupported"),
    ],
)
async def test_what_keeps_it_from_starting(stand_in: StandIn, open_page: OpenPage, init: str, code: str) -> None:
    async with open_page(stand_in.url, init=init) as page:
        await page.click("#start")
        await page.wait_for_selector(f"#problem[data-code={code}]")
        assert await page.inner_text("#problem p")
        assert await page.inner_text("#start") == "Start talking"


async def test_the_servers_own_words_are_shown(
    stand_in: StandIn, open_page: OpenPage, console_errors: Expected
) -> None:
    error = {
        "code": "unknown_tenant",
        "message": "There is no tenant acne.",
        "hint": "Did you mean acme?",
        "fatal": True,
    }
    stand_in.greet_with = (error, 4400)
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        await page.wait_for_selector("#problem[data-code=unknown_tenant]")
        assert "Did you mean acme?" in await page.inner_text("#problem")
        stand_in.greet_with = None
        await page.click("#start")
        caller = await stand_in.caller()
        await until(page, LIVE)
        assert await page.is_hidden("#problem")
        await caller.send("error", code="tts_failed", message="No voice just now.", hint="Wait.", fatal=False)
        await page.wait_for_selector("#problem.mild[data-code=tts_failed]")
        assert await page.evaluate(LIVE)
    assert not console_errors.seen


async def test_a_server_that_is_down(stand_in: StandIn, open_page: OpenPage, console_errors: Expected) -> None:
    console_errors.fragments.append("WebSocket connection to")
    stand_in.away = True
    async with open_page(stand_in.url) as page:
        await page.click("#start")
        await page.wait_for_selector("#problem[data-code=unreachable]")


async def test_the_keyboard_is_enough_and_every_control_has_a_name(stand_in: StandIn, open_page: OpenPage) -> None:
    async with open_page(stand_in.url) as page:
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.id") == "start"
        await page.keyboard.press("Enter")
        await stand_in.caller()
        await until(page, LIVE)
        nameless = await page.evaluate(
            """[...document.querySelectorAll('button, input')].filter(
              (control) => control.checkVisibility() && !(control.innerText || control.labels?.[0]?.textContent),
            ).length"""
        )
        assert nameless == 0


async def test_nothing_overflows_sideways(stand_in: StandIn, open_page: OpenPage) -> None:
    async with open_page(stand_in.url) as page:
        for width in (320, 390, 860, 1280):
            await page.set_viewport_size({"width": width, "height": 800})
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
