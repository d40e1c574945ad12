"""A Realtime model over WebRTC without a network: the stand-in's pure session behind the relay's own link, with RTP's
pace and a data channel's order, in the loop's own time."""

from __future__ import annotations

import asyncio
import json
import math
from collections import deque
from typing import Any, cast

from openai import AsyncOpenAI

from tests.standins.model import MODEL, Model
from tests.standins.realtime import Options, Session
from tests.standins.realtime.wire import Deafen, HangUp, Output, ShutChannel
from trunkline.rtc.peer import Gone, Peer
from workers.relay import trouble, webrtc
from workers.relay.link import ModelLost

RATE_HZ = 24_000
PACKET_S = 0.02
PACKET_BYTES = 960
BUFFER_S = 0.02
"""The jitter buffer."""
NOTICED_S = 3.0
"""From the last packet to a call that is lost."""


class CallModel(Model):
    """The vendor. `dial` is what the relay is given."""

    def __init__(self, options: Options, latency_ms: float = 5.0) -> None:
        super().__init__(options, latency_ms)
        self.links: list[CallLink] = []  # type: ignore[assignment]

    async def dial(self) -> CallLink:  # type: ignore[override]
        loop = asyncio.get_running_loop()
        fault = await self._let_in()
        name = str(len(self.sessions) + 1)
        session = Session(name, MODEL, self.options, loop.time() * 1000, 0.0, webrtc=True)
        link = CallLink(self, session)
        self.sessions.append(session)
        self.links.append(link)
        if fault is not None:
            session.inject(fault)
        try:
            await link.open(MODEL)
        except BaseException:
            await link.close()
            raise
        return link


class CallLink(webrtc.WebRtcModel):
    """The relay's own link, but for the call itself."""

    def __init__(self, model: CallModel, session: Session) -> None:
        super().__init__(AsyncOpenAI(api_key="key"), RATE_HZ)
        self.session = session
        self.sent: list[tuple[int, dict[str, Any]]] = []
        """(ms, event), as they went over the wire."""
        self.wire = Wire(model, self)
        self._peer = cast(Peer, self.wire)
        self.closed = False

    async def _call(self, model: str) -> None:
        self.wire.start()

    async def _hang_up(self) -> None:
        await self._client.close()

    async def close(self) -> None:
        await super().close()
        self.closed = True


class Wire:
    """A peer connection, as far as the link needs one."""

    def __init__(self, model: CallModel, link: CallLink) -> None:
        self._model, self._link, self._session = model, link, link.session
        self._loop = asyncio.get_running_loop()
        self._timers: set[asyncio.TimerHandle] = set()
        self._due: asyncio.TimerHandle | None = None
        self._up: deque[str] = deque()
        self._down: deque[Output] = deque()
        self._speech = bytearray()
        self._ended = self._shut = False

    def start(self) -> None:
        self._session.changed = self._flush
        self._session.open()
        self._link.connected()
        self._link.channel_opened(webrtc.CHANNEL)
        self._flush()
        self._packet()

    # --- what the link asks of a peer

    def send(self, label: str, text: str) -> bool:
        if self._ended or self._shut:
            return False
        self._link.sent.append((round(self._now_ms), json.loads(text)))
        self._up.append(text)
        self._later(self._model.latency_s, self._arrived)
        return True

    def play(self, turn: int, offset_ms: int, pcm: bytes) -> None:
        self._speech += pcm

    async def close(self) -> None:
        self._end()
        if self._session.closed is None:
            self._session.closed = (1000, "")

    # --- time

    @property
    def _now_ms(self) -> float:
        return self._loop.time() * 1000

    def _later(self, after_s: float, action: Any, *arguments: Any) -> None:
        def act() -> None:
            self._timers.discard(timer)
            if self._ended:
                return
            try:
                action(*arguments)
                self._flush()
            except Exception as error:  # a test is told when it asks; a callback's error would only be logged
                self._model.errors.append(error)

        timer = self._loop.call_later(after_s, act)
        self._timers.add(timer)

    def _end(self) -> None:
        self._ended = True
        for timer in [*self._timers, *([self._due] if self._due else [])]:
            timer.cancel()

    def _packet(self) -> None:
        """20 ms both ways."""
        said, self._speech = bytes(self._speech[:PACKET_BYTES]), self._speech[PACKET_BYTES:]
        self._later(self._model.latency_s, self._heard, said.ljust(PACKET_BYTES, b"\0"))
        answered = self._session.play(PACKET_BYTES, self._now_ms)
        self._later(self._model.latency_s + BUFFER_S, self._link.audio, answered)
        self._later(PACKET_S, self._packet)

    def _heard(self, pcm: bytes) -> None:
        self._session.hear(pcm, self._now_ms)

    def _arrived(self) -> None:
        self._session.receive(self._up.popleft(), self._now_ms)

    def _flush(self) -> None:
        for output in self._session.take():
            self._down.append(output)
            self._later(self._model.latency_s, self._told)
        if self._due is not None:
            self._due.cancel()
        due_ms = self._session.next_due_ms
        if due_ms is not None and not self._ended:
            at_s = math.nextafter(due_ms / 1000, math.inf)
            self._due = self._loop.call_at(at_s, self._advance)

    def _advance(self) -> None:
        self._due = None
        self._later(0.0, self._session.advance, self._now_ms)

    def _told(self) -> None:
        match self._down.popleft():
            case str(text):
                self._link.message(webrtc.CHANNEL, text)
            case ShutChannel():
                self._shut = True
                self._link.channel_closed(webrtc.CHANNEL)
            case HangUp(None) | Deafen():
                self._end()
                self._loop.call_later(NOTICED_S, self._link._lose, _silent())
            case HangUp(int(code), reason):
                self._end()
                self._session.closed = (code, reason)
                self._link.gone(Gone.CLOSED)
            case output:
                self._link.message(webrtc.CHANNEL, json.dumps(repr(output)))


def _silent() -> ModelLost:
    return ModelLost("nothing comes any more", trouble.Kind.UNAVAILABLE)
