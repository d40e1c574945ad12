"""The Realtime stand-in over WebRTC (PROTOCOLS 1.10): the official SDK asks for the calls, plain aiortc makes them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import openai
import pytest

from tests.standins import tones
from tests.standins.realtime import (
    Close,
    CloseChannel,
    Drop,
    Expire,
    Mute,
    NeverAnswer,
    NoCandidates,
    Realtime,
    Refuse,
    Say,
    SlowHandshake,
    echo,
)
from tests.standins.realtime.sdk import check_event
from tests.standins.webrtc import Hearing, Line

MODEL = "gpt-realtime-2.1"
SESSION = {"type": "realtime", "model": MODEL}
PATIENCE_S = 15.0
LONG = "once upon a time there was a king who had three ships and the sea was here and the sun"

SPOKEN_ANSWER = [
    "response.created",
    "rate_limits.updated",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
]


class Caller:
    """A line to the model, and every event held against the SDK's types."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.hearing = Hearing()
        self.call_id = ""
        self.line = Line("oai-events", heard=self.hearing.add, told=self._told)

    async def call(self, client: Any, **session: Any) -> None:
        """By the SDK with an API key."""
        offer = await self.line.offer()
        response = await client.realtime.calls.create(sdp=offer, session={**SESSION, **session})
        assert response.response.status_code == 201
        assert response.response.headers["content-type"].startswith("application/sdp")
        self.call_id = response.response.headers["location"].removeprefix("/v1/realtime/calls/")
        assert self.call_id.startswith("rtc_")
        await self.line.accept(response.text)
        await self.line.connected()
        await self.until("session.created")

    async def until(
        self, kind: str, matches: Callable[[dict[str, Any]], bool] = lambda _: True, number: int = 1
    ) -> dict[str, Any]:
        """The event of this type (that matches): the first, or a later one by its number."""

        def found() -> list[dict[str, Any]]:
            return [event for event in self.events if event["type"] == kind and matches(event)]

        await self.line.watch.until(lambda: len(found()) >= number, PATIENCE_S)
        return found()[number - 1]

    def send(self, kind: str, **fields: Any) -> None:
        self.line.send(json.dumps({"type": kind, **fields}))

    def say(self, text: str) -> None:
        self.line.say(tones.speak(text, 48_000))

    @property
    def heard(self) -> str:
        return self.hearing.words()

    def kinds(self) -> list[str]:
        """The types of all events so far, in order; repeated deltas once."""
        kinds: list[str] = []
        for event in self.events:
            if kinds[-1:] != [event["type"]] or not event["type"].endswith(".delta"):
                kinds.append(event["type"])
        return kinds

    def _told(self, message: str) -> None:
        event: dict[str, Any] = json.loads(message)
        check_event(event)
        self.events.append(event)


@contextlib.asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[tuple[Realtime, Any]]:
    """The stand-in and the SDK, untyped because tests also send what its types forbid."""
    async with (
        Realtime(webrtc=True, **options) as standin,
        openai.AsyncOpenAI(api_key="key", base_url=standin.http_url, max_retries=0) as client,
    ):
        yield standin, client


@contextlib.asynccontextmanager
async def calling(session: dict[str, Any] | None = None, **options: Any) -> AsyncIterator[tuple[Realtime, Caller]]:
    """A stand-in, and a caller who has seen session.created."""
    async with serving(**options) as (standin, client):
        caller = Caller()
        try:
            await caller.call(client, **(session or {}))
            yield standin, caller
        finally:
            await caller.line.close()


async def test_a_spoken_turn() -> None:
    transcription = {"audio": {"input": {"transcription": {"model": "gpt-transcribe"}}}}
    async with calling(transcription) as (standin, caller):
        assert caller.kinds() == ["session.created"]
        assert caller.events[0]["session"]["audio"]["input"]["transcription"]["model"] == "gpt-transcribe"
        caller.say("hello ada")
        stopped = await caller.until("output_audio_buffer.stopped")
        order = caller.kinds()
        answer = order[order.index("response.created") :]
        # Audio is no event here.
        beside = ("output_audio_buffer.", "conversation.item.input_audio_transcription.")
        assert list(dict.fromkeys(kind for kind in answer if not kind.startswith(beside))) == SPOKEN_ANSWER
        assert order.index("response.content_part.added") < order.index("output_audio_buffer.started")
        assert order.index("response.done") < order.index("output_audio_buffer.stopped")
        done = await caller.until("response.done")
        assert stopped["response_id"] == done["response"]["id"]
        transcript = await caller.until("conversation.item.input_audio_transcription.completed")
        assert transcript["transcript"] == "hello ada"
        assert standin.session.heard == "hello ada"
        await caller.line.watch.until(lambda: caller.heard == "you said hello ada", PATIENCE_S)


