from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Callable
from typing import Any, cast

import pytest
from starlette.websockets import WebSocket

from adapters.bridge import Bridge
from adapters.pace import MAX_ERRORS, MessagePace, Pace
from adapters.twilio import link as module
from adapters.twilio.link import Lost, TwilioLink
from adapters.twilio.protocol import CloseCode, Start
from tests.standins.bus import Bus
from tests.standins.websocket import Socket
from trunkline.audio.frame import silence
from trunkline.audio.g711 import pcm_to_ulaw, ulaw_to_pcm
from trunkline.bus.messages import Clear, DownlinkAudio, Dtmf, Pause, Resume, TurnEnd, UplinkAudio
from trunkline.errors import ClientError

SID = "MZ0a"
ULAW = bytes(range(160))
PCM = ulaw_to_pcm(ULAW)


class Stream(Socket):
    """A socket whose other end is Twilio."""

    def tells(self, event: str, sid: str = SID, **body: Any) -> None:
        self.says(json.dumps({"event": event, "streamSid": sid, event: body}))

    def media(self, chunk: int, timestamp_ms: int) -> None:
        payload = base64.b64encode(ULAW).decode()
        self.tells("media", track="inbound", chunk=str(chunk), timestamp=str(timestamp_ms), payload=payload)

    def start(self) -> None:
        media_format = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
        self.tells("start", streamSid=SID, callSid="CA0a", accountSid="AC0a", mediaFormat=media_format)

    def echo(self, count: int) -> None:
        """The next marks that have not come back come back."""
        marks = [message["mark"]["name"] for message in self.sent if message["event"] == "mark"]
        for name in marks[self.echoed : self.echoed + count]:
            self.tells("mark", name=name)
        self.echoed += count

    echoed = 0

    @property
    def heard(self) -> list[str]:
        """What was sent, one word a message: marks by name, audio by length in ms."""
        return [_word(message) for message in self.sent]


def _word(message: dict[str, Any]) -> str:
    match message["event"]:
        case "media":
            return f"{len(base64.b64decode(message['media']['payload'])) // 8}ms"
        case "mark":
            return str(message["mark"]["name"])
        case event:
            return str(event)


class Clock:
    ms = 0.0

    def __call__(self) -> float:
        return self.ms


@pytest.fixture
async def socket() -> Stream:
    return Stream()


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bridge(bus: Bus, clock: Clock) -> Bridge:
    made = Bridge("s", 8000, bus, clock, whole_sentences=False)
    made.worker = "lane:w"
    return made


@pytest.fixture
async def link(socket: Stream) -> TwilioLink:
    made = TwilioLink(cast(WebSocket, socket), socket)
    socket.says('{"event":"connected","protocol":"Call","version":"1.0.0"}')
    socket.start()
    assert await made.opening(1) == Start(SID, "CA0a", "AC0a")
    return made


async def settled(socket: Stream) -> None:
    """Everything said so far was read, and everything queued was sent."""
    for _ in range(50):
        await asyncio.sleep(0)
    assert socket.incoming.empty()


class Served:
    """Runs a link while a test looks at it."""

    def __init__(self, link: TwilioLink, bridge: Bridge) -> None:
        self._link, self._bridge = link, bridge

    async def __aenter__(self) -> None:
        self._bridge.connect(self._link)
        self._task = asyncio.ensure_future(self._link.run(self._bridge))

    async def __aexit__(self, *error: object) -> None:
        self._link.replaced()
        await self._task


async def test_the_callers_audio_reaches_the_bus(link: TwilioLink, socket: Stream, bridge: Bridge, bus: Bus) -> None:
    for chunk, timestamp_ms in ((1, 5), (2, 25), (2, 25), (3, 105), (4, 125)):
        socket.media(chunk, timestamp_ms)
    socket.tells("dtmf", digit="5")
    socket.tells("stop")
    assert await link.run(bridge) == "hung_up"
    assert bus.pcm() == PCM * 2 + silence(60, 8000) + PCM * 2
    assert [message.media_ms for message in bus.sent if isinstance(message, UplinkAudio)] == list(range(0, 140, 20))
    assert bus.sent[-1] == Dtmf("s", 7, "5")
    assert socket.closed is None, "what becomes of the call is written down first"


async def test_a_wire_lost_is_not_a_caller_lost(link: TwilioLink, socket: Stream, bridge: Bridge) -> None:
    socket.leaves()
    assert await link.run(bridge) == "lost"


async def test_the_opening(socket: Stream) -> None:
    link = TwilioLink(cast(WebSocket, socket), socket)
    with pytest.raises(ClientError, match=r"no start within 0\.005 s"):
        await link.opening(0.005)
    socket.says('{"event":"connected"}')
    socket.says('{"event":"weather"}')
    socket.says(b"\x00")
    socket.says("nonsense")
    socket.tells("stop")
    with pytest.raises(ClientError, match="Stop before start"):
        await link.opening(1)
    socket.leaves()
    with pytest.raises(Lost):
        await link.opening(1)


