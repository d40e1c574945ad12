"""kill -9 of the worker while its calls to the cascade are in every state a turn can be in: each goes on elsewhere.

All calls are with one worker, and are brought to their states at once; then it is killed. Each of them proves three
things: the caller hears every answer once, the model is told all that was said, and the conversation's record has it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from benchmarks.stack import Stack
from tests.standins import tones
from tests.standins.cartesia import Behaviour, Cartesia
from tests.standins.groq import Manner
from tests.standins.voiced import LEAD_MS
from tests.system.callers import WORD_MS, Browser, Caller, Phone
from tests.system.cascade import (
    STORY_WORDS,
    Vendors,
    deployed,
    number_of,
    recorded,
    script,
    tenant_of,
    told,
    troubles,
    vendors,
)
from workers.context import UNKNOWN

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

SETTLED_S = 4.5
"""From the moment in which all calls are answered to the kill: time enough for each to come to its state."""

APART_S = 0.1
"""Callers do not say their names in chorus."""

LEASE_MS = 4000
"""The death is announced. Who takes eleven calls at once, beside other tests, is busy and not dead."""

TWO_WORDS = 2
"""That much the edge may have played since it last told a worker, when that one dies."""

STAGES = """
  stt: {{{stt}}}
  llm: {{provider: groq}}
  tts: {{provider: cartesia, first_audio_s: 5, next_audio_s: 5{url}}}
"""
"""Deadlines are far: nothing is wrong with these vendors."""
PATIENT = "turn: {stop_ms: 800, finished_ms: 800, unfinished_ms: 1600}"
"""A pause that is long enough to be killed in."""
UNHURRIED = "turn: {barge_in_ms: 800}"
"""An interruption that takes so long to be one."""


@dataclass
class Scene:
    """One call: what happens until the worker is killed, and what must have become of it after."""

    caller: Caller
    used: Vendors
    mute: Cartesia
    killed_s: float = 0.0
    """When the worker is killed, by the event loop's clock."""
    said: tuple[str, ...] = ()
    """What the caller said, and must be known to the model in the end, in this order."""

    async def until(self, before_s: float) -> None:
        """So long before the worker is killed."""
        await asyncio.sleep(self.killed_s - before_s - asyncio.get_running_loop().time())

    async def say(self, text: str, *, ends_s: float) -> None:
        """Speak, so that it ends `ends_s` before the worker is killed; or begins, if that is later, so long after."""
        lasts_s = (LEAD_MS + tones.WORD_MS * len(text.split())) / 1000
        self.said += (text,)
        await self.until(ends_s + lasts_s)
        await self.caller.say(text)

    async def heard(self, words: str) -> None:
        """The next answer is this, and nothing else."""
        await self.caller.until_heard(words)
        await self.caller.until_silent()
        assert self.caller.heard == words


Acts = Callable[[Scene], Awaitable[None]]


async def listening(scene: Scene) -> None:
    await scene.until(-1)
    await scene.say("what is the time", ends_s=-3)
    await scene.heard("you said what is the time")


async def user_speaking(scene: Scene) -> None:
    await scene.say("tell me what is the time in winter please", ends_s=-0.8)
    await scene.heard("you said tell me what is the time in winter please")


async def endpointing(scene: Scene) -> None:
    await scene.say("what is the time", ends_s=0.3)
    await scene.heard("you said what is the time")


async def waiting_for_the_transcript(scene: Scene) -> None:
    """Its speech-to-text (Groq's, which no other of these calls uses) is silent until then."""
    scene.used.groq.hears.fault = "silent"
    await scene.say("what is the time", ends_s=1.4)
    await scene.until(0)
    assert scene.used.groq.transcriptions[-1].text == "what is the time"
    scene.used.groq.hears.fault = None
    await scene.heard("you said what is the time")


