"""Telephone calls through everything: Twilio's webhook and stream, gateway, Redis, worker, a Realtime model; and what
is left of a call when a part of that dies in the middle of an answer."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from benchmarks.stack import Stack
from tests.standins import tones
from tests.standins.realtime import Call as Use
from tests.standins.realtime import Drop, Prompt, Realtime, Reply, Session, text_of
from tests.standins.realtime.story import STORY, asked_of, assert_told, storyteller
from tests.standins.twilio import AUTH_TOKEN, Call

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

PUBLIC = "https://voice.example.com"
RATE_HZ = 8000
CLINIC = """
id: clinic
phone_numbers: ["+15550100"]
backend: relay
prompt: You answer the telephone of a dental clinic.
greeting: hello welcome
tools:
  - name: end_call
  - name: transfer_call
    numbers: {reception: "+15550123"}
"""
PATIENCE_S = 20.0
REPEATED_WORDS = 2
"""At the seam: the word that was cut is said again, and one whose text another worker did not know yet. A loaded
machine adds silence there, and no words."""


def model(prompt: Prompt) -> Reply:
    """Puts through, says goodbye, and does all else as the storyteller."""
    asked = asked_of(prompt)
    if "transfer" in asked:
        return Use("transfer_call", {"to": "reception"})
    if "bye" in asked:
        return Use("end_call")
    return storyteller(prompt)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def realtime() -> AsyncIterator[Realtime]:
    async with Realtime(answer=model) as standin:
        yield standin


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stack(realtime: Realtime) -> AsyncIterator[Stack]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "the key of a stand-in")
        patch.setenv("TWILIO_AUTH_TOKEN", AUTH_TOKEN)
        patch.delenv("TWILIO_ACCOUNT_SID", raising=False)
        async with Stack(
            gateways=2,
            workers=2,
            tenants={"clinic.yaml": CLINIC},
            public_url=PUBLIC,
            openai_realtime_url=realtime.url,
            log_transcripts=True,
        ) as stack:
            yield stack


def dial(stack: Stack, **more: object) -> Call:
    url = f"http://127.0.0.1:{stack.port}"
    return Call(f"{url}/twiml", public_origin=PUBLIC, status_url=f"{PUBLIC}/twiml/status", **more)  # type: ignore[arg-type]


def heard(call: Call) -> str:
    return tones.hear(call.heard_pcm(), RATE_HZ)


async def until_heard(call: Call, words: str) -> None:
    """Wait for words to be heard."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while words not in heard(call):  # noqa: ASYNC110 (only the audio knows)
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise TimeoutError(f"{words!r} not heard: {heard(call)!r}") from None


async def until_silent(call: Call) -> None:
    """Wait for an answer to be over."""
    async with asyncio.timeout(PATIENCE_S):
        while tones.hear(call.heard_pcm(call.heard.ended_s - 0.4), RATE_HZ):  # noqa: ASYNC110 (as above)
            await asyncio.sleep(0.1)


def say(call: Call, text: str) -> None:
    call.say(tones.speak(text, RATE_HZ))


async def test_a_call_from_its_first_ring_to_its_end(stack: Stack, realtime: Realtime) -> None:
    async with dial(stack) as call:
        await until_heard(call, "hello welcome")
        await until_silent(call)  # a word counts as heard before it is over, and to speak then is to interrupt
        say(call, "what is the weather")
        await until_heard(call, "you said what is the weather")
        await until_silent(call)
        call.dtmf("12#")
        await until_heard(call, "you said the")  # "the caller pressed these telephone keys"
        await until_silent(call)
        say(call, "tell me a story")
        await until_heard(call, "once upon a time")
        say(call, "stop")
        await until_heard(call, "you said stop")
        await until_silent(call)
        story = heard(call).split("once upon")[1].split("you said")[0].split()
        assert len(story) < len(STORY.split()) - 4, "the answer went on over the caller"
        say(call, "goodbye")
        await call.until(lambda: call.ended, PATIENCE_S)
        goodbye = heard(call).split("you said stop")[1].split()
        assert goodbye[0] == "yes", "what the model said after the tool was not heard"
    assert call.errors == []
    assert call.documents[-1].count("<Hangup") == 1
    heard_ms = (len(story) + 2) * tones.WORD_MS
    cuts_ms = [truncated["audio_end_ms"] for truncated in realtime.session.truncations]
    # To a word at both ends, and to what this process was late: Twilio's clock then stood still while ours ran.
    tolerance_ms = 2 * tones.WORD_MS + call.late_s * 1000
    assert any(abs(cut_ms - heard_ms) <= tolerance_ms for cut_ms in cuts_ms), (heard_ms, cuts_ms, call.late_s)
    log = stack.log_text()
    for told in (
        call.sid,
        call.streams[0].sid,
        "user: tell me a story",
        "assistant: hello welcome",
        "tool 'end_call' ok",
    ):
        assert told in log, told


