from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.websockets import WebSocket

from adapters.bridge import Bridge
from adapters.messages import Stop, Text
from adapters.pace import MAX_ERRORS, MessagePace, Pace
from adapters.websocket import link as module
from adapters.websocket.link import Lost, WebSocketLink
from adapters.websocket.protocol import CloseCode, Start
from tests.standins import virtual_time
from tests.standins.bus import Bus
from tests.standins.websocket import Socket
from tests.waiting import until
from trunkline.bus.messages import ClientEvent, UplinkAudio
from trunkline.bus.messages import Text as TextMessage
from trunkline.errors import ClientError

RATE_HZ = 16000
FRAME = bytes(640)


@pytest.fixture
def socket() -> Socket:
    return Socket()


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def bridge(bus: Bus) -> Bridge:
    made = Bridge("s", RATE_HZ, bus, lambda: 0.0, whole_sentences=False)
    made.worker = "lane:w"
    return made


@pytest.fixture
def made(socket: Socket) -> Callable[..., WebSocketLink]:
    def make(**start: Any) -> WebSocketLink:
        link = WebSocketLink(cast(WebSocket, socket), socket)
        begun = Start(**start)
        link.adopt(begun, min(begun.rate_hz, RATE_HZ))
        return link

    return make


async def test_what_is_read_goes_to_the_bridge(
    made: Callable[..., WebSocketLink], socket: Socket, bridge: Bridge, bus: Bus
) -> None:
    for data in (FRAME, '{"type":"input_audio_buffer.commit"}', '{"type":"response.cancel"}', '{"type":"stop"}'):
        socket.says(data)
    assert await made().run(bridge, Text("first")) == "stop"
    assert [type(message).__name__ for message in bus.sent] == ["Text", "UplinkAudio", "ClientEvent", "ClientEvent"]
    assert bus.sent[1:3] == [UplinkAudio("s", 1, 0, FRAME), ClientEvent("s", 2, "commit", {})]


async def test_what_is_for_the_backend_goes_there(
    made: Callable[..., WebSocketLink], socket: Socket, bridge: Bridge, bus: Bus
) -> None:
    for message in (
        {"type": "session.update", "session": {"voice": "cedar"}},
        {"type": "function_call_output", "call_id": "c1", "output": {"shown": True}},
        {"type": "input_text", "text": "hello"},
        {"type": "stop"},
    ):
        socket.says(json.dumps(message))
    assert await made().run(bridge, None) == "stop"
    assert bus.sent == [
        ClientEvent("s", 0, "session_update", {"session": {"voice": "cedar"}}),
        ClientEvent("s", 1, "tool_output", {"call_id": "c1", "output": '{"shown": true}'}),
        TextMessage("s", 2, "hello"),
    ]


@pytest.mark.parametrize(
    ("message", "at_once"),
    [
        ({"type": "function_call_output", "call_id": "c1", "output": "x" * 10 * 1024}, 10),
        ({"type": "session.update", "session": {}}, 2),
    ],
)
async def test_long_messages_count_as_several(
    made: Callable[..., WebSocketLink],
    socket: Socket,
    bridge: Bridge,
    bus: Bus,
    message: dict[str, Any],
    at_once: int,
) -> None:
    link = made()
    link._message_pace = MessagePace(per_s=1, at_once=100)
    for _ in range(20):
        socket.says(json.dumps(message))
    running = asyncio.create_task(link.run(bridge, None))
    await asyncio.sleep(0.05)
    assert len(bus.sent) == at_once, "the others are not read before their time"
    running.cancel()
    await asyncio.wait([running])


@pytest.mark.parametrize(("code", "outcome"), [(1000, "stop"), (1001, "lost"), (1006, "lost"), (1005, "lost")])
async def test_how_a_client_leaves_says_whether_it_may_be_back(
    made: Callable[..., WebSocketLink], socket: Socket, bridge: Bridge, code: int, outcome: str
) -> None:
    socket.leaves(code)
    assert await made().run(bridge, None) == outcome


async def test_who_came_back_knows_it_with_the_first_message_after_our_word(
    made: Callable[..., WebSocketLink], socket: Socket, bridge: Bridge
) -> None:
    link, known = made(resume="token"), []
    link.on_answered = lambda: known.append(len(socket.sent))
    link.event(0, "session_ready", {})
    socket.says(FRAME)
    running = asyncio.create_task(link.run(bridge, None))
    await asyncio.sleep(0)
    assert known == [], "it was said before ours could have come"
    await asyncio.sleep(0.01)
    socket.says(FRAME)
    socket.says(FRAME)
    assert known == [1]
    socket.leaves(1000)
    assert await running == "stop"


