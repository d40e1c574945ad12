"""Leaves a vendor alone that failed several times in a row, and lets one request find out when it is back.

States and the counting are pybreaker's: kept (redis-py stands on it), typed, and the only one of those looked at whose
transitions can be asked for. What none of them has is here: outcomes of streams, which are told when they are known; a
single probe; a vendor's own `Retry-After`; a clock that is an argument; and the news that a request of ours was
cancelled, which says nothing of the vendor.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import NoReturn

import pybreaker

from trunkline.errors import ProviderError

FAILURES = 3
"""Failures in a row that open it. Each costs a caller up to a deadline of waiting, so not many; a vendor that fails one
request in twenty by chance fails three in a row once in 8000."""

COOL_DOWN_S = 15.0
"""How long a vendor is left alone then. After each probe that failed as well, twice as long, for a probe's caller waits
for it."""

LONGEST_COOL_DOWN_S = 120.0
"""But not longer; and at once for a vendor that has locked us out."""

LONGEST_WAIT_S = 600.0
"""A vendor's own wait is kept up to this. Some proxy's `Retry-After` of a day would outlast what it was for by far, and
one request in ten minutes burdens nobody."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """What became of requests, since the process began."""

    succeeded: int = 0
    failed: int = 0
    spared: int = 0
    """Not asked, for the vendor was left alone."""
    opened: int = 0


class Breaker:
    """Of one provider: shared by all who use that instance. Times are of any one clock that does not go back, in s."""

    def __init__(self, name: str) -> None:
        """`name` of the provider, for people."""
        self.name = name
        self.tally = Tally()
        self._circuit = pybreaker.CircuitBreaker(fail_max=FAILURES, throw_new_error_on_trip=False, name=name)
        self._until_s = 0.0
        """When it may be asked again, if it is not closed."""
        self._cool_down_s = COOL_DOWN_S
        self._reason = ""
        self._probe: Permit | None = None

    @property
    def closed(self) -> bool:
        """Whether anybody may ask."""
        return self._circuit.current_state == pybreaker.STATE_CLOSED

    def doubts(self, permit: Permit) -> bool:
        """Whether the vendor was found to fail since `permit` was given."""
        return not self.closed and permit is not self._probe

    def permit(self, now_s: float) -> Permit:
        """Leave to ask. Whoever has it tells what came of it. Raises ProviderError while the vendor is left alone."""
        if self.closed:
            return Permit(self)
        if now_s < self._until_s:
            self.tally.spared += 1
            raise ProviderError(self.name, f"is left alone: {self._reason}")
        self._circuit.half_open()
        self._until_s = now_s + COOL_DOWN_S  # a probe that tells nothing for so long is joined by another
        self._probe = Permit(self)
        return self._probe

    def succeeded(self, permit: Permit) -> None:
        self.tally.succeeded += 1
        if permit is self._probe:
            self._probe = None
            self._circuit.close()
            self._cool_down_s = COOL_DOWN_S
            _log.warning("provider %s is back", self.name)
        elif self.closed:
            self._circuit.call(_nothing)

    def failed(self, permit: Permit, error: ProviderError, now_s: float) -> None:
        """A wait that the vendor names is kept. What is wrong with one request only is no failure."""
        if not (error.retryable or error.locked_out):
            self.dropped(permit)
            return
        self.tally.failed += 1
        _log.info("provider %s failed: %s", self.name, error)
        probed = permit is self._probe
        if probed:
            self._probe = None
        if error.locked_out:
            self._open(error, now_s + LONGEST_COOL_DOWN_S, again=probed)
        elif error.retry_after_s:
            self._open(error, now_s + min(error.retry_after_s, LONGEST_WAIT_S), again=probed)
        elif probed:
            self._cool_down_s = min(2 * self._cool_down_s, LONGEST_COOL_DOWN_S)
            self._open(error, now_s + self._cool_down_s, again=True)
        elif self.closed:
            with contextlib.suppress(ProviderError):
                self._circuit.call(_fail, error)
            if not self.closed:
                self._opened(error, now_s + self._cool_down_s, again=False)

    def dropped(self, permit: Permit) -> None:
        """Nothing was learned: if it was to probe, the next may."""
        if permit is self._probe:
            self._probe, self._until_s = None, 0.0

    def _open(self, error: ProviderError, until_s: float, *, again: bool) -> None:
        if self._circuit.current_state != pybreaker.STATE_OPEN:
            self._circuit.open()
            self._opened(error, until_s, again=again)
        else:  # a request that began before it opened
            self._until_s = max(self._until_s, until_s)

    def _opened(self, error: ProviderError, until_s: float, *, again: bool) -> None:
        self.tally.opened += not again
        self._until_s, self._reason = until_s, str(error)
        _log.log(logging.INFO if again else logging.WARNING, "provider %s is left alone: %s", self.name, error)


class Permit:
    """Leave to ask a provider once, or for one answer. Tell it what came of that, or that it was not to be."""

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker

    @property
    def doubtful(self) -> bool:
        """Whether others have found out since that the provider fails: it is not to be waited for."""
        return self._breaker.doubts(self)

    def succeeded(self) -> None:
        self._breaker.succeeded(self)

    def failed(self, error: ProviderError, now_s: float) -> None:
        self._breaker.failed(self, error, now_s)

    def dropped(self) -> None:
        """Whoever asked does not want to know any more. Safe to call after the others."""
        self._breaker.dropped(self)


def _nothing() -> None:
    """A call that succeeds."""


def _fail(error: ProviderError) -> NoReturn:
    raise error
