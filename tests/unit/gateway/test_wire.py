"""The WebSocket protocol as a Wire, with a transport that only notes what is done to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvicorn
from starlette.websockets import WebSocket
from uvicorn.server import ServerState
from websockets.frames import Close, CloseCode, Frame, Opcode

from adapters.wire import Wire, wire_of
from gateway.protocols import HttpProtocol, WebSocketProtocol

REQUEST = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)


SOON_S, LATER_S = 0.001, 60.0


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.reading = True
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def write_eof(self) -> None:
        pass

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


class Accepted:
    """A WebSocket that an application accepted, and holds until the test ends."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.messages: list[str | bytes] = []
        self.closes: list[int] = []
        self.websocket: WebSocket
        self.over = asyncio.Event()
        self._accepted = asyncio.Event()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.websocket = WebSocket(scope, receive, send)
        await self.websocket.accept()
        self._accepted.set()
        await self.over.wait()

    async def begin(self) -> None:
        config = uvicorn.Config(self.app, interface="asgi3", ws=WebSocketProtocol, http=HttpProtocol, ws_max_size=1000)
        config.load()
        self.protocol = WebSocketProtocol(config, ServerState(), {})
        self.protocol.connection_made(self.transport)
        self.protocol.data_received(REQUEST)
        await asyncio.wait_for(self._accepted.wait(), 5)
        self.transport.written.clear()

    @property
    def wire(self) -> Wire:
        return wire_of(self.websocket)

    def listen(self) -> None:
        self.wire.listen(self.messages.append, self.closes.append)

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not done():  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    def says(self, *messages: str | bytes) -> None:
        """All in one read."""
        frames = [Frame(Opcode.TEXT, m.encode()) if isinstance(m, str) else Frame(Opcode.BINARY, m) for m in messages]
        self.protocol.data_received(b"".join(frame.serialize(mask=True) for frame in frames))


@pytest.fixture
async def accepted() -> AsyncIterator[Accepted]:
    one = Accepted()
    await one.begin()
    yield one
    one.over.set()
    if not one.protocol.disconnected:
        one.protocol.connection_lost(None)
    await asyncio.gather(*one.protocol.tasks)


async def test_messages_come_by_call_those_that_waited_first(accepted: Accepted) -> None:
    accepted.says("first", b"second")
    assert not accepted.transport.reading, "nobody has asked for them"
    assert await accepted.websocket.receive_text() == "first"
    accepted.listen()
    assert accepted.messages == [b"second"]
    accepted.says(b"third", "", b"")
    assert accepted.messages == [b"second", b"third", "", b""]
    assert accepted.transport.reading


async def test_fragments_are_one_message(accepted: Accepted) -> None:
    accepted.listen()
    for fragment in (Frame(Opcode.TEXT, b"one ", fin=False), Frame(Opcode.PING, b"?"), Frame(Opcode.CONT, b"two")):
        accepted.protocol.data_received(fragment.serialize(mask=True))
    accepted.says("three")
    assert accepted.messages == ["one two", "three"]
    assert accepted.transport.reading
    assert bytes(accepted.transport.written) == Frame(Opcode.PONG, b"?").serialize(mask=False)


async def test_held_messages_wait_in_order_and_reading_stops(accepted: Accepted) -> None:
    accepted.listen()
    accepted.wire.hold(SOON_S)
    accepted.says("one", "two")
    assert accepted.messages == []
    assert not accepted.transport.reading
    await accepted.until(lambda: accepted.transport.reading)
    assert accepted.messages == ["one", "two"]
    accepted.says("three")
    assert accepted.messages == ["one", "two", "three"]


async def test_what_was_not_asked_for_comes_before_what_is_held(accepted: Accepted) -> None:
    accepted.says("one", "two")
    accepted.wire.hold(SOON_S)
    accepted.listen()
    accepted.says("three")
    assert accepted.messages == []
    await accepted.until(lambda: accepted.transport.reading)
    assert accepted.messages == ["one", "two", "three"]


async def test_who_holds_again_gets_no_more(accepted: Accepted) -> None:
    def take(message: str | bytes) -> None:
        accepted.messages.append(message)
        accepted.wire.hold(SOON_S if len(accepted.messages) == 1 else LATER_S)

    accepted.wire.listen(take, accepted.closes.append)
    accepted.says("one", "two", "three")
    assert accepted.messages == ["one"]
    await accepted.until(lambda: len(accepted.messages) > 1)
    assert accepted.messages == ["one", "two"]
    assert not accepted.transport.reading


async def test_the_close_comes_once_and_after_what_waits(accepted: Accepted) -> None:
    accepted.listen()
    accepted.wire.hold(SOON_S)
    accepted.says("last words")
    goodbye = Frame(Opcode.CLOSE, Close(CloseCode.NORMAL_CLOSURE, "").serialize())
    accepted.protocol.data_received(goodbye.serialize(mask=True))
    accepted.protocol.connection_lost(None)
    assert accepted.closes == []
    await accepted.until(lambda: bool(accepted.closes))
    assert (accepted.messages, accepted.closes) == (["last words"], [1000])


@pytest.mark.parametrize(
    ("wrong", "masked", "code"),
    [
        (Frame(Opcode.TEXT, b"\xff"), True, 1007),
        (Frame(Opcode.BINARY, bytes(1001)), True, 1009),
        (Frame(Opcode.BINARY, b"x"), False, 1002),
        (Frame(Opcode.CONT, b"x"), True, 1002),
    ],
)
async def test_what_is_wrong_closes_with_its_code(accepted: Accepted, wrong: Frame, masked: bool, code: int) -> None:
    accepted.listen()
    accepted.protocol.data_received(wrong.serialize(mask=masked) * 2)
    accepted.says("ignored")
    assert (accepted.messages, accepted.closes) == ([], [code])
    assert not accepted.wire.write("too late")


async def test_a_message_goes_out_at_once_unless_others_wait(accepted: Accepted) -> None:
    assert accepted.wire.write("text")
    assert accepted.wire.write(bytes(640))
    frames = [Frame(Opcode.TEXT, b"text"), Frame(Opcode.BINARY, bytes(640))]
    assert bytes(accepted.transport.written) == b"".join(frame.serialize(mask=False) for frame in frames)
    accepted.protocol.pause_writing()
    assert not accepted.wire.write("more")
    accepted.protocol.resume_writing()
    assert accepted.wire.write("more")
    await accepted.websocket.close(1000)
    assert not accepted.wire.write("after the close")
