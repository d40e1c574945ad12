"""Browsers that treat the relay, and the Realtime model behind it, as nobody should: whoever shares their worker hears
nothing of it.

Against real processes; see `innocent.py` for what must hold around every test. Beside the innocent telephone there is
an innocent conversation with the same worker's relay.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks.processes import resident_bytes
from benchmarks.stack import pid_of
from cli.client import Caller
from tests.standins.realtime import Call as Use
from tests.standins.realtime import Prompt, Realtime, Reply, Say, echo, text_of
from tests.system.hostile.innocent import nobody_is_hurt
from tests.system.hostile.target import MB, PATIENCE_S, Target
from trunkline.bus import keys

log = logging.getLogger(__name__)

MOST_FELT_S = 6.0
"""From a question to its answer, on a busy machine; an attack that gets through costs the model's patience of 8 s."""


def model(prompt: Prompt) -> Reply:
    asked = text_of(prompt.last) if prompt.last is not None and "content" in prompt.last else ""
    if asked == "look":
        return Use("look", {})
    return Say("sorry") if len(asked) > 100 else echo(prompt)


@pytest.fixture
async def realtime(realtime_port: int) -> AsyncIterator[Realtime]:
    async with Realtime(port=realtime_port, answer=model) as standin:
        yield standin


@pytest.fixture
async def _unhurt(target: Target, realtime: Realtime) -> AsyncIterator[None]:
    async with nobody_is_hurt(target), _conversing(target):
        yield


pytestmark = [pytest.mark.system, pytest.mark.usefixtures("_unhurt")]


@asynccontextmanager
async def _conversing(target: Target) -> AsyncIterator[None]:
    """Somebody who is answered all the time."""
    async with Caller(target.stack.url, tenant="open") as caller:
        answers = 0

        async def converse() -> None:
            nonlocal answers
            while True:
                await _answered(caller)
                answers += 1

        await _answered(caller)
        conversing = asyncio.create_task(converse())
        try:
            yield
        finally:
            done, _ = await asyncio.wait((conversing,), timeout=0)
            conversing.cancel()
            await asyncio.wait((conversing,))
        assert not done, "the innocent conversation ended"
        await _answered(caller)
        assert not caller.reconnects
        assert [event for event in caller.events if event.type == "error"] == []
        log.info("innocent: answered %d times", answers + 2)


async def _answered(caller: Caller) -> None:
    asked_s = caller.now_s
    caller.type_text("hello")
    answer = await caller.answered(MOST_FELT_S + 5)
    assert answer.arrived_s - asked_s < MOST_FELT_S


@asynccontextmanager
async def session(target: Target) -> AsyncIterator[tuple[ClientConnection, str]]:
    """A session with the relay that the model serves, and its id."""
    client = await connect(target.stack.url, compression=None, proxy=None, ping_interval=None)
    try:
        await client.send(json.dumps({"type": "start", "tenant": "open"}))
        ready = await told(client, "session_ready")
        await told(client, "state")
        yield client, ready["session_id"]
        with suppress(ConnectionClosed):
            await client.send('{"type":"stop"}')
    finally:
        with suppress(AttributeError):  # its close fails on a socket that was reset
            await client.close()


async def told(client: ClientConnection, kind: str, **fields: Any) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            text = await client.recv()
            if isinstance(text, str):
                data: dict[str, Any] = json.loads(text)
                if data["type"] == kind and fields.items() <= data.items():
                    return data


def update(**changes: object) -> str:
    return json.dumps({"type": "session.update", "session": changes})


def output(call_id: str, answer: object = "x") -> str:
    return json.dumps({"type": "function_call_output", "call_id": call_id, "output": answer})


