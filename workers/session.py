"""One session in a worker: what its backend is given, kept in step with the gateway.

Uplink is put in order (duplicates dropped, gaps made silence). Downlink is numbered and kept until the caller has heard
it, so that a gateway, or Redis, may be lost in between. Credit holds the backend to 2 s ahead of what was heard.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from trunkline.audio.frame import FRAME_MS, bytes_in, silence
from trunkline.bus.messages import (
    Attached,
    Clear,
    ClientEvent,
    Close,
    Committed,
    Control,
    Downlink,
    DownlinkAudio,
    Dtmf,
    Ease,
    Event,
    Hangup,
    Joined,
    Left,
    LinkLost,
    LinkResumed,
    Message,
    Pause,
    Played,
    Resume,
    Silenced,
    Superseded,
    Text,
    TurnEnd,
    UplinkAudio,
)
from trunkline.bus.sequence import Order, Sequence
from trunkline.errors import BusError
from trunkline.sessions import Record, Records
from trunkline.tenants import UNHURRIED_BACKENDS, Tenant
from workers import crumb
from workers.backend import Inbound, Playhead
from workers.latency import Wait
from workers.snapshot import pack, unpack
from workers.timing import Timing

log = logging.getLogger(__name__)
transcripts = logging.getLogger("transcripts")
"""What was said. `cli/logs.py` disables it unless a deployment wants that in its logs."""

A = TypeVar("A")

CREDIT_MS = 2000
"""How much the edge may hold unheard: it hides a takeover from the caller, and bounds the edge's memory."""
EDGE_HAS_MS = 400
"""Audio may take its time when the edge has so much that is not heard yet."""
PIECE_MS = 200
"""Audio crosses the bus in pieces of at most this."""
INBOX_LIMIT = 2000
"""Messages a backend may be behind (about 40 s of audio); beyond, the oldest audio goes."""
KEEP_EVENT_S = 10.0
MAX_GAP_MS = 15_000


class Lanes(Protocol):
    """The bus, as far as a session needs it."""

    def send(self, lane: str, message: Message, *, patient: bool = False) -> None: ...


