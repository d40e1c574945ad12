"""Calls change their backend among real processes: because it fails, or because somebody wants it; between two workers
of which each serves both, in one process or from one to the other."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from benchmarks.stack import Stack
from cli.sessions import move_to
from tests.standins import groq, tones
from tests.standins.groq import Groq
from tests.standins.realtime import Drop, Prompt, Realtime, Refuse, Reply, Say, text_of
from tests.system.callers import Browser, Caller, Phone
from tests.system.cascade import Vendors, deployed, number_of, recorded, script, tenant_of, troubles, vendors

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

log = logging.getLogger(__name__)

QUESTION, ANSWER = "what is the time", "you said what is the time"
NEXT, NEXT_ANSWER = "tell me the weather", "you said tell me the weather"
GREETING = "hello welcome"
DEAD_AIR_S = 3.0
LATE_S = 0.8
"""How much later anything may be heard beside other tests on two cores."""
SILENT = "fillers: {phrases: []}"
STAGES = """
  stt: {{provider: deepgram, url: '{deepgram}'}}
  llm: {{provider: groq, base_url: '{groq}'}}
  tts: {{provider: cartesia}}
"""


def model(prompt: Prompt) -> Reply:
    """Says what it is told to say, or what the caller said; and a greeting word for word."""
    own = prompt.response.get("instructions") or ""
    if '"' in own:
        return Say(tones.known(own.split('"')[1]))
    asked = next(item for item in reversed(prompt.items) if item.get("role") == "user")
    return Say(f"you said {' '.join(tones.words_of(text_of(asked)))}")


class WideBrowser(Browser):
    """A page's microphone at 24 kHz: more than a cascade asks for, and all that a relay can use."""

    rate_hz = 24_000


@dataclass
class Scene:
    stack: Stack
    realtime: Realtime
    failing: Groq
    """The language model of the tenant `failing`."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def scene() -> AsyncIterator[Scene]:
    failing = Groq(answers=script, latency_s=0.05)
    async with vendors() as used, groq.serve(failing), Realtime(answer=model) as realtime:
        tenants = {
            "failing": tenant_of("failing", 1, _stages(used, failing.url), f"fallback_backend: relay\n{SILENT}"),
            "wanted": tenant_of("wanted", 2, _stages(used, used.groq.url), f"fallback_backend: relay\n{SILENT}"),
            "refused": _relayed(used),
        }
        async with deployed(used, tenants, openai_realtime_url=realtime.url) as stack:
            try:
                yield Scene(stack, realtime, failing)
            except BaseException as error:
                error.add_note(troubles(stack))
                raise


def _stages(used: Vendors, url: str) -> str:
    return STAGES.format(deepgram=used.deepgram.url, groq=url)


def _relayed(used: Vendors) -> str:
    tenant = tenant_of("refused", 3, _stages(used, used.groq.url), f"fallback_backend: cascade\n{SILENT}")
    return tenant.replace("backend: cascade", "backend: relay", 1)


async def backend_of(caller: Caller) -> str:
    return (await caller.stack.record(await caller.session())).backend


CONVERSATION = [
    ("assistant", GREETING),
    ("user", QUESTION),
    ("assistant", ANSWER),
    ("user", NEXT),
    ("assistant", NEXT_ANSWER),
]


async def test_a_question_that_the_cascade_cannot_answer_is_answered_by_the_relay(scene: Scene) -> None:
    async with Phone(scene.stack, "failing", number_of(1)) as caller:
        await caller.until_heard(GREETING)
        scene.failing.answers = lambda body: groq.Manner(fault="broken")
        await caller.ask(QUESTION, ANSWER)
        silence_s = caller.dead_air_s()
        log.info("%.2f s from the question to the other backend's answer", silence_s)
        assert silence_s <= DEAD_AIR_S + LATE_S
        assert await backend_of(caller) == "relay"
        await caller.ask(NEXT, NEXT_ANSWER)
        await recorded(caller, CONVERSATION)


async def test_a_question_that_the_relay_cannot_answer_is_answered_by_the_cascade(scene: Scene) -> None:
    async with WideBrowser(scene.stack, "refused") as caller:
        await caller.until_heard(GREETING)
        await caller.until_silent()
        scene.realtime.inject(Refuse(401))
        scene.realtime.session.inject(Drop())
        await caller.ask(QUESTION, ANSWER)
        assert await backend_of(caller) == "cascade"
        await caller.ask(NEXT, NEXT_ANSWER)
        await recorded(caller, CONVERSATION)


async def test_a_call_goes_where_somebody_wants_it_and_back_and_knows_all_that_was_said(scene: Scene) -> None:
    async with Browser(scene.stack, "wanted") as caller:
        await caller.until_heard(GREETING)
        await caller.ask(QUESTION, ANSWER)
        await _move(caller, "relay")
        await caller.ask(NEXT, NEXT_ANSWER)
        await _move(caller, "cascade")
        await caller.ask("thank you bye", "you said thank you bye")
        await recorded(caller, [*CONVERSATION, ("user", "thank you bye"), ("assistant", "you said thank you bye")])


async def _move(caller: Caller, backend: str) -> None:
    """As `trunkline sessions move` does."""
    assert await move_to(caller.stack.redis, await caller.session(), backend, 10)