COMMIT = '{"type":"input_audio_buffer.commit"}'
WRONG: dict[str, tuple[str, str]] = {
    "nothing": (update(), "bad_session"),
    "another model": (update(model="dearest"), "not_allowed"),
    "tools": (update(tools=[{"type": "function", "name": "x"}]), "not_allowed"),
    "a deeper place": (update(audio={"input": {"format": {"type": "audio/pcma"}}}), "not_allowed"),
    "a name of our own": (update(relay={"voice": "x"}), "not_allowed"),
    "a strange name": (update(**{"__class__": "x", "\n": 1}), "not_allowed"),
    "twice": (update(voice="a", audio={"output": {"voice": "b"}}), "bad_session"),
    "a voice that is a number": (update(voice=5), "bad_session"),
    "no voice": (update(voice=""), "bad_session"),
    "null for a voice": (update(audio={"output": {"voice": None}}), "bad_session"),
    "audio that is a number": (update(audio=5), "not_allowed"),
    "much too fast": (update(speed=1e300), "bad_session"),
    "speed in words": (update(speed="fast"), "bad_session"),
    "instructions in an object": (update(instructions={"a": 1}), "bad_session"),
    "long instructions": (update(instructions="x" * 40_000), "bad_session"),
    "turns in a list": (update(turn_detection=[]), "bad_session"),
    "turns of no kind": (update(turn_detection={"type": "psychic"}), "bad_session"),
    "turns in words": (update(turn_detection={"type": "server_vad", "threshold": "high"}), "bad_session"),
    "an endless answer": (update(max_output_tokens=10**9), "bad_session"),
    "a transcription of no kind": (update(transcription={"nothing": True}), "bad_session"),
    "an answer to nothing": (output("call_nobody_made"), "unknown_call"),
    "a large one": (output("x", "y" * 32_000), "unknown_call"),
    "a deep one": (output("x", json.loads("[" * 200 + "]" * 200)), "unknown_call"),
    "an utterance of nothing": (COMMIT, "nothing_heard"),
}


async def test_what_is_wrong_is_said_and_the_conversation_goes_on(target: Target) -> None:
    seen = {}
    for name, (message, _) in WRONG.items():
        async with session(target) as (client, _id):
            await client.send('{"type":"text","text":"hello"}')
            await told(client, "transcript_delta", role="assistant")  # now the line to the model is up
            await client.send(message)
            try:
                error = await told(client, "error")
            except TimeoutError:
                pytest.fail(f"{name} was not answered")
            assert all(isinstance(error[part], str) and error[part] for part in ("code", "message", "hint")), error
            assert not error["fatal"]
            seen[name] = error["code"]
            await client.send('{"type":"text","text":"again"}')
            await told(client, "transcript", role="user", text="again")
            await told(client, "transcript_delta", role="assistant")
    assert seen == {name: code for name, (_, code) in WRONG.items()}


FLOODS: dict[str, list[str]] = {
    "updates": [update(instructions=f"{number}" * 4000) for number in range(10, 99)],
    "wrong updates": [update(voice=5)] * 500,
    "outputs": [output("x", "y" * 30_000)] * 300,
    "small outputs": [output("x")] * 5000,
    "commits": [COMMIT] * 5000,
    "cancels": ['{"type":"response.cancel"}'] * 5000,
    "texts": ['{"type":"text","text":"' + "hello " * 600 + '"}'] * 3000,
    "tool calls": ['{"type":"text","text":"look"}', '{"type":"response.cancel"}'] * 1000,
    "audio and commits": [
        json.dumps({"type": "audio", "data": base64.b64encode(bytes(640)).decode()}),
        COMMIT,
        '{"type":"played","turn":1,"ms":99999999}',
    ]
    * 2000,
}
HEAVY = ("texts", "tool calls", "audio and commits")
FLOOD_S = 2.0


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood_hurts_nobody_else(target: Target, flood: str) -> None:
    """From clients that send as fast as the gateway reads: three, or one where each message is work for the stand-in,
    which shares this process with the innocent."""
    (worker_id,) = await _worker_ids(target)
    worker = pid_of(worker_id)
    before, logged = resident_bytes(worker), len(target.log)
    await asyncio.gather(*(_flood(target, FLOODS[flood]) for _ in range(1 if flood in HEAVY else 3)))
    more_mb, logged_kb = (resident_bytes(worker) - before) / MB, (len(target.log) - logged) / 1024
    log.info("%s: worker %.1f MB more, %d KB of log", flood, more_mb, logged_kb)
    assert await _worker_ids(target) == [worker_id], "the worker lives"
    assert more_mb < 60


async def _flood(target: Target, messages: list[str]) -> None:
    async with session(target) as (client, session_id):
        hearing = asyncio.create_task(_hear(client))
        with suppress(ConnectionClosed, TimeoutError):
            async with asyncio.timeout(FLOOD_S):
                for message in messages:
                    await client.send(message)
                await asyncio.sleep(FLOOD_S)
        size = await target.redis.ask("HSTRLEN", keys.session(session_id), "snapshot")
        log.info("snapshot %d KB", size / 1024)
        client.transport.abort()
        await asyncio.wait((hearing,))
    assert size <= 300 * 1024, "a record is bounded"


async def _hear(client: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        while True:
            await client.recv()


async def _worker_ids(target: Target) -> list[str]:
    raw: list[bytes] = await target.redis.ask("HGETALL", keys.PROCESSES)
    return [name.decode() for name, kind in zip(raw[::2], raw[1::2], strict=True) if kind == b"worker"]