async def test_audio_comes_in_real_time_and_its_text_does_not() -> None:
    async with calling(answer=lambda _: Say("one two three four five"), speed=0) as (_, caller):
        caller.send("response.create")
        await caller.until("output_audio_buffer.started")
        began_s = time.monotonic()
        await caller.until("output_audio_buffer.stopped")
        assert time.monotonic() - began_s > 0.7
        done = [event["type"] for event in caller.events].index("response.done")
        assert done < len(caller.events) - 1


async def test_barge_in_is_truncated_by_the_server() -> None:
    async with calling(answer=lambda prompt: Say(LONG) if len(prompt.items) == 1 else Say("yes")) as (standin, caller):
        caller.say("hello")
        await caller.line.watch.until(lambda: len(caller.heard.split()) >= 3, PATIENCE_S)
        before_ms = (len(caller.heard.split()) - 1) * tones.WORD_MS
        caller.say("stop")
        cleared = await caller.until("output_audio_buffer.cleared")
        truncated = await caller.until("conversation.item.truncated")
        assert cleared["response_id"] == standin.session.responses[0].id
        # A word or two more is said until the caller is heard: the server knows what it sent.
        assert before_ms <= truncated["audio_end_ms"] < len(LONG.split()) * tones.WORD_MS
        assert standin.session.conversation.items[1].audio_ms == truncated["audio_end_ms"]
        assert "transcript" not in standin.session.items[1]["content"][0]
        assert not [event for event in caller.events if event["type"] == "output_audio_buffer.stopped"]
        await caller.until("output_audio_buffer.stopped")
        await caller.line.watch.until(lambda: caller.heard.endswith("yes"), PATIENCE_S)
        heard = caller.heard.removesuffix(" yes").split()
        assert heard == LONG.split()[: len(heard)]
        assert len(heard) == pytest.approx(truncated["audio_end_ms"] / tones.WORD_MS, abs=1)


async def test_barge_in_while_the_model_still_makes_its_answer() -> None:
    async with calling(answer=lambda prompt: Say(LONG) if len(prompt.items) == 1 else Say("yes"), speed=1.0) as (
        standin,
        caller,
    ):
        caller.say("hello")
        await caller.until("output_audio_buffer.started")
        caller.say("stop")
        done = await caller.until("response.done")
        assert done["response"]["status"] == "cancelled"
        assert done["response"]["status_details"]["reason"] == "turn_detected"
        await caller.until("output_audio_buffer.cleared")
        await caller.until("output_audio_buffer.stopped", lambda e: e["response_id"] != done["response"]["id"])
        assert standin.session.responses[1].status == "completed"


async def test_the_client_clears_the_output_buffer() -> None:
    async with calling(answer=lambda _: Say(LONG)) as (standin, caller):
        caller.send("response.create")
        await caller.until("output_audio_buffer.started")
        caller.send("response.cancel")
        caller.send("output_audio_buffer.clear")
        cleared = await caller.until("output_audio_buffer.cleared")
        truncated = await caller.until("conversation.item.truncated")
        assert cleared["response_id"] == standin.session.responses[0].id
        assert truncated["audio_end_ms"] < 1000
        caller.send("output_audio_buffer.clear")
        caller.send("response.create", response={"instructions": 'say "yes"'})
        await caller.until("response.done", number=2)
        assert len([event for event in caller.events if event["type"] == "output_audio_buffer.cleared"]) == 1