class LiveSession:
    """Implements `workers.backend.Session`; the host feeds it with `receive`."""

    def __init__(self, record: Record, tenant: Tenant, lane: str, lanes: Lanes, records: Records) -> None:
        self.id = record.session
        self.tenant = tenant
        self.rate_hz = record.rate_hz
        self.snapshot = unpack(record.snapshot)
        self.playhead = Playhead()
        self.record = record
        self.joined = asyncio.Event()
        """Set while the gateway knows that we have the session; `unjoined` is the opposite."""
        self.unjoined = asyncio.Event()
        self.unjoined.set()
        self.begun = asyncio.Event()
        """Set by the first answer of a gateway, or when there will be none: see `given_up`."""
        self.given_up = False
        self.lost = asyncio.Event()
        """Set when another worker has the session: let go at once."""
        self.rival: Superseded | None = None
        """What its gateway said of that worker. Redis knows it, too, unless it was emptied."""
        self.caller_lost_s: float | None = None
        self.moved = asyncio.Event()
        """Set when another backend is to have the session: stop at once."""
        self.move_to = ""
        """The backend that somebody wants for it, at its next moment of rest."""
        self.at_rest = False
        self.on_rest: Callable[[], None] = lambda: None
        self.on_failed: Callable[[], Awaitable[None]] = _nowhere
        self.inbox_dropped = 0
        self._frame_bytes = bytes_in(FRAME_MS, record.rate_hz)
        self._lane = lane
        self._lanes = lanes
        self._records = records
        self._uplink = Sequence(self.snapshot.uplink_seq)
        self._media_ms: int | None = None
        self._too_long = False
        """Whether it was ended for that."""
        self._inbox: deque[Inbound] = deque()
        self._hear: Callable[[UplinkAudio], None] | None = None
        self._fault: Exception | None = None
        """What was raised by a call `on_behalf` of this."""
        self._crumb = crumb.name_of(self.id)
        self._wake = asyncio.Event()
        self._seq = 0
        self._kept: deque[tuple[Downlink, float]] = deque()
        self._timing = Timing(self.id, tenant.id, self.event, lambda: asyncio.get_running_loop().time())
        self._credit = asyncio.Event()
        self._speaking = 0
        self._sent_ms = 0
        self._rest_of_frame = b""
        self._dead_turn = 0
        self._gone = False
        """The caller is: `speak` has nobody to speak to."""

    # --- what the host does

    def attach(self) -> None:
        """Tell the gateway that we have the session, and where its uplink should begin."""
        message = Attached(
            self.id,
            self.record.epoch,
            self._lane,
            self._uplink.expected,
            resume_media_ms=0 if self._media_ms is None else self._media_ms,
            downlink_from_seq=self._kept[0][0].seq if self._kept else self._seq,
            unhurried=self.record.backend in UNHURRIED_BACKENDS,
        )
        self._lanes.send(self.record.gateway, message)

    def unjoin(self) -> None:
        """The gateway, or Redis, was away: it must be told again."""
        self.joined.clear()
        self.unjoined.set()

    def receive(self, message: Message) -> None:
        """Take one message of the session's gateway."""
        match message:
            case UplinkAudio():
                self._uplink_audio(message)
            case Text() | Dtmf() | ClientEvent() | Hangup():
                if self._in_order(message.seq):
                    self._deliver(message)
            case Played() | Left() | Silenced():
                self._of_playout(message)
            case Joined():
                self._joined(message)
            case LinkLost():
                self.caller_lost_s = self.caller_lost_s or time.monotonic()
            case LinkResumed():
                self._link_resumed(message)
            case Superseded():
                self._superseded(message)
            case Control():
                self._control(message)
            case _:
                log.warning("session %s: a worker takes no %s", self.id, type(message).__name__)

    def _control(self, message: Control) -> None:
        match message.action:
            case "hang_up":  # its gateway, which would have been told, is gone
                self.give_up_on_caller("hung_up")
            case "move":
                self.move_to = str(message.data.get("backend", ""))
                self.rest(self.at_rest)
            case action:
                log.warning("session %s: no control %r here", self.id, action)

    def give_up_on_caller(self, reason: str = "caller_lost") -> None:
        """The caller did not come back in time, or is known to be gone for good."""
        if self.given_up:
            return
        self.given_up = True
        self.begun.set()
        self._deliver(Hangup(self.id, self._uplink.expected, reason))

    @property
    def gaps(self) -> int:
        """Uplink messages that never came."""
        return self._uplink.lost

    # --- uplink

    def _in_order(self, seq: int) -> bool:
        order = self._uplink.accept(seq)
        if order is Order.GAP and self.joined.is_set():
            self.unjoin()
        return order is Order.NEXT

    def _uplink_audio(self, message: UplinkAudio) -> None:
        if not self._in_order(message.seq):
            return
        if self._media_ms is not None and 0 < message.media_ms - self._media_ms <= MAX_GAP_MS:
            for media_ms in range(self._media_ms, message.media_ms, FRAME_MS):
                self._deliver(UplinkAudio(self.id, message.seq, media_ms, silence(FRAME_MS, self.rate_hz)))
        self._media_ms = message.media_ms + len(message.pcm) * FRAME_MS // self._frame_bytes
        if self.record.backend in UNHURRIED_BACKENDS:
            self._deliver(message)
        else:
            self._deliver_frames(message)
        if self._media_ms >= self.tenant.longest_call_s * 1000 and not self._too_long:
            self._too_long = True
            log.info("session %s: the call is as long as one may be", self.id)
            self.close("longest_call")

    def _deliver_frames(self, message: UplinkAudio) -> None:
        """One by one: what came together for another backend, before the session moved to this one."""
        for at in range(0, len(message.pcm), self._frame_bytes):
            media_ms, pcm = (
                message.media_ms + at * FRAME_MS // self._frame_bytes,
                message.pcm[at : at + self._frame_bytes],
            )
            self._deliver(UplinkAudio(self.id, message.seq, media_ms, pcm))

    def listen(self, hear: Callable[[UplinkAudio], None]) -> None:
        waiting = list(self._inbox)
        self._inbox.clear()
        self._hear = self.on_behalf(hear)
        for message in waiting:
            self._deliver(message)

    def on_behalf(self, call: Callable[[A], None]) -> Callable[[A], None]:
        context = contextvars.copy_context()  # so that tasks and timers which it starts are this session's

        def called(argument: A) -> None:
            try:
                context.run(crumb.run, self._crumb, call, argument)
            except Exception as error:  # another session's code, or the bus, may be next in this task
                self._hear, self._fault = None, error
                self._wake.set()

        return called

    def _deliver(self, message: Inbound) -> None:
        if self._hear is not None and isinstance(message, UplinkAudio):
            self._hear(message)
            return
        if len(self._inbox) >= INBOX_LIMIT:
            self._drop_oldest_audio()
        self._inbox.append(message)
        self._wake.set()
        if isinstance(message, Hangup):  # who waits to speak would wait for ever: nobody hears any more
            self._gone = True
            self._credit.set()

    def _drop_oldest_audio(self) -> None:
        self.inbox_dropped += 1
        for index, waiting in enumerate(self._inbox):
            if isinstance(waiting, UplinkAudio):
                del self._inbox[index]
                return
        self._inbox.popleft()

    async def inbox(self) -> AsyncIterator[Inbound]:
        while True:
            while self._inbox:
                message = self._inbox.popleft()
                yield message
                if isinstance(message, Hangup):
                    return
            if self._fault is not None:
                raise self._fault
            self._wake.clear()
            await self._wake.wait()

    def ease(self, audio_ms: int, rms: int) -> None:
        self._lanes.send(self.record.gateway, Ease(self.id, self.record.epoch, audio_ms, rms), patient=True)

    # --- downlink

    async def speak(self, turn: int, pcm: bytes, *, sentence_end: bool = False) -> None:
        if turn <= self._dead_turn:
            return
        if turn != self._speaking:
            self._speaking, self._rest_of_frame = turn, b""
            self._sent_ms = self.playhead.received_ms if self.playhead.turn == turn else 0
        pcm = self._rest_of_frame + pcm
        frame_bytes = bytes_in(FRAME_MS, self.rate_hz)
        if sentence_end and len(pcm) % frame_bytes:
            pcm += bytes(frame_bytes - len(pcm) % frame_bytes)
        whole = len(pcm) - len(pcm) % frame_bytes
        self._rest_of_frame = pcm[whole:]
        piece_bytes = bytes_in(PIECE_MS, self.rate_hz)
        for start in range(0, whole, piece_bytes):
            piece = pcm[start : min(start + piece_bytes, whole)]
            await self._credited(turn)
            if turn <= self._dead_turn or self._gone:
                return
            self._send_audio(turn, piece, sentence_end and start + piece_bytes >= whole)

    def _send_audio(self, turn: int, piece: bytes, sentence_end: bool) -> None:
        where = (turn, self._sent_ms)
        timed = self._timing.sending(*where)
        message = DownlinkAudio(self.id, self.record.epoch, self._seq, *where, piece, sentence_end, timed)
        self._sent_ms += len(piece) * FRAME_MS // bytes_in(FRAME_MS, self.rate_hz)
        self._down(message)

    async def _credited(self, turn: int) -> None:
        while turn > self._dead_turn and not self._gone:
            heard_ms = self.playhead.played_ms if self.playhead.turn == turn else 0
            if self._sent_ms - heard_ms < CREDIT_MS:
                return
            self._credit.clear()
            await self._credit.wait()

    def end_turn(self, turn: int) -> None:
        if turn > self._dead_turn:
            self._down(TurnEnd(self.id, self.record.epoch, self._seq, turn))

    def pause(self, turn: int) -> None:
        self._down(Pause(self.id, self.record.epoch, self._seq, turn))

    def resume(self, turn: int) -> None:
        self._down(Resume(self.id, self.record.epoch, self._seq, turn))

    def timed(self, turn: int, wait: Wait) -> None:
        self._timing.wait(turn, wait)

    def clear(self, turn: int, *, spoken_over_ms: int | None = None) -> None:
        self._timing.clear(turn, spoken_over_ms)
        self._dead_turn = max(self._dead_turn, turn)
        self._kept = deque(
            (_nothing(kept), sent_s) if isinstance(kept, DownlinkAudio) and kept.turn <= turn else (kept, sent_s)
            for kept, sent_s in self._kept
        )
        self._down(Clear(self.id, self.record.epoch, self._seq, turn))
        self._credit.set()

    def event(self, name: str, **data: Any) -> None:
        if name == "transcript" and not transcripts.disabled:
            transcripts.info("session %s: turn %s: %s: %s", self.id, data["turn"], data["role"], data["text"])
        self._down(Event(self.id, self.record.epoch, self._seq, name, data))

    def close(self, reason: str, *, transfer_to: str = "") -> None:
        self._down(Close(self.id, self.record.epoch, self._seq, reason, transfer_to))

    def give_up(self, reason: str) -> None:
        self._down(Close(self.id, self.record.epoch, self._seq, reason, failed=True))

    def _down(self, message: Downlink) -> None:
        self._seq += 1
        self._kept.append((message, time.monotonic()))
        if self.joined.is_set():
            self._lanes.send(self.record.gateway, message, patient=self._may_wait(message))
            self._forget_heard()

    def _may_wait(self, message: Downlink) -> bool:
        if isinstance(message, DownlinkAudio):
            heard_ms = self.playhead.played_ms if self.playhead.turn == message.turn else 0
            return message.offset_ms - heard_ms >= EDGE_HAS_MS
        return isinstance(message, Event)

    # --- what the gateway says

    def _joined(self, message: Joined) -> None:
        if message.epoch != self.record.epoch:
            return
        self._timing.joined(message.media_ms)
        if not self._seq:
            self.playhead = Playhead(message.turn, message.received_ms, message.played_ms, done=False)
        self.joined.set()
        self.begun.set()
        self.unjoined.clear()
        self.caller_lost_s = None
        self._uplink.skip_to(message.uplink_from_seq)
        if self._kept and self._kept[0][0].seq > message.received_seq + 1:
            self.attach()  # part of what it misses is gone: let it know where to begin
        for kept, _ in self._kept:
            if kept.seq > message.received_seq:
                self._lanes.send(self.record.gateway, kept)

    def _of_playout(self, message: Played | Left | Silenced) -> None:
        if message.epoch != self.record.epoch:
            return
        self._timing.receive(message)
        if isinstance(message, Played):
            self._played(message)

    def _played(self, message: Played) -> None:
        self.caller_lost_s = None
        before = self.playhead
        ms = max(message.ms, before.played_ms) if message.turn == before.turn else message.ms
        if message.turn >= before.turn:
            self.playhead = Playhead(message.turn, max(ms, before.received_ms), ms, message.done)
        self._forget_heard()
        self._credit.set()
        self._deliver(replace(message, ms=ms))

    def _forget_heard(self) -> None:
        old_s = time.monotonic() - KEEP_EVENT_S
        while self._kept:
            message, sent_s = self._kept[0]
            if isinstance(message, DownlinkAudio):
                if self._unheard(message, self.playhead.turn, self.playhead.played_ms):
                    return
            elif sent_s > old_s:
                return
            self._kept.popleft()

    def _unheard(self, message: DownlinkAudio, turn: int, ms: int) -> bool:
        end_ms = message.offset_ms + len(message.pcm) * FRAME_MS // bytes_in(FRAME_MS, self.rate_hz)
        return message.turn > turn or (message.turn == turn and end_ms > ms)

    def _superseded(self, message: Superseded) -> None:
        newer = message.epoch > self.record.epoch
        if newer or (message.epoch == self.record.epoch and message.lane not in ("", self._lane)):
            self.rival = message if message.lane else None
            self.lost.set()

    def _link_resumed(self, message: LinkResumed) -> None:
        if message.link < self.record.link:
            return
        if message.lane != self.record.gateway:  # or it would hang up for the caller it waits for
            self._lanes.send(self.record.gateway, Control(self.id, "moved", {"link": message.link}))
        self.record.gateway, self.record.link = message.lane, message.link
        self.caller_lost_s = None
        if message.turn < 0:
            message = replace(message, turn=self.playhead.turn, received_ms=self.playhead.played_ms)
        self._keep_unreceived(message)
        if self.unjoined.is_set():
            self.attach()  # somebody waits for the old gateway's answer, and would ask this one a retry later
        self.unjoin()

    def _keep_unreceived(self, message: LinkResumed) -> None:
        """Forget what the returned client has; of a piece that arrived in part, keep the rest."""
        self._kept = deque((self._unreceived(kept, message), sent_s) for kept, sent_s in self._kept)

    def _unreceived(self, kept: Downlink, message: LinkResumed) -> Downlink:
        if isinstance(kept, Event):
            return _nothing(kept) if self.record.epoch << 32 | kept.seq <= message.client_seq else kept
        if not isinstance(kept, DownlinkAudio):
            return kept
        if not self._unheard(kept, message.turn, message.received_ms):
            return _nothing(kept)
        skip_ms = message.received_ms - kept.offset_ms
        if kept.turn != message.turn or skip_ms <= 0:
            return kept
        rest = kept.pcm[bytes_in(skip_ms, self.rate_hz) :]
        return replace(kept, offset_ms=message.received_ms, pcm=rest, timed=False)

    # --- what survives

    async def commit(self) -> None:
        self.record.snapshot = pack(self.snapshot)
        try:
            await self._records.commit(self.record)
        except BusError as error:
            log.warning("session %s: not committed, will be with the next: %s", self.id, error)
            return
        committed = Committed(self.id, self.record.epoch, self.snapshot.uplink_seq)
        self._lanes.send(self.record.gateway, committed, patient=True)

    async def fall_back(self) -> None:
        await self.on_failed()

    def rest(self, at_rest: bool) -> None:
        self.at_rest = at_rest
        if at_rest:
            self.on_rest()


async def _nowhere() -> None:
    """There is no other backend."""


def _nothing(message: Downlink) -> DownlinkAudio:
    """Takes a message's place in the sequence: no audio."""
    return DownlinkAudio(message.session, message.epoch, message.seq, 0, 0, b"")
