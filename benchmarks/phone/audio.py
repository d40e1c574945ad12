"""Audio that carries a number, as base64 or bytes of mu-law: what is sent here is recognised where it arrives.

A marker is 12 bytes, so that it is 16 characters of base64 by itself. All its bytes are the quietest of mu-law (G.711,
at most 120 of 32768) and none is 0x7F, the second zero, which does not survive decoding and encoding. A marked frame of
silence is therefore still silence, and a marker is the same after a gateway that turns mu-law into PCM and back.
"""

from __future__ import annotations

import base64
import random

RATE_PER_MS = 8
FRAME_BYTES = 160
"""20 ms, what Twilio sends at a time."""
MARKER_BYTES = 12
PIECE_BYTES = 800
"""100 ms, what the model sends at a time."""
ANSWER_PIECES = 50
"""An answer lasts 5 s."""

_MAGIC = bytes((0xF2, 0xFD, 0xF6, 0xEE, 0xF9))
_QUIET = bytes.maketrans(b"0123456789abcdef", bytes(range(0xF0, 0x100)))
_HEX = bytes.maketrans(bytes(range(0xF0, 0x100)), b"0123456789abcdef")
_SEQ_BITS = 16
_PIECE_BITS = 6

LOUD = 1000
"""A sample above this, of 32768, is loud."""


def key(call: int, seq: int) -> int:
    """The number of piece `seq` (16 bits) of call `call` (12 bits)."""
    return call << _SEQ_BITS | seq & 0xFFFF


def call_of(number: int) -> int:
    return number >> _SEQ_BITS


def answer_key(call: int, answer: int, piece: int) -> int:
    """The number of a piece of a call's answer; both counted from 0."""
    return key(call, answer << _PIECE_BITS | piece)


def answer_and_piece(number: int) -> tuple[int, int]:
    return divmod(number & 0xFFFF, 1 << _PIECE_BITS)


def marker(number: int) -> bytes:
    """12 bytes of mu-law that carry a key."""
    return _MAGIC + (b"%07x" % number).translate(_QUIET)


class Finder:
    """Finds the markers in one stream of mu-law, wherever its messages are cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, mulaw: bytes) -> list[int]:
        """The keys of the markers that are complete with these bytes."""
        data = self._rest + mulaw
        found = []
        start = data.find(_MAGIC)
        while 0 <= start <= len(data) - MARKER_BYTES:
            digits = data[start + len(_MAGIC) : start + MARKER_BYTES].translate(_HEX)
            try:
                found.append(int(digits, 16))
                start += MARKER_BYTES
            except ValueError:  # noise that looks like the beginning of one
                start += 1
            start = data.find(_MAGIC, start)
        self._rest = data[start:] if start >= 0 else data[1 - len(_MAGIC) :]
        return found


def _loud_bytes() -> bytes:
    """For bytes.translate: 1 where a mu-law byte is a loud sample. Expansion after ITU-T G.711, table 2a."""
    table = bytearray(256)
    for code in range(256):
        inverted = ~code & 0xFF
        magnitude = (((inverted & 0x0F) << 3) + 0x84 << (inverted >> 4 & 7)) - 0x84
        table[code] = magnitude > LOUD
    return bytes(table)


_IS_LOUD = _loud_bytes()


def is_loud(mulaw: bytes) -> bool:
    """Whether most of these samples are loud."""
    return mulaw.translate(_IS_LOUD).count(1) * 2 > len(mulaw)


def after_marker(mulaw_bytes: int, *, loud: bool, seed: int = 0) -> str:
    """What follows a marker in a piece of so many bytes, in base64: loud noise or silence."""
    left = mulaw_bytes - MARKER_BYTES
    if not loud:
        return base64.b64encode(b"\xff" * left).decode()
    noise = random.Random(seed)
    # Both signs, 6 to 98 % of full scale: never a byte of a marker.
    return base64.b64encode(bytes(noise.randrange(0x40) | noise.choice((0, 0x80)) for _ in range(left))).decode()


def marked(number: int, rest: str) -> str:
    """A piece in base64: its marker, and what follows it."""
    return base64.b64encode(marker(number)).decode() + rest
