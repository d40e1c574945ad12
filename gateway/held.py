"""A session at a gateway, as the gateway's own parts see it."""

from __future__ import annotations

import asyncio
import time

from adapters.bridge import Bridge
from adapters.link import Link
from trunkline import tokens
from trunkline.sessions import Record


class Held:
    """A session at this gateway: its bridge, its record, and since when it lacks a worker or a caller."""

    def __init__(self, bridge: Bridge, record: Record) -> None:
        self.bridge = bridge
        self.record = record
        self.served_s = time.monotonic()
        """When it last had a worker; before the first, when it was opened."""
        self.lost_s: float | None = None
        self.attached = asyncio.Event()
        self.apologised = False
        self.coming: Link | None = None
        """A wire that is being set up, which takes a peer connection a while: it has a deadline of its own."""

    def gone_s(self, now_s: float) -> float:
        """How long it has had no wire."""
        if self.bridge.link is not None or self.coming is not None:
            self.lost_s = None  # also when the end of an older wire was noticed after the new one came
            return 0.0
        if self.lost_s is None:
            self.lost_s = now_s
        return now_s - self.lost_s

    def token(self, secret: str) -> str:
        """What its client comes back with."""
        return tokens.issue(secret, self.record.session, self.record.link)
