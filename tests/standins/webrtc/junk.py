"""Datagrams as nobody should send them to a call's socket."""

from __future__ import annotations

import random
from collections.abc import Callable

from aioice import stun

from tests.unit.rtc.calls import rtp


def empty(_: random.Random) -> bytes:
    return b""


def noise(dice: random.Random) -> bytes:
    return dice.randbytes(dice.randint(1, 1200))


def malformed_stun(dice: random.Random) -> bytes:
    """A header that is right, and attributes that lie about what they are."""
    body = b""
    for _ in range(dice.randint(0, 4)):
        value = dice.randbytes(dice.randint(0, 30))
        kind = dice.choice(sorted(stun.ATTRIBUTES_BY_TYPE))
        body += kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + bytes(-len(value) % 4)
    kind = dice.choice([0x0001, 0x0101, 0x0111, 0x0011, 0x0003])
    return kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + dice.randbytes(12) + body


def junk_dtls(dice: random.Random) -> bytes:
    """Records of every kind, of epoch 0 and 1, of true and false length; a close_notify in the clear among them."""
    content = dice.randbytes(dice.randint(0, 300)) if dice.random() < 0.8 else b"\x01\x00"
    length = len(content) if dice.random() < 0.8 else dice.randint(0, 0xFFFF)
    kind = dice.choice([20, 21, 22, 23, 24, 63])
    return bytes([kind, 0xFE, 0xFD, 0, dice.randint(0, 1)]) + dice.randbytes(6) + length.to_bytes(2, "big") + content


def junk_srtp(dice: random.Random) -> bytes:
    return rtp(dice.getrandbits(32), dice.getrandbits(16), dice.randbytes(dice.randint(0, 200)), dice.randint(0, 127))


def junk_rtcp(dice: random.Random) -> bytes:
    return bytes([0x80 | dice.randint(0, 31), dice.randint(192, 223)]) + dice.randbytes(dice.randint(0, 200))


KINDS: list[Callable[[random.Random], bytes]] = [empty, noise, malformed_stun, junk_dtls, junk_srtp, junk_rtcp]
