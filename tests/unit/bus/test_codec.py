from __future__ import annotations

import dataclasses
import struct
from contextlib import suppress
from typing import Any, get_type_hints

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trunkline.bus.codec import KINDS, Decoder, encode
from trunkline.bus.messages import (
    VERSION,
    Attached,
    ClientEvent,
    DownlinkAudio,
    Message,
    Played,
    Text,
    UplinkAudio,
)
from trunkline.errors import MalformedEntry

WHOLE = st.integers(min_value=-(2**63), max_value=2**64 - 1)
PLAIN = st.recursive(
    st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False) | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=40),
    int: WHOLE,
    bool: st.booleans(),
    bytes: st.binary(max_size=700),
    dict[str, Any]: st.dictionaries(st.text(max_size=8), PLAIN, max_size=4),
}


def of_kind(kind: type[Any]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind)
    return st.builds(kind, **{field.name: VALUES[hints[field.name]] for field in dataclasses.fields(kind)})


def entry(*rows: Any, version: Any = VERSION) -> bytes:
    packed: bytes = msgpack.packb([version, list(rows)])
    return packed


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: str(kind.__name__))
def test_every_kind_is_read_as_it_was_written(kind: type[Any]) -> None:
    @settings(max_examples=15)
    @given(st.lists(of_kind(kind), max_size=3))
    def round_trip(batch: list[Message]) -> None:
        assert Decoder().decode(encode(batch)) == batch

    round_trip()


def test_kinds_have_numbers_of_their_own() -> None:
    assert {kind.__name__: number for number, kind in KINDS.items()} == {
        **{"UplinkAudio": 1, "Text": 2, "Dtmf": 3, "ClientEvent": 4, "Played": 5, "LinkLost": 6, "LinkResumed": 7},
        **{"Hangup": 8, "Joined": 9, "Superseded": 10, "Left": 11, "Silenced": 12},
        **{"Attached": 32, "DownlinkAudio": 33, "TurnEnd": 34},
        **{"Pause": 35, "Resume": 36, "Clear": 37, "Event": 38, "Close": 39, "Committed": 40, "Ease": 41},
        **{"Control": 64},
    }


def test_the_bytes_of_an_entry_do_not_change() -> None:
    batch: list[Message] = [
        UplinkAudio("s1", 7, 140, b"\x01\x02"),
        Played("s1", 2, 3, 400, True),
        DownlinkAudio("s1", 2, 300, 3, 70_000, b"", False),
        ClientEvent("s1", 8, "commit", {"a": None}),
    ]
    golden = (
        "9201"  # version 1
        "94"  # four messages
        "9501a2733107cc8cc4020102"
        "9605a273310203cd0190c3"
        "9921a2733102cd012c03ce00011170c400c2c2"
        "9504a2733108a6636f6d6d697481a161c0"
    )
    assert encode(batch).hex() == golden
    assert Decoder().decode(bytes.fromhex(golden)) == batch
    untimed = golden.replace("9921", "9821").replace("c400c2c2", "c400c2")  # as it was before answers were timed
    assert Decoder().decode(bytes.fromhex(untimed)) == batch


def test_fields_of_a_newer_version_are_ignored() -> None:
    newer = entry([2, "s", 4, "hello", "a field to come", {"and": "another"}])
    assert Decoder().decode(newer) == [Text("s", 4, "hello")]


def test_fields_an_older_version_did_not_send_have_their_defaults() -> None:
    older = entry([5, "s", 1, 2, 300], [32, "s", 1, "lane:w", 9], [4, "s", 1, "cancel"])
    assert Decoder().decode(older) == [
        Played("s", 1, 2, 300, False),
        Attached("s", 1, "lane:w", 9, 0),
        ClientEvent("s", 1, "cancel", {}),
    ]


def test_unknown_kinds_are_counted_and_the_rest_is_read() -> None:
    decoder = Decoder()
    assert decoder.decode(entry([99, "s"], [2, "s", 0, "hello"], [31])) == [Text("s", 0, "hello")]
    assert decoder.unknown_kinds == 2


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"\xc1",
        b"hello",
        msgpack.packb(None),
        msgpack.packb(7),
        msgpack.packb("text"),
        msgpack.packb({"version": 1}),
        msgpack.packb([]),
        msgpack.packb([1]),
        msgpack.packb([1, [], []]),
        msgpack.packb([1, "rows"]),
        msgpack.packb(["1", []]),
        entry() + b"\x00",
        entry([2, "s", 4, "cut off"])[:-3],
        entry([2, "s"]),
        entry([]),
        entry(5),
        entry(None),
        entry({"kind": 2}),
        entry([[2], "s", 4, "hello"]),
        entry([{}, "s"]),
        b"\x91" * 100_000,
        b"\x81\x01" * 5_000,
        b"\x92\x01" + b"\x91" * 2_000 + b"\x90",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xffabc",
        b"\xdb\xff\xff\xff\xffabc",
        b"\x92\x01\x91\x94\x02\xa2\xff\xfe\x01\xa1a",
        b"\x92\x01\xd5\xff\x00\x00",
        b"\x92\x01\x91\x81\x90\x01",
    ],
    ids=lambda hostile: repr(hostile[:16]),
)
def test_what_is_no_entry_is_refused(hostile: bytes) -> None:
    with pytest.raises(MalformedEntry):
        Decoder().decode(hostile)


@pytest.mark.parametrize(
    "row",
    [
        [1, "s", "not a number", 0, b""],
        [1, "s", 0, None, b""],
        [1, "s", 0, 0, "not bytes"],
        [1, 5, 0, 0, b""],
        [2, "s", 1.5, "hello"],
        [33, "s", 1, 1, 1, [0], b"", False],
        [38, "s", 1, 1, "state", ["no", "mapping"]],
        [9, "s", 1, 0, 0, 0, "0"],
    ],
    ids=repr,
)
def test_a_field_of_another_type_is_refused(row: list[Any]) -> None:
    with pytest.raises(MalformedEntry):
        Decoder().decode(entry(row))


@given(st.binary(max_size=200))
@example(b"\x92\x01\x91\xc1")
def test_noise_is_read_or_refused(noise: bytes) -> None:
    with suppress(MalformedEntry):
        Decoder().decode(noise)


@given(st.data(), st.sampled_from(sorted(KINDS)))
def test_a_damaged_entry_is_read_or_refused(data: st.DataObject, number: int) -> None:
    whole = bytearray(encode([data.draw(of_kind(KINDS[number]))]))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(MalformedEntry):
        Decoder().decode(bytes(whole))


@given(PLAIN)
def test_any_plain_value_is_read_or_refused(value: Any) -> None:
    with suppress(MalformedEntry):
        Decoder().decode(entry(value, [2, value, value, value]))


def test_a_refusal_shows_the_beginning_only() -> None:
    with pytest.raises(MalformedEntry) as refused:
        Decoder().decode(struct.pack(">B", 0xC1) + b"x" * 10_000)
    assert len(str(refused.value)) < 200