async def waiting_for_the_model(scene: Scene) -> None:
    """Who was asked in vain is asked again: see `answers`."""
    await scene.say("what is the time", ends_s=1.3)
    await scene.until(0)
    assert told(scene.used.asked(scene.caller.tenant)[-1])[-1] == ("user", "what is the time")
    await scene.heard("you said what is the time")


async def in_mid_sentence_of_the_model(scene: Scene) -> None:
    """It fell silent in its third sentence; another goes on where it stopped."""
    await scene.say("tell me a story", ends_s=1.8)
    await scene.heard(" ".join(STORY_WORDS))


async def waiting_for_the_voice(scene: Scene) -> None:
    """Its voice is mute until then."""
    scene.mute.behaviour.fault = "mute"
    await scene.say("what is the time", ends_s=1.4)
    await scene.until(0)
    assert scene.mute.contexts, "the voice was not asked"
    scene.mute.behaviour.fault = None
    await scene.heard("you said what is the time")


async def speaking(scene: Scene) -> None:
    await scene.say("tell me a story", ends_s=2.2)
    await scene.until(0)
    assert scene.caller.heard.split()[:2] == STORY_WORDS[:2]
    await scene.heard(" ".join(STORY_WORDS))


async def interrupted(scene: Scene) -> None:
    """The answer is paused, and nobody knows yet that it is over."""
    await scene.say("tell me a story", ends_s=2.7)
    await scene.say("wait stop please now", ends_s=-0.5)
    await cut_short(scene, "wait stop please now")


async def cut_off(scene: Scene) -> None:
    """The answer was cut off; the caller is still speaking."""
    await scene.say("tell me a story", ends_s=3.2)
    await scene.say("wait stop please now", ends_s=0.05)
    await cut_short(scene, "wait stop please now")


async def cut_short(scene: Scene, by: str) -> None:
    caller = scene.caller
    await caller.until_heard(f"you said {by}")
    await caller.until_silent()
    heard = caller.heard.split()
    story = heard[: heard.index("you")]
    assert heard[len(story) :] == f"you said {by}".split()
    assert story == STORY_WORDS[: len(story)]
    assert len(story) < len(STORY_WORDS), "it was told to its end"
    messages = told(scene.used.asked(caller.tenant)[-1])
    if not story:  # this machine was so slow that nothing of it was heard yet: then it is in no record
        assert messages[-2:] == [("user", "tell me a story"), ("user", by)]
        return
    *_, (asked, first), (answered, known), (_, last) = messages
    assert (asked, first, answered, last) == ("user", "tell me a story", "assistant", by), (messages, story)
    assert abs(len(known.split()) - len(story)) <= TWO_WORDS, (known, story)


async def tool_running(scene: Scene) -> None:
    """The client was asked to find a slot, and has not answered. It is not asked again: who knows what it has done."""
    await scene.say("find me a slot", ends_s=1.6)
    await scene.until(0)
    assert isinstance(scene.caller, Browser)
    (call,) = [event for event in scene.caller.client.events if event.type == "tool_call"]
    await scene.heard("sorry no slot")
    calls = [event for event in scene.caller.client.events if event.type == "tool_call"]
    assert calls == [call]


SCENES: dict[str, tuple[Acts, str]] = {
    "listening": (listening, ""),
    "speech": (user_speaking, ""),
    "endpointing": (endpointing, PATIENT),
    "transcript": (waiting_for_the_transcript, ""),
    "model": (waiting_for_the_model, ""),
    "stalled": (in_mid_sentence_of_the_model, ""),
    "tool": (tool_running, "client_tools: [{name: find_slot, description: Finds one.}]"),
    "voice": (waiting_for_the_voice, ""),
    "answer": (speaking, ""),
    "interrupted": (interrupted, UNHURRIED),
    "cut": (cut_off, ""),
}
BY_PHONE = {"listening", "speech", "answer", "cut"}


