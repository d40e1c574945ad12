"""A peer that is none: as much of `trunkline.rtc.peer.Peer` as a link uses. The test is the other side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from trunkline.errors import ClientError
from trunkline.rtc.ice import Network
from trunkline.rtc.peer import Owner, PeerStats

TICKS_PER_MS = 48
BASE = 1000
"""The RTP timestamp of the first sample sent."""


class FakePeer:
    """What is played waits until the test lets it leave, in packets of 20 ms."""

    def __init__(self, owner: Owner, rate_hz: int, network: Network) -> None:
        self.owner = owner
        self.rate_hz = rate_hz
        self.network = network
        self.offer = ""
        self.candidates: list[str] = []
        self.queue: list[tuple[int, int]] = []
        """(turn, ms) at the end of each packet that waits."""
        self.left: list[tuple[int, int]] = []
        """The same of each that left."""
        self.held = False
        self.open: set[str] = set()
        self.told: dict[str, list[dict[str, Any]]] = {}
        """What was sent on each channel."""
        self.closed = 0
        self.deaf = False
        """Whether nothing can be sent on any channel."""

    # --- trunkline.rtc.peer.Peer

    async def answer(self, offer: str) -> str:
        if "v=0" not in offer:
            raise ClientError("bad_sdp", "no SDP", "v=0")
        self.offer = offer
        return "v=0 answer"

    async def add_candidates(self, candidates: Sequence[str]) -> None:
        self.candidates += candidates

    def play(self, turn: int, offset_ms: int, pcm: bytes) -> None:
        length_ms = len(pcm) * 500 // self.rate_hz
        self.queue += [(turn, offset_ms + ms) for ms in range(20, length_ms + 1, 20)]

    def hold(self) -> None:
        self.held = True

    def resume(self) -> None:
        self.held = False

    def clear(self) -> None:
        self.queue.clear()

    @property
    def sent(self) -> tuple[int, int]:
        return self.left[-1] if self.left else (0, 0)

    def heard(self, rtp_timestamp: int) -> tuple[int, int] | None:
        number = (rtp_timestamp - BASE) // (20 * TICKS_PER_MS)
        if not 0 <= number < len(self.left):
            return None
        turn, end_ms = self.left[number]
        return turn, end_ms - 20 + (rtp_timestamp - BASE) % (20 * TICKS_PER_MS) // TICKS_PER_MS

    def send(self, label: str, text: str) -> bool:
        if label not in self.open or self.deaf or self.closed:
            return False
        self.told[label].append(json.loads(text))
        return True

    @property
    def stats(self) -> PeerStats:
        return PeerStats(0, 0, 0, 0, 0.0, 0.0, len(self.left), 0, None, "host udp 192.0.2.1:9", 0, 0)

    async def close(self) -> None:
        self.closed += 1

    # --- the other side

    def opens(self, label: str) -> None:
        """A data channel."""
        self.open.add(label)
        self.told.setdefault(label, [])
        self.owner.channel_opened(label)

    def shuts(self, label: str) -> None:
        """The other side closes a data channel."""
        self.open.remove(label)
        self.owner.channel_closed(label)

    def says(self, label: str, message: dict[str, Any] | str) -> None:
        self.owner.message(label, message if isinstance(message, str) else json.dumps(message))

    def leave(self, packets: int) -> None:
        """So many packets are due."""
        if not self.held:
            self.left += self.queue[:packets]
            del self.queue[:packets]

    def timestamp(self) -> int:
        """Of the last sample that left."""
        return BASE + len(self.left) * 20 * TICKS_PER_MS - 1
