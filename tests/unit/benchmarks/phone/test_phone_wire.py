from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from benchmarks.phone.wire import TEXT, Cutter, WireError, between, frame

MASKS = st.one_of(st.none(), st.binary(min_size=4, max_size=4))
SIZES = st.one_of(st.integers(0, 300), st.sampled_from([65535, 65536, 70000]))


@given(st.lists(st.tuples(SIZES, MASKS), max_size=4), st.integers(1, 500))
@settings(deadline=None)
def test_messages_are_cut_as_they_were_framed(messages: list[tuple[int, bytes | None]], pieces: int) -> None:
    payloads = [bytes([size % 251]) * size for size, _ in messages]
    line = b"".join(frame(TEXT, payload, mask) for payload, (_, mask) in zip(payloads, messages, strict=True))
    cut = len(line) // pieces + 1
    cutter, found = Cutter(), []
    for start in range(0, len(line), cut):
        found += cutter.feed(line[start : start + cut])
    assert found == [(TEXT, payload) for payload in payloads]


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_frames_are_those_of_the_websockets_library(size: int) -> None:
    payload = b"a" * size
    assert frame(TEXT, payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)
    theirs = Frame(Opcode.TEXT, payload).serialize(mask=True)
    assert Cutter().feed(theirs) == [(TEXT, payload)]


def test_a_fragment_is_refused() -> None:
    with pytest.raises(WireError, match="fragment"):
        Cutter().feed(Frame(Opcode.TEXT, b"ab", fin=False).serialize(mask=False))


@pytest.mark.parametrize("json", [b'{"x":"y","audio":"QUJD","z":1}', b'{"audio": "QUJD"}', b'{"audio" : "QUJD"}'])
def test_a_member_is_taken_as_it_stands(json: bytes) -> None:
    assert between(json, b'"audio"') == b"QUJD"


def test_a_missing_member_is_an_error() -> None:
    with pytest.raises(ValueError, match="not found"):
        between(b'{"x":"y"}', b'"audio"')