@pytest.mark.parametrize(
    ("event", "param"),
    [
        ({"type": "input_audio_buffer.append", "audio": "AAAA"}, "type"),
        (
            {
                "type": "session.update",
                "session": {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcmu"}}}},
            },
            "session.audio.input.format",
        ),
        (
            {"type": "response.create", "response": {"audio": {"output": {"format": {"type": "audio/pcmu"}}}}},
            "response.audio.output.format",
        ),
    ],
)
async def test_what_a_socket_may_and_a_call_may_not(event: dict[str, Any], param: str) -> None:
    async with calling() as (_, caller):
        caller.send(event_id="e-1", kind=event["type"], **{k: v for k, v in event.items() if k != "type"})
        error = (await caller.until("error"))["error"]
        assert error["event_id"] == "e-1"
        assert error["param"] == param
        assert caller.line.state == "connected"


async def test_a_caller_who_sends_nothing_is_silent_to_the_model() -> None:
    """What DTX looks like: packets stop in mid-air, and voice detection still finds the end of speech."""
    async with calling() as (_, caller):
        caller.say("hello")
        await caller.until("input_audio_buffer.speech_started")
        await caller.line.watch.until(lambda: not caller.line.to_say, PATIENCE_S)
        for sender in caller.line.connection.getSenders():
            sender._enabled = False
        await caller.until("output_audio_buffer.stopped")
        await caller.line.watch.until(lambda: caller.heard == "you said hello", PATIENCE_S)


async def test_a_client_secret_makes_a_call() -> None:
    async with serving() as (standin, client):
        session = {**SESSION, "instructions": "Be brief."}
        asked = {"anchor": "created_at", "seconds": 60}
        secret = await client.realtime.client_secrets.create(expires_after=asked, session=session)
        assert secret.value.startswith("ek_")
        assert 0 < secret.expires_at - time.time() <= 61
        assert (secret.session.type, secret.session.object) == ("realtime", "realtime.session")
        assert secret.session.instructions == "Be brief."
        caller = Caller()
        offer = await caller.line.offer()
        answer = await _post_sdp(standin, offer, secret.value)
        assert answer.status_code == 201
        await caller.line.accept(answer.text)
        await caller.line.connected()
        created = await caller.until("session.created")
        assert created["session"]["instructions"] == "Be brief."
        await caller.line.close()
        for value in ("ek_unknown", "key"):
            assert (await _post_sdp(standin, offer, value)).status_code in (400, 401)


async def test_hang_up() -> None:
    async with serving() as (standin, client):
        caller = Caller()
        await caller.call(client)
        await client.realtime.calls.hangup(caller.call_id)
        await caller.line.watch.until(lambda: caller.line.state == "closed", PATIENCE_S)
        assert standin.session.closed == (1000, "")
        with pytest.raises(openai.NotFoundError):
            await client.realtime.calls.hangup(caller.call_id)
        await caller.line.close()


async def test_the_caller_hangs_up() -> None:
    async with calling() as (standin, caller):
        await caller.line.close()
        await standin.wait_for(lambda standin: standin.session.closed)
        assert standin.session.closed == (1000, "")


@pytest.mark.parametrize(
    ("session", "param"),
    [({"type": "realtime"}, "session.model"), ({**SESSION, "model": MODEL, "voice": "marin"}, "session.voice")],
)
async def test_a_session_that_nobody_gets(session: dict[str, Any], param: str) -> None:
    async with serving() as (standin, client):
        line = Line("oai-events")
        with pytest.raises(openai.BadRequestError) as caught:
            await client.realtime.calls.create(sdp=await line.offer(), session=session)
        assert caught.value.body["param"] == param  # type: ignore[index]
        assert standin.sessions == []
        await line.close()


@pytest.mark.parametrize("sdp", ["", "hello", "v=0\r\nm=audio 9 X 0\r\nm=application 9 X 0\r\n"])
async def test_an_offer_that_is_none(sdp: str) -> None:
    async with serving() as (_, client):
        with pytest.raises(openai.BadRequestError, match="sdp"):
            await client.realtime.calls.create(sdp=sdp, session=SESSION)


async def test_only_its_key_is_let_in() -> None:
    async with serving(api_key="another") as (standin, client):
        line = Line("oai-events")
        with pytest.raises(openai.AuthenticationError):
            await client.realtime.calls.create(sdp=await line.offer(), session=SESSION)
        with pytest.raises(openai.AuthenticationError):
            await client.realtime.client_secrets.create(session=SESSION)
        assert standin.refused == [401, 401]
        await line.close()


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, openai.AuthenticationError), (429, openai.RateLimitError), (500, openai.InternalServerError)],
)
async def test_refusals(status: int, error: type[openai.APIStatusError]) -> None:
    async with serving() as (standin, client):
        standin.inject(Refuse(status, retry_after_s=7), connections=2)
        with pytest.raises(error):
            await client.realtime.client_secrets.create(session=SESSION)
        with pytest.raises(error) as caught:
            await client.realtime.calls.create(sdp="v=0", session=SESSION)
        assert caught.value.response.headers.get("Retry-After") == ("7" if status == 429 else None)


async def test_a_call_that_is_never_answered() -> None:
    async with serving() as (standin, client):
        standin.inject(NeverAnswer())
        with pytest.raises(openai.APITimeoutError):
            await client.realtime.calls.create(sdp="v=0", session=SESSION, timeout=0.2)


