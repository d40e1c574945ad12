"""When marked audio was seen."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any, Self


class Times:
    """Keys of pieces of audio, and when each was sent or arrived (seconds, monotonic), in that order."""

    def __init__(self) -> None:
        self._keys = array("q")
        self._at_s = array("d")

    def note(self, key: int, at_s: float) -> None:
        self._keys.append(key)
        self._at_s.append(at_s)

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return zip(self._keys, self._at_s, strict=True)

    def __len__(self) -> int:
        return len(self._keys)

    def as_json(self) -> dict[str, Any]:
        return {"keys": self._keys.tolist(), "at_s": self._at_s.tolist()}

    @classmethod
    def from_json(cls, written: dict[str, Any]) -> Self:
        times = cls()
        times._keys.extend(written["keys"])
        times._at_s.extend(written["at_s"])
        return times
