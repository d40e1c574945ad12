"""The Realtime stand-in goes wrong on demand; seen through the official SDK."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus

from tests.contract.realtime_caller import MODEL, PATIENCE_S, Caller, calling, connected, manual
from tests.standins import tones
from tests.standins.realtime import (
    Close,
    Drop,
    Expire,
    FailResponse,
    FailTranscription,
    Garbage,
    Mute,
    NeverAnswer,
    Prompt,
    Realtime,
    Refuse,
    Reply,
    Say,
    SlowFirstAudio,
    SlowHandshake,
    Stall,
)
from tests.standins.realtime.faults import Fault, parse
from tests.standins.realtime.sdk import check_event

ROOT = Path(__file__).resolve().parents[2]
LONG = "once upon a time there was a king who had three ships"


async def refused_status(standin: Realtime, key: str = "key") -> InvalidStatus:
    with pytest.raises(InvalidStatus) as refused:
        async with openai.AsyncOpenAI(api_key=key, websocket_base_url=standin.url) as client:
            await client.realtime.connect(model=MODEL).enter()
    return refused.value


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_a_refused_upgrade(status: int) -> None:
    async with Realtime() as standin:
        standin.inject(Refuse(status), connections=2)
        for _ in range(2):
            response = (await refused_status(standin)).response
            assert response.status_code == status
            assert response.body is not None
            assert json.loads(bytes(response.body))["error"]["message"]
            assert ("Retry-After" in response.headers) == (status == 429)
        async with connected(standin) as caller:
            await caller.until("session.created")
        assert standin.refused == [status, status]


async def test_a_wrong_key_is_refused() -> None:
    async with Realtime(api_key="right") as standin:
        assert (await refused_status(standin, "wrong")).response.status_code == 401
        assert standin.sessions == []


async def test_a_handshake_that_is_never_answered() -> None:
    async with Realtime() as standin:
        standin.inject(NeverAnswer())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), connected(standin):
                pytest.fail("the handshake was answered")
        assert standin.sessions == []


async def test_a_slow_handshake() -> None:
    async with Realtime() as standin:
        standin.inject(SlowHandshake(ms=200))
        began = asyncio.get_running_loop().time()
        async with connected(standin) as caller:
            assert asyncio.get_running_loop().time() - began >= 0.2
            await caller.until("session.created")


async def ends(caller: Caller) -> ConnectionClosed:
    with pytest.raises(ConnectionClosed) as closed:
        await caller.until("never")
    return closed.value


async def test_a_connection_that_is_cut() -> None:
    async with calling() as (standin, caller):
        standin.session.inject(Drop())
        closed = await ends(caller)
        assert isinstance(closed, ConnectionClosedError)
        assert closed.rcvd is None
        await standin.wait_for(lambda s: s.session.closed == (1006, ""))


async def test_a_connection_that_is_cut_in_an_answer() -> None:
    async with calling(manual(), answer=lambda _: Say(LONG)) as (standin, caller):
        standin.session.inject(Drop(after_audio_ms=300))
        await caller.sdk.response.create()
        await ends(caller)
        response = standin.session.responses[0]
        assert response.status == "in_progress"
        assert 300 <= response.audio_ms < len(LONG.split()) * tones.WORD_MS, "a busy machine catches up in leaps"


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012])
async def test_a_connection_that_is_closed(code: int) -> None:
    async with calling() as (standin, caller):
        standin.session.inject(Close(code, "so it is"))
        closed = await ends(caller)
        assert closed.rcvd is not None
        assert (closed.rcvd.code, closed.rcvd.reason) == (code, "so it is")
        await standin.wait_for(lambda s: s.session.closed == (code, "so it is"))


async def test_a_fault_of_a_connection_to_come() -> None:
    async with Realtime() as standin:
        standin.inject(Close(1011))
        async with connected(standin) as caller:
            await ends(caller)
            assert caller.events == []


async def test_each_connection_has_its_own_fault() -> None:
    async with Realtime() as standin:
        standin.inject(Close(1012))
        standin.inject(Refuse(503))
        async with connected(standin) as first:
            assert (await refused_status(standin)).response.status_code == 503
            async with connected(standin) as third:
                await third.until("session.created")
            await ends(first)


@pytest.mark.parametrize("injected", [True, False])
async def test_a_session_that_expires(injected: bool) -> None:
    async with Realtime(lifetime_s=3600 if injected else 0.2) as standin, connected(standin) as caller:
        created = await caller.until("session.created")
        if injected:
            standin.session.inject(Expire())
        error = await caller.until("error")
        assert error["error"]["code"] == "session_expired"
        closed = await ends(caller)
        assert closed.rcvd is not None
        assert closed.rcvd.code == 1001
        assert created["session"]["expires_at"] == standin.session.expires_at


@pytest.mark.parametrize("pongs", [True, False])
async def test_a_session_that_goes_mute(pongs: bool) -> None:
    async with calling() as (standin, caller):
        standin.session.inject(Mute(pongs))
        await asyncio.sleep(0.05)  # for the socket to be left unread
        pong = await caller.sdk._connection.ping()
        if pongs:
            await asyncio.wait_for(pong, PATIENCE_S)
            await caller.sdk.response.create()
            await standin.wait_for(lambda s: s.session.received)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await caller.sdk.recv_bytes()
        assert pong.done() == pongs
        caller.sdk._connection.transport.abort()


async def test_an_answer_that_stalls() -> None:
    async with calling(manual(), answer=lambda _: Say(LONG), speed=0) as (standin, caller):
        standin.session.inject(Stall(after_audio_ms=200))
        await caller.sdk.response.create()
        await standin.wait_for(lambda s: s.session.responses and s.session.responses[0].stalled)
        await caller.sdk.response.cancel()
        response = await caller.done()
        assert response["status"] == "cancelled"
        assert tones.hear(caller.audio(response["output"][0]["id"]), 24_000) == "once"


@pytest.mark.parametrize(
    ("kind", "unfit"),
    [
        ("malformed", json.JSONDecodeError),
        ("deep", RecursionError),
        ("not_an_object", TypeError),
        ("binary", UnicodeDecodeError),
        ("unknown_type", ValueError),
        ("unknown_fields", ValueError),
    ],
)
async def test_garbage(kind: Any, unfit: type[Exception]) -> None:
    async with calling() as (standin, caller):
        standin.session.inject(Garbage(kind))
        async with asyncio.timeout(PATIENCE_S):
            message = await caller.sdk.recv_bytes()
        with pytest.raises(unfit):
            check_event(json.loads(message))
        assert (await caller.answer())["status"] == "completed"


async def test_responses_that_fail_on_demand() -> None:
    async with calling(manual()) as (standin, caller):
        for code in ("rate_limit_exceeded", "insufficient_quota"):
            standin.session.inject(FailResponse(code))
        for code in ("rate_limit_exceeded", "insufficient_quota"):
            response = await caller.answer()
            assert (response["status"], response["status_details"]["error"]["code"]) == ("failed", code)
        assert (await caller.answer())["status"] == "completed"


async def test_a_transcription_that_fails() -> None:
    session = {"audio": {"input": {"transcription": {"model": "gpt-transcribe"}}}}
    async with calling(session) as (standin, caller):
        standin.session.inject(FailTranscription())
        await caller.say("hello")
        failed = await caller.until("conversation.item.input_audio_transcription.failed")
        assert failed["item_id"] == standin.session.items[0]["id"]
        assert failed["error"]["code"] == "audio_unintelligible"


async def test_a_slow_first_word() -> None:
    async with calling(manual(), first_audio_ms=0) as (standin, caller):
        standin.session.inject(SlowFirstAudio(ms=300))
        began = asyncio.get_running_loop().time()
        await caller.sdk.response.create()
        await caller.until("response.output_audio.delta")
        assert asyncio.get_running_loop().time() - began >= 0.29


async def test_what_goes_wrong_inside_is_raised_at_the_end() -> None:
    def answer(_: Prompt) -> Reply:
        return Say("xylophone")

    async def call() -> None:
        async with Realtime(answer=answer) as standin, connected(standin) as caller:
            await caller.sdk.response.create()
            await ends(caller)

    with pytest.raises(ExceptionGroup) as raised:
        await call()
    assert raised.value.subgroup(lambda error: "xylophone" in str(error))


async def test_waiting_for_what_never_comes_says_what_came() -> None:
    async with calling(manual()) as (standin, _):
        with pytest.raises(TimeoutError, match=r"session\.updated"):
            await standin.wait_for(lambda s: len(s.sessions) == 2, 0.05)


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ({"kind": "drop"}, Drop()),
        ({"kind": "Drop", "after_audio_ms": "300"}, Drop(300.0)),
        ({"kind": "refuse", "status": "429", "retry_after_s": "3"}, Refuse(429, 3)),
        ({"kind": "mute", "pongs": "false"}, Mute(pongs=False)),
        ({"kind": "garbage", "garbage": "deep"}, Garbage("deep")),
        ({"kind": "failresponse", "code": "insufficient_quota"}, FailResponse("insufficient_quota")),
    ],
)
def test_faults_by_name(query: dict[str, str], fault: Fault) -> None:
    assert parse(query) == fault


@pytest.mark.parametrize("query", [{}, {"kind": "melt"}, {"kind": "drop", "colour": "blue"}])
def test_unknown_faults_are_refused(query: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"kind|takes"):
        parse(query)


async def get(url: str) -> Any:
    """The JSON at a control address; httpx's error for any status but 200."""
    async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
        return (await http.get(url)).raise_for_status().json()