async def test_a_slow_answer() -> None:
    async with serving() as (standin, client):
        standin.inject(SlowHandshake(ms=300))
        caller, began_s = Caller(), time.monotonic()
        await caller.call(client)
        assert time.monotonic() - began_s > 0.3
        await caller.line.close()


async def test_an_answer_without_candidates() -> None:
    async with serving() as (standin, client):
        standin.inject(NoCandidates())
        line = Line("oai-events")
        response = await client.realtime.calls.create(sdp=await line.offer(), session=SESSION)
        assert "a=candidate" not in response.text
        assert "m=audio" in response.text
        await line.close()


async def test_a_call_that_drops_says_nothing() -> None:
    async with calling() as (standin, caller):
        standin.session.inject(Drop())
        await standin.wait_for(lambda standin: standin.session.closed)
        await asyncio.sleep(0.1)  # for what was on its way
        before = len(caller.hearing.packets)
        caller.say("hello")
        await asyncio.sleep(0.5)
        assert len(caller.hearing.packets) == before
        assert caller.line.state == "connected"
        assert standin.session.closed == (1006, "")


async def test_a_call_that_drops_in_an_answer() -> None:
    async with calling(answer=lambda _: Say(LONG)) as (standin, caller):
        standin.session.inject(Drop(after_audio_ms=600))
        caller.send("response.create")
        await standin.wait_for(lambda standin: standin.session.closed)
        await asyncio.sleep(0.1)
        assert LONG.startswith(caller.heard)
        assert 2 <= len(caller.heard.split()) <= 3


@pytest.mark.parametrize("fault", [Close(1011, "oops"), Expire()])
async def test_a_call_that_ends_with_a_goodbye(fault: Close | Expire) -> None:
    async with calling() as (standin, caller):
        standin.session.inject(fault)
        await caller.line.watch.until(lambda: caller.line.state == "closed", PATIENCE_S)
        if isinstance(fault, Expire):
            assert (await caller.until("error"))["error"]["code"] == "session_expired"
        assert standin.session.closed == ((1011, "oops") if isinstance(fault, Close) else (1001, "session expired"))


async def test_a_data_channel_that_closes() -> None:
    async with calling() as (standin, caller):
        standin.session.inject(CloseChannel())
        await caller.line.watch.until(lambda: caller.line.channel.readyState == "closed", PATIENCE_S)
        caller.say("hello")
        await caller.line.watch.until(lambda: caller.heard == "you said hello", PATIENCE_S)
        assert standin.session.closed is None


async def test_a_call_that_goes_mute() -> None:
    async with calling() as (standin, caller):
        standin.session.inject(Mute())
        before = len(caller.events)
        caller.say("hello")
        await standin.wait_for(lambda standin: standin.session.responses)
        packets = len(caller.hearing.packets)
        await asyncio.sleep(0.5)
        assert len(caller.hearing.packets) > packets
        assert caller.heard == ""
        assert len(caller.events) == before


@pytest.mark.parametrize("nominations_only", [True, False])
async def test_checks_without_use_candidate_may_be_ignored(
    nominations_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aioice's consent checks have none: such a call dies, if the caller does nothing about it."""
    monkeypatch.setattr("aioice.ice.CONSENT_INTERVAL", 0.1)
    monkeypatch.setattr("aioice.ice.CONSENT_FAILURES", 2)
    async with calling(nominations_only=nominations_only) as (_, caller):
        if nominations_only:
            await caller.line.watch.until(lambda: caller.line.state in ("failed", "closed"), PATIENCE_S)
        else:
            await asyncio.sleep(1.5)  # the other takes 1.2 s: twice 0.1 s, and 0.5 s without an answer
            assert caller.line.state == "connected"


async def test_an_error_inside_fails_the_test() -> None:
    def broken(_: object) -> Say:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup, match="inside the Realtime stand-in"):  # noqa: PT012
        async with calling(answer=broken) as (standin, caller):
            caller.send("response.create")
            await standin.wait_for(lambda standin: standin.session.closed)


async def test_sockets_and_calls_beside_each_other() -> None:
    async with calling() as (standin, caller):
        client = openai.AsyncOpenAI(api_key="key", websocket_base_url=standin.url)
        async with client, client.realtime.connect(model=MODEL) as connection:
            assert (await connection.recv()).type == "session.created"
            assert len({session.id for session in standin.sessions}) == 2
        caller.say("hello")
        await caller.line.watch.until(lambda: caller.heard == "you said hello", PATIENCE_S)
    assert standin.options.answer is echo


async def _post_sdp(standin: Realtime, offer: str, key: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/sdp"}
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as http:
        return await http.post(f"{standin.http_url}/realtime/calls", content=offer, headers=headers)
