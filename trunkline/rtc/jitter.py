"""A jitter buffer for a listener that is no loudspeaker but a bus: it puts packets in order and fills what is missing.

A loudspeaker must be fed on time, so its jitter buffer delays everything. Here nothing plays: packets in order pass at
once. Only a hole makes those behind it wait, 0 to 60 ms by how late reordered packets have come lately, and then it is
given up and filled: concealment for 100 ms, silence for the rest. Media time never shifts: what comes out is as long
as what the sender's timestamps say. Pure: time is an argument. A tick is 1/48000 s.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from trunkline.rtc.rtp import sequence_delta, timestamp_delta

TICKS_PER_MS = 48
STEP_TICKS = 120
"""2.5 ms: an Opus decoder conceals multiples of it."""

START_MS = 20.0
"""How long a hole waits before anything is known of the network: one packet's length."""
MOST_MS = 60.0
GROW = 1.5
"""What came `late` after it was missed lets the next hole wait for this many times as long ..."""
SHRINK = 0.95
"""... and each hole that waited in vain makes the next wait this much shorter."""
NO_WAIT_MS = 1.0
"""A wait shorter than this is none."""

CONCEAL_TICKS = 100 * TICKS_PER_MS
"""After this libopus's concealment has faded away (and FEC reaches one packet back only)."""
FEC_TICKS = 60 * TICKS_PER_MS
"""The longest frame of Opus that carries a copy of the one before it."""
JUMP_TICKS = 10_000 * TICKS_PER_MS
"""A longer jump of the timestamp is no pause but another stream."""
AHEAD_MS = 12_000.0
"""No sender is this far ahead of the clock: a pause that would take one there is not filled, more audio is dropped."""
OWED_MS = 10_000.0
"""What a network may hold back and then deliver at once."""
LEAK = 0.01
"""A sender's clock may be this much faster than ours for ever (quartz is within 0.0002)."""

HELD_PACKETS = 64
LATE_SEQUENCES = 100
"""MAX_MISORDER of RFC 3550, A.1: what is older than this is of a sender that began again, if its next follows."""
AHEAD_SEQUENCES = 3000
"""MAX_DROPOUT of RFC 3550, A.1: one minute."""


class Piece(NamedTuple):
    """A packet whose turn it is."""

    payload: bytes
    ticks: int


class Lost(NamedTuple):
    """Audio that did not come. `following` is the packet after it, if the loss reaches up to that: it may carry FEC."""

    ticks: int
    following: bytes | None


class Silence(NamedTuple):
    """Nothing was sent for so long (or more was lost than can be concealed)."""

    ticks: int


Item = Piece | Lost | Silence


class _Held(NamedTuple):
    timestamp: int
    ticks: int
    payload: bytes
    arrived_ms: float


@dataclass(slots=True)
class Counts:
    """What became of the packets; in packets, and ticks."""

    missing: int = 0
    """Given up. Some come after all:"""
    late: int = 0
    duplicate: int = 0
    stray: int = 0
    """Of a number far from all others."""
    excess: int = 0
    """More audio than time."""
    concealed_ticks: int = 0
    silent_ticks: int = 0