async def test_as_a_process_with_its_control_page() -> None:
    command = [sys.executable, "-m", "tests.standins.realtime", "--port", "0", "--speed", "0", "--word-ms", "100"]
    command += ["--script", "tests.standins.realtime.script:echo"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        assert process.stdout is not None
        where = json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE_S))
        async with (
            openai.AsyncOpenAI(api_key="k", websocket_base_url=where["url"]) as client,
            client.realtime.connect(model=MODEL) as connection,
        ):
            caller = Caller(connection)
            await caller.until("session.created")
            await caller.update(manual())
            await caller.write("hello ada")
            await caller.answer()
            (session,) = (await get(f"{where['control']}/sessions"))["sessions"]
            assert session["items"][1]["content"][0]["transcript"] == "you said hello ada"
            assert session["config"]["audio"]["input"]["turn_detection"] is None
            assert [event["type"] for event in session["received"]][-1] == "response.create"
            assert session["closed"] is None
            done = await get(f"{where['control']}/fault?kind=close&code=1012")
            assert done["session"] == session["id"]
            closed = await ends(caller)
            assert closed.rcvd is not None
            assert closed.rcvd.code == 1012
        async with asyncio.timeout(PATIENCE_S):
            while True:
                (session,) = (await get(f"{where['control']}/sessions?heard=yes"))["sessions"]
                if session["closed"]:
                    break
        assert session["closed"] == [1012, ""]
        assert session["heard"] == ""
        with pytest.raises(httpx.HTTPStatusError, match="404"):
            await get(f"{where['control']}/fault?kind=drop")
        with pytest.raises(httpx.HTTPStatusError, match="400"):
            await get(f"{where['control']}/fault?kind=melt")
    finally:
        process.terminate()
        await process.wait()
    assert process.returncode == 0
