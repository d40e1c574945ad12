"""What a session says to its gateway: numbered, and kept until the caller has heard it, so that a gateway, or Redis,
may be lost in between. Credit holds the backend to 2 s ahead of what was heard."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import replace
from typing import Any, Protocol

from trunkline.audio.frame import FRAME_MS, bytes_in
from trunkline.bus.messages import (
    Clear,
    Close,
    DownlinkAudio,
    Event,
    Joined,
    LinkResumed,
    Message,
    Pause,
    Played,
    Resume,
    TurnEnd,
)
from trunkline.bus.messages import Downlink as Numbered
from trunkline.bus.patience import LEISURE_S
from trunkline.sessions import Record
from workers.backend import Playhead
from workers.timing import Timing

CREDIT_MS = 2000
"""How much the edge may hold unheard: it hides a takeover from the caller, and bounds the edge's memory."""
EDGE_HAS_MS = 400
"""Audio may take its time when the edge has so much that is not heard yet."""
PIECE_MS = 200
"""Audio crosses the bus in pieces of at most this."""
KEEP_EVENT_S = 10.0


class Lanes(Protocol):
    """The bus, as far as a session needs it."""

    def send(self, lane: str, message: Message, *, within_s: float = 0.0) -> None: ...


class Downlink:
    """One session's. `record` says to which gateway it goes, and under which epoch. What is said before that has
    `joined` is kept for it."""

    def __init__(self, record: Record, lanes: Lanes, joined: asyncio.Event, timing: Timing) -> None:
        self.playhead = Playhead()
        self._record = record
        self._lanes = lanes
        self._joined = joined
        self._timing = timing
        self._seq = 0
        self._kept: deque[tuple[Numbered, float]] = deque()
        """With when (s) each was said."""
        self._credit = asyncio.Event()
        self._speaking = 0
        self._sent_ms = 0
        self._rest_of_frame = b""
        self._dead_turn = 0
        self._gone = False
        """The caller is: `speak` has nobody to speak to."""

    # --- what a backend says

    async def speak(self, turn: int, pcm: bytes, sentence_end: bool) -> None:
        if turn <= self._dead_turn:
            return
        if turn != self._speaking:
            self._speaking, self._rest_of_frame = turn, b""
            self._sent_ms = self.playhead.received_ms if self.playhead.turn == turn else 0
        pcm = self._rest_of_frame + pcm
        frame_bytes = self._bytes_in(FRAME_MS)
        if sentence_end and len(pcm) % frame_bytes:
            pcm += bytes(frame_bytes - len(pcm) % frame_bytes)
        whole = len(pcm) - len(pcm) % frame_bytes
        self._rest_of_frame = pcm[whole:]
        piece_bytes = self._bytes_in(PIECE_MS)
        for start in range(0, whole, piece_bytes):
            piece = pcm[start : min(start + piece_bytes, whole)]
            await self._credited(turn)
            if turn <= self._dead_turn or self._gone:
                return
            self._send_audio(turn, piece, sentence_end and start + piece_bytes >= whole)

    def _send_audio(self, turn: int, piece: bytes, sentence_end: bool) -> None:
        where = (turn, self._sent_ms)
        timed = self._timing.sending(*where)
        self._sent_ms += self._ms_of(piece)
        self._say(DownlinkAudio(*self._next, *where, piece, sentence_end, timed))

    async def _credited(self, turn: int) -> None:
        while turn > self._dead_turn and not self._gone:
            if self._sent_ms - self._heard_ms(turn) < CREDIT_MS:
                return
            self._credit.clear()
            await self._credit.wait()

    def end_turn(self, turn: int) -> None:
        if turn > self._dead_turn:
            self._say(TurnEnd(*self._next, turn))

    def pause(self, turn: int) -> None:
        self._say(Pause(*self._next, turn))

    def resume(self, turn: int) -> None:
        self._say(Resume(*self._next, turn))

    def clear(self, turn: int) -> None:
        self._dead_turn = max(self._dead_turn, turn)
        self._kept = deque(
            (_nothing(kept), said_s) if isinstance(kept, DownlinkAudio) and kept.turn <= turn else (kept, said_s)
            for kept, said_s in self._kept
        )
        self._say(Clear(*self._next, turn))
        self._credit.set()

    def event(self, name: str, data: dict[str, Any]) -> None:
        self._say(Event(*self._next, name, data))

    def close(self, reason: str, transfer_to: str = "", *, failed: bool = False) -> None:
        self._say(Close(*self._next, reason, transfer_to, failed))

    def caller_is_gone(self) -> None:
        """Who waits to speak would wait for ever: nobody hears any more."""
        self._gone = True
        self._credit.set()

    @property
    def _next(self) -> tuple[str, int, int]:
        """How the next message begins."""
        return self._record.session, self._record.epoch, self._seq

    def _say(self, message: Numbered) -> None:
        self._seq += 1
        self._kept.append((message, time.monotonic()))
        if self._joined.is_set():
            self._lanes.send(self._record.gateway, message, within_s=LEISURE_S if self._may_wait(message) else 0.0)
            self._forget_heard()

    def _may_wait(self, message: Numbered) -> bool:
        if isinstance(message, DownlinkAudio):
            return message.offset_ms - self._heard_ms(message.turn) >= EDGE_HAS_MS
        return isinstance(message, Event)

    # --- what the gateway has of it

    @property
    def kept_from(self) -> int:
        """What is before this number will not come again."""
        return self._kept[0][0].seq if self._kept else self._seq

    def joined(self, message: Joined) -> None:
        """The gateway has the session, and its playout stands there."""
        if not self._seq:
            self.playhead = Playhead(message.turn, message.received_ms, message.played_ms, done=False)

    def lacks(self, received_seq: int) -> bool:
        """Whether part of what a gateway misses, which has all until this number, is gone."""
        return bool(self._kept) and self.kept_from > received_seq + 1

    def send_again(self, received_seq: int) -> None:
        """Whatever comes after this number."""
        for kept, _ in self._kept:
            if kept.seq > received_seq:
                self._lanes.send(self._record.gateway, kept)

    def played(self, message: Played) -> Played:
        """Returns it as it is to be understood: what was heard once stays so."""
        before = self.playhead
        ms = max(message.ms, before.played_ms) if message.turn == before.turn else message.ms
        if message.turn >= before.turn:
            self.playhead = Playhead(message.turn, max(ms, before.received_ms), ms, message.done)
        self._forget_heard()
        self._credit.set()
        return message if ms == message.ms else replace(message, ms=ms)

    def _heard_ms(self, turn: int) -> int:
        return self.playhead.played_ms if self.playhead.turn == turn else 0

    def _forget_heard(self) -> None:
        old_s = time.monotonic() - KEEP_EVENT_S
        while self._kept:
            message, said_s = self._kept[0]
            if isinstance(message, DownlinkAudio):
                if self._is_unheard(message, self.playhead.turn, self.playhead.played_ms):
                    return
            elif said_s > old_s:
                return
            self._kept.popleft()

    def _is_unheard(self, message: DownlinkAudio, turn: int, ms: int) -> bool:
        end_ms = message.offset_ms + self._ms_of(message.pcm)
        return message.turn > turn or (message.turn == turn and end_ms > ms)

    def keep_unreceived(self, message: LinkResumed) -> None:
        """Forget what a client has that came back; of a piece that arrived in part, keep the rest."""
        self._kept = deque((self._unreceived(kept, message), said_s) for kept, said_s in self._kept)

    def _unreceived(self, kept: Numbered, message: LinkResumed) -> Numbered:
        if isinstance(kept, Event):
            return _nothing(kept) if self._record.epoch << 32 | kept.seq <= message.client_seq else kept
        if not isinstance(kept, DownlinkAudio):
            return kept
        if not self._is_unheard(kept, message.turn, message.received_ms):
            return _nothing(kept)
        skip_ms = message.received_ms - kept.offset_ms
        if kept.turn != message.turn or skip_ms <= 0:
            return kept
        rest = kept.pcm[self._bytes_in(skip_ms) :]
        return replace(kept, offset_ms=message.received_ms, pcm=rest, timed=False)

    def _bytes_in(self, ms: int) -> int:
        return bytes_in(ms, self._record.rate_hz)

    def _ms_of(self, pcm: bytes) -> int:
        return len(pcm) * FRAME_MS // self._bytes_in(FRAME_MS)


def _nothing(message: Numbered) -> DownlinkAudio:
    """Takes a message's place in the sequence: no audio."""
    return DownlinkAudio(message.session, message.epoch, message.seq, 0, 0, b"")
