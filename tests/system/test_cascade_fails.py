"""A vendor fails at every stage of the cascade, in every way that vendors have, with a fallback and without one.

What counts is measured at the caller's ear: what they hear, and the longest time in which they hear nothing. Each way
of failing has a call of its own; they are made some at a time.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from benchmarks.stack import Stack
from tests.standins import deepgram, groq
from tests.standins.cartesia import Behaviour, Cartesia
from tests.standins.cartesia import Fault as VoiceFault
from tests.standins.deepgram import Deepgram
from tests.standins.groq import Fault as GroqFault
from tests.standins.groq import Groq, Manner
from tests.system.callers import WORD_MS, Browser, Caller, Phone, stammers, without
from tests.system.cascade import (
    STORY_WORDS,
    STT_S,
    Vendors,
    deployed,
    number_of,
    script,
    tenant_of,
    troubles,
    vendors,
)

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

log = logging.getLogger(__name__)

DEAD_AIR_S = 3.0
LATE_S = 1.5
"""How much later anything may be heard beside other tests on two cores."""

MOST_STAMMERS = 1
"""No answer is said twice: one word of it may be, where it was cut."""
RETRY_AFTER_S = 2
AT_ONCE, APART_S = 7, 0.3
"""More calls at the same moment are more than two cores can do in real time."""

WAITING = ["please hold", "wait a moment please"]
SORRY = "sorry say it again"
MANNERS = f"""
fillers: {{phrases: [{", ".join(WAITING)}]}}
apology: {SORRY}
"""
SPARE_STT = "fallback: {{provider: deepgram, url: '{deepgram}', final_s: 8, deadline_s: 8}}"
SPARE_LLM = (
    "fallback: {{provider: openai_compatible, base_url: '{groq}/openai/v1', api_key: {key}, "
    "model: openai/gpt-oss-20b, deadline_s: 8}}"
)
SPARE_TTS = "fallback: {provider: openai, first_s: 8, next_s: 8, deadline_s: 8}"
"""Nothing is wrong with these, however busy the machine is."""


@dataclass
class Trouble:
    """A vendor that fails. `begin` makes it fail, `end` lets it work again."""

    begin: Callable[[], None] = lambda: None
    end: Callable[[], None] = lambda: None
    stt: str = "provider: deepgram, url: '{deepgram}', final_s: 8, deadline_s: 8"
    llm: str = "provider: groq"
    tts: str = "provider: cartesia, first_audio_s: 8, next_audio_s: 8, deadline_s: 8"
    question: str = "what is the time"
    answer: str = "you said what is the time"
    serving: list[Any] = field(default_factory=list)
    """What is to be served meanwhile."""


def hearing(fault: GroqFault) -> Trouble:
    """Of Groq's Whisper."""
    vendor = Groq()
    vendor.hears.latency_s = STT_S
    trouble = Trouble(stt="provider: groq, base_url: '{vendor}'", serving=[vendor])
    trouble.begin, trouble.end = _set(vendor.hears, fault), _set(vendor.hears, None)
    return trouble


def streaming(fault: deepgram.Mute | deepgram.Drop | deepgram.Refuse) -> Trouble:
    vendor = Deepgram(answer_ms=STT_S * 1000)
    trouble = Trouble(stt="provider: deepgram, url: '{vendor}', ready: 0", serving=[vendor])
    trouble.begin, trouble.end = _set(vendor, fault), _set(vendor, None)
    return trouble


def thinking(fault: GroqFault, after: int = 0) -> Trouble:
    """Of Groq's language models; `after` so many words of a story, if there are any."""
    faults: list[GroqFault] = []

    def answers(body: dict[str, Any]) -> Manner:
        manner = script(body)
        manner.fault, manner.fault_after = faults[0] if faults else None, after
        return manner

    vendor = Groq(answers=answers, retry_after_s=RETRY_AFTER_S)
    trouble = Trouble(llm="provider: groq, base_url: '{vendor}'", serving=[vendor])
    trouble.begin, trouble.end = lambda: faults.append(fault), faults.clear
    if after:
        trouble.question, trouble.answer = "tell me a story", " ".join(STORY_WORDS)
    return trouble


def speaking(fault: VoiceFault) -> Trouble:
    """Of Cartesia's voices: in the middle of a sentence, after two whole words."""
    vendor = Cartesia(Behaviour(word_ms=WORD_MS, chunk_ms=2 * WORD_MS, first_audio_ms=80, speed=5, expire_s=5))
    trouble = Trouble(tts="provider: cartesia, url: '{vendor}'", serving=[vendor])
    trouble.begin, trouble.end = _set(vendor.behaviour, fault), _set(vendor.behaviour, None)
    return trouble


def _set(what: Any, fault: object) -> Callable[[], None]:
    return lambda: setattr(what, "fault", fault)


