"""A WebRTC call outlives every process that it runs on, as a caller hears it.

A caller's own network that is cut: `tests/browser/test_webrtc_network.py`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from benchmarks.stack import Stack
from tests.standins.realtime import Realtime, text_of
from tests.standins.webrtc import WebRtcCaller
from tests.system.webrtc import (
    PATIENCE_S,
    STORY,
    Gateway,
    assert_told,
    deployed,
    gateway,
    model,
    until_heard,
    until_silent,
)

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def realtime() -> AsyncIterator[Realtime]:
    async with Realtime(answer=model, webrtc=True) as standin:
        yield standin


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stack(realtime: Realtime) -> AsyncIterator[Stack]:
    async with deployed(realtime) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def there(stack: Stack) -> Gateway:
    """A gateway that lives on."""
    return await gateway(stack)


async def hear_a_story(caller: WebRtcCaller) -> None:
    """Introduce oneself, and come to the middle of a long answer."""
    await until_heard(caller, "hello welcome")
    await until_silent(caller)
    await caller.say("my name is ada")
    await until_heard(caller, "you said my name is ada")
    await until_silent(caller)
    await caller.say("tell me a story")
    await until_heard(caller, "once upon a time there was")


async def hear_its_end(caller: WebRtcCaller, realtime: Realtime, cut_words: int) -> None:
    """The story is told to its end, each word once; and what was said before it is known."""
    await until_heard(caller, "the sea the sun the star")
    assert_told(caller.heard.split("once upon")[1].split(), STORY.split()[2:], cut_words)
    await until_silent(caller)
    await caller.say("what is the time")
    await until_heard(caller, "you said what is the time")
    known = [text_of(item) for item in realtime.session.items if item["type"] == "message"]
    assert "my name is ada" in known
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


async def test_a_gateway_is_killed_in_mid_answer(stack: Stack, there: Gateway, realtime: Realtime) -> None:
    here = await gateway(stack)
    async with WebRtcCaller(here.origin, tenant="websocket") as caller:
        await hear_a_story(caller)
        first = caller.bridged.session_id
        os.kill(here.pid, signal.SIGKILL)
        await caller.resume(there.origin)
        assert caller.bridged.session_id == first
        assert await there.sessions() == 1
        await hear_its_end(caller, realtime, cut_words=1)
    await there.until_empty()


async def test_a_gateway_that_is_told_to_stop_sends_its_callers_elsewhere(
    stack: Stack, there: Gateway, realtime: Realtime
) -> None:
    """The old line carries the answer until the new one is up."""
    here = await gateway(stack)
    async with WebRtcCaller(here.origin, tenant="websocket") as caller:
        await hear_a_story(caller)
        os.kill(here.pid, signal.SIGTERM)
        told = await caller.until_told("closing")
        assert told["reason"] == "restarting"
        await caller.resume(there.origin)
        await hear_its_end(caller, realtime, cut_words=1)
    await until_gone(here.pid)
    await there.until_empty()


async def until_gone(pid: int) -> None:
    """Wait for a process of ours to have ended: it is a zombie then, until its stack closes."""
    async with asyncio.timeout(PATIENCE_S):
        while "State:\tZ" not in _status(pid):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)


def _status(pid: int) -> str:
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return status.read()


async def test_who_comes_back_by_the_same_gateway_is_heard_and_told_once(there: Gateway, realtime: Realtime) -> None:
    """Its network changed: the old line says nothing any more, and the new one takes over."""
    async with WebRtcCaller(there.origin, tenant="websocket") as caller:
        await hear_a_story(caller)
        caller.line.cut(True)
        await asyncio.sleep(0.5)
        await caller.resume()
        await hear_its_end(caller, realtime, cut_words=1)
        assert await there.sessions() == 1
        numbers = [event["seq"] for event in caller.events if event["seq"]]
        assert numbers == sorted(numbers)
    await there.until_empty()
