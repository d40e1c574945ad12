"""One peer connection that calls: a microphone, what is heard packet by packet, and one data channel."""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcconfiguration import RTCBundlePolicy

from tests.standins.twilio.watch import Watch

from .arrivals import Packet, tap
from .network import LOOPBACK, Cable, Weather, bind, close, lay_cables, vanish
from .track import FRAME_BYTES, PacedTrack

CONNECT_S = 15.0
SENT_KEPT = 50 * 600
"""The departures of the last ten minutes are kept, to look at."""


@dataclass(frozen=True, slots=True)
class Departure:
    """An RTP packet of ours that went to the network (whose weather may have lost it)."""

    at_s: float
    """When, by time.monotonic."""

    sequence: int
    timestamp: int


class Line:
    """`offer`, `accept`, then `connected`; at the end `close` (says goodbye) or `vanish`.

    `heard` is called for each packet that arrives, `told` for each message, `changed` after either and when the state
    is another. `weather` befalls the RTP it sends. With `stock`, aiortc's own jitter buffer hears too: read the track.
    """

    def __init__(
        self,
        label: str,
        *,
        heard: Callable[[Packet], None] = lambda _: None,
        told: Callable[[str], None] = lambda _: None,
        weather: Weather | None = None,
        addresses: Sequence[str] = LOOPBACK,
        stock: bool = False,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self.departures: deque[Departure] = deque(maxlen=SENT_KEPT)
        self.watch = Watch(self.describe)
        """Told when a packet or a message came, when speech has gone out, and when the state changed."""

        self._heard, self._told, self._changed = heard, told, changed
        self._weather, self._stock = weather, stock
        self._to_say = bytearray()
        self._cables: list[Cable] = []
        self.connection.addTrack(PacedTrack(self._speak))
        self.channel: RTCDataChannel = self.connection.createDataChannel(label)
        self.channel.on("open", self._tell)
        self.channel.on("message", self._message)
        self.connection.on("connectionstatechange", self._tell)
        bind(self.connection, addresses)
        self._over = False

    async def offer(self) -> str:
        """The SDP offer, with all candidates."""
        await self.connection.setLocalDescription()
        self._cables = lay_cables(self.connection, self._weather, self._sent)
        return self.connection.localDescription.sdp

    async def accept(self, answer: str) -> None:
        # Before: the first packet may be there before setRemoteDescription has returned.
        tap(self.connection, self._packet, stock=self._stock)
        await self.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def connected(self, within_s: float = CONNECT_S) -> None:
        """Wait until audio flows and the data channel is open; ConnectionError if that will never be."""
        await self.watch.until(self._is_connected, within_s)

    def say(self, pcm: bytes) -> None:
        """Speak, after what is already to be said: s16le mono at 48 kHz. Silence is sent in between, as browsers do."""
        self._to_say += pcm

    @property
    def to_say(self) -> int:
        """Bytes of speech that are not yet sent."""
        return len(self._to_say)

    def unsaid(self) -> bytes:
        """Take back what is still to be said."""
        unsaid = bytes(self._to_say)
        self._to_say.clear()
        return unsaid

    def send(self, message: str) -> None:
        self.channel.send(message)

    def cut(self, is_cut: bool) -> None:
        """Cut the network, or mend it: nothing goes out or comes in while it is cut."""
        for cable in self._cables:
            cable.cut = is_cut

    @property
    def state(self) -> str:
        """new, connecting, connected, failed or closed."""
        return self.connection.connectionState

    async def stats(self) -> dict[str, Any]:
        """aiortc's reports by their type: outbound-rtp, remote-inbound-rtp, inbound-rtp, transport ..."""
        report = await self.connection.getStats()
        return {entry.type: entry for entry in report.values()}

    async def close(self) -> None:
        """With a goodbye: close_notify."""
        await close(self.connection)
        self._end()

    async def vanish(self) -> None:
        """Without one."""
        await vanish(self.connection)
        self._end()

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self.watch.close(lambda: ConnectionError("this line is closed"))

    def _is_connected(self) -> bool:
        if self.state in ("failed", "closed"):
            raise ConnectionError(f"the connection is {self.state}, ICE {self.connection.iceConnectionState}")
        return self.state == "connected" and self.channel.readyState == "open"

    def _speak(self) -> bytes:
        frame = bytes(self._to_say[:FRAME_BYTES])
        if frame:
            del self._to_say[:FRAME_BYTES]
            if not self._to_say:
                self._tell()
        return frame.ljust(FRAME_BYTES, b"\0")

    def _sent(self, packet: bytes) -> None:
        sequence, timestamp = struct.unpack_from("!HI", packet, 2)
        self.departures.append(Departure(time.monotonic(), sequence, timestamp))

    def _packet(self, packet: Packet) -> None:
        self._heard(packet)
        self._tell()

    def _message(self, message: str | bytes) -> None:
        self._told(message if isinstance(message, str) else message.decode())
        self._tell()

    def _tell(self) -> None:
        self.watch.tell()
        self._changed()

    def describe(self) -> str:
        """Its states, for who waits in vain."""
        ice = self.connection.iceConnectionState
        return f"connection {self.state}, ICE {ice}, data channel {self.channel.readyState}"
