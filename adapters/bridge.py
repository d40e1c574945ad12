"""A bridge: one session's pumps between its link and the bus.

Uplink (`uplink.py`) goes to the worker's lane; a worker that attaches is sent it again from where it asks. Downlink of
an older epoch, of a cleared turn, or had before, is dropped; the rest goes through the playout to the link.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from adapters import messages
from adapters.link import Link
from adapters.playout import KEEP_MS, Chunk, Heard, Playout
from adapters.timing import Timing
from adapters.uplink import Uplink
from trunkline.audio.frame import bytes_in
from trunkline.bus.messages import (
    Attached,
    Clear,
    ClientEvent,
    Close,
    Committed,
    Downlink,
    DownlinkAudio,
    Dtmf,
    Ease,
    Event,
    Hangup,
    Joined,
    LinkLost,
    LinkResumed,
    Message,
    Pause,
    Played,
    Resume,
    Superseded,
    Text,
    ToGateway,
    TurnEnd,
)
from trunkline.bus.patience import LEISURE_S
from trunkline.bus.sequence import Order, Sequence

log = logging.getLogger(__name__)

ACK_EVERY_MS = 100
RECENT_EVENTS = 200
ASK_AGAIN_MS = 50
PIECE_MS = 200
NOBODYS_EPOCH = 1 << 20
"""Added to the epoch when the gateway speaks for itself: no worker's word counts after it."""


class Lanes(Protocol):
    """The bus, as far as a bridge needs it."""

    def send(self, lane: str, message: Message, *, within_s: float = 0.0) -> None: ...


