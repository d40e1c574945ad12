"""The relay's WebRTC link against the Realtime stand-in, whose WebRTC is plain aiortc: calls, audio, every end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aioice import ice as aioice

from tests.standins import tones
from tests.standins.realtime import (
    Close,
    CloseChannel,
    Drop,
    Expire,
    Garbage,
    Mute,
    NeverAnswer,
    NoCandidates,
    Prompt,
    Realtime,
    Refuse,
    Reply,
    Say,
    SlowHandshake,
)
from tests.standins.realtime.faults import Fault
from tests.standins.session import Edge, StandInSession
from tests.standins.voices import RATE_HZ as EDGE_HZ
from tests.unit.relay.linked import PATIENT_S, SECOND_S, lost, until
from trunkline.bus.messages import Hangup, Text
from trunkline.rtc import pulse
from trunkline.tenants import RelaySettings, Tenant
from workers.relay import protocol, runner, webrtc
from workers.relay.link import ModelLink, ModelLost
from workers.relay.trouble import Kind
from workers.relay.websocket import make_client

MODEL = "gpt-realtime-2.1"
ANSWER = "one two three four five six seven"
LONG = "once upon a time there was a king who had three ships and the sea was here and the sun"


def answer(_: Prompt) -> Reply:
    return Say(ANSWER)


@contextlib.asynccontextmanager
async def model(**options: Any) -> AsyncIterator[Realtime]:
    async with Realtime(webrtc=True, **{"answer": answer, **options}) as standin:
        yield standin


@contextlib.asynccontextmanager
async def link_to(standin: Realtime, rate_hz: int = 24_000, **relay: Any) -> AsyncIterator[webrtc.WebRtcModel]:
    """A session with its settings."""
    async with make_client({"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": standin.http_url}) as client:
        link = await webrtc.connect(client, MODEL, rate_hz, timeout_s=PATIENT_S)
        try:
            tenant = Tenant(id="acme", backend="relay", relay=RelaySettings(**relay))
            await link.send(protocol.session_update(tenant, link.format))
            await until(link, "session.updated")
            yield link
        finally:
            await link.close()


async def refused(standin: Realtime, *, timeout_s: float = PATIENT_S) -> ModelLost:
    async with make_client({"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": standin.http_url}) as client:
        with pytest.raises(ModelLost) as caught:
            await webrtc.connect(client, MODEL, 24_000, timeout_s=timeout_s)
    return caught.value


async def speak(link: ModelLink, text: str, silent_ms: int = 200) -> None:
    """Say something, and then nothing until cancelled; in real time."""
    rate_hz = link.rate_hz
    said = bytes(rate_hz * silent_ms // 1000 * 2) + tones.speak(text, rate_hz)
    size = rate_hz // 50 * 2
    due_s = asyncio.get_running_loop().time()
    while True:
        frame, said = said[:size], said[size:]
        link.append(frame.ljust(size, b"\0"))
        due_s += 0.02
        await asyncio.sleep(due_s - asyncio.get_running_loop().time())


@contextlib.asynccontextmanager
async def speaking(link: ModelLink, text: str, silent_ms: int = 200) -> AsyncIterator[None]:
    task = asyncio.create_task(speak(link, text, silent_ms))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def response(link: ModelLink) -> list[dict[str, Any]]:
    """Events up to the end of a response's audio."""
    seen = []
    while True:
        seen += await until(link, "response.done")
        if not seen[-1].get(protocol.AUDIO_FOLLOWS):
            return seen


def heard(events: list[dict[str, Any]], rate_hz: int) -> str:
    pcm = b"".join(event["delta"] for event in events if event["type"] == "response.output_audio.delta")
    return tones.hear(pcm, rate_hz)


# --- a call


