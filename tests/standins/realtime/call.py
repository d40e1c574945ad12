"""A session over WebRTC: plain aiortc around it, Opus on a track each way, events on the data channel `oai-events`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcconfiguration import RTCBundlePolicy

from tests.standins.webrtc.arrivals import Packet, tap
from tests.standins.webrtc.network import answer_nominations_only, bind, close, vanish
from tests.standins.webrtc.track import FRAME_BYTES, PacedTrack

from .clock import now_ms
from .intake import Intake
from .options import Options
from .refusal import invalid
from .session import Session
from .wire import Deafen, HangUp, Output, ShutChannel

LABEL = "oai-events"
MODEL_HZ = 24_000
FLUSH_S = 0.5
"""What was said before a goodbye gets so long to be acknowledged."""

GONE, LOST = (1000, ""), (1006, "")
"""How a session ended, in a socket's words: the other side said goodbye, or nobody did."""


class Call:
    """Everything happens in callbacks; what goes wrong inside is told to `failed`, and ends the call."""

    def __init__(
        self,
        call_id: str,
        session: Session,
        options: Options,
        changed: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self.id, self.session = call_id, session
        self._options, self._changed, self._failed = options, changed, failed
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self._channel: RTCDataChannel | None = None
        self._intake = Intake(MODEL_HZ)
        self._before = 0
        """The last sample that was sent."""

        self._timer: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None

    async def answer(self, offer: str) -> str:
        """The SDP answer, with all candidates; Refused if nobody could make one."""
        connection = self._connection
        connection.addTrack(PacedTrack(lambda: self._guarded(self._speak) or bytes(FRAME_BYTES)))
        connection.on("datachannel", self._opened)
        connection.on("connectionstatechange", self._state)
        try:
            await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        except (ValueError, AssertionError, IndexError, KeyError) as error:  # aiortc's parser has no error of its own
            raise invalid("sdp", f"it cannot be read: {error}") from error
        tap(connection, lambda packet: self._guarded(lambda: self._hear(packet)))
        bind(connection, self._options.addresses)
        if self._options.nominations_only:
            answer_nominations_only(connection)
        await connection.setLocalDescription()
        return connection.localDescription.sdp

    async def hang_up(self, closed: tuple[int, str] = GONE) -> None:
        """Say goodbye (close_notify)."""
        self._end(closed, self._goodbye)
        await self.ended()

    async def ended(self) -> None:
        """Wait until nothing is left of it."""
        if self._ending is not None:
            await self._ending

    # What comes.

    def _opened(self, channel: RTCDataChannel) -> None:
        if channel.label != LABEL or self._channel is not None:
            return
        self._channel = channel
        channel.on("message", lambda message: self._guarded(lambda: self._receive(message)))
        self.session.changed = lambda: self._guarded(self._pump)
        self.session.open()
        self._guarded(self._pump)

    def _receive(self, message: str | bytes) -> None:
        self.session.receive(message, now_ms())
        self._pump()

    def _hear(self, packet: Packet) -> None:
        if self._channel is None or not packet.pcm:
            return
        samples = np.frombuffer(packet.pcm, "<i2").reshape(-1, 2).mean(axis=1)
        pcm = samples.astype("<i2").tobytes()
        if audio := self._intake.packet(packet.sequence, packet.timestamp, pcm, now_ms()):
            self.session.hear(audio, now_ms())
            self._pump()

    def _speak(self) -> bytes:
        """The next 20 ms for the caller; also the clock by which a caller who sends nothing is silent."""
        if self._channel is None:
            return b""
        if silence := self._intake.silence(now_ms()):
            self.session.hear(silence, now_ms())
        pcm = self.session.play(FRAME_BYTES // 2, now_ms())
        self._pump()
        return self._doubled(pcm)

    def _doubled(self, pcm: bytes) -> bytes:
        """24 kHz at 48 kHz: between two samples stands their mean."""
        samples = np.frombuffer(pcm, "<i2").astype(np.int32)
        before = np.concatenate(([self._before], samples[:-1]))
        self._before = int(samples[-1])
        return np.column_stack(((before + samples) // 2, samples)).astype("<i2").tobytes()

    def _state(self) -> None:
        state = self._connection.connectionState
        if state in ("closed", "failed"):
            self._end(GONE if state == "closed" else LOST, self._connection.close)

    # What goes.

    def _pump(self) -> None:
        """Send what is to be sent, and come back when something is due."""
        self.session.advance(now_ms())
        for output in self.session.take():
            self._put(output)
        self._changed()
        if self._timer is not None:
            self._timer.cancel()
        due_ms = self.session.next_due_ms
        if due_ms is not None and self._ending is None:
            wait_s = max(0.0, due_ms - now_ms()) / 1000
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._guarded, self._pump)

    def _put(self, output: Output) -> None:
        assert self._channel is not None
        match output:
            case str() | bytes():
                if self._channel.readyState == "open":
                    self._channel.send(output)
            case ShutChannel():
                self._channel.close()
            case HangUp(None) | Deafen():
                self._end(LOST, lambda: vanish(self._connection))
            case HangUp(int(code), reason):
                self._end((code, reason), self._goodbye)

    async def _goodbye(self) -> None:
        sctp: Any = self._connection.sctp
        deadline_s = time.monotonic() + FLUSH_S
        while sctp and (sctp._data_channel_queue or sctp._outbound_queue or sctp._sent_queue):
            if time.monotonic() > deadline_s or sctp.state != "connected":
                break
            await asyncio.sleep(0.005)
        await close(self._connection)

    def _end(self, closed: tuple[int, str], close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._ending is not None:
            return
        self._ending = asyncio.create_task(close(), name=f"end of {self.id}")
        self.session.closed = closed
        if self._timer is not None:
            self._timer.cancel()
        self._changed()

    def _guarded(self, act: Callable[[], Any]) -> Any:
        """aiortc would log an error and go on: it is kept for the test, and the call is over."""
        if self._ending is not None:
            return None
        try:
            return act()
        except Exception as error:
            self._failed(error)
            self._end((1011, ""), self._connection.close)
