"""The caller of /ws, against a scripted server of docs/websocket.md."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from adapters.websocket import files
from cli import client
from cli.account import CallError, Event
from cli.client import Caller
from tests.standins.ws_server import RATE_HZ, StandIn
from tests.standins.ws_server import Caller as Served
from tests.waiting import until
from trunkline.errors import AudioError


def noise(ms: int, seed: int = 1) -> bytes:
    return np.random.default_rng(seed).integers(-9000, 9000, ms * RATE_HZ // 1000, dtype="<i2").tobytes()


@pytest.fixture(autouse=True)
def _brief_goodbyes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "GOODBYE_S", 0.05)  # the stand-in leaves closing to us


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    async with StandIn().serve() as serving:
        yield serving


@pytest.fixture
def url(stand_in: StandIn) -> str:
    return stand_in.url.replace("http", "ws") + "/ws"


def track_of(caller: Caller) -> bytes:
    """What was heard, without the silence before and after."""
    first, last = caller.speaker.heard[0], caller.speaker.heard[-1]
    return caller.heard[first.at * 2 : (last.at + last.length) * 2]


async def answer(served: Served, turn: int, pcm: bytes) -> None:
    await served.say(turn, pcm)
    await served.send("response_done", turn=turn)


async def test_speech_arrives_sample_for_sample_and_in_real_time(stand_in: StandIn, url: str) -> None:
    speech = noise(300)
    async with Caller(url) as caller:
        served = await stand_in.caller()
        before_s = caller.now_s
        await caller.say(speech)
        assert caller.now_s - before_s > 0.3 - 0.04, "faster than anybody speaks"
        await served.wait_for_uplink(caller.sent.end_ms)
    spoken = bytes(served.uplink).lstrip(b"\0")
    assert spoken.rstrip(b"\0") == speech.strip(b"\0")


async def test_the_microphone_never_stops_and_never_drifts(stand_in: StandIn, url: str) -> None:
    async with Caller(url) as caller:
        ready_s = next(event.at_s for event in caller.events if event.type == "session_ready")
        for _ in range(10):
            await asyncio.sleep(0.05)
            assert caller.sent.end_ms / 1000 < caller.now_s - ready_s + 0.07
        await until(lambda: caller.sent.end_ms / 1000 > caller.now_s - ready_s - 0.07)  # what was missed is made up for


async def test_the_answer_is_heard_and_reported_as_it_plays(stand_in: StandIn, url: str) -> None:
    reply = noise(500)
    async with Caller(url) as caller:
        served = await stand_in.caller()
        typed_s = caller.now_s
        caller.type_text("hello")
        assert (await served.wait_for("text"))["text"] == "hello"
        await served.send("latency", turn=2, total_ms=30, parts=[["endpoint", 10], ["first_token", 20]])
        await served.send("transcript", turn=2, role="assistant", text="noise")
        await answer(served, 2, reply)
        answered = await caller.answered()
        took_ms = (caller.now_s - typed_s) * 1000
        await served.wait_for("played", turn=2, ms=500)
    assert track_of(caller) == reply
    reports = [message["ms"] for message in served.messages if message["type"] == "played"]
    assert all(later - earlier >= 99 for earlier, later in pairwise([0, *reports][:-1]))
    assert (answered.turn, answered.total_ms, answered.parts) == (2, 30, [("endpoint", 10), ("first_token", 20)])
    assert answered.felt_ms is not None
    assert 0 < answered.felt_ms <= took_ms - 500 + 1, "from then on 500 ms were heard"
    assert [(line.role, line.turn, line.text) for line in caller.transcripts] == [("assistant", 2, "noise")]
    assert caller.largest_silence_within(2) == 0
    assert all(later.at_s >= earlier.at_s for earlier, later in pairwise(caller.arrivals))


async def test_a_clear_silences_at_once_and_says_what_was_heard(stand_in: StandIn, url: str) -> None:
    async with Caller(url) as caller:
        served = await stand_in.caller()
        await served.send("audio", turn=4, offset_ms=0)
        assert served.websocket is not None
        await served.websocket.send_bytes(noise(1000))
        await served.wait_for("played", count=2, turn=4)
        await served.clear(4)
        await served.wait_for("played", count=3, turn=4)
        cleared_s = (await caller.event("clear")).at_s
        await asyncio.sleep(0.1)
        assert caller.speaker.queued_ms == 0
        assert caller.speaker.last_sound_s <= cleared_s
        assert caller.answers[4].interrupted
        last = [message for message in served.messages if message["type"] == "played"][-1]
    assert last["ms"] == int(caller.speaker.heard_ms(4))


async def test_a_pause_holds_the_answer_and_is_no_gap(stand_in: StandIn, url: str) -> None:
    async with Caller(url) as caller:
        served = await stand_in.caller()
        await served.say(2, noise(3000), paced=False)
        await served.wait_for("played", turn=2)
        await served.send("pause", turn=2)
        await caller.event("pause")
        await asyncio.sleep(0.1)
        held_ms = caller.speaker.heard_ms(2)
        await asyncio.sleep(0.15)
        assert caller.speaker.heard_ms(2) == held_ms < 3000
        await served.send("resume", turn=2)
        await caller.event("resume")
        await until(lambda: caller.speaker.heard_ms(2) > held_ms + 100)
    assert caller.gaps == []


async def test_a_lost_link_comes_back_and_nothing_is_lost_either_way(stand_in: StandIn, url: str) -> None:
    speech, reply = noise(900), noise(900, seed=2)
    async with Caller(url) as caller, asyncio.TaskGroup() as group:
        served = await stand_in.caller()
        group.create_task(caller.say(speech))
        group.create_task(answer(served, 2, reply))
        await served.wait_for_uplink(400)
        stand_in.drop(served, forget_ms=200)
        await served.wait_for("played", turn=2, ms=900)
        await served.wait_for_uplink(1000)
    assert bytes(served.uplink).strip(b"\0") == speech.strip(b"\0")
    assert track_of(caller) == reply
    assert caller.gaps == []
    (back,) = caller.reconnects
    assert (back.code, back.attempts, back.resumed) == (1006, 1, True)
    assert back.ms < 1000 * client.ATTEMPT_S
    resumed = served.starts[1]
    assert resumed["received"]["turn"] == 2
    assert 0 < resumed["received"]["ms"] <= 900
    assert resumed["received"]["seq"] > 0


async def test_it_tries_again_by_the_ladder(stand_in: StandIn, url: str) -> None:
    async with Caller(url) as caller:
        served = await stand_in.caller()
        stand_in.away = True
        stand_in.drop(served)
        await until(lambda: len(stand_in.refused_s) == 4)
        stand_in.away = False
        back = await caller.event("link_back")
        await served.wait_for_uplink(caller.sent.end_ms - 40)
    waits_s = [later - earlier for earlier, later in pairwise(stand_in.refused_s)]
    assert all(waited > least - 0.01 for waited, least in zip(waits_s, client.RETRY_S[1:], strict=False))
    assert back.data["attempts"] == 5
    assert [event.type for event in caller.events[-3:-1]] == ["link_lost", "link_back"]


async def test_a_silence_that_the_edge_could_not_bridge_is_a_gap(stand_in: StandIn, url: str) -> None:
    async with Caller(url) as caller:
        served = await stand_in.caller()
        await served.say(2, noise(200), paced=False)
        await asyncio.sleep(0.5)
        await served.say(2, noise(200), offset_ms=200, paced=False)
        await served.wait_for("played", turn=2, ms=400)
    second_s = next(arrival.at_s for arrival in caller.arrivals if arrival.offset_ms == 200)
    late_ms = (second_s - caller.speaker.first_heard_s[2]) * 1000 - 200
    assert late_ms > 200
    assert caller.largest_silence_within(2) == pytest.approx(late_ms, abs=25)
    assert caller.largest_silence_within(3) == 0


async def test_a_rejected_token_means_a_new_session(stand_in: StandIn, url: str) -> None:
    async with Caller(url) as caller:
        served = await stand_in.caller()
        await served.wait_for_uplink(200)
        stand_in.refuse_tokens = True
        lost_s = caller.now_s
        stand_in.drop(served)
        again = await stand_in.caller(2)
        await again.wait_for_uplink(60)
        assert again.uplink_ms <= (caller.now_s - lost_s) * 1000 + 20, "what was said before is of another session"
        assert [back.resumed for back in caller.reconnects] == [False]


async def test_it_gives_up_in_the_end(stand_in: StandIn, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "GIVE_UP_S", 0.2)
    async with Caller(url) as caller:
        served = await stand_in.caller()
        stand_in.away = True
        stand_in.drop(served)
        with pytest.raises(CallError, match=r"not back within 0\.2 s"):
            await caller.answered()


@pytest.mark.parametrize("kind", ["wav", "mp3"])
@pytest.mark.parametrize("encoding", ["binary", "base64"])
async def test_sentences_may_come_as_files(stand_in: StandIn, url: str, kind: Any, encoding: Any) -> None:
    sentences = [noise(200), noise(160, seed=2)]
    async with Caller(url, output=kind, encoding=encoding) as caller:
        served = await stand_in.caller()
        assert (served.starts[0]["output"], served.starts[0]["audio"]["encoding"]) == (kind, encoding)
        for sentence, offset_ms in zip(sentences, (0, 200), strict=True):
            about: dict[str, Any] = {"turn": 2, "offset_ms": offset_ms, "format": kind}
            data = files.encode(sentence, RATE_HZ, kind)
            if encoding == "base64":
                await served.send("audio", delta=base64.b64encode(data).decode(), **about)
            else:
                await served.send("audio", **about)
                assert served.websocket is not None
                await served.websocket.send_bytes(data)
        await served.send("response_done", turn=2)
        await caller.answered()
        if kind == "wav":
            assert track_of(caller) == b"".join(sentences)
        assert caller.speaker.heard_ms(2) == pytest.approx(360, abs=120)


async def test_controls_go_out_in_order_after_the_speech(stand_in: StandIn, url: str) -> None:
    async with Caller(url) as caller:
        served = await stand_in.caller()
        await caller.say(noise(60))
        caller.commit()
        caller.cancel()
        await served.wait_for("response.cancel")
        kinds = [message["type"] for message in served.messages]
        assert kinds == ["input_audio_buffer.commit", "response.cancel"]
        assert noise(60).strip(b"\0") in bytes(served.uplink)
    assert served.messages[-1]["type"] == "stop"
    assert caller.ended is not None
    assert caller.ended.reason == "hung up"


async def test_a_refusal_is_told_in_the_servers_words(stand_in: StandIn, url: str) -> None:
    error = {"type": "error", "code": "no_tenant", "message": "no tenant 'x'", "hint": "one of: demo", "fatal": True}
    stand_in.greet_with = (error, 4400)
    with pytest.raises(CallError, match=r"no tenant 'x' \(one of: demo\)") as refused:
        async with Caller(url, tenant="x"):
            pass
    assert refused.value.close_code == 4400


@pytest.mark.parametrize("wrong", ["http://localhost/ws", "nonsense", "ws://", "ws://127.0.0.1:99999/ws"])
def test_an_address_that_cannot_be_is_refused(wrong: str) -> None:
    with pytest.raises(CallError, match="no WebSocket address"):
        Caller(wrong)


def test_a_rate_that_cannot_be_is_refused() -> None:
    with pytest.raises(AudioError, match="44100"):
        Caller("ws://localhost/ws", rate_hz=44_100)


async def test_nobody_there() -> None:
    with pytest.raises(CallError, match=r"nobody answers at ws://127\.0\.0\.1:1/ws: Connection refused"):
        async with Caller("ws://127.0.0.1:1/ws"):
            pass


async def test_a_page_is_no_websocket(stand_in: StandIn) -> None:
    with pytest.raises(CallError, match="HTTP 4"):
        async with Caller(stand_in.url.replace("http", "ws") + "/"):
            pass


async def test_an_error_of_the_body_comes_out_as_it_is(url: str) -> None:
    with pytest.raises(ZeroDivisionError):
        async with Caller(url):
            _ = 1 // 0


async def test_events_are_shown_as_they_come(stand_in: StandIn, url: str) -> None:
    seen: list[Event] = []
    async with Caller(url, watch=seen.append) as caller:
        served = await stand_in.caller()
        await served.send("state", state="thinking")
        await caller.event("state", state="thinking")
        assert caller.state == "thinking"
        assert seen == caller.events
        with pytest.raises(TimeoutError):
            await caller.event("state", 0.05, state="speaking")
