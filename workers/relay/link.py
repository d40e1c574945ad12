"""What a link to a Realtime model offers, over whatever wire, and how it ends."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from trunkline.errors import ProviderError
from workers.relay.protocol import PROVIDER, AudioFormat
from workers.relay.trouble import Kind

LIFETIME_S = 3600.0
"""A session's longest life with the model (PROTOCOLS 1.1), where the model does not say its own."""


class ModelLost(ProviderError):
    """There is no link to the model, or no longer: it could not be made, it broke, or the model left."""

    def __init__(self, reason: str, kind: Kind, retry_after_s: float | None = None) -> None:
        super().__init__(PROVIDER, reason, retryable=kind.retryable)
        self.reason = reason
        self.kind = kind
        self.retry_after_s = retry_after_s


class ModelLink(Protocol):
    """One session with a model. It is open from the beginning; whoever holds it closes it."""

    @property
    def rate_hz(self) -> int:
        """Of the audio both ways: s16le mono PCM. The same for all links of one conversation."""

    @property
    def format(self) -> AudioFormat | None:
        """How audio is written in events, which the session's settings must name; None: it has a way of its own."""

    @property
    def in_real_time(self) -> bool:
        """Whether the model's audio comes no faster than it is to be heard, and its words long before."""

    @property
    def session_id(self) -> str:
        """The vendor's name for it: what its support asks for."""

    @property
    def opened_s(self) -> float:
        """When it opened, by the event loop's clock."""

    @property
    def expires_s(self) -> float:
        """Seconds from `opened_s` until the model ends it."""

    async def send(self, event: dict[str, Any]) -> None:
        """Send a client event. Raises ModelLost, also when the model takes nothing for too long."""

    def append(self, pcm: bytes) -> None:
        """Send the next of the caller's audio. Neither waits nor fails: a link that is lost says so by `events`."""

    def events(self) -> AsyncIterator[dict[str, Any]]:
        """The model's events, after `session.created`; the `delta` of `response.output_audio.delta` is PCM. With
        `in_real_time`, a `response.done` that is ahead of the response's audio has `protocol.AUDIO_FOLLOWS`, and comes
        once more, without, when all of it is there.

        Raises ModelLost when the wire ends, for whatever reason, and never ends otherwise. To be iterated once, and
        without long waits between: while nobody reads, the wire cannot tell a model that is gone from one that
        speaks, and gives up."""

    async def close(self) -> None:
        """Hang up, within a second. May be called twice, and after ModelLost."""


def lifetime_s(expires_at: object, date: str | None) -> float:
    """How long a session lasts that ends at `expires_at` (s since 1970) by the model's own clock: ours may be an hour
    off, and would then always say that it ends. `date` is what the model's HTTP answer said. LIFETIME_S for what makes
    no sense."""
    if isinstance(expires_at, int | float) and 0 < expires_at - (now_s := _seconds(date)) <= LIFETIME_S:
        return expires_at - now_s
    return LIFETIME_S


def _seconds(date: str | None) -> float:
    try:
        return parsedate_to_datetime(date).timestamp() if date else time.time()
    except (ValueError, OverflowError):
        return time.time()
