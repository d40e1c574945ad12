"""A WebRTC call outlives every process that it runs on, as a caller hears it.

A caller's own network that is cut: `tests/browser/calls/test_webrtc_network.py`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio

from benchmarks.stack import Stack
from tests.standins.realtime import Realtime, text_of
from tests.standins.realtime.story import STORY, assert_told, storyteller
from tests.standins.webrtc import WebRtcCaller
from tests.system.webrtc import (
    PATIENCE_S,
    REPEATED_WORDS,
    Gateway,
    deployed,
    gateway,
    nearly,
    until_heard,
    until_silent,
)

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def realtime() -> AsyncIterator[Realtime]:
    async with Realtime(answer=storyteller, webrtc=True) as standin:
        yield standin


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stack(realtime: Realtime) -> AsyncIterator[Stack]:
    async with deployed(realtime) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def there(stack: Stack) -> Gateway:
    """A gateway that lives on."""
    return await gateway(stack)


async def hear_a_story(caller: WebRtcCaller, name: str = "ada") -> None:
    """Introduce oneself, and come to the middle of a long answer."""
    await until_heard(caller, "hello welcome")
    await until_silent(caller)
    await caller.say(f"my name is {name}")
    await until_heard(caller, f"you said my name is {name}")
    await until_silent(caller)
    await caller.say("tell me a story")
    await until_heard(caller, "once upon a time there was")


async def hear_its_end(caller: WebRtcCaller, realtime: Realtime, cut_words: int, name: str = "ada") -> None:
    """The story is told to its end, each word once; and what was said before it is known."""
    await until_heard(caller, "the sea the sun the star")
    await until_silent(caller)
    story = caller.heard.split("once upon")[1].split()
    assert_told(story, STORY.split()[2:], cut_words=cut_words, repeated_words=REPEATED_WORDS)
    await caller.say("what is the time")
    await until_heard(caller, "you said what is the time")
    known = [[text_of(item) for item in each.items if item["type"] == "message"] for each in realtime.sessions]
    theirs = [said for said in known if f"my name is {name}" in said]
    assert any(nearly("what is the time", text) for said in theirs for text in said), known
    assert caller.told("error") == []


@pytest.mark.parametrize("tenant", ["websocket", "webrtc"])
async def test_a_worker_is_killed_in_mid_answer(stack: Stack, there: Gateway, realtime: Realtime, tenant: str) -> None:
    async with WebRtcCaller(there.origin, tenant=tenant) as caller:
        await hear_a_story(caller)
        session = caller.bridged.session_id
        os.kill(await stack.worker_pid(session), signal.SIGKILL)
        await hear_its_end(caller, realtime, cut_words=0)
        assert (await stack.record(session)).epoch > 1, "nobody took over"
        assert len(caller.hearings) == 1, "the caller had to come back"


# --- three callers at once, of whom each loses another line


@dataclass
class Scene:
    """A caller who finds back to a gateway that lives on, as `there` is."""

    stack: Stack
    realtime: Realtime
    there: Gateway
    name: str
    """How the caller is called."""
    back: asyncio.Barrier
    """All are back."""

    async def hear_on(self, caller: WebRtcCaller) -> None:
        """Back at that gateway: the conversation goes on, and is one of three that are there."""
        await hear_its_end(caller, self.realtime, 1, self.name)
        async with asyncio.timeout(PATIENCE_S), self.back:
            assert await self.there.sessions() == self.back.parties
        async with asyncio.timeout(PATIENCE_S), self.back:
            """Nobody leaves while another counts."""


async def gateway_killed(scene: Scene) -> None:
    here = await gateway(scene.stack)
    async with WebRtcCaller(here.origin, tenant="websocket") as caller:
        await hear_a_story(caller, scene.name)
        first = caller.bridged.session_id
        os.kill(here.pid, signal.SIGKILL)
        await caller.resume(scene.there.origin)
        assert caller.bridged.session_id == first
        await scene.hear_on(caller)


async def gateway_told_to_stop(scene: Scene) -> None:
    """It sends its callers elsewhere: the old line carries the answer until the new one is up."""
    here = await gateway(scene.stack)
    async with WebRtcCaller(here.origin, tenant="websocket") as caller:
        await hear_a_story(caller, scene.name)
        os.kill(here.pid, signal.SIGTERM)
        told = await caller.until_told("closing")
        assert told["reason"] == "restarting"
        await caller.resume(scene.there.origin)
        await scene.hear_on(caller)
    await until_gone(here.pid)


async def back_by_the_same_gateway(scene: Scene) -> None:
    """Its network changed: the old line says nothing any more, and the new one takes over."""
    async with WebRtcCaller(scene.there.origin, tenant="websocket") as caller:
        await hear_a_story(caller, scene.name)
        caller.line.cut(True)
        await asyncio.sleep(0.5)
        await caller.resume()
        await scene.hear_on(caller)
        numbers = [event["seq"] for event in caller.events if event["seq"]]
        assert numbers == sorted(numbers)


LINES: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "ada": gateway_killed,
    "king": gateway_told_to_stop,
    "queen": back_by_the_same_gateway,
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def outcomes(stack: Stack, there: Gateway, realtime: Realtime) -> dict[str, BaseException | None]:
    back = asyncio.Barrier(len(LINES))
    scenes = (act(Scene(stack, realtime, there, name, back)) for name, act in LINES.items())
    outcomes = await asyncio.gather(*scenes, return_exceptions=True)
    await there.until_empty()
    return dict(zip(LINES, outcomes, strict=True))


@pytest.mark.parametrize("name", LINES, ids=[act.__name__ for act in LINES.values()])
async def test_who_comes_back_in_mid_answer_is_heard_and_told_once(
    outcomes: dict[str, BaseException | None], name: str
) -> None:
    if (wrong := outcomes[name]) is not None:
        raise wrong


async def until_gone(pid: int) -> None:
    """Wait for a process of ours to have ended: it is a zombie then, until its stack closes."""
    async with asyncio.timeout(PATIENCE_S):
        while "State:\tZ" not in _status(pid):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)


def _status(pid: int) -> str:
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return status.read()