def nobody(stage: str) -> Trouble:
    """An address at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"provider: groq, base_url: 'http://127.0.0.1:{free.getsockname()[1]}'"
    return Trouble(stt=address) if stage == "stt" else Trouble(llm=address)


REPLACED: dict[str, Callable[[], Trouble]] = {
    "stt-mute": lambda: hearing("silent"),
    "stt-broken": lambda: hearing("broken"),
    "stt-429": lambda: hearing("rate_limited"),
    "stt-nobody": lambda: nobody("stt"),
    "nova-mute": lambda: streaming(deepgram.Mute()),
    "nova-dropped": lambda: streaming(deepgram.Drop(600)),
    "nova-refused": lambda: streaming(deepgram.Refuse(503)),
    "llm-mute": lambda: thinking("silent"),
    "llm-429": lambda: thinking("rate_limited"),
    "llm-nobody": lambda: nobody("llm"),
    "llm-stalled": lambda: thinking("stalled", after=8),
    "llm-cut": lambda: thinking("cut", after=8),
    "tts-mute": lambda: speaking("mute"),
    "tts-stalled": lambda: speaking("stalled"),
    "tts-dropped": lambda: speaking("dropped"),
}
ALONE: dict[str, Callable[[], Trouble]] = {
    "stt-alone": lambda: hearing("silent"),
    "llm-alone": lambda: thinking("silent"),
    "429-alone": lambda: thinking("rate_limited"),
}
CALLS = REPLACED | ALONE
Heard = tuple[str, float, str]
"""What was heard in answer to the question, the longest silence until its end, and what to the next question."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def heard() -> AsyncIterator[dict[str, Heard | BaseException]]:
    async with vendors() as used, AsyncExitStack() as serving:
        troubled = {name: make() for name, make in CALLS.items()}
        tenants = {}
        for at, (name, trouble) in enumerate(troubled.items()):
            for vendor in trouble.serving:
                await serving.enter_async_context(groq.serve(vendor) if isinstance(vendor, Groq) else vendor)
            tenants[name] = tenant_of(name, at, stages(used, name, trouble), MANNERS)
        async with deployed(used, tenants) as stack:
            room = asyncio.Semaphore(AT_ONCE)
            calls = (call(stack, room, name, trouble) for name, trouble in troubled.items())
            results = dict(zip(CALLS, await asyncio.gather(*calls, return_exceptions=True), strict=True))
            log.info("%s", results)
            for wrong in results.values():
                if isinstance(wrong, BaseException):
                    wrong.add_note(troubles(stack))
            yield results


def stages(used: Vendors, name: str, trouble: Trouble) -> str:
    spares = {
        "stt": SPARE_STT.format(deepgram=used.deepgram.url),
        "llm": SPARE_LLM.format(groq=used.groq.url, key=groq.KEY),
        "tts": SPARE_TTS,
    }
    vendor = trouble.serving[0].url if trouble.serving else ""
    lines = []
    for stage, spare in spares.items():
        options = getattr(trouble, stage).format(deepgram=used.deepgram.url, vendor=vendor)
        lines.append(f"  {stage}: {{{options}{', ' + spare if name in REPLACED else ''}}}")
    return "\n".join(lines)


async def call(stack: Stack, room: asyncio.Semaphore, name: str, trouble: Trouble) -> Heard:
    at = list(CALLS).index(name)
    await asyncio.sleep(at * APART_S)
    caller: Caller = Phone(stack, name, number_of(at)) if at % 2 else Browser(stack, name)
    async with room, caller:
        await caller.until_heard("hello welcome")
        await caller.until_silent()
        caller.mark()
        trouble.begin()
        await caller.say(trouble.question)
        await caller.until_answered(SORRY if name in ALONE else trouble.answer, WAITING)
        await caller.until_silent()
        heard, silence_s = caller.heard, caller.dead_air_s()
        if name in ALONE:
            trouble.end()
            await asyncio.sleep(RETRY_AFTER_S)
        caller.mark()
        await caller.say("thank you bye")
        await caller.until_answered("you said thank you bye", WAITING)
        return heard, silence_s, caller.heard


@pytest.mark.parametrize("trouble", REPLACED)
async def test_who_fails_is_replaced_in_mid_turn(heard: dict[str, Heard | BaseException], trouble: str) -> None:
    outcome = heard[trouble]
    if isinstance(outcome, BaseException):
        raise outcome
    answer, silence_s, next_answer = outcome
    assert without(WAITING, answer) == CALLS[trouble]().answer
    assert stammers(WAITING, answer) <= MOST_STAMMERS, answer
    assert silence_s <= DEAD_AIR_S + LATE_S
    assert without(WAITING, next_answer) == "you said thank you bye"


@pytest.mark.parametrize("trouble", ALONE)
async def test_where_nobody_replaces_it_the_caller_is_told(
    heard: dict[str, Heard | BaseException], trouble: str
) -> None:
    """And the call goes on, once it is back."""
    outcome = heard[trouble]
    if isinstance(outcome, BaseException):
        raise outcome
    apology, silence_s, next_answer = outcome
    assert without(WAITING, apology) == SORRY
    assert stammers(WAITING, apology) <= MOST_STAMMERS, apology
    assert silence_s <= DEAD_AIR_S + LATE_S
    assert without(WAITING, next_answer) == "you said thank you bye"