@pytest.mark.parametrize("rate_hz", [8000, 24_000])
async def test_a_spoken_question_and_its_spoken_answer(rate_hz: int) -> None:
    async with model(first_audio_ms=200) as standin, link_to(standin, rate_hz) as link:
        assert link.session_id == standin.session.id
        async with speaking(link, "what is now"):
            events = await response(link)
        kinds = [event["type"] for event in events]
        [started] = [event for event in events if event["type"] == "input_audio_buffer.speech_started"]
        assert 0 <= started["audio_start_ms"] <= 250, "by the caller's audio, not by the wire's clock; padding included"
        assert standin.session.heard == "what is now"
        assert heard(events, rate_hz) == ANSWER
        item = standin.session.items[-1]
        assert {event["item_id"] for event in events if event["type"] == "response.output_audio.delta"} == {item["id"]}
        first_done = kinds.index("response.done")
        assert events[first_done].get(protocol.AUDIO_FOLLOWS), "the words are all there before the audio is"
        assert kinds.index("output_audio_buffer.stopped") > first_done
        types = {event["type"] for event in standin.session.received}
        assert types == {"session.update"}, "no audio in events"


async def test_a_model_that_interrupts_itself_cuts_itself() -> None:
    async with model(answer=lambda _: Say(LONG)) as standin, link_to(standin) as link:
        await link.send(protocol.respond())
        first = await until(link, "response.output_audio.delta")
        async with speaking(link, "no stop that", 600):
            events = await until(link, "input_audio_buffer.speech_started")
            events += await until(link, "response.done")
            item_id = first[-1]["item_id"]
            await link.send(protocol.truncate(item_id, 0, 100))
            events += await until(link, "response.created")
        assert "conversation.item.truncate" not in [event["type"] for event in standin.session.received]
        after = [event["type"] for event in events].index("output_audio_buffer.cleared")
        assert "response.output_audio.delta" not in [event["type"] for event in events[after:]]


async def test_an_answer_that_we_end_is_silent_at_once_and_truncated_where_we_say() -> None:
    async with model(answer=lambda _: Say(LONG), speed=0) as standin, link_to(standin) as link:
        await link.send(protocol.respond())
        events = await until(link, "response.done")
        assert events[-1].get(protocol.AUDIO_FOLLOWS)
        for _ in range(15):
            events = await until(link, "response.output_audio.delta")
        item_id = events[-1]["item_id"]
        await link.send(protocol.cancel())
        await link.send(protocol.truncate(item_id, 0, 40))
        rest = await until(link, "conversation.item.truncated")
        kinds = [event["type"] for event in rest]
        silent = kinds.index("response.done")
        assert silent < kinds.index("output_audio_buffer.cleared"), "we do not wait for the model to obey"
        assert "response.output_audio.delta" not in kinds[silent:]
        assert rest[-1]["audio_end_ms"] > 40, "where it believes to be"
        assert (await until(link, "conversation.item.truncated"))[-1]["audio_end_ms"] == 40
        await link.send(protocol.respond())
        again = await until(link, "response.output_audio.delta")
        assert again[-1]["item_id"] != item_id


async def test_a_commit_waits_for_the_audio_before_it() -> None:
    async with model() as standin, link_to(standin, turn_detection=None) as link:
        pcm = tones.speak("what is now", link.rate_hz)
        for start in range(0, len(pcm), 960):  # all at once, as after a fault
            link.append(pcm[start : start + 960])
        await link.send(protocol.commit())
        await until(link, "input_audio_buffer.committed")
        await link.send(protocol.respond())
        assert heard(await response(link), link.rate_hz) == ANSWER
        assert standin.session.items[0]["content"][0]["transcript"] == "what is now"
        assert len(link._peer._media._sender._runs) < 5, "400 KB a call, if each frame were a turn of its own"


async def test_an_answer_is_whole_although_the_model_stops_and_nobody_is_silent_after_it() -> None:
    """Its buffer runs on into the next answer: each has its own audio."""
    async with model(speed=0, first_audio_ms=0) as standin, link_to(standin) as link:
        for _ in range(2):
            await link.send(protocol.respond())
            assert heard(await response(link), link.rate_hz) == ANSWER
        assert [each.status for each in standin.session.responses] == ["completed"] * 2


# --- beginning


