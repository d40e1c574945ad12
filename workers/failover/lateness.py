"""How late our own event loop is. While it is, a vendor's answer may lie at the door when its deadline rings."""

from __future__ import annotations

import asyncio
from collections import deque
from weakref import WeakKeyDictionary

TICK_S = 0.1
"""How often a loop is looked at. Where each of its turns takes 50 ms, a timer rings 25 ms late: a fifth of the time."""

WATCHED_S = 30.0
"""For so long after somebody asked a vendor, or began to wait for it: the answer that it speaks lasts as long."""

_KEPT = 2 * round(WATCHED_S / TICK_S)


class Lateness:
    """When timers were due, and when they rang (s, the loop's clock). Pure."""

    def __init__(self) -> None:
        self._rings: deque[tuple[float, float]] = deque(maxlen=_KEPT)

    def rang(self, due_s: float, now_s: float) -> None:
        self._rings.append((due_s, now_s))

    def share(self, since_s: float, now_s: float) -> float:
        """What part of the time from `since_s` to `now_s` the loop was late, from 0 to 1."""
        if now_s <= since_s:
            return 0.0
        late_s = sum(max(0.0, min(rang_s, now_s) - max(due_s, since_s)) for due_s, rang_s in self._rings)
        return min(1.0, late_s / (now_s - since_s))


class Watch:
    """Looks at the running event loop, and no other, by a timer, for as long as somebody wants to know."""

    def __init__(self) -> None:
        self._lateness = Lateness()
        self._until_s = 0.0
        self._due_s: float | None = None
        """When the next tick is due; None while nobody wants to know."""

    def go_on(self) -> None:
        """Look for another WATCHED_S."""
        now_s = _now_s()
        self._until_s = now_s + WATCHED_S
        if self._due_s is None:
            self._wait(now_s)

    def share(self, last_s: float) -> float:
        """What part of the last so many s the loop was late, from 0 to 1."""
        now_s = _now_s()
        if self._due_s is not None and self._due_s < now_s:  # this very turn of it is late
            self._lateness.rang(self._due_s, now_s)
            self._due_s = now_s
        return self._lateness.share(now_s - last_s, now_s)

    def _wait(self, now_s: float) -> None:
        self._due_s = now_s + TICK_S
        asyncio.get_running_loop().call_at(self._due_s, self._tick)

    def _tick(self) -> None:
        assert self._due_s is not None
        now_s = _now_s()
        self._lateness.rang(self._due_s, now_s)
        if now_s < self._until_s:
            self._wait(now_s)
        else:
            self._due_s = None


def _now_s() -> float:
    return asyncio.get_running_loop().time()


_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, Watch] = WeakKeyDictionary()


def watch() -> Watch:
    """The running loop's."""
    loop = asyncio.get_running_loop()
    if loop not in _watches:
        _watches[loop] = Watch()
    return _watches[loop]
