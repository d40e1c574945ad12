"""How fast a client may talk, and how much nonsense: what the links of all transports hold it to. Pure.

A link that can slow its client down (TCP) reads no more for as long as `add` says; one that cannot (UDP) drops what
`fits` refuses.
"""

from __future__ import annotations

from trunkline.errors import ClientError

AHEAD_S = 5.0
"""How far ahead of real time a client's audio is read."""
MAX_ERRORS = 20
"""Wrong messages forgiven on one link."""
MESSAGES_PER_S = 500
"""How fast messages are read: audio in pieces of 2.5 ms comes at 400."""
MESSAGES_AT_ONCE = 1000
"""Read without waiting: a client that comes back sends 15 s of audio in pieces of 20 ms."""


class Pace:
    """Things that take time, and how far they run ahead of it.

    `ahead_s` of them may come too soon. They may run `speed` times as fast as time, and make up for at most `credit_s`
    in which nothing came.
    """

    def __init__(self, ahead_s: float, *, speed: float = 1.0, credit_s: float = 0.0) -> None:
        self._ahead_s = ahead_s
        self._speed = speed
        self._credit_s = credit_s
        self._until_s: float | None = None
        """When as much time will have passed as came."""

    def add(self, length_s: float, now_s: float) -> float:
        """So much more has come. Returns by how many seconds that is too soon; at most 0 when it is not."""
        self._until_s = self._after(length_s, now_s)
        return self._until_s - now_s - self._ahead_s

    def fits(self, length_s: float, now_s: float) -> bool:
        """Whether so much more may come now. What may not, does not count."""
        after_s = self._after(length_s, now_s)
        if after_s - now_s > self._ahead_s:
            return False
        self._until_s = after_s
        return True

    def _after(self, length_s: float, now_s: float) -> float:
        until_s = now_s if self._until_s is None else max(self._until_s, now_s - self._credit_s)
        return until_s + length_s / self._speed


class MessagePace:
    """Messages: each takes `1 / per_s` of time, and `at_once` may come too soon."""

    def __init__(self, per_s: float = MESSAGES_PER_S, at_once: int = MESSAGES_AT_ONCE) -> None:
        self._per_s = per_s
        self._pace = Pace(at_once / per_s)

    def add(self, messages: int, now_s: float) -> float:
        """So many more have come. Returns by how many seconds that is too soon."""
        return self._pace.add(messages / self._per_s, now_s)


class Patience:
    """Wrong messages, forgiven up to a number."""

    def __init__(self, most: int = MAX_ERRORS) -> None:
        self.forgiven = 0
        self._most = most

    def forgive(self, error: ClientError) -> None:
        """Count a wrong message; raises the error, as fatal, when it is or was one too many."""
        self.forgiven += 1
        if error.fatal or self.forgiven > self._most:
            raise ClientError(error.code, error.message, error.hint, fatal=True) from error
