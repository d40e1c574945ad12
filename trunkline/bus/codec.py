"""Messages <-> the bytes of one lane entry.

An entry is msgpack: `[version, [[kind, field, ...], ...]]`. Pure: no I/O, no clock.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, get_args, get_origin, get_type_hints

import msgpack

from trunkline.bus import messages
from trunkline.bus.messages import VERSION, Message
from trunkline.errors import MalformedEntry

KINDS: dict[int, type[Any]] = {kind.KIND: kind for kind in get_args(messages.Message)}


def _names(kind: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _types(kind: type[Any]) -> tuple[type[Any], ...]:
    hints = get_type_hints(kind)
    return tuple(get_origin(hints[name]) or hints[name] for name in _names(kind))


_ROWS: dict[type[Any], Callable[[Any], tuple[Any, ...]]] = {
    kind: attrgetter("KIND", *_names(kind)) for kind in KINDS.values()
}
_SHAPES = {number: (kind, _types(kind)) for number, kind in KINDS.items()}
_pack = msgpack.Packer(use_bin_type=True).pack


def encode(batch: Iterable[Message]) -> bytes:
    """One entry holding `batch`, in order."""
    packed: bytes = _pack((VERSION, [_ROWS[type(message)](message) for message in batch]))
    return packed


@dataclasses.dataclass(slots=True)
class Decoder:
    """Reads entries, and counts what it had to refuse."""

    unknown_kinds: int = 0

    def decode(self, entry: bytes) -> list[Message]:
        """The messages of one entry; kinds this version does not know are left out and counted.

        Raises MalformedEntry when it is no entry at all.
        """
        try:
            version, rows = msgpack.unpackb(entry, use_list=True)
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise MalformedEntry(f"not an entry ({error or type(error).__name__}): {entry[:40]!r}") from error
        if not isinstance(version, int) or not isinstance(rows, list):
            raise MalformedEntry(f"not an entry: {entry[:40]!r}")
        return [message for row in rows if (message := self._message(row)) is not None]

    def _message(self, row: Any) -> Message | None:
        try:
            shape = _SHAPES.get(row[0])
            if shape is None:
                self.unknown_kinds += 1
                return None
            kind, types = shape
            fields = row[1 : 1 + len(types)]
            if tuple(map(type, fields)) != types[: len(fields)]:
                raise TypeError("a field of another type")
            message: Message = kind(*fields)
        except (TypeError, IndexError, KeyError) as error:
            raise MalformedEntry(f"not a message: {row!r:.80}") from error
        return message