async def test_who_came_back_may_answer_before_our_word_is_said_to_be_sent(
    made: Callable[..., WebSocketLink], socket: Socket, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A send waits its turn, which on a busy machine comes after the word of the client: its old token stayed good."""
    link, known, send = made(resume="token"), [], socket.send_text

    async def send_and_hear(text: str) -> None:
        await send(text)
        socket.says(FRAME)
        await asyncio.sleep(0.01)

    monkeypatch.setattr(socket, "send_text", send_and_hear)
    link.on_answered = lambda: known.append(len(socket.sent))
    link.event(0, "session_ready", {})
    running = asyncio.create_task(link.run(bridge, None))
    await until(lambda: socket.sent)
    assert known == [1]
    socket.leaves(1000)
    assert await running == "stop"


async def test_a_pong_after_our_word_tells_that_it_is_heard_and_not_that_anybody_reads_it(
    made: Callable[..., WebSocketLink], socket: Socket, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, known, heard = made(resume="token"), [], []
    monkeypatch.setattr(bridge, "answered", lambda: heard.append(len(socket.sent)))
    link.on_answered = lambda: known.append(len(socket.sent))
    link.event(0, "session_ready", {})
    bridge.connect(link)
    running = asyncio.create_task(link.run(bridge, None))
    await until(lambda: socket.asked)
    socket.asked[0]()
    assert (heard, known) == ([1], [])
    bridge.link = None
    socket.asked[0]()
    assert heard == [1], "it has another wire by now"
    socket.leaves(1000)
    assert await running == "lost"
    assert len(socket.asked) == 1


async def test_who_leaves_without_a_word_after_coming_back_may_come_again(
    made: Callable[..., WebSocketLink], socket: Socket, bridge: Bridge
) -> None:
    link = made(resume="token")
    link.on_answered = lambda: None
    link.event(0, "session_ready", {})
    running = asyncio.create_task(link.run(bridge, None))
    await asyncio.sleep(0.01)
    socket.leaves(1000)
    assert await running == "lost"


async def test_who_came_back_by_another_wire_is_heard_by_that_alone(
    made: Callable[..., WebSocketLink], socket: Socket, bridge: Bridge, bus: Bus
) -> None:
    """What still comes by the old one is sent again by the new, from where the gateway said that it was heard."""
    link = made()
    bridge.connect(link)
    running = asyncio.create_task(link.run(bridge, None))
    await asyncio.sleep(0)
    socket.says(FRAME)
    assert bridge.media_ms == 20
    bridge.reconnect(made(), 0, 0, 0)
    socket.says(FRAME)
    socket.says('{"type":"stop"}')
    assert bridge.media_ms == 20
    assert await running == "ended"
    assert socket.closed == CloseCode.RESUMED_ELSEWHERE


async def test_the_first_message(made: Callable[..., WebSocketLink], socket: Socket) -> None:
    link = made()
    assert await link.opening(0.005) is None
    socket.says("nonsense")
    socket.says('{"type":"start"}')
    assert await link.opening(1) == Start()
    assert socket.sent[0]["code"] == "bad_json"
    socket.leaves(1000)
    assert await link.opening(1) == Stop()
    socket.leaves(1006)
    with pytest.raises(Lost):
        await link.opening(1)
    socket.says('{"type":"start","output":"flac"}')
    with pytest.raises(ClientError, match="flac"):
        await link.opening(1)


async def test_audio_of_another_rate_is_resampled_both_ways(
    made: Callable[..., WebSocketLink], socket: Socket, bridge: Bridge, bus: Bus
) -> None:
    link = made(rate_hz=48000)
    for _ in range(50):
        socket.says(bytes(1920))
    socket.says('{"type":"stop"}')
    await link.run(bridge, None)
    assert 48 <= len(bus.sent) <= 50
    link.play(1, 0, bytes(6400), False)
    await link.flush()
    assert len(socket.sent[-1]) == pytest.approx(19200, abs=2000)


def test_audio_far_ahead_of_its_time_waits(
    made: Callable[..., WebSocketLink], socket: Socket, bridge: Bridge, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def listen() -> None:
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=asyncio.get_running_loop().time))
        link = made()
        link._audio_pace = Pace(0.1)
        running = asyncio.create_task(link.run(bridge, None))
        for _ in range(30):
            socket.says(FRAME)
        taken = []
        for ms in (10, 20, 20):
            await asyncio.sleep(ms / 1000)
            taken.append(len(bus.sent))
        assert taken == [6, 7, 8], "not read, so that TCP slows the sender down"
        running.cancel()
        await asyncio.wait([running])

    virtual_time.run(listen())


async def test_binary_audio_is_announced_when_it_is_not_what_is_expected(
    made: Callable[..., WebSocketLink], socket: Socket
) -> None:
    link = made()
    link.play(1, 0, FRAME, False)
    link.play(1, 20, FRAME, False)
    link.play(1, 60, FRAME, False)
    link.play(2, 0, FRAME, False)
    await link.flush()
    announced = [(sent["turn"], sent["offset_ms"]) for sent in socket.sent if isinstance(sent, dict)]
    assert announced == [(1, 0), (1, 60), (2, 0)]
    assert [isinstance(sent, bytes) for sent in socket.sent] == [False, True, True, False, True, False, True]


async def test_base64_audio(made: Callable[..., WebSocketLink], socket: Socket) -> None:
    link = made(encoding="base64")
    link.event(7, "state", {"state": "speaking"})
    link.play(1, 20, FRAME, False)
    await link.flush()
    delta = base64.b64encode(FRAME).decode()
    assert socket.sent[1] == {"type": "audio", "seq": 7, "turn": 1, "offset_ms": 20, "delta": delta}


@pytest.mark.parametrize("encoding", ["binary", "base64"])
async def test_whole_sentences_are_whole_files(
    made: Callable[..., WebSocketLink], socket: Socket, encoding: str
) -> None:
    link = made(output="wav", encoding=encoding)
    link.play(1, 0, FRAME, False)
    await link.flush()
    assert socket.sent == []
    link.play(1, 20, FRAME, True)
    link.play(1, 40, FRAME, False)
    link.event(3, "response_done", {"turn": 1})
    await link.flush()
    about = [sent for sent in socket.sent if isinstance(sent, dict) and sent["type"] == "audio"]
    assert [(sent["offset_ms"], sent["format"]) for sent in about] == [(0, "wav"), (40, "wav")]
    files = [sent for sent in socket.sent if isinstance(sent, bytes)]
    if encoding == "base64":
        files = [base64.b64decode(sent["delta"]) for sent in about]
    assert [len(file) for file in files] == [44 + 1280, 44 + 640]


async def test_a_sentence_holds_one_turn_only(made: Callable[..., WebSocketLink], socket: Socket) -> None:
    link = made(output="wav")
    link.play(1, 0, FRAME, False)
    link.play(2, 0, FRAME, True)
    link.event(3, "response_done", {"turn": 1})
    await link.flush()
    about = [sent for sent in socket.sent if isinstance(sent, dict) and sent["type"] == "audio"]
    assert [(sent["turn"], sent["offset_ms"]) for sent in about] == [(1, 0), (2, 0)]


async def test_a_clear_throws_away_what_was_not_sent(made: Callable[..., WebSocketLink], socket: Socket) -> None:
    link = made()
    link.play(1, 0, FRAME, False)
    link.event(5, "transcript", {"text": "kept"})
    link.clear(1)
    link.play(2, 0, FRAME, False)
    await link.flush()
    assert [sent["type"] if isinstance(sent, dict) else "pcm" for sent in socket.sent] == ["transcript", "audio", "pcm"]


async def test_a_client_that_does_not_read_is_cut_off(
    made: Callable[..., WebSocketLink], socket: Socket, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALL_S", 0.02)
    link = made()
    socket.reads.clear()
    link.event(1, "state", {})
    assert await link.run(bridge, None) == "lost"
    socket.reads.set()
    for _ in range(module.MAX_QUEUED + 1):
        link.event(2, "state", {})
    assert not await link.flush()


async def test_errors_are_forgiven_up_to_a_number(
    made: Callable[..., WebSocketLink], socket: Socket, bridge: Bridge
) -> None:
    link = made()
    for _ in range(MAX_ERRORS + 1):
        socket.says(b"odd")
    assert await link.run(bridge, None) == "refused"
    await link.flush()
    assert [sent["fatal"] for sent in socket.sent] == [False] * MAX_ERRORS + [True]
    assert socket.closed == CloseCode.BAD_INPUT


@pytest.mark.parametrize(
    ("act", "code", "outcome"),
    [
        (lambda link: link.end("over"), CloseCode.DONE, "ended"),
        (lambda link: link.replaced(), CloseCode.RESUMED_ELSEWHERE, "ended"),
        (lambda link: link.close(CloseCode.RESTARTING), CloseCode.RESTARTING, "lost"),
    ],
)
async def test_how_we_close(
    made: Callable[..., WebSocketLink],
    socket: Socket,
    bridge: Bridge,
    act: Callable[[WebSocketLink], None],
    code: CloseCode,
    outcome: str,
) -> None:
    link = made()
    link.event(1, "state", {})
    act(link)
    assert await link.run(bridge, None) == outcome
    assert socket.closed == code
    assert socket.sent[0]["type"] == "state", "what was queued goes first"
