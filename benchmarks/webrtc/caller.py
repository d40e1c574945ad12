"""A caller: aiortc as everyone has it, but what arrives is timed and decoded below its jitter buffer."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from aiortc.utils import uint16_add
from av import AudioFrame, Packet

from benchmarks.webrtc import marks
from benchmarks.webrtc.speech import FRAME_SAMPLES, FRAMES_PER_MARK, TIME_BASE, Decoder, Speech
from benchmarks.webrtc.stream import Stream
from benchmarks.webrtc.talk import FRAME_S, Talk

Negotiate = Callable[[str], Awaitable[str]]
"""Takes an offer (SDP) to the system, returns its answer."""
CONNECT_S = 10.0

_FIXED_HEAD_BYTES = 12
_RTCP_TYPES = range(192, 224)
"""RFC 5761, 4: an RTP packet has no such second byte."""


class Microphone(MediaStreamTrack):
    """Gives a packet each 20 ms: the next one of his speech while he speaks, else silence."""

    kind = "audio"

    def __init__(self, speech: Speech, talk: Talk) -> None:
        super().__init__()
        self.late_s = array("d")
        """How far behind its time each packet was given: this process lacked CPU."""
        self.mark: int | None = None
        """The tone of the mark that begins in the packet given last."""
        self._speech = speech
        self._talk = talk
        self._began_s = 0.0
        self._packets = 0
        self._dying_away: list[bytes] = []

    async def recv(self) -> Packet[Any]:
        if self._packets == 0:
            self._began_s = time.monotonic()
        due_s = self._began_s + self._packets * FRAME_S
        await asyncio.sleep(due_s - time.monotonic())
        now_s = time.monotonic()
        self.late_s.append(now_s - due_s)
        packet = Packet(self._next(self._talk.speaks(now_s)))
        packet.pts = self._packets * FRAME_SAMPLES
        packet.time_base = TIME_BASE
        self._packets += 1
        return packet

    def _next(self, frame: int | None) -> bytes:
        self.mark = None
        if frame is None:
            return self._dying_away.pop(0) if self._dying_away else self._speech.silence
        number, inside = divmod(frame, FRAMES_PER_MARK)
        if inside == 0:
            self.mark = self._speech.tones[number]
        self._dying_away = self._speech.packets[len(self._speech.tones) * FRAMES_PER_MARK :]
        return self._speech.packets[frame]


class Caller:
    """One call. What he sends and hears is timed where aiortc gives packets to, and takes them from, its transport."""

    def __init__(self, number: int, speech: Speech) -> None:
        self.number = number
        self.talk = Talk(number)
        self.sent: list[tuple[float, int]] = []
        """When the packet of each mark left, and its tone."""
        self.heard = Stream()
        self.audible_s = array("d")
        """When packets came that are no silence."""
        self.as_played = Stream()
        """The same call behind aiortc's own jitter buffer; the first caller's only, for it costs CPU."""
        self.packets_lost = 0
        self.lost: str | None = None
        self.microphone = Microphone(speech, self.talk)
        self._call = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._call.addTrack(self.microphone)
        self._call.on("track", self._take)
        self._call.on("connectionstatechange", self._changed)
        self._connected = asyncio.get_running_loop().create_future()
        self._decoder = Decoder()
        self._next_seq: int | None = None
        self._playing: asyncio.Task[None] | None = None

    async def dial(self, negotiate: Negotiate) -> None:
        """Until audio may flow. Raises TimeoutError."""
        await self._call.setLocalDescription(await self._call.createOffer())
        answer = await negotiate(self._call.localDescription.sdp)
        await self._call.setRemoteDescription(RTCSessionDescription(type="answer", sdp=answer))
        self._hook()
        async with asyncio.timeout(CONNECT_S):
            await self._connected

    def _hook(self) -> None:
        transport = self._call.getSenders()[0].transport
        send, pass_on = transport._send_rtp, transport._handle_rtp_data

        async def sending(data: bytes) -> None:
            if self.microphone.mark is not None and data[1] not in _RTCP_TYPES:
                self.sent.append((time.monotonic(), self.microphone.mark))
                self.microphone.mark = None
            await send(data)

        async def receiving(data: bytes, arrival_time_ms: int) -> None:
            self._receive(data, time.monotonic())
            if self.number == 0:
                await pass_on(data, arrival_time_ms)

        transport._send_rtp = sending  # type: ignore[method-assign]
        transport._handle_rtp_data = receiving  # type: ignore[method-assign]

    def _receive(self, data: bytes, now_s: float) -> None:
        seq = int.from_bytes(data[2:4], "big")
        if self._next_seq is not None:
            self.packets_lost += uint16_add(seq, -self._next_seq)  # nothing overtakes on loopback
        self._next_seq = uint16_add(seq, 1)
        pcm = self._decoder.decode(payload(data))
        self.heard.add(pcm.tobytes(), now_s)
        if marks.audible(pcm):
            self.audible_s.append(now_s)
            self.talk.hears(now_s)

    def _take(self, track: MediaStreamTrack) -> None:
        if self.number == 0:
            self._playing = asyncio.create_task(self._play(track))

    async def _play(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = cast(AudioFrame, await track.recv())
            except MediaStreamError:
                return
            left = frame.to_ndarray()[0, ::4]  # of two channels at 48 kHz, one at 24
            self.as_played.add(left.tobytes(), time.monotonic())

    def _changed(self) -> None:
        state = self._call.connectionState
        if state == "connected" and not self._connected.done():
            self._connected.set_result(None)
        elif state in ("closed", "failed"):
            self.lost = self.lost or f"the connection is {state}"

    async def hang_up(self) -> None:
        self.lost = self.lost or "hung up"
        await self._call.close()
        if self._playing is not None:
            await self._playing


def payload(packet: bytes) -> bytes:
    """What an RTP packet carries: RFC 3550, 5.1 and 5.3.1. Nobody pads audio."""
    start = _FIXED_HEAD_BYTES + 4 * (packet[0] & 0x0F)
    if packet[0] & 0x10:
        start += 4 + 4 * int.from_bytes(packet[start + 2 : start + 4], "big")
    return packet[start:]
