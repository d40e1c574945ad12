"""One end of a WebSocket as an asyncio protocol, no more than the benchmark needs: whole messages, no extensions.

The generator and the model share the machine with what they measure, so they must be cheap.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import time
from collections.abc import Iterable
from typing import cast

from websockets.speedups import apply_mask

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
_FINAL = _MASKED = 0x80
_MAX_HEAD_BYTES = 16 * 1024
_ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, 1.3."""


class WireError(Exception):
    """The other side does not speak as expected."""


def frame(opcode: int, payload: bytes, mask: bytes | None = None) -> bytes:
    """A whole message as one frame; a client must give a mask of 4 bytes."""
    length = len(payload)
    bit = 0 if mask is None else _MASKED
    if length < 126:
        head = bytes((_FINAL | opcode, bit | length))
    elif length < 65536:
        head = bytes((_FINAL | opcode, bit | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((_FINAL | opcode, bit | 127)) + length.to_bytes(8, "big")
    return head + payload if mask is None else head + mask + apply_mask(payload, mask)


class Cutter:
    """Cuts messages out of the bytes of either side."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The messages that are complete with these bytes: (opcode, payload). Raises WireError for a fragment."""
        if self._rest:
            data = self._rest + data
        messages = []
        begin, end = 0, len(data)
        while end - begin >= 2:
            first, second = data[begin], data[begin + 1]
            length, start = second & 0x7F, begin + 2
            if length >= 126:
                size = 2 if length == 126 else 8
                length, start = int.from_bytes(data[start : start + size], "big"), start + size
            masked = second & _MASKED
            start += 4 if masked else 0
            if end < start + length:  # also true of a head that is not there as a whole
                break
            if not first & _FINAL:
                raise WireError("a fragmented message")
            payload = data[start : start + length]
            messages.append((first & 0x0F, apply_mask(payload, data[start - 4 : start]) if masked else payload))
            begin = start + length
        self._rest = data[begin:]
        return messages


class Socket(asyncio.Protocol):
    """What both ends share. `received_s` is when (monotonic) the bytes arrived that are being worked on."""

    received_s = 0.0
    transport: asyncio.Transport
    mask: bytes | None = None

    def __init__(self) -> None:
        self._head: bytes | None = b""
        self._cutter = Cutter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        self.received_s = time.monotonic()
        if self._head is not None:
            head, end, data = (self._head + data).partition(b"\r\n\r\n")
            if not end:
                self._head = head
                if len(head) > _MAX_HEAD_BYTES:
                    self.transport.abort()
                return
            self._head = None
            lines = head.decode("latin-1").split("\r\n")
            pairs = (line.partition(":") for line in lines[1:])
            self.opened(lines[0], {name.lower(): value.strip() for name, _, value in pairs})
        for opcode, payload in self._cutter.feed(data):
            self._take(opcode, payload)

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self.text(payload)
        elif opcode == BINARY:
            self.binary(payload)
        elif opcode == PING:
            self.transport.write(frame(PONG, payload, self.mask))
        elif opcode == CLOSE:
            self.transport.write(frame(CLOSE, payload, self.mask))
            self.transport.close()

    def opened(self, first_line: str, headers: dict[str, str]) -> None:
        """The other side's head has come, its names in lower case."""
        raise NotImplementedError

    def text(self, payload: bytes) -> None:
        """A text message has come."""
        raise NotImplementedError

    def binary(self, payload: bytes) -> None:
        """A binary message has come. Most ends expect none."""
        raise WireError(f"{len(payload)} bytes that are no text")

    def send(self, payload: bytes) -> None:
        """Send a text message."""
        self.transport.write(frame(TEXT, payload, self.mask))

    def close(self) -> None:
        """Say goodbye and go."""
        if not self.transport.is_closing():
            self.transport.write(frame(CLOSE, b"\x03\xe8", self.mask))
            self.transport.close()


def accept(headers: dict[str, str]) -> bytes:
    """A server's answer to a client's head."""
    digest = hashlib.sha1(headers["sec-websocket-key"].encode() + _ACCEPT, usedforsecurity=False).digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    )


def upgrade(host: str, path: str, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """A client's head."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def between(payload: bytes, name: bytes) -> bytes:
    """The string that JSON member `name` (with its quotes) has, undecoded; for base64, which has no escapes.

    Raises ValueError when there is none.
    """
    start = payload.index(b'"', payload.index(name) + len(name) + 1) + 1
    return payload[start : payload.index(b'"', start)]