class Bridge:
    """One session at the edge. Its link may go and come back; its worker may change."""

    def __init__(
        self,
        session: str,
        rate_hz: int,
        lanes: Lanes,
        clock_ms: Callable[[], float],
        whole_sentences: bool,
        keep_ms: int = KEEP_MS,
    ) -> None:
        """`whole_sentences` and `keep_ms` are those of its `Playout`."""
        self.session = session
        self.rate_hz = rate_hz
        self.link: Link | None = None
        self.worker = ""
        self.epoch = 0
        self.stale_dropped = 0
        self.ended: str | None = None
        self.transfer_to = ""
        """Where a telephone call goes once this has ended."""
        self.on_attached: Callable[[], None] = lambda: None
        self.on_failed: Callable[[str], None] = lambda reason: None
        """Called when nobody can answer: somebody should tell the caller."""
        self._lanes = lanes
        self._clock_ms = clock_ms
        self._uplink = Uplink(session, rate_hz, self._up)
        self._received: Sequence | None = Sequence()
        self._playout = Playout(rate_hz, whole_sentences=whole_sentences, keep_ms=keep_ms)
        self._timing = Timing(session, rate_hz)
        self._acked: Heard | None = None
        self._acked_at_ms = 0.0
        self._paused = False
        self._closing: str | None = None
        self._recent: deque[tuple[int, str, dict[str, Any]]] = deque(maxlen=RECENT_EVENTS)
        self._client_seq = 0
        self._asked_ms = 0.0

    # --- the link's side

    @property
    def media_ms(self) -> int:
        """The media time at which the audio that comes next belongs."""
        return self._uplink.media_ms

    def audio(self, pcm: bytes) -> None:
        """What the caller spoke next: s16le mono at the session's rate, any even number of bytes."""
        now_ms = self._clock_ms()
        if self._uplink.audio(pcm, now_ms):
            self._timing.clock.heard(self._uplink.media_ms, now_ms)

    def hasten(self, now_ms: float) -> None:
        """Audio that waits for more waits no longer, if nothing has come after it for a while."""
        self._uplink.hasten(now_ms)

    def hurry(self) -> None:
        """From now on nothing waits: the caller is about to appear at another gateway, while the wire here is open."""
        self._uplink.hurry()

    def text(self, text: str) -> None:
        self._uplink.put(Text, text)

    def dtmf(self, digit: str) -> None:
        self._uplink.put(Dtmf, digit)

    def client_event(self, name: str, **data: Any) -> None:
        self._uplink.put(ClientEvent, name, data)

    def take(self, message: messages.ClientMessage) -> None:
        """What a client said in JSON. That it hangs up (Stop) is for its link."""
        match message:
            case messages.Played():
                self.played(message.turn, message.ms)
            case messages.Text():
                self.text(message.text)
            case messages.Commit():
                self.client_event("commit")
            case messages.Cancel():
                self.client_event("cancel")
            case messages.SessionUpdate():
                self.client_event("session_update", session=message.session)
            case messages.ToolOutput():
                self.client_event("tool_output", call_id=message.call_id, output=message.output)

    def hang_up(self, reason: str) -> None:
        """The caller is gone for good."""
        if self.ended is None:
            self._uplink.put(Hangup, reason)
            self.ended = reason

    def played(self, turn: int, ms: int) -> None:
        """The client says what was heard."""
        self._playout.acknowledge(turn, ms, self._clock_ms())

    def connect(self, link: Link) -> None:
        """The session's first wire."""
        self.link = link

    def disconnect(self, link: Link) -> None:
        """This wire is gone. The session waits for another."""
        if self.link is not link:
            return
        self.link = None
        self._playout.hold(self._clock_ms())
        self._uplink.flush()  # the caller may come back by another gateway, which numbers what comes next
        if self.worker:
            self._lanes.send(self.worker, LinkLost(self.session))

    @property
    def heard(self) -> Heard:
        """What the caller has heard of the current answer, or of the last."""
        return self._playout.heard

    def reconnect(self, link: Link, turn: int, received_ms: int, client_seq: int, *, knows_of_it: bool = True) -> None:
        """The client is back on this gateway, with that much of the answer, and events up to `client_seq`. Unless it
        `knows_of_it`, `answered` is to be called when it does: what goes out until then may be heard by nobody."""
        if self.link is not None:
            self.link.replaced()
        self.link = link
        self._uplink.begin_anew()
        self._playout.rewind(turn, received_ms)
        (self._playout.trust if knows_of_it else self._playout.doubt)(self._clock_ms())
        for seq, name, data in self._recent:
            if seq > client_seq:
                link.event(seq, name, data)
        if not self._paused:
            self._playout.release(self._clock_ms())
        if self.worker and self._received is not None:
            self._join()  # it may have attached since, and been told that there is no wire
        self.pump()

    def answered(self) -> None:
        """The client shows that it hears by the wire that it came back by."""
        self._playout.trust(self._clock_ms())

    def adopt(self, worker: str, epoch: int, resumed: LinkResumed) -> None:
        """The client came back, maybe from another gateway: ask the worker to go on with us."""
        if not self.worker:
            self.epoch, self._received = epoch, None
            newest = (epoch + 1 << 32) - 1  # whatever a client says: the next worker's events must count more
            self._client_seq = max(self._client_seq, min(resumed.client_seq, newest))
        self.worker = worker if epoch >= self.epoch else self.worker
        if self.worker:
            self._lanes.send(self.worker, resumed)

    def _up(self, message: Message, within_s: float) -> None:
        if self.worker:
            self._lanes.send(self.worker, message, within_s=within_s)

    # --- the bus's side

    def receive(self, message: ToGateway) -> None:
        """Take one message of the session's worker."""
        match message:
            case Attached():
                self._attached(message)
            case Committed():
                if message.epoch == self.epoch:
                    self._uplink.forget_before(message.uplink_seq)
            case Ease():
                if message.epoch == self.epoch:
                    self._uplink.ease(message)
            case _ if isinstance(message, Downlink) and self._is_new(message):
                self._downlink(message)

    def _is_new(self, message: Downlink) -> bool:
        if message.epoch != self.epoch:
            self.stale_dropped += 1
            return False
        if self._received is None:
            self._received = Sequence(message.seq)
        order = self._received.accept(message.seq)
        if order is Order.GAP and self._clock_ms() - self._asked_ms > ASK_AGAIN_MS:
            self._asked_ms = self._clock_ms()
            self._join()
        return order is Order.NEXT

    def _attached(self, message: Attached) -> None:
        if message.epoch < self.epoch or (message.epoch == self.epoch and self.worker not in ("", message.lane)):
            lane = "" if self.is_on_its_own else self.worker
            self._lanes.send(message.lane, Superseded(self.session, self.epoch, lane))
            return
        self._uplink.flush()
        if message.epoch > self.epoch:
            if self.worker and self.worker != message.lane:
                self._lanes.send(self.worker, Superseded(self.session, message.epoch, message.lane))
            self._received = Sequence()
            self._uplink.ease(None)
        self.epoch, self.worker = message.epoch, message.lane
        self._uplink.attached(message)
        if self._received is None:
            self._received = Sequence(message.downlink_from_seq)
        self._received.skip_to(message.downlink_from_seq)
        self._join()
        heard = self._playout.heard
        if heard.done:
            self._report(heard)
        for uplink in self._uplink.since(message.resume_from_seq):
            self._lanes.send(self.worker, uplink)
        if self.link is None:
            self._lanes.send(self.worker, LinkLost(self.session))
        self.on_attached()

    def _join(self) -> None:
        """Tell the worker what we have, so that it sends what we miss."""
        heard = self._playout.heard
        received = self._received.expected - 1 if self._received else -1
        where = (heard.turn, heard.received_ms, heard.played_ms)
        held = (self._uplink.first_seq, self._uplink.media_ms)
        self._lanes.send(self.worker, Joined(self.session, self.epoch, received, *where, *held))

    def _downlink(self, message: Downlink) -> None:
        now_ms = self._clock_ms()
        match message:
            case DownlinkAudio():
                chunk = Chunk(message.turn, message.offset_ms, message.pcm, message.sentence_end)
                self._playout.receive(chunk, now_ms)
                self._timing.came(message, now_ms)
                self.pump()
            case Event():
                self._event(message.name, message.data, message.seq)
            case TurnEnd():
                silent = self._playout.end(message.turn)
                if silent is not None:
                    self._finished(silent)
                self.pump()
            case Pause():
                self._pause(message, now_ms)
            case Resume():
                self._paused = False
                self._timing.released()
                self._playout.release(now_ms)
                self._event("resume", {"turn": message.turn}, message.seq)
                self.pump()
            case Clear():
                self._clear(message, now_ms)
            case Close(failed=True):
                self.on_failed(message.reason)
            case Close():
                self.transfer_to, self._closing = message.transfer_to, message.reason
                self.pump()

    def _pause(self, message: Pause, now_ms: float) -> None:
        self._paused = True
        self._timing.held(message.turn, now_ms)
        self._playout.hold(now_ms)
        if self.link is not None and not self.link.pause(message.turn):
            self._playout.rewind_to_heard()
        self._event("pause", {"turn": message.turn}, message.seq)

    def _clear(self, message: Clear, now_ms: float) -> None:
        self._paused = False
        before = self._playout.heard
        heard = self._playout.clear(message.turn, now_ms)
        if self.link is not None:
            self.link.clear(message.turn)
        self._event("clear", {"turn": message.turn, "ms": heard.played_ms}, message.seq)
        silenced = self._timing.silenced(message.turn, self.epoch, now_ms)
        if before.turn == message.turn and not before.done:
            self._lanes.send(self.worker, silenced, within_s=LEISURE_S)
        self._report(heard)

    def _event(self, name: str, data: dict[str, Any], seq: int | None = None) -> None:
        if seq is not None:
            self._client_seq = max(self._client_seq, self.epoch << 32 | seq)
        self._recent.append((self._client_seq, name, data))
        if self.link is not None:
            self.link.event(self._client_seq, name, data)

    @property
    def client_seq(self) -> int:
        """The last `seq` a client was told."""
        return self._client_seq

    # --- playout

    @property
    def active(self) -> bool:
        """Whether `pump` has anything to do."""
        return self._playout.active or self._closing is not None

    def pump(self) -> None:
        """Put what is due on the wire, and tell the worker what was heard."""
        if self.link is None or self.ended is not None:
            return
        now_ms = self._clock_ms()
        chunks, finished = self._playout.due(now_ms)
        for chunk in chunks:
            self.link.play(*chunk)
        if chunks and self._timing.asked:
            for left in self._timing.went(chunks, self._playout.ahead_ms(now_ms), self.epoch, now_ms):
                self._lanes.send(self.worker, left, within_s=LEISURE_S)
        for heard in finished:
            self._finished(heard)
        if self._playout.active:
            heard = self._playout.heard
            if heard != self._acked and now_ms - self._acked_at_ms >= ACK_EVERY_MS:
                self._report(heard)
        elif self._closing is not None:
            self.hang_up(self._closing)
            self.end(self._closing)

    def _finished(self, heard: Heard) -> None:
        self._report(heard)
        self._event("response_done", {"turn": heard.turn})

    def _report(self, heard: Heard) -> None:
        self._acked, self._acked_at_ms = heard, self._clock_ms()
        if self.worker:
            played = Played(self.session, self.epoch, heard.turn, heard.played_ms, heard.done)
            self._lanes.send(self.worker, played, within_s=0.0 if heard.done else LEISURE_S)

    @property
    def is_on_its_own(self) -> bool:
        """Whether the gateway speaks for itself, and no worker's word counts any more."""
        return self.epoch >= NOBODYS_EPOCH

    def say(self, pcm: bytes, then_close: str) -> None:
        """Say something of our own (s16le mono at the session's rate), and end the session after it."""
        turn = self._playout.newest + 1
        self.epoch += NOBODYS_EPOCH
        self._playout.clear(turn - 1, self._clock_ms())
        piece = bytes_in(PIECE_MS, self.rate_hz)
        for start in range(0, len(pcm), piece):
            end = start + piece
            chunk = Chunk(turn, start * PIECE_MS // piece, pcm[start:end], sentence_end=end >= len(pcm))
            self._playout.receive(chunk, self._clock_ms())
        self._playout.end(turn)
        self._closing = then_close
        self.pump()

    def end(self, reason: str) -> None:
        """The session is over, here and now."""
        if self.ended is None:
            self.ended = reason
        if self.link is not None:
            link, self.link = self.link, None
            link.end(reason)