@pytest.mark.parametrize(
    ("fault", "kind", "retry_after_s"),
    [
        (Refuse(401), Kind.REFUSED, None),
        (Refuse(403), Kind.REFUSED, None),
        (Refuse(429, retry_after_s=7), Kind.RATE_LIMITED, 7.0),
        (Refuse(500), Kind.UNAVAILABLE, None),
        (Refuse(503), Kind.UNAVAILABLE, None),
        (Garbage("malformed"), Kind.UNAVAILABLE, None),
        (Close(1000), Kind.UNAVAILABLE, None),
    ],
)
async def test_a_call_that_is_refused(fault: Fault, kind: Kind, retry_after_s: float | None) -> None:
    async with model() as standin:
        standin.inject(fault)
        error = await refused(standin)
        assert (error.kind, error.retry_after_s, error.retryable) == (kind, retry_after_s, kind.retryable)
        assert len(standin.sessions) + len(standin.refused) == 1  # nobody tried again behind our back


async def test_a_refusal_says_why() -> None:
    async with model(api_key="right") as standin:
        assert str(await refused(standin)) == "openai_realtime: HTTP 401: invalid_api_key: Incorrect API key provided."


@pytest.mark.parametrize("fault", [NeverAnswer(), SlowHandshake(ms=1500)])
async def test_a_model_that_never_answers_is_given_up_at_the_deadline(fault: Fault) -> None:
    async with model() as standin:
        standin.inject(fault)
        error = await refused(standin, timeout_s=0.5)
        assert (error.kind, error.reason) == (Kind.UNAVAILABLE, "no session within 0.5 s: its API does not answer")


async def test_blocked_udp_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model's candidates lead nowhere, and it never hears of ours."""
    send = aioice.StunProtocol.send_stun
    monkeypatch.setattr(aioice.StunProtocol, "send_stun", lambda *_: None)
    async with model() as standin:
        error = await refused(standin, timeout_s=1.0)
        monkeypatch.setattr(aioice.StunProtocol, "send_stun", send)
    assert error.kind is Kind.UNAVAILABLE
    assert "is UDP to it blocked?" in error.reason
    assert "relay: {link: websocket}" in error.reason


async def test_an_answer_without_candidates_waits_for_the_model_to_come() -> None:
    """It knows ours: its checks are answered, and found to be the way."""
    async with model() as standin:
        standin.inject(NoCandidates())
        async with link_to(standin) as link:
            await link.send(protocol.respond())
            assert heard(await response(link), link.rate_hz) == ANSWER


async def test_a_port_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with make_client({"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"}) as client:
        with pytest.raises(ModelLost, match="cannot be reached: Conn") as caught:
            await webrtc.connect(client, MODEL, 24_000, timeout_s=PATIENT_S)
    assert caught.value.kind is Kind.UNAVAILABLE


@pytest.mark.parametrize("body", [b"", b"<html>welcome</html>", b"v=0\r\n", b"\xff\xfe", b"x" * 300_000])
async def test_an_answer_that_is_none(body: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with make_client({"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"}) as client:
            with pytest.raises(ModelLost, match="it answered what is no answer") as caught:
                await webrtc.connect(client, MODEL, 24_000, timeout_s=PATIENT_S)
    assert caught.value.kind is Kind.UNAVAILABLE


async def test_being_cancelled_while_connecting_leaves_nothing_behind() -> None:
    async def dial() -> None:
        async with link_to(standin):
            await asyncio.Event().wait()

    async with model() as standin:
        for fault, after_s in ((NeverAnswer(), 0.1), (SlowHandshake(ms=300), 0.1), (None, 0.03), (None, 0.1)):
            if fault is not None:
                standin.inject(fault)
            dialling = asyncio.create_task(dial())
            await asyncio.sleep(after_s)
            dialling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dialling
        # Who gave up before the answer came knows no call to hang up; a model that nobody reaches gives up, too.
        await standin.wait_for(lambda it: all(session.closed for session in it.sessions if session.sent))


@pytest.mark.parametrize(
    ("host", "addresses"),
    [("127.0.0.1", ("127.0.0.1",)), ("localhost", ("127.0.0.1",)), ("api.openai.com", ()), ("10.1.2.3", ())],
)
def test_media_goes_where_the_api_is(host: str, addresses: tuple[str, ...]) -> None:
    assert webrtc.network(host).addresses == addresses


# --- ends


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        (Close(1000), Kind.UNAVAILABLE, "its data channel is closed"),
        (Expire(), Kind.EXPIRED, "session_expired"),
        (Garbage("malformed"), Kind.UNAVAILABLE, "no JSON"),
        (Garbage("not_an_object"), Kind.UNAVAILABLE, "no object with a type"),
    ],
)
async def test_every_end_is_said(fault: Any, kind: Kind, said: str) -> None:
    async with model() as standin, link_to(standin) as link:
        standin.session.inject(fault)
        error = await lost(link)
        assert error.kind is kind
        assert said in error.reason
        await link.close()
        link.append(bytes(960))
        with pytest.raises(ModelLost):
            await link.send(protocol.commit())
        with pytest.raises(ModelLost):
            await anext(link.events())


