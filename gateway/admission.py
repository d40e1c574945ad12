"""Who may come in: one rule and one count for all doors, whatever callers arrive by."""

from __future__ import annotations

from collections import Counter
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse

from trunkline.errors import ClientError
from trunkline.settings import Settings

RETRY_AFTER_S = 1
"""After so long another gateway may be asked, or this one again."""


class TurnedAway(Exception):
    """Somebody who may not come in: the HTTP status, and why."""

    def __init__(self, status: int, error: ClientError, *, retry: bool = False) -> None:
        """`retry`: it may go well in a moment."""
        super().__init__(error.message)
        self.status = status
        self.error = error
        self.retry = retry

    def response(self) -> JSONResponse:
        # Browsers ask again on the same connection as long as it stands: it would never be another gateway.
        headers = {"retry-after": str(RETRY_AFTER_S), "connection": "close"} if self.retry else {}
        return refusal(self.status, self.error, headers)


def refusal(status: int, error: ClientError, headers: dict[str, str] | None = None) -> JSONResponse:
    """What a client is told by HTTP of what it did wrong."""
    return JSONResponse({"code": error.code, "message": error.message, "hint": error.hint}, status, headers)


class Place:
    """One caller's place at this gateway, until `leave`."""

    def __init__(self, admission: Admission, address: str, sharers: set[Place]) -> None:
        self._admission = admission
        self._address = address
        self._sharers = sharers
        sharers.add(self)

    @property
    def taken(self) -> bool:
        """Whether anybody has it still."""
        return bool(self._sharers)

    def share(self) -> Place:
        """The same place, for a caller's next wire: it is one until both have left."""
        return Place(self._admission, self._address, self._sharers)

    def leave(self) -> None:
        """Give it back. Again does nothing."""
        if self in self._sharers:
            self._sharers.remove(self)
            if not self._sharers:
                self._admission._left(self._address)


class Admission:
    """What every door asks first."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._allowed = {entry.strip() for entry in settings.allowed_origins.split(",") if entry.strip()}
        self._total = 0
        self._by_address: Counter[str] = Counter()
        self.draining = False
        """Set once: this gateway is going, and nobody new may come in."""

    def __len__(self) -> int:
        """Places taken."""
        return self._total

    def check_origin(self, connection: HTTPConnection) -> None:
        """Raises TurnedAway for a page of an origin that is not allowed. What is no page has no origin."""
        origin = connection.headers.get("origin")
        if origin is not None and not self.allows(origin, connection.headers.get("host", "")):
            hint = "name this page's origin in TRUNKLINE_ALLOWED_ORIGINS"
            raise TurnedAway(403, ClientError("origin", "pages of this origin may not call", hint))

    def allows(self, origin: str, host: str) -> bool:
        """Whether pages of this origin may call. `host` is what the request calls us: our own pages may."""
        return "*" in self._allowed or origin in self._allowed or _is_ours(origin, host)

    def admit(self, address: str = "") -> Place:
        """Take a place for a caller from this address; "" for one whose address says nothing (every telephone call
        comes from Twilio's). Raises TurnedAway."""
        self._check_staying()
        if self._total >= self._settings.max_connections:
            raise TurnedAway(429, ClientError("too_many", "this gateway is full", "connect again later"), retry=True)
        if address and self._by_address[address] >= self._settings.max_connections_per_ip:
            hint = "close one of them first"
            raise TurnedAway(429, ClientError("too_many", "too many connections from your address", hint))
        self._total += 1
        self._by_address[address] += 1
        return Place(self, address, set())

    def admit_again(self, place: Place) -> Place:
        """A caller who has a place comes by another wire: the gateway may be full of callers such as this one. Raises
        TurnedAway."""
        self._check_staying()
        return place.share() if place.taken else self.admit(place._address)

    def _check_staying(self) -> None:
        if self.draining:
            hint = "connect again: another gateway will answer"
            raise TurnedAway(503, ClientError("draining", "this gateway is going", hint), retry=True)

    def _left(self, address: str) -> None:
        self._total -= 1
        self._by_address -= Counter({address: 1})  # and forget an address that has none left


def address_of(connection: HTTPConnection) -> str:
    """The address to count a caller by."""
    return connection.client.host if connection.client else "?"


def _is_ours(origin: str, host: str) -> bool:
    try:
        return bool(host) and urlsplit(origin).netloc == host
    except ValueError:  # brackets around what is no address
        return False
