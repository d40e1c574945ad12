from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from gateway.frames import BINARY, OTHER, TEXT, Cutter, frame_of

MAX = 70_000


def client_frame(opcode: Opcode, payload: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=True)


def cut(data: bytes, cuts: Sequence[int] = ()) -> list[tuple[int, bytes]]:
    """What a cutter makes of `data` that arrives in pieces; OTHER frames that follow each other are one here."""
    cutter = Cutter(MAX)
    ends = [*sorted(min(cut, len(data)) for cut in cuts), len(data)]
    found: list[tuple[int, bytes]] = []
    start = 0
    for end in ends:
        for opcode, content in cutter.cut(data[start:end]):
            if found and opcode == found[-1][0] == OTHER:
                content = found.pop()[1] + content
            found.append((opcode, content))
        start = end
    return found


SIZES = st.sampled_from([0, 1, 125, 126, 127, 640, 65535, 65536, MAX])


@given(st.lists(st.tuples(st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.PING]), SIZES), max_size=4), st.data())
def test_frames_are_found_however_they_arrive(wanted: list[tuple[Opcode, int]], data: st.DataObject) -> None:
    frames: list[bytes] = []
    expected: list[tuple[int, bytes]] = []
    for opcode, size in wanted:
        payload = bytes(range(256)) * (min(size, 125 if opcode is Opcode.PING else size) // 256 + 1)
        payload = payload[: min(size, 125) if opcode is Opcode.PING else size]
        frames.append(client_frame(opcode, payload))
        if opcode is not Opcode.PING:
            expected.append((int(opcode), payload))
        elif expected and expected[-1][0] == OTHER:
            expected[-1] = (OTHER, expected[-1][1] + frames[-1])
        else:
            expected.append((OTHER, frames[-1]))
    sent = b"".join(frames)
    cuts = data.draw(st.lists(st.integers(0, len(sent)), max_size=6))
    assert cut(sent, cuts) == expected


def test_a_byte_at_a_time() -> None:
    frames = [client_frame(Opcode.BINARY, bytes(300)), client_frame(Opcode.TEXT, b"x"), client_frame(Opcode.PONG, b"")]
    sent = b"".join(frames)
    assert cut(sent, range(len(sent))) == [(BINARY, bytes(300)), (TEXT, b"x"), (OTHER, frames[2])]


def test_fragments_and_what_is_between_them_are_for_the_parser() -> None:
    fragments = [
        client_frame(Opcode.TEXT, b"one", fin=False),
        client_frame(Opcode.PING, b"?"),
        client_frame(Opcode.CONT, b"two", fin=False),
        client_frame(Opcode.BINARY, b"a message inside another: wrong"),
        client_frame(Opcode.CONT, b"three"),
    ]
    after = client_frame(Opcode.TEXT, b"whole")
    assert cut(b"".join([*fragments, after])) == [(OTHER, b"".join(fragments)), (TEXT, b"whole")]


@pytest.mark.parametrize(
    "wrong",
    [
        Frame(Opcode.BINARY, b"not masked").serialize(mask=False),
        client_frame(Opcode.BINARY, bytes(MAX + 1)),
        b"\x82\xff" + (1 << 63).to_bytes(8, "big"),
    ],
)
def test_what_will_be_refused_is_given_with_all_that_follows(wrong: bytes) -> None:
    before, after = client_frame(Opcode.BINARY, b"fine"), client_frame(Opcode.TEXT, b"never read")
    assert cut(before + wrong + after) == [(BINARY, b"fine"), (OTHER, wrong + after)]


def test_what_is_too_large_is_refused_by_its_header_alone() -> None:
    assert cut(b"\x82\xfe\xff\xff") == []
    assert cut(b"\x82\xff" + bytes(5)) == []
    header = b"\x82\xff" + (MAX + 1).to_bytes(8, "big")
    assert cut(header) == [(OTHER, header)]


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_our_own_frames(size: int) -> None:
    payload = bytes(size)
    assert frame_of(payload) == Frame(Opcode.BINARY, payload).serialize(mask=False)
    assert frame_of(payload.decode()) == Frame(Opcode.TEXT, payload).serialize(mask=False)
