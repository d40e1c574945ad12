"""One session in a worker: what its backend is given, kept in step with the gateway.

Uplink is put in order (duplicates dropped, gaps made silence); what goes down is in `downlink.py`.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

from trunkline.audio.frame import FRAME_MS, bytes_in, silence
from trunkline.bus.messages import (
    Attached,
    ClientEvent,
    Committed,
    Control,
    Dtmf,
    Ease,
    Hangup,
    Joined,
    Left,
    LinkLost,
    LinkResumed,
    Message,
    Played,
    Silenced,
    Superseded,
    Text,
    UplinkAudio,
)
from trunkline.bus.patience import LEISURE_S
from trunkline.bus.sequence import Order, Sequence
from trunkline.errors import BusError
from trunkline.sessions import Record, Records
from trunkline.tenants import UNHURRIED_BACKENDS, Tenant
from workers import crumb
from workers.backend import Inbound, Playhead
from workers.downlink import Downlink, Lanes
from workers.latency import Wait
from workers.snapshot import pack, unpack
from workers.timing import Timing

log = logging.getLogger(__name__)
transcripts = logging.getLogger("transcripts")
"""What was said. `cli/logs.py` disables it unless a deployment wants that in its logs."""

A = TypeVar("A")

INBOX_LIMIT = 2000
"""Messages a backend may be behind (about 40 s of audio); beyond, the oldest audio goes."""
MAX_GAP_MS = 15_000


class LiveSession:
    """Implements `workers.backend.Session`; the host feeds it with `receive`."""

    def __init__(self, record: Record, tenant: Tenant, lane: str, lanes: Lanes, records: Records) -> None:
        self.id = record.session
        self.tenant = tenant
        self.rate_hz = record.rate_hz
        self.snapshot = unpack(record.snapshot)
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
        self._in_turn = False
        """Whether that is not to be called before the backend is done with what came earlier."""
        self._busy = False
        """Whether it has a message that it is not done with."""
        self._fault: Exception | None = None
        """What was raised by a call `on_behalf` of this."""
        self._crumb = crumb.name_of(self.id)
        self._eased: Ease | None = None
        """How the caller's audio may come, if it was ever told."""
        self._wake = asyncio.Event()
        self._timing = Timing(self.id, tenant.id, self.event, lambda: asyncio.get_running_loop().time())
        self._downlink = Downlink(record, lanes, self.joined, self._timing)

    # --- what the host does

    def attach(self) -> None:
        """Tell the gateway that we have the session, and where its uplink should begin."""
        message = Attached(
            self.id,
            self.record.epoch,
            self._lane,
            self._uplink.expected,
            resume_media_ms=0 if self._media_ms is None else self._media_ms,
            downlink_from_seq=self._downlink.kept_from,
            unhurried=self.record.backend in UNHURRIED_BACKENDS,
            backend=self.record.backend,
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

    def listen(self, hear: Callable[[UplinkAudio], None], *, in_turn: bool) -> None:
        self._hear, self._in_turn = self.on_behalf(hear), in_turn
        if in_turn:
            return
        waiting = list(self._inbox)
        self._inbox.clear()
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
        waits = self._in_turn and (self._busy or self._inbox)
        if self._hear is not None and not waits and isinstance(message, UplinkAudio):
            self._hear(message)
            return
        if len(self._inbox) >= INBOX_LIMIT:
            self._drop_oldest_audio()
        self._inbox.append(message)
        self._wake.set()
        if isinstance(message, Hangup):
            self._downlink.caller_is_gone()

    def _drop_oldest_audio(self) -> None:
        self.inbox_dropped += 1
        for index, waiting in enumerate(self._inbox):
            if isinstance(waiting, UplinkAudio):
                del self._inbox[index]
                return
        self._inbox.popleft()

    async def inbox(self) -> AsyncIterator[Inbound]:
        while True:
            while self._inbox and self._fault is None:
                message = self._inbox.popleft()
                if self._hear is not None and isinstance(message, UplinkAudio):
                    self._hear(message)
                    continue
                self._busy = True
                yield message
                if isinstance(message, Hangup):
                    return
                self._busy = False
            if self._fault is not None:
                raise self._fault
            self._wake.clear()
            await self._wake.wait()

    def ease(self, audio_ms: int, least_rms: int, most_rms: int) -> None:
        self._eased = Ease(self.id, self.record.epoch, audio_ms, least_rms, most_rms)
        self._lanes.send(self.record.gateway, self._eased, within_s=LEISURE_S if audio_ms else 0.0)

    # --- downlink

    @property
    def playhead(self) -> Playhead:
        return self._downlink.playhead

    async def speak(self, turn: int, pcm: bytes, *, sentence_end: bool = False) -> None:
        await self._downlink.speak(turn, pcm, sentence_end)

    def end_turn(self, turn: int) -> None:
        self._downlink.end_turn(turn)

    def pause(self, turn: int) -> None:
        self._downlink.pause(turn)

    def resume(self, turn: int) -> None:
        self._downlink.resume(turn)

    def timed(self, turn: int, wait: Wait) -> None:
        self._timing.wait(turn, wait)

    def clear(self, turn: int, *, spoken_over_ms: int | None = None) -> None:
        self._timing.clear(turn, spoken_over_ms)
        self._downlink.clear(turn)

    def event(self, name: str, **data: Any) -> None:
        if name == "transcript" and not transcripts.disabled:
            transcripts.info("session %s: turn %s: %s: %s", self.id, data["turn"], data["role"], data["text"])
        self._downlink.event(name, data)

    def close(self, reason: str, *, transfer_to: str = "") -> None:
        self._downlink.close(reason, transfer_to)

    def give_up(self, reason: str) -> None:
        self._downlink.close(reason, failed=True)

    # --- what the gateway says

    def _joined(self, message: Joined) -> None:
        if message.epoch != self.record.epoch:
            return
        self._timing.joined(message.media_ms)
        self._downlink.joined(message)
        self.joined.set()
        self.begun.set()
        self.unjoined.clear()
        self.caller_lost_s = None
        self._uplink.skip_to(message.uplink_from_seq)
        if self._downlink.lacks(message.received_seq):
            self.attach()  # let it know where to begin
        self._downlink.send_again(message.received_seq)
        if self._eased is not None:  # it has no number, and nobody would miss it
            self._lanes.send(self.record.gateway, self._eased)

    def _of_playout(self, message: Played | Left | Silenced) -> None:
        if message.epoch != self.record.epoch:
            return
        self._timing.receive(message)
        if isinstance(message, Played):
            self.caller_lost_s = None
            self._deliver(self._downlink.played(message))

    def _superseded(self, message: Superseded) -> None:
        newer = message.epoch > self.record.epoch
        if newer or (message.epoch == self.record.epoch and message.lane not in ("", self._lane)):
            self.rival = message if message.lane else None
            self.lost.set()

    def _link_resumed(self, message: LinkResumed) -> None:
        if message.link < self.record.link:
            if message.lane != self.record.gateway:  # it had the caller for a moment, and is heard too late
                self._lanes.send(message.lane, Control(self.id, "moved", {"link": self.record.link}))
            return
        if message.lane != self.record.gateway:  # or it would hang up for the caller it waits for
            self._lanes.send(self.record.gateway, Control(self.id, "moved", {"link": message.link}))
        self.record.gateway, self.record.link = message.lane, message.link
        self.caller_lost_s = None
        if message.turn < 0:
            message = replace(message, turn=self.playhead.turn, received_ms=self.playhead.played_ms)
        self._downlink.keep_unreceived(message)
        if self.unjoined.is_set():
            self.attach()  # somebody waits for the old gateway's answer, and would ask this one a retry later
        self.unjoin()

    # --- what survives

    async def commit(self) -> None:
        self.record.snapshot = pack(self.snapshot)
        try:
            await self._records.commit(self.record)
        except BusError as error:
            log.warning("session %s: not committed, will be with the next: %s", self.id, error)
            return
        committed = Committed(self.id, self.record.epoch, self.snapshot.uplink_seq)
        self._lanes.send(self.record.gateway, committed, within_s=LEISURE_S)

    async def fall_back(self) -> None:
        await self.on_failed()

    def rest(self, at_rest: bool) -> None:
        self.at_rest = at_rest
        if at_rest:
            self.on_rest()


async def _nowhere() -> None:
    """There is no other backend."""
