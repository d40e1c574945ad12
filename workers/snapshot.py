"""A snapshot as it is stored between two workers."""

from __future__ import annotations

from typing import Any

import msgpack
from pydantic import TypeAdapter

from workers.backend import Snapshot

MAX_SNAPSHOT_BYTES = 256 * 1024
_SNAPSHOT = TypeAdapter(Snapshot)


def pack(snapshot: Snapshot) -> bytes:
    """A snapshot as stored; the oldest items go when it would be larger than `MAX_SNAPSHOT_BYTES`."""
    while True:
        packed: bytes = msgpack.packb(snapshot, default=_fields)
        if len(packed) <= MAX_SNAPSHOT_BYTES or not snapshot.items:
            return packed
        del snapshot.items[: max(1, len(snapshot.items) // 4)]


def _fields(part: Any) -> dict[str, Any]:
    """A part of a snapshot; `dataclasses.asdict`, which copies as well, takes seven times as long for all of one."""
    return {name: getattr(part, name) for name in part.__slots__}


def unpack(packed: bytes) -> Snapshot:
    """A stored snapshot; a fresh one for no bytes. Fields that a newer version stored are left out.

    Raises ValueError for what is no snapshot.
    """
    return _SNAPSHOT.validate_python(msgpack.unpackb(packed)) if packed else Snapshot()
