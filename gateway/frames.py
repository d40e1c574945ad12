"""WebSocket frames (RFC 6455, 5.2), cut from what a client sends. Pure.

The parser of websockets is a chain of generators, in which the gateway spent a tenth of its time (py-spy, 50 calls).
Nearly all frames are messages of one frame; these are read here. All others, and what is wrong, are for that parser.
It gets whole frames only, so between two of them it can be left alone.
"""

from __future__ import annotations

try:
    from websockets.speedups import apply_mask
except ImportError:  # it has no wheel for every platform
    from websockets.utils import apply_mask

OTHER, TEXT, BINARY = 0, 1, 2
FINAL = MASKED = 0x80
MASK_BYTES = 4
_MESSAGES = {FINAL | TEXT: TEXT, FINAL | BINARY: BINARY}


class Cutter:
    """Cuts one connection's bytes into frames."""

    __slots__ = ("_fragments", "_max_payload", "_needed", "_rest")

    def __init__(self, max_payload: int) -> None:
        self._max_payload = max_payload
        self._rest = bytearray()
        self._needed = 0
        """What `_rest` must grow to before it is worth another look."""
        self._fragments = False
        """Whether a message has begun and waits for its other fragments."""

    def cut(self, data: bytes) -> list[tuple[int, bytes]]:
        """What `data` completes, oldest first: TEXT or BINARY and a whole message's payload, or OTHER and one or more
        frames as they came (one by one, a flood of pings would take all our time). A frame that is not masked or too
        large is OTHER with all that was sent after it, and whoever parses it will refuse it by its header: nothing
        after it may be given to this cutter."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return []
            data = bytes(self._rest)
            self._rest.clear()
        found: list[tuple[int, bytes]] = []
        others = start = 0  # what is between the two is OTHER, and not yet in `found`
        end = len(data)
        while start < end:
            header, payload = self._sizes(data, start, end)
            stop = start + header + payload
            if payload > self._max_payload or (end > start + 1 and not data[start + 1] & MASKED):
                start = end
                break
            if stop > end:
                self._rest += data[start:]
                self._needed = stop - start
                break
            opcode = OTHER if self._fragments else _MESSAGES.get(data[start], OTHER)
            if opcode == OTHER:
                self._note_fragment(data[start])
            else:
                if others < start:
                    found.append((OTHER, data[others:start]))
                others, begin = stop, start + header
                found.append((opcode, apply_mask(data[begin:stop], data[begin - MASK_BYTES : begin])))
            start = stop
        if others < start:
            found.append((OTHER, data[others:start]))
        return found

    @staticmethod
    def _sizes(data: bytes, start: int, end: int) -> tuple[int, int]:
        """Bytes of the header (mask included) and the payload of the frame at `start`, as far as they are known yet."""
        length = data[start + 1] & 0x7F if start + 1 < end else 0
        if length < 126:
            return 2 + MASK_BYTES, length
        header = 4 if length == 126 else 10
        if start + header > end:
            return header + MASK_BYTES, 0
        return header + MASK_BYTES, int.from_bytes(data[start + 2 : start + header], "big")

    def _note_fragment(self, first: int) -> None:
        if first & 0x0F in (TEXT, BINARY) or first == FINAL:  # the first fragment, or the last
            self._fragments = not first & FINAL


def frame_of(message: str | bytes) -> bytes:
    """A server's frame: a whole message, not masked."""
    opcode, payload = (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
    length = len(payload)
    if length < 126:
        return bytes((FINAL | opcode, length)) + payload
    if length < 1 << 16:
        return bytes((FINAL | opcode, 126, length >> 8, length & 0xFF)) + payload
    return bytes((FINAL | opcode, 127)) + length.to_bytes(8, "big") + payload