@pytest.mark.parametrize("fault", [Drop(), Mute(pongs=False)])
async def test_a_model_that_vanishes_is_lost_within_seconds(fault: Any) -> None:
    async with model() as standin, link_to(standin) as link:
        standin.session.inject(fault)
        begun_s = asyncio.get_running_loop().time()
        error = await lost(link)
        assert (error.kind, "nothing comes from host udp 127.0.0.1" in error.reason) == (Kind.UNAVAILABLE, True)
        assert 2.0 < asyncio.get_running_loop().time() - begun_s < 3.0 + SECOND_S


async def test_a_closed_data_channel_ends_the_session_while_audio_goes_on() -> None:
    async with model() as standin, link_to(standin) as link, speaking(link, ""):
        standin.session.inject(CloseChannel())
        error = await lost(link)
        assert (error.kind, "its data channel is closed" in error.reason) == (Kind.UNAVAILABLE, True)
        with pytest.raises(ModelLost, match="its data channel is closed"):
            await link.send(protocol.probe())


async def test_hanging_up_is_told_and_takes_no_time() -> None:
    async with model() as standin, link_to(standin) as link:
        async with asyncio.timeout(SECOND_S):
            await link.close()
            await link.close()
        assert await standin.wait_for(lambda it: it.session.closed) == (1000, "")


async def test_a_model_that_answers_only_nominations_keeps_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """As OpenAI does (elixir-webrtc/ex_ice#110), which ends a call of plain aioice after 30 s, 6 questions: here
    they are asked every 0.2 s."""
    monkeypatch.setattr(pulse, "ASK_EVERY_S", 0.2)
    monkeypatch.setattr(pulse, "LOST_WITHOUT_ANSWERS_S", 2.0)
    async with model(nominations_only=True) as standin, link_to(standin) as link:
        async with speaking(link, ""):
            await asyncio.sleep(3.0)
        assert link._peer._ice is not None
        assert link._peer._ice.pulse._answers, "its questions are answered, for they carry USE-CANDIDATE"
        await link.send(protocol.respond())
        assert heard(await response(link), link.rate_hz) == ANSWER
        assert standin.session.closed is None


# --- a conversation


async def test_a_call_that_drops_is_made_again_with_what_was_said() -> None:
    """All of the relay, in real time: as a tenant has it by `relay: {link: webrtc}`."""
    tenant = Tenant(id="acme", backend="relay", relay=RelaySettings(link="webrtc"))
    environment = {"OPENAI_API_KEY": "key"}
    async with model() as standin, make_client(environment | {"OPENAI_BASE_URL": standin.http_url}) as client:
        relay = runner.Relay(tenant, client, None)
        assert "over WebRTC" in relay.providers["model"]
        edge = Edge([], 0)
        session = StandInSession(edge, tenant)
        async with asyncio.TaskGroup() as group:
            playing = group.create_task(edge.play())
            serving = group.create_task(relay.run(session))
            session.deliver(Text("s", 0, "hello"))
            await answered(session, 2)
            standin.session.inject(Close(1000))
            session.deliver(Text("s", 1, "who are you"))
            await answered(session, 4)
            session.deliver(Hangup("s", 2, "hung up"))
            await serving
            playing.cancel()
        assert [tones.hear(bytes(turn.audio), EDGE_HZ) for turn in edge.turns.values()] == [ANSWER, ANSWER]
        assert len(standin.sessions) == 2
        said = [item["content"][0].get("text") for item in standin.session.items[:3]]
        assert said == ["hello", ANSWER, "who are you"]


async def answered(session: StandInSession, items: int) -> None:
    """Wait until the conversation has so many items."""
    async with asyncio.timeout(PATIENT_S):
        while len(session.committed.items) < items:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
