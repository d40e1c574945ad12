"""What a peer hears, packet by packet as it arrives: a tap below aiortc's jitter buffer, which would add 80 ms."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import av
from aiortc import RTCPeerConnection
from aiortc.codecs.opus import OpusDecoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtp import RtpPacket

_BUFFER = "_RTCRtpReceiver__jitter_buffer"


@dataclass(frozen=True, slots=True)
class Packet:
    """An RTP packet of Opus, decoded."""

    at_s: float
    """When it came, by time.monotonic."""

    sequence: int
    timestamp: int
    marker: bool
    pcm: bytes
    """s16le mono at 48 kHz; empty if libopus refused it."""


class _Buffer(Protocol):
    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]: ...


class _Tap:
    """Stands where the jitter buffer stood: aiortc keeps its statistics and RTCP reports, and decodes nothing itself.

    With `stock` the packets also go the usual way, and somebody must read the track.
    """

    def __init__(self, heard: Callable[[Packet], None], stock: _Buffer | None) -> None:
        self._heard, self._stock = heard, stock
        self._decoder = OpusDecoder()

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        at_s = time.monotonic()
        pcm = self._decoded(packet)
        self._heard(Packet(at_s, packet.sequence_number, packet.timestamp, bool(packet.marker), pcm))
        return self._stock.add(packet) if self._stock is not None else (False, None)

    def _decoded(self, packet: RtpPacket) -> bytes:
        try:
            frames = self._decoder.decode(JitterFrame(packet.payload, packet.timestamp))
        except av.FFmpegError:
            return b""
        # Both channels of a mono stream are the same.
        return b"".join(frame.to_ndarray()[0, ::2].tobytes() for frame in frames if isinstance(frame, av.AudioFrame))


def tap(connection: RTCPeerConnection, heard: Callable[[Packet], None], *, stock: bool = False) -> None:
    """Hear what comes for the audio track, from setRemoteDescription on; AttributeError if aiortc changed inside."""
    for receiver in connection.getReceivers():
        buffer: _Buffer = getattr(receiver, _BUFFER)
        setattr(receiver, _BUFFER, _Tap(heard, buffer if stock else None))
