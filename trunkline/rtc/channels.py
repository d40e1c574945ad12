"""Data channels: text by label, over aiortc's SCTP, which is held to a bounded memory whatever the other side sends."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

from aiortc import RTCDataChannel, RTCDataChannelParameters, RTCDtlsTransport, RTCSctpCapabilities, RTCSctpTransport
from aiortc.rtcsctptransport import DATA_CHANNEL_OPEN, WEBRTC_DCEP, DataChunk, InboundStream, tsn_plus_one

MAX_CHANNELS = 16
MAX_LABEL_CHARS = 128
MAX_STREAMS = 1024
"""As many as libwebrtc uses. aiortc keeps something for each, and looks at all of them whenever the other side says
that it gave something up."""

MAX_BUFFERED = 1024 * 1024
"""Bytes that may wait to be sent on one channel: a caller whose network takes no more is not waited for."""

MAX_KEPT = 512
"""Chunks that may be kept while others of their message, or one before them, are missing. The longest message that we
announce has 57; aiortc looks at all that it keeps for each one that comes."""

MAX_UNREAD = 2 * 1024 * 1024
"""Bytes of unfinished messages. Twice the window that we announce: more comes only from who ignores it."""


class Association(RTCSctpTransport):
    """aiortc's, which keeps whatever comes, and whose assertions a peer can fail at will."""

    def __init__(self, transport: RTCDtlsTransport) -> None:
        super().__init__(transport)
        self._window = self._advertised_rwnd
        self._inbound_streams_max = MAX_STREAMS
        self.malformed = 0

    async def _handle_data(self, data: bytes) -> None:
        try:
            await super()._handle_data(data)
        except (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError, struct.error):
            # Not of our own code: owners are called in turns of their own (`Channels._later`).
            self.malformed += 1

    async def _receive_data_chunk(self, chunk: DataChunk) -> None:
        if not self._has_room(chunk):
            self.malformed += 1  # as if it was lost: an honest sender sends it again when there is room
            return
        await super()._receive_data_chunk(chunk)

    def _get_inbound_stream(self, stream_id: int) -> InboundStream:
        if stream_id >= MAX_STREAMS:
            raise ValueError(f"stream {stream_id} was never offered")  # `_handle_data` counts it
        return super()._get_inbound_stream(stream_id)

    def _has_room(self, chunk: DataChunk) -> bool:
        unread = self._window - self._advertised_rwnd
        stream = self._inbound_streams.get(chunk.stream_id)
        kept = len(stream.reassembly) if stream is not None else 0
        if self._last_received_tsn is not None and chunk.tsn == tsn_plus_one(self._last_received_tsn):
            return unread <= MAX_UNREAD and kept < 2 * MAX_KEPT  # it may be what all others wait for
        return unread <= self._window and kept < MAX_KEPT and len(self._sack_misordered) < MAX_KEPT

    async def _data_channel_receive(self, stream_id: int, pp_id: int, data: bytes) -> None:
        opens = pp_id == WEBRTC_DCEP and data[:1] == bytes([DATA_CHANNEL_OPEN])
        if opens and (stream_id in self._data_channels or len(self._data_channels) >= MAX_CHANNELS):
            self.malformed += 1
            return
        await super()._data_channel_receive(stream_id, pp_id, data)


class Channels:
    """The channels of one call, by label. `opened`, `message` and `closed` are called in turns of the loop of their
    own."""

    def __init__(
        self,
        dtls: RTCDtlsTransport,
        opened: Callable[[str], None],
        message: Callable[[str, str], None],
        closed: Callable[[str], None],
    ) -> None:
        self.association = Association(dtls)
        self._opened = opened
        self._message = message
        self._shut = closed
        self._channels: dict[str, RTCDataChannel] = {}
        self._closed = False
        self.association.on("datachannel", self._came)

    async def start(self, max_message_bytes: int, port: int) -> None:
        """`max_message_bytes`: what the other side takes at most in one message; 0: any size."""
        await self.association.start(RTCSctpCapabilities(maxMessageSize=max_message_bytes), port)

    def open(self, label: str) -> None:
        """One of ours; it opens when the association stands."""
        channel = RTCDataChannel(self.association, RTCDataChannelParameters(label=label))
        channel.on("open", lambda: self._later(self._opened, label))
        self._keep(channel)

    def send(self, label: str, text: str) -> bool:
        """False: it is not open, the other side takes no message so long, or too much waits already."""
        channel = self._channels.get(label)
        if self._closed or channel is None or channel.readyState != "open":
            return False
        most = self.association._remote_max_message_size
        size = len(text.encode())
        if channel.bufferedAmount + size > MAX_BUFFERED or (most and size > most):
            return False
        channel.send(text)
        return True

    async def close(self) -> None:
        self._closed = True
        await self.association.stop()

    def _came(self, channel: RTCDataChannel) -> None:
        label = channel.label
        if len(label) > MAX_LABEL_CHARS or label in self._channels:
            channel.close()
            return
        self._keep(channel)
        self._later(self._opened, label)

    def _keep(self, channel: RTCDataChannel) -> None:
        label = channel.label
        self._channels[label] = channel
        channel.on("message", lambda data: self._later(self._message, label, data) if isinstance(data, str) else None)
        channel.on("close", lambda: self._forget(label))

    def _forget(self, label: str) -> None:
        del self._channels[label]
        self._later(self._shut, label)

    def _later(self, call: Callable[..., None], *arguments: Any) -> None:
        asyncio.get_running_loop().call_soon(self._now, call, arguments)

    def _now(self, call: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if not self._closed:
            call(*arguments)
