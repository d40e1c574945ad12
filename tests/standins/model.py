"""A Realtime model without a socket: the stand-in's pure session behind the relay's ModelLink, in the loop's own time.

Every event takes `latency_ms` each way, in order, so that both sides' events cross on their way as real ones do.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from tests.standins.realtime import Options, Refuse, Session
from tests.standins.realtime.faults import SessionFault
from tests.standins.realtime.wire import Deafen, HangUp, Output
from tests.standins.voices import RATE_HZ
from workers.relay import protocol, trouble
from workers.relay.link import ModelLost

MODEL = "gpt-realtime-2.1"
DIAL_S = 0.05


class Model:
    """The vendor: `dial` is what the relay is given. What went wrong inside is in `errors`."""

    def __init__(self, options: Options, latency_ms: float = 5.0) -> None:
        self.options = options
        self.latency_s = latency_ms / 1000
        self.sessions: list[Session] = []
        """One for each link that was let in, the newest last."""
        self.links: list[Link] = []
        self.dialled_ms: list[int] = []
        """When it was called."""
        self.faults: deque[Refuse | SessionFault | None] = deque()
        """What goes wrong with the next links; None: nothing."""
        self.always: Refuse | None = None
        """What every link is answered with."""
        self.errors: list[Exception] = []

    async def dial(self) -> Link:
        loop = asyncio.get_running_loop()
        fault = await self._let_in()
        link = Link(self, Session(str(len(self.sessions) + 1), MODEL, self.options, loop.time() * 1000, 0.0))
        self.sessions.append(link.session)
        self.links.append(link)
        if fault is not None:
            link.session.inject(fault)
        return link

    async def _let_in(self) -> SessionFault | None:
        """Answers who dials, and gives what is to go wrong with their link. Raises ModelLost for who is refused."""
        self.dialled_ms.append(round(asyncio.get_running_loop().time() * 1000))
        await asyncio.sleep(DIAL_S)
        fault = self.always or (self.faults.popleft() if self.faults else None)
        if isinstance(fault, Refuse):
            refusal = trouble.refused_upgrade(fault.status)
            raise ModelLost(refusal.text, refusal.kind, refusal.retry_after_s)
        return fault

    @property
    def session(self) -> Session:
        """The newest."""
        return self.sessions[-1]

    def inject(self, at_ms: float, fault: SessionFault) -> None:
        """Let the newest live session go wrong at a time of the loop."""
        asyncio.get_running_loop().call_at(at_ms / 1000, lambda: self.session.inject(fault))


class Link:
    """A `workers.relay.link.ModelLink`."""

    format = protocol.format_for(RATE_HZ)
    rate_hz = RATE_HZ
    in_real_time = False

    def __init__(self, model: Model, session: Session) -> None:
        self._model = model
        self._loop = asyncio.get_running_loop()
        self.session = session
        self.session_id = session.id
        self.opened_s = self._loop.time()
        self.expires_s = model.options.lifetime_s
        self.sent: list[tuple[int, dict[str, Any]]] = []
        """(ms, event), but for the audio."""
        self.closed = False
        self._ended: ModelLost | None = None
        self._events: asyncio.Queue[dict[str, Any] | ModelLost] = asyncio.Queue()
        self._timer: asyncio.TimerHandle | None = None
        self._up: deque[str] = deque()
        """On the way to the model, and `_down` from it: timers that are due at the same time keep no order."""
        self._down: deque[Output] = deque()
        session.changed = self._flush
        session.open()
        self._flush()

    async def send(self, event: dict[str, Any]) -> None:
        if not self._gone:
            self.sent.append((round(self._loop.time() * 1000), event))
        self._put(json.dumps(event))

    def append(self, pcm: bytes) -> None:
        if not self._gone:
            self._put(protocol.append(self.format.encode(pcm)))

    @property
    def _gone(self) -> bool:
        return self.closed or self._ended is not None

    def _put(self, text: str) -> None:
        if self._gone:
            raise self._ended or ModelLost("hung up", trouble.Kind.UNAVAILABLE)
        self._up.append(text)
        self._loop.call_later(self._model.latency_s, self._do, self._arrived)

    def _arrived(self) -> None:
        self.session.receive(self._up.popleft(), self._now_ms)

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        while True:
            event = await self._events.get()
            if isinstance(event, ModelLost):
                raise event
            if event["type"] != "session.created":
                yield event

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.session.closed = (1000, "")
            if self._timer is not None:
                self._timer.cancel()
            self._events.put_nowait(ModelLost("hung up", trouble.Kind.UNAVAILABLE))

    # --- the session's time

    @property
    def _now_ms(self) -> float:
        return self._loop.time() * 1000

    def _do(self, action: Callable[[], None]) -> None:
        if self.closed:
            return
        try:
            action()
            self._flush()
        except Exception as error:  # a test is told when it asks; a callback's error would only be logged
            self._model.errors.append(error)

    def _flush(self) -> None:
        """Send what is to be sent, and wake for what is due next."""
        for output in self.session.take():
            self._down.append(output)
            self._loop.call_later(self._model.latency_s, self._receive)
        if self._timer is not None:
            self._timer.cancel()
        due_ms = self.session.next_due_ms
        if due_ms is not None and not self.closed:
            at_s = math.nextafter(due_ms / 1000, math.inf)
            self._timer = self._loop.call_at(at_s, self._do, lambda: self.session.advance(self._now_ms))

    def _receive(self) -> None:
        output = self._down.popleft()
        if self._gone:
            return
        if isinstance(output, HangUp):
            end = trouble.closed(output.code or 1006, output.reason)
            self._ended = ModelLost(end.text, end.kind, end.retry_after_s)
            self._events.put_nowait(self._ended)
        elif isinstance(output, str):
            event = json.loads(output)
            if event["type"] == "response.output_audio.delta":
                event["delta"] = self.format.decode(event["delta"])
            self._events.put_nowait(event)
        else:
            assert isinstance(output, Deafen), "bytes are for the WebSocket's tests"