class JitterBuffer:
    """One sender's packets, in any order, to what is to be decoded, in order."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.wait_ms = START_MS
        """For how long a hole would wait now."""
        self._begun = False
        self._next = 0
        self._position = 0
        """The timestamp at which what was given out ends."""
        self._held: dict[int, _Held] = {}
        self._missed: OrderedDict[int, float] = OrderedDict()
        """Given up lately, and when they were missed."""
        self._restart: int | None = None
        self._ahead_ms = 0.0
        self._seen_ms: float | None = None

    def push(self, sequence: int, timestamp: int, ticks: int, payload: bytes, now_ms: float) -> list[Item]:
        """Take a packet, and give what can be decoded now. A packet of 0 ticks has no audio, only a number."""
        self._pass_time(now_ms)
        if self._ahead_ms > AHEAD_MS:
            self.counts.excess += 1
            return []
        if not self._begun:
            self._begin(sequence, timestamp)
        delta = sequence_delta(sequence, self._next)
        if not delta:
            return self._in_order(_Held(timestamp, ticks, payload, now_ms), now_ms)
        if not -LATE_SEQUENCES <= delta <= AHEAD_SEQUENCES:
            return self._far_away(sequence, _Held(timestamp, ticks, payload, now_ms), now_ms)
        self._restart = None
        if delta < 0:
            self._too_late(sequence, now_ms)
            return []
        if sequence in self._held:
            self.counts.duplicate += 1
            return []
        self._held[sequence] = _Held(timestamp, ticks, payload, now_ms)
        return self.poll(now_ms)

    def poll(self, now_ms: float) -> list[Item]:
        """What is to be decoded because the wait for it is over."""
        items: list[Item] = []
        while self._held and (self._due_ms() <= now_ms or len(self._held) > HELD_PACKETS):
            items += self._give_up()
        return items

    def due_ms(self) -> float | None:
        """When to poll; None if nothing waits."""
        return self._due_ms() if self._held else None

    def flush(self) -> list[Item]:
        """What is held, at once: the stream is over. The next packet begins another."""
        items: list[Item] = []
        while self._held:
            items += self._give_up()
        self._begun = False
        return items

    @property
    def held_ticks(self) -> int:
        return sum(held.ticks for held in self._held.values())

    def _due_ms(self) -> float:
        return self._missed_ms() + self.wait_ms

    def _missed_ms(self) -> float:
        """When the first packet behind a hole came."""
        return min(held.arrived_ms for held in self._held.values())

    def _begin(self, sequence: int, timestamp: int) -> None:
        self._begun, self._next, self._position = True, sequence, timestamp
        self._missed.clear()
        self._restart = None

    def _in_order(self, packet: _Held, now_ms: float) -> list[Item]:
        if self._held:
            self._learn(now_ms - self._missed_ms())
        items = self._release(packet, lost=False)
        if self._held:
            items += self._release_what_follows()
        return items

    def _release_what_follows(self) -> list[Item]:
        items: list[Item] = []
        while (held := self._held.pop(self._next, None)) is not None:
            items += self._release(held, lost=False)
        return items

    def _give_up(self) -> list[Item]:
        """The hole before what is held becomes what fills it; then what is held, up to the next hole."""
        first = min(self._held, key=lambda sequence: sequence_delta(sequence, self._next))
        missed_ms = self._missed_ms()
        hole = sequence_delta(first, self._next)
        self.counts.missing += hole
        self.wait_ms = self.wait_ms * SHRINK if self.wait_ms > NO_WAIT_MS else 0.0
        for sequence in range(first - min(hole, LATE_SEQUENCES), first):
            self._missed[sequence & 0xFFFF] = missed_ms
        while len(self._missed) > LATE_SEQUENCES:
            self._missed.popitem(last=False)
        self._next = first
        return self._release(self._held.pop(first), lost=True) + self._release_what_follows()

    def _release(self, packet: _Held, *, lost: bool) -> list[Item]:
        self._next = self._next + 1 & 0xFFFF
        if not packet.ticks:
            return []
        gap = timestamp_delta(packet.timestamp, self._position)
        filled = 0 < gap <= JUMP_TICKS and self._ahead_ms + gap / TICKS_PER_MS <= AHEAD_MS
        items: list[Item] = []
        if filled:
            items = self._fill(gap, packet) if lost else self._pause(gap)
        self._ahead_ms += (packet.ticks + (gap if filled else 0)) / TICKS_PER_MS
        self._position = packet.timestamp + packet.ticks & 0xFFFF_FFFF
        items.append(Piece(packet.payload, packet.ticks))
        return items

    def _pause(self, ticks: int) -> list[Item]:
        self.counts.silent_ticks += ticks
        return [Silence(ticks)]

    def _fill(self, gap: int, packet: _Held) -> list[Item]:
        """`gap` ticks before `packet`: concealed if short, else concealed at both ends with silence between."""
        odd = gap % STEP_TICKS
        whole = gap - odd
        tail = min(packet.ticks, FEC_TICKS, whole)
        head = min(whole - tail, CONCEAL_TICKS - tail)
        between = whole - head - tail + odd
        items: list[Item] = []
        if not between:
            items.append(Lost(whole, packet.payload))
        else:
            items += [Lost(head, None)] if head else []
            items += self._pause(between)
            items += [Lost(tail, packet.payload)] if tail else []
        self.counts.concealed_ticks += head + tail
        return items

    def _too_late(self, sequence: int, now_ms: float) -> None:
        missed_ms = self._missed.pop(sequence, None)
        if missed_ms is None:
            self.counts.duplicate += 1
        else:
            self.counts.late += 1
            self._learn(now_ms - missed_ms)

    def _learn(self, late_ms: float) -> None:
        self.wait_ms = min(MOST_MS, max(self.wait_ms, late_ms * GROW))

    def _far_away(self, sequence: int, packet: _Held, now_ms: float) -> list[Item]:
        """A number so far off is a stray, unless the next one follows it: then the sender began again."""
        if sequence != self._restart:
            self._restart = sequence + 1 & 0xFFFF
            self.counts.stray += 1
            return []
        items = self.flush()
        self._begin(sequence, packet.timestamp)
        return items + self._in_order(packet, now_ms)

    def _pass_time(self, now_ms: float) -> None:
        elapsed_ms = now_ms - self._seen_ms if self._seen_ms is not None else 0.0
        self._seen_ms = now_ms
        self._ahead_ms = max(-OWED_MS, self._ahead_ms - elapsed_ms * (1 + LEAK))