def answers(body: dict[str, Any]) -> Manner:
    """As the script; but the first time two calls ask, they do so in vain, and one has a tool used."""
    manner, who = script(body), body["messages"][0]["content"]
    if "asked by tool" in who and "slot" in str(body["messages"][-1]["content"]).lower():
        return Manner(answer="", calls=[("find_slot", "{}")])
    if body["messages"][-1]["role"] == "tool":
        manner.answer = "Sorry, no slot." if body["messages"][-1]["content"] == UNKNOWN else "Now."
    if "asked by model" in who and "time" in body["messages"][-1]["content"]:
        manner.fault = None if who in _ASKED else "silent"
        _ASKED.add(who)
    if "asked by stalled" in who and "story" in body["messages"][-1]["content"] and who not in _ASKED:
        manner.fault, manner.fault_after = "stalled", 12
        _ASKED.add(who)
    return manner


_ASKED: set[str] = set()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def outcomes() -> AsyncIterator[dict[str, BaseException | None]]:
    mute = Cartesia(Behaviour(word_ms=WORD_MS, first_audio_ms=80, speed=5, expire_s=5))
    async with vendors() as used, mute:
        used.groq.answers = answers
        tenants = {}
        for at, (name, (_, more)) in enumerate(SCENES.items()):
            stt = f"provider: deepgram, url: '{used.deepgram.url}', final_s: 5"
            stages = STAGES.format(
                stt="provider: groq" if name == "transcript" else stt,
                url=f", url: '{mute.url}'" if name == "voice" else "",
            )
            tenants[name] = tenant_of(name, at, stages, f"fillers: {{phrases: []}}\n{more}")
        async with deployed(used, tenants, workers=1, lease_ms=str(LEASE_MS)) as stack, AsyncExitStack() as calls:
            scenes = {}
            for at, name in enumerate(SCENES):
                caller = Phone(stack, name, number_of(at)) if name in BY_PHONE else Browser(stack, name)
                scenes[name] = Scene(await calls.enter_async_context(caller), used, mute)
            results = await perform(stack, scenes)
            yield dict(zip(SCENES, results, strict=True))


async def perform(stack: Stack, scenes: dict[str, Scene]) -> list[BaseException | None]:
    async with asyncio.TaskGroup() as greetings:
        for scene in scenes.values():
            greetings.create_task(scene.caller.until_heard("hello welcome"))
    stack.start_worker()
    await stack.until(lambda counts: counts[1] == 2)
    async with asyncio.TaskGroup() as introductions:
        for scene in scenes.values():
            introductions.create_task(scene.caller.ask("my name is ada", "you said my name is ada"))
            await asyncio.sleep(APART_S)
    killed_s = asyncio.get_running_loop().time() + SETTLED_S
    acts = []
    for name, scene in scenes.items():
        scene.killed_s = killed_s
        scene.caller.mark()
        acts.append(asyncio.create_task(act(scene, SCENES[name][0])))
    pids = {await stack.worker_pid(await scene.caller.session()) for scene in scenes.values()}
    await asyncio.sleep(killed_s - asyncio.get_running_loop().time())
    (pid,) = pids
    os.kill(pid, signal.SIGKILL)
    results = await asyncio.gather(*acts, return_exceptions=True)
    for wrong in filter(None, results):
        wrong.add_note(troubles(stack))
    return results


async def act(scene: Scene, acts: Acts) -> None:
    """Perform it; then the conversation goes on, and all of it is known to the model and stands in the record."""
    caller = scene.caller
    await acts(scene)
    await caller.ask("thank you bye", "you said thank you bye")
    known = told(scene.used.asked(caller.tenant)[-1])
    said = ["my name is ada", *scene.said, "thank you bye"]
    assert [text for role, text in known if role == "user"] == said
    await recorded(caller, [*known, ("assistant", "you said thank you bye")])
    assert (await caller.stack.record(await caller.session())).epoch > 1, "nobody took over"


@pytest.mark.parametrize("state", SCENES)
async def test_a_worker_is_killed(outcomes: dict[str, BaseException | None], state: str) -> None:
    if (wrong := outcomes[state]) is not None:
        raise wrong