async def test_a_start_for_another_kind_of_audio_is_refused(socket: Stream) -> None:
    socket.tells("start", streamSid=SID, callSid="CA0a", accountSid="AC0a", mediaFormat={"encoding": "audio/opus"})
    with pytest.raises(ClientError) as refused:
        await TwilioLink(cast(WebSocket, socket), socket).opening(1)
    assert (refused.value.code, refused.value.fatal) == ("bad_format", True)


async def test_wrong_messages_are_counted_forgiven_and_then_not(
    link: TwilioLink, socket: Stream, bridge: Bridge, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for number in range(MAX_ERRORS // 4):
        socket.says(ULAW)
        socket.start()
        socket.tells("media", sid="MZother", chunk="1", timestamp="1", payload="")
        socket.tells("media", chunk="first", timestamp="soon", payload="")
        socket.says('{"event":"weather"}')
        socket.media(number + 1, number * 20)
    socket.tells("stop")
    assert await link.run(bridge) == "hung_up"
    assert bus.pcm() == PCM * (MAX_ERRORS // 4)
    said = [(entry.levelname, entry.getMessage()) for entry in caplog.records]
    assert len(said) == 3, "the first of each kind, and the sum"
    assert ("WARNING", "call CA0a, stream MZ0a: a wrong message: a binary frame (right: JSON in text frames)") in said
    assert said[-1][1].startswith("call CA0a, stream MZ0a: 20 wrong messages, 5 not for us, 0 late")


async def test_one_wrong_message_too_many_ends_the_stream(link: TwilioLink, socket: Stream, bridge: Bridge) -> None:
    for _ in range(MAX_ERRORS + 1):
        socket.start()
    assert await link.run(bridge) == "refused"


async def test_media_out_of_time_is_not_read_before_its_time(
    link: TwilioLink, socket: Stream, bridge: Bridge, bus: Bus
) -> None:
    link._audio_pace = Pace(0.1)
    for number in range(500):
        socket.media(number + 1, number * 20)
    async with Served(link, bridge):
        while not bus.pcm():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        assert len(bus.pcm()) < 16_000 * 8, "8 of 10 s of audio"


async def test_messages_of_no_audio_are_not_read_without_end(link: TwilioLink, socket: Stream, bridge: Bridge) -> None:
    link._message_pace = MessagePace(per_s=1, at_once=10)
    for _ in range(100):
        socket.says('{"event":"weather"}')
    async with Served(link, bridge):
        while socket.incoming.qsize() == 100:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.01)
        assert socket.incoming.qsize() > 50


async def test_an_answer_goes_out_in_pieces_each_with_its_mark(
    link: TwilioLink, socket: Stream, bridge: Bridge
) -> None:
    async with Served(link, bridge):
        link.play(3, 0, PCM * 10, sentence_end=False)
        await settled(socket)
        socket.sent.clear()
        link.play(3, 200, PCM * 12, sentence_end=True)
        link.event(1, "transcript", {"text": "not for a telephone"})
        assert socket.writes == 1, "all at once, and at once"
    assert socket.heard == ["100ms", "0:3:300", "100ms", "0:3:400", "40ms", "0:3:440"]
    sent = b"".join(
        base64.b64decode(message["media"]["payload"]) for message in socket.sent if message["event"] == "media"
    )
    assert sent == pcm_to_ulaw(PCM * 12)


def spoken(bridge: Bridge, seq: int, turn: int, ms: int) -> None:
    bridge.receive(DownlinkAudio("s", 0, seq, turn, 0, silence(ms, 8000)))


async def test_marks_say_what_was_heard(link: TwilioLink, socket: Stream, bridge: Bridge, clock: Clock) -> None:
    async with Served(link, bridge):
        spoken(bridge, 0, 1, 300)
        bridge.receive(TurnEnd("s", 0, 1, 1))
        await settled(socket)
        for ms in (100, 200, 300):
            clock.ms += 150  # slower than real time: by the clock, more would have been heard
            socket.echo(1)
            await settled(socket)
            assert bridge.heard.played_ms == ms
        bridge.pump()
        assert bridge.heard.done


async def test_marks_sent_back_by_a_clear_were_not_heard(
    link: TwilioLink, socket: Stream, bridge: Bridge, clock: Clock, bus: Bus
) -> None:
    async with Served(link, bridge):
        spoken(bridge, 0, 1, 400)
        await settled(socket)
        clock.ms += 100
        socket.echo(1)
        await settled(socket)
        clock.ms += 40
        bridge.receive(Clear("s", 0, 1, 1))
        await settled(socket)
        assert socket.heard[-1] == "clear"
        socket.echo(3)
        await settled(socket)
        assert (bridge.heard.turn, bridge.heard.played_ms) == (1, 140), "the mark, and the time since"
        spoken(bridge, 2, 2, 100)
        await settled(socket)
        assert socket.heard[-2:] == ["100ms", "1:2:100"]
        clock.ms += 100
        socket.echo(1)
        await settled(socket)
        assert (bridge.heard.turn, bridge.heard.played_ms) == (2, 100)


async def test_a_pause_is_a_clear_and_what_was_not_heard_is_played_again(
    link: TwilioLink, socket: Stream, bridge: Bridge, clock: Clock
) -> None:
    async with Served(link, bridge):
        spoken(bridge, 0, 1, 400)
        await settled(socket)
        clock.ms += 100
        socket.echo(1)
        await settled(socket)
        bridge.receive(Pause("s", 0, 1, 1))
        await settled(socket)
        assert socket.heard[-1] == "clear"
        socket.echo(3)
        await settled(socket)
        assert bridge.heard.played_ms == 100
        clock.ms += 5000
        bridge.pump()
        await settled(socket)
        assert socket.heard[-1] == "clear", "nothing is played while it is paused"
        bridge.receive(Resume("s", 0, 2, 1))
        await settled(socket)
        assert socket.heard[9:] == ["100ms", "1:1:200", "100ms", "1:1:300", "100ms", "1:1:400"]
        clock.ms += 300
        socket.echo(3)
        await settled(socket)
        assert bridge.heard.played_ms == 400


async def test_what_a_clear_was_not_about_is_sent_again(link: TwilioLink, socket: Stream, bridge: Bridge) -> None:
    async with Served(link, bridge):
        link.play(1, 0, PCM * 5, sentence_end=True)
        link.play(2, 0, PCM * 5, sentence_end=True)
        await settled(socket)
        link.clear(1)
        await settled(socket)
        assert socket.heard == ["100ms", "0:1:100", "100ms", "0:2:100", "clear", "100ms", "1:2:100"]


async def test_a_clear_throws_away_what_twilio_has_not_taken(link: TwilioLink, socket: Stream, bridge: Bridge) -> None:
    socket.reads.clear()
    async with Served(link, bridge):
        link.play(1, 0, PCM * 20, sentence_end=True)
        await settled(socket)
        link.clear(1)
        socket.reads.set()
        await settled(socket)
    assert socket.heard == ["100ms", "clear"]


async def test_marks_of_others_are_none_of_ours(link: TwilioLink, socket: Stream, bridge: Bridge) -> None:
    async with Served(link, bridge):
        spoken(bridge, 0, 1, 400)
        await settled(socket)
        for name in ("mine", "0:1", "1:1:100", "0:9:100"):
            socket.tells("mark", name=name)
        await settled(socket)
        assert bridge.heard.played_ms == 0


async def test_a_twilio_that_does_not_read_is_cut_off(
    link: TwilioLink, socket: Stream, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALL_S", 0.01)
    socket.reads.clear()
    link.play(1, 0, PCM, sentence_end=True)
    assert await link.run(bridge) == "lost"


async def test_messages_do_not_pile_up(
    link: TwilioLink, socket: Stream, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_QUEUED", 10)
    link.play(1, 0, PCM * 60, sentence_end=True)
    assert await link.run(bridge) == "lost"
    assert not socket.sent


@pytest.mark.parametrize(
    ("order", "outcome"),
    [
        (lambda link: link.replaced(), "replaced"),
        (lambda link: link.send_away(), "sent_away"),
    ],
)
async def test_how_we_leave_it(
    link: TwilioLink, socket: Stream, bridge: Bridge, order: Callable[[TwilioLink], None], outcome: str
) -> None:
    link.play(1, 0, PCM, sentence_end=True)
    order(link)
    assert await link.run(bridge) == outcome
    assert socket.heard == ["20ms", "0:1:20"], "what was said before is sent"
    assert socket.closed is None
    await link.close(CloseCode.DONE)
    await link.close(CloseCode.OUR_FAULT)
    assert socket.closed == CloseCode.DONE


async def test_the_last_words_are_heard_before_we_end_it(link: TwilioLink, socket: Stream, bridge: Bridge) -> None:
    link.play(1, 0, PCM * 10, sentence_end=True)
    link.end("done")
    running = asyncio.ensure_future(link.run(bridge))
    for _ in range(2):
        await settled(socket)
        assert not running.done()
        socket.echo(1)
    assert await running == "ended"


async def test_marks_that_never_come_do_not_keep_a_call(
    link: TwilioLink, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MARK_GRACE_S", 0.01)
    link.play(1, 0, PCM, sentence_end=True)
    link.end("done")
    assert await link.run(bridge) == "ended"


async def test_a_caller_who_hangs_up_meanwhile_is_gone(link: TwilioLink, socket: Stream, bridge: Bridge) -> None:
    link.play(1, 0, PCM * 10, sentence_end=True)
    link.end("done")
    socket.tells("stop")
    assert await link.run(bridge) == "hung_up"
