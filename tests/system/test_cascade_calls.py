"""Calls to the cascade through everything, on the protocols of its vendors: one conversation with each of those that
hear, think and speak, by telephone and by browser. All calls are made at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from benchmarks.stack import Stack
from tests.standins import groq
from tests.system.callers import PATIENCE_S, Browser, Caller, Phone
from tests.system.cascade import (
    KEYS,
    STORY_WORDS,
    Vendors,
    deployed,
    number_of,
    recorded,
    tenant_of,
    told,
    vendors,
)

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

PAIRINGS = ["groq", "nova", "flux", "ink", "openai"]
CALLS = [("groq", "phone"), ("nova", "phone"), ("flux", "browser"), ("ink", "browser"), ("openai", "browser")]
PATIENT = "turn: {stop_ms: 640}"
"""Who only agrees is told the rest if their words are known by then, of vendors of whole recordings, too."""

HANG_UPS = 16
ONE_WORD = 1
"""To it is known what was heard of an answer that was cut: a word may have begun, and not be over."""


def providers(used: Vendors, name: str) -> str:
    deepgram = f"provider: deepgram, url: '{used.deepgram.url}', final_s: 8"
    cartesia = "provider: cartesia, first_audio_s: 8, next_audio_s: 8"
    compatible = f"provider: openai_compatible, base_url: {used.groq.url}/openai/v1, api_key: {groq.KEY}"
    stt, llm, tts = {
        "groq": ("provider: groq", "provider: groq", f"{cartesia}, rate_hz: 8000"),
        "nova": (f"{deepgram}, model: nova-3", "provider: groq", f"{cartesia}, rate_hz: 8000"),
        "flux": (f"{deepgram}, model: flux-general-en", "provider: groq", cartesia),
        "ink": ("provider: cartesia, final_s: 8", "provider: groq", cartesia),
        "openai": ("provider: openai", f"{compatible}, model: openai/gpt-oss-20b", "provider: openai"),
    }[name]
    return f"  stt: {{{stt}}}\n  llm: {{{llm}}}\n  tts: {{{tts}}}"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def used() -> AsyncIterator[Vendors]:
    async with vendors() as used:
        yield used


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stack(used: Vendors) -> AsyncIterator[Stack]:
    tenants = {name: tenant_of(name, at, providers(used, name), PATIENT) for at, name in enumerate(PAIRINGS)}
    async with deployed(used, tenants) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def calls(stack: Stack, used: Vendors) -> dict[tuple[str, str], BaseException | None]:
    """What became of each."""
    outcomes = await asyncio.gather(*(converse(stack, used, *call) for call in CALLS), return_exceptions=True)
    return dict(zip(CALLS, outcomes, strict=True))


@pytest.mark.parametrize(("vendors", "kind"), CALLS)
async def test_a_conversation(calls: dict[tuple[str, str], BaseException | None], vendors: str, kind: str) -> None:
    """Question, pause in mid-sentence, agreement, interruption, correction, silence, telephone keys, typed text."""
    if (wrong := calls[vendors, kind]) is not None:
        raise wrong


async def test_who_hangs_up_at_any_moment_leaves_nothing_behind(stack: Stack, used: Vendors) -> None:
    """Nothing fails for it, and no vendor goes on with what nobody hears."""
    dice, began_at = random.Random(5), len(stack.log_text())

    async def call(number: int) -> None:
        await asyncio.sleep(number * 0.2)
        async with Browser(stack, "groq") as caller:
            speaking = asyncio.create_task(caller.say("tell me a story"))
            await asyncio.sleep(dice.uniform(0.5, 5.5))
            speaking.cancel()
            await asyncio.wait([speaking])

    async with asyncio.TaskGroup() as calls:
        for number in range(HANG_UPS):
            calls.create_task(call(number))
    async with asyncio.timeout(PATIENCE_S):
        while used.cartesia.active:  # noqa: ASYNC110 (a context ends when its socket says so)
            await asyncio.sleep(0.05)
    logged = stack.log_text()[began_at:]
    assert "Traceback" not in logged, logged[-6000:]


async def converse(stack: Stack, used: Vendors, tenant: str, kind: str) -> None:
    caller = Phone(stack, tenant, number_of(PAIRINGS.index(tenant))) if kind == "phone" else Browser(stack, tenant)
    async with caller:
        await caller.until_heard("hello welcome")
        await caller.ask("what is the time", "you said what is the time")
        await pause_in_a_sentence(caller)
        await agree_and_interrupt(caller, used)
        await correct_oneself(caller, used)
        await be_silent(caller, used)
        if isinstance(caller, Browser):
            await type_something(caller)
        else:
            await press_keys(caller, used)
            await caller.ask("thank you bye", "you said thank you bye")
        said = await recorded(caller, [*told(used.asked(tenant)[-1]), ("assistant", "you said thank you bye")])
    assert said[:5] == [
        ("assistant", "hello welcome"),
        ("user", "what is the time"),
        ("assistant", "you said what is the time"),
        ("user", "my name is ada"),
        ("assistant", "you said my name is ada"),
    ]
    assert said[-2:] == [("user", "thank you bye"), ("assistant", "you said thank you bye")]
    assert [role for role, _ in said] == ["assistant", *["user", "assistant"] * ((len(said) - 1) // 2)]


async def pause_in_a_sentence(caller: Caller) -> None:
    """Longer than what ends other sentences: this one asks to be gone on with."""
    caller.mark()
    await caller.say("my name is", 0.9, "ada")
    await caller.until_heard("you said my name is ada")
    assert caller.heard == "you said my name is ada"
    await caller.until_silent()


async def agree_and_interrupt(caller: Caller, used: Vendors) -> None:
    """Who only agrees is told the rest. Who interrupts is not, and what they heard is what the model knows of it."""
    caller.mark()
    await caller.say("tell me a story")
    await caller.until_heard("one two")
    await caller.say("ok yes")
    await caller.until_heard("seven eight")
    asked_before = len(used.asked(caller.tenant))
    await caller.say("wait stop")
    await caller.until_heard("you said wait stop")
    heard = caller.heard.split()
    story = heard[: heard.index("you")]
    assert len(story) < len(STORY_WORDS) - 4, "the answer went on over the caller"
    assert_told(story, STORY_WORDS[: STORY_WORDS.index(story[-1]) + 1])
    assert len(used.asked(caller.tenant)) > asked_before
    messages = used.asked(caller.tenant)[-1]  # who is asked ahead, of half of it, is asked more often
    *_, (_, question), (role, known), (_, interruption) = told(messages)
    assert (question, role, interruption) == ("tell me a story", "assistant", "wait stop")
    assert known.split() == STORY_WORDS[: len(known.split())]
    assert abs(STORY_WORDS.index(known.split()[-1]) - STORY_WORDS.index(story[-1])) <= ONE_WORD, (known, story)
    await caller.until_silent()


def assert_told(heard: list[str], expected: list[str]) -> None:
    """Once each, and in order. The word in which it was paused may be in two halves: then it is heard twice, or not."""
    whole = [word for word, before in zip(heard, ["", *heard], strict=False) if word != before]
    assert len(heard) - len(whole) <= 1, heard
    heard = whole
    missing = [word for word in expected if word not in heard]
    assert heard == [word for word in expected if word in heard], heard
    assert len(missing) <= 1, missing


async def correct_oneself(caller: Caller, used: Vendors) -> None:
    caller.mark()
    await caller.say("book monday please")
    await caller.until_heard("you said")
    await caller.say("no tuesday")
    await caller.until_heard("you said no tuesday")
    *_, (_, first), (_, heard), (_, second) = told(used.asked(caller.tenant)[-1])
    assert (first, second) == ("book monday please", "no tuesday")
    assert "you said book monday please".startswith(heard)
    await caller.until_silent()


async def be_silent(caller: Caller, used: Vendors) -> None:
    asked_before = len(used.asked(caller.tenant))
    caller.mark()
    await asyncio.sleep(1.5)
    assert caller.heard == ""
    assert len(used.asked(caller.tenant)) == asked_before


async def press_keys(caller: Phone, used: Vendors) -> None:
    caller.mark()
    caller.call.dtmf("12#")
    await caller.until_heard("thank you")
    assert used.asked(caller.tenant)[-1][-1] == {"role": "user", "content": KEYS}
    await caller.until_silent()


async def type_something(caller: Browser) -> None:
    caller.mark()
    caller.client.type_text("thank you, bye!")
    await caller.until_heard("you said thank you bye")
    await caller.until_silent()
