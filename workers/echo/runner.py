"""Speaks back what it hears, frame by frame, as one endless turn. The cheapest backend there can be."""

from __future__ import annotations

from trunkline.bus.messages import UplinkAudio
from trunkline.tenants import Tenant
from workers.backend import Answer, Session
from workers.providers.registry import Providers

KEEP_MS = 5000
"""Media time between commits: what a next worker is sent again, to skip what the edge has of it."""

_ORIGIN = "origin_ms"


class Echo:
    """Serves any number of sessions, and keeps nothing of them."""

    @property
    def providers(self) -> dict[str, str]:
        return {"echo": "repeats what it hears"}

    async def run(self, session: Session) -> None:
        """Frame at media time t is heard at t - origin of the turn, so a takeover knows what the edge has already."""
        snapshot = session.snapshot
        answer = snapshot.answer
        if answer is None:
            snapshot.next_turn = max(snapshot.next_turn, session.playhead.turn + 1)
            answer = snapshot.answer = Answer(turn=snapshot.next_turn)
            snapshot.next_turn += 1
            snapshot.flow.pop(_ORIGIN, None)
        turn = answer.turn
        received_ms = session.playhead.received_ms if session.playhead.turn == turn else 0
        session.event("state", state="speaking")
        kept_ms = -KEEP_MS
        async for message in session.inbox():
            if not isinstance(message, UplinkAudio):
                continue
            if message.media_ms - snapshot.flow.setdefault(_ORIGIN, message.media_ms) >= received_ms:
                await session.speak(turn, message.pcm)
            if message.media_ms - kept_ms >= KEEP_MS:
                kept_ms = message.media_ms
                snapshot.uplink_seq = message.seq
                await session.commit()
                session.rest(True)  # at any time: going on is exact
        session.end_turn(turn)

    async def close(self) -> None:
        """Nothing to close."""


def backend(tenant: Tenant, providers: Providers) -> Echo:
    """An echo; it needs neither settings nor providers."""
    return Echo()