async def test_a_caller_who_hangs_up(stack: Stack, realtime: Realtime) -> None:
    async with dial(stack) as call:
        await until_heard(call, "welcome")
        session = realtime.session
        await call.hang_up()
    await realtime.wait_for(lambda _: session.closed is not None)
    assert [request.status for request in call.requests if request.kind == "call-status"] == [204]
    assert call.errors == []


async def test_a_caller_who_is_put_through(stack: Stack) -> None:
    async with dial(stack) as call:
        await until_heard(call, "welcome")
        await until_silent(call)
        say(call, "transfer me please")
        await call.until(lambda: call.ended, PATIENCE_S)
        assert call.dialled == ["+15550123"]


async def kill_worker(stack: Stack, call: Call, model: Session) -> None:
    os.kill(await stack.worker_pid(await session_of(stack, call)), signal.SIGKILL)


async def kill_gateway(stack: Stack, call: Call, model: Session) -> None:
    os.kill(await stack.gateway_pid(await session_of(stack, call)), signal.SIGKILL)


async def drop_stream(stack: Stack, call: Call, model: Session) -> None:
    call.drop()


async def drop_model(stack: Stack, call: Call, model: Session) -> None:
    model.inject(Drop())


async def session_of(stack: Stack, call: Call) -> str:
    raw: bytes = await stack.redis.ask("HGET", f"call:{call.sid}", "session")
    return raw.decode()


def session_of_caller(realtime: Realtime, name: str) -> Session:
    """The last session with the model that knows a caller's name."""
    return next(session for session in reversed(realtime.sessions) if f"my name is {name}" in _said(session))


def _said(session: Session) -> list[str]:
    return [text_of(item) for item in session.items if item["type"] == "message"]


Fault = Callable[[Stack, Call, Session], Awaitable[None]]


@pytest.mark.parametrize(
    "faults", [[kill_worker], [kill_gateway], [drop_stream, drop_model]], ids=["worker", "gateway", "lines"]
)
async def test_a_call_goes_on(stack: Stack, realtime: Realtime, faults: list[Fault]) -> None:
    """In the middle of an answer a part dies: the answer is heard to its end, and what was said before is known. What
    only one call has is taken from two at once."""
    async with asyncio.TaskGroup() as calls:
        for fault, name in zip(faults, ("ada", "queen"), strict=False):
            calls.create_task(_goes_on(stack, realtime, fault, name))


async def _goes_on(stack: Stack, realtime: Realtime, fault: Fault, name: str) -> None:
    async with dial(stack, return_ms=100) as call:
        await until_heard(call, "welcome")
        await until_silent(call)
        say(call, f"my name is {name}")
        await until_heard(call, f"you said my name is {name}")
        await until_silent(call)
        say(call, "tell me a story")
        await until_heard(call, "once upon a time there was")
        await fault(stack, call, session_of_caller(realtime, name))
        await until_heard(call, STORY.split()[-1])  # of those before it, one may be where the line was cut
        story = heard(call).split("once upon")[1].split()
        expected = STORY.split()[2:]
        cut_words = int(fault in (kill_gateway, drop_stream))
        assert_told(story, expected, cut_words=cut_words, repeated_words=REPEATED_WORDS)
        await until_silent(call)
        say(call, "what is the time")
        await until_heard(call, "you said what is the time")
        assert not call.ended
        assert "what is the time" in _said(session_of_caller(realtime, name))
        await call.hang_up()
    assert call.errors == (["31903: the gateway's connection broke"] if fault is kill_gateway else [])
