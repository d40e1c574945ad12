from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from tests.standins.realtime import (
    Close,
    Drop,
    Expire,
    Garbage,
    Mute,
    NeverAnswer,
    Realtime,
    Say,
)
from tests.unit.relay.linked import PATIENT_S, SECOND_S, client_of, link_to, lost, server, until
from workers.relay import protocol, websocket
from workers.relay.link import ModelLink, ModelLost
from workers.relay.trouble import Kind
from workers.relay.websocket import connect


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        (Drop(), Kind.UNAVAILABLE, "1006"),
        (Close(1000), Kind.UNAVAILABLE, "1000"),
        (Close(1001, "going away"), Kind.UNAVAILABLE, "1001: going away"),
        (Close(1011, "internal error"), Kind.UNAVAILABLE, "1011: internal error"),
        (Close(3000, "invalid_request_error.invalid_api_key"), Kind.REFUSED, "invalid_api_key"),
        (Garbage("malformed"), Kind.UNAVAILABLE, "no JSON"),
        (Garbage("deep"), Kind.UNAVAILABLE, "no JSON"),
        (Garbage("binary"), Kind.UNAVAILABLE, "no JSON"),
        (Garbage("not_an_object"), Kind.UNAVAILABLE, "no object with a type"),
        (Expire(), Kind.EXPIRED, "session_expired"),
    ],
)
async def test_every_end_is_said(fault: Any, kind: Kind, said: str) -> None:
    async with Realtime() as standin, link_to(standin.url) as link:
        standin.session.inject(fault)
        error = await lost(link)
        assert error.kind is kind
        assert said in error.reason
        await link.close()
        link.append(bytes(4))
        with pytest.raises(ModelLost):
            await link.send(protocol.commit())
        with pytest.raises(ModelLost):
            await anext(link.events())


async def test_a_model_that_drops_in_the_middle_of_an_answer() -> None:
    async with Realtime(answer=lambda _: Say("one two three four")) as standin, link_to(standin.url) as link:
        standin.session.inject(Drop(after_audio_ms=300))
        await link.send(protocol.respond())
        error = await lost(link)
        assert error.retryable
        assert "response.output_audio.delta" in standin.session.sent


async def test_a_message_beyond_all_bounds_ends_the_link() -> None:
    async def handle(connection: ServerConnection) -> None:
        await connection.send('{"type": "session.created"}')
        await connection.send(" " * ((16 << 20) + 1))
        await connection.wait_closed()

    async with server(handle) as url, link_to(url) as link:
        error = await lost(link)
        assert (error.kind, "1009" in error.reason) == (Kind.UNAVAILABLE, True)


async def test_a_model_that_leaves_pings_unanswered_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(websocket._OPTIONS, "ping_interval", 0.1)
    monkeypatch.setitem(websocket._OPTIONS, "ping_timeout", 0.2)
    async with Realtime() as standin, link_to(standin.url) as link:
        standin.session.inject(Mute(pongs=False))
        error = await lost(link)
        assert (error.kind, "ping timeout" in error.reason) == (Kind.UNAVAILABLE, True)


def test_a_frozen_model_is_noticed_within_five_seconds() -> None:
    """A ping at the worst moment, its deadline, and the close that is not answered either."""
    assert websocket._OPTIONS["ping_interval"] + websocket._OPTIONS["ping_timeout"] + websocket.CLOSE_S < 5


async def test_a_model_that_says_nothing_and_answers_pings_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it should speak is for the conversation's owner to know."""
    monkeypatch.setitem(websocket._OPTIONS, "ping_interval", 0.1)
    monkeypatch.setitem(websocket._OPTIONS, "ping_timeout", 2.0)
    async with Realtime() as standin, link_to(standin.url) as link:
        standin.session.inject(Mute())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):  # longer than one ping may take
                await anext(link.events())
        link.append(bytes(4))
        await standin.wait_for(lambda it: it.session.appends == 1)


@pytest.fixture
async def deaf() -> AsyncIterator[str]:
    """A model that opens a session, and then reads nothing any more."""

    async def handle(connection: ServerConnection) -> None:
        await connection.send('{"type": "session.created"}')
        connection.transport.pause_reading()
        await connection.wait_closed()

    async with server(handle) as url:
        yield url


async def fill(link: ModelLink) -> None:
    """Send audio for ever."""
    audio = bytes(30_000)
    while True:
        link.append(audio)
        await asyncio.sleep(0.001)


async def test_a_model_that_does_not_read_is_lost_and_whoever_reads_hears_of_it(
    deaf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "SEND_S", 0.2)
    async with link_to(deaf) as link:
        filling = asyncio.create_task(fill(link))
        async with asyncio.timeout(PATIENT_S):
            error = await lost(link)
        assert error.kind is Kind.UNAVAILABLE
        assert error.reason == "took nothing for 0.2 s"
        with pytest.raises(ModelLost, match=r"took nothing for 0\.2 s"):
            await link.send(protocol.respond())
        filling.cancel()
        await asyncio.wait([filling])


async def test_an_event_that_a_model_does_not_take_is_not_waited_for(
    deaf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "SEND_S", 0.2)

    async def tell(link: ModelLink) -> None:
        while True:
            await link.send(protocol.user_text("A" * 40_000))

    async with link_to(deaf) as link, asyncio.timeout(PATIENT_S):
        with pytest.raises(ModelLost, match=r"took nothing for 0\.2 s"):
            await tell(link)


async def test_closing_does_not_wait_for_a_model_that_does_not_read(deaf: str) -> None:
    async with link_to(deaf) as link:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await fill(link)
        async with asyncio.timeout(SECOND_S):
            await link.close()
            await link.close()


async def test_a_close_that_is_cancelled_has_still_hung_up(deaf: str) -> None:
    async with link_to(deaf) as link:
        closing = asyncio.create_task(link.close())
        await asyncio.sleep(0.05)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        with pytest.raises(ModelLost):
            await anext(link.events())


async def test_events_that_are_left_in_the_middle_can_be_gone_on_with() -> None:
    async with Realtime() as standin, link_to(standin.url) as link:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(link.events())
        await link.send(protocol.user_text("hello"))
        assert (await until(link, "conversation.item.done"))[0]["type"] == "conversation.item.added"
        await link.close()
        assert await standin.wait_for(lambda it: it.session.closed) == (1000, "")


async def test_being_cancelled_while_connecting_leaves_nothing_behind() -> None:
    async with Realtime() as standin, client_of(standin.url) as client:
        for fault in (Mute(), NeverAnswer()):
            standin.inject(fault)
            dialling = asyncio.create_task(connect(client, "gpt-realtime-2.1", protocol.PCM, timeout_s=PATIENT_S))
            if isinstance(fault, Mute):
                await standin.wait_for(lambda it: it.sessions)
            else:
                await asyncio.sleep(0.1)
            dialling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dialling
        await standin.wait_for(lambda it: it.session.closed)
