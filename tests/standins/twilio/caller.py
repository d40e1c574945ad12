"""One telephone call as Twilio makes it: webhook, TwiML, media streams, callbacks, on a clock of 20 ms.

    async with Call(f"{gateway}/twiml", auth_token=TOKEN) as call:
        stream = await call.connected()
        said = call.say(pcm)
        await call.until(lambda: stream.media_bytes)

The call begins with the block and ends with it. What Twilio would put in its debugger and go on is in `errors`; TwiML
that it would refuse also raises TwimlError, from whatever waits or at the end of the block.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from urllib.parse import urljoin, urlsplit

from tests.standins.twilio import twiml
from tests.standins.twilio.edge import Edge, sign
from tests.standins.twilio.faults import Faults
from tests.standins.twilio.playout import FRAME_S, SILENT_FRAME, Heard, Mouth
from tests.standins.twilio.protocol import Uplink
from tests.standins.twilio.stream import MediaStream, StreamRecord
from tests.standins.twilio.watch import Watch
from tests.standins.twilio.webhook import Request, WebhookFailed, Webhooks, call_fields
from trunkline.audio.g711 import pcm_to_ulaw

PATIENCE_S = 15.0
"""How long a test waits for something before it fails."""

MAX_DOCUMENTS = 100
"""TwiML documents of one call; ours, so that a Redirect to itself ends."""

SAY_S_PER_CHARACTER = 0.06
"""How long <Say> takes: about 170 words a minute."""

ACCOUNT_SID = "AC" + "5" * 32
AUTH_TOKEN = "stand-in-auth-token"

_REJECTED = {"rejected": "no-answer", "busy": "busy"}


class CallOver(AssertionError):
    """The call is over, and what was waited for has not happened."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """When something is said, in the event loop's seconds: its last frame is sent at `ended_s`."""

    began_s: float
    ended_s: float


@dataclass(frozen=True, slots=True)
class _Page:
    """Where the next TwiML comes from: a URL to request, or the text itself."""

    url: str
    method: str = "POST"
    text: str | None = None


@dataclass(frozen=True, slots=True)
class _End:
    reason: str
    status: str = "completed"


@dataclass(frozen=True, slots=True)
class _Order:
    """What somebody (`caller` or `api`) wants of a running call: other TwiML, or its end."""

    by: str
    next: _Page | _End


_CALLER_HANGS_UP = _Order("caller", _End("caller hung up"))


class Call:
    """A call to the number `to`, answered by the gateway at `webhook_url`, which must be on this machine.

    `public_origin` is what the gateway believes to be its address (https://gw.example.com): URLs are signed with it and
    it leads back to the webhook's own origin, or to those of `behind`, see `Edge`. `return_ms` is Twilio's own time
    between the end of a stream and the next request. `twiml_text` takes the place of the first webhook: for a stream
    nobody asked for. `fields` are added to every form, or replace its own.
    """

    def __init__(
        self,
        webhook_url: str,
        auth_token: str = AUTH_TOKEN,
        account_sid: str = ACCOUNT_SID,
        to: str = "+15550100",
        from_: str = "+15550199",
        *,
        public_origin: str | None = None,
        behind: Sequence[str] = (),
        status_url: str | None = None,
        return_ms: float = 0.0,
        twiml_text: str | None = None,
        call_sid: str | None = None,
        fields: Mapping[str, str] | None = None,
        faults: Faults | None = None,
    ) -> None:
        own_origin = urlsplit(webhook_url)._replace(path="", query="").geturl()
        self.edge = Edge(public_origin or own_origin, behind or [own_origin])
        self.webhook_url = self.edge.public_origin + webhook_url.removeprefix(own_origin)
        self.sid = call_sid or "CA" + secrets.token_hex(16)
        self.account_sid, self.to, self.from_ = account_sid, to, from_
        self.status_url, self.return_ms = status_url, return_ms
        self.faults = faults or Faults()
        self.status = "queued"
        self.ended = ""
        """Why the call is over; empty while it is not."""
        self.failure: twiml.TwimlError | None = None
        self.errors: list[str] = []
        self.documents: list[str] = []
        self.streams: list[StreamRecord] = []
        self.dialled: list[str] = []
        self.told: list[str] = []
        """The texts of <Say>."""
        self.began_at = datetime.now(UTC)
        self.late_s = 0.0
        """By how much the clock was late at worst: beyond a few ms the machine, not the gateway, is measured."""
        self._auth_token = auth_token
        self._first = _Page(self.webhook_url, text=twiml_text)
        self._fields = {**call_fields(account_sid, self.sid, to, from_), **(fields or {})}
        self._mouth = Mouth()
        self._order: _Order | None = None
        self._ordered = asyncio.Event()
        self._stream: MediaStream | None = None
        self._watch = Watch(self.describe)

    # ---- What a test does.

    async def __aenter__(self) -> Self:
        self.heard = Heard(asyncio.get_running_loop().time())
        self._webhooks = Webhooks(self.edge, self._auth_token, self._fields, self.faults, self._watch.tell)
        self._running = asyncio.create_task(self._run(), name=f"twilio-call-{self.sid}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hangs up, if the call is not over; a failure that no waiting test was told is raised."""
        self._give(_CALLER_HANGS_UP)
        if kind is not None:
            self._running.cancel()
        try:
            await asyncio.wait([self._running])
        except asyncio.CancelledError:
            self._running.cancel()
            raise
        if not self._running.cancelled() and (crash := self._running.exception()):
            raise crash
        if self.failure is not None and kind is None:
            raise self.failure

    async def connected(self, within_s: float = PATIENCE_S, number: int = 1) -> StreamRecord:
        """Wait until the `number`-th stream of this call that opened has sent its `start`."""

        def opened() -> list[StreamRecord]:
            return [stream for stream in self.streams if stream.opened_s is not None]

        await self.until(lambda: len(opened()) >= number, within_s)
        return opened()[number - 1]

    async def until(self, predicate: Callable[[], object], within_s: float | None = PATIENCE_S) -> None:
        """Wait until `predicate` is true; it is asked whenever something happened, so at least every 20 ms.

        CallOver, or what was wrong with the TwiML, if the call is over before.
        """
        await self._watch.until(predicate, within_s)

    def say(self, pcm: bytes) -> Spoken:
        """Speak s16le at 8 kHz, after what is being said already. What is said while no stream is open nobody hears."""
        return self.say_ulaw(pcm_to_ulaw(pcm))

    def say_ulaw(self, ulaw: bytes) -> Spoken:
        """The same of mu-law. A last piece of less than 20 ms is filled up with silence."""
        began_s = self.heard.ended_s + self._mouth.waiting_ms / 1000 - FRAME_S
        self._mouth.say(ulaw + SILENT_FRAME[: -len(ulaw) % len(SILENT_FRAME)])
        return Spoken(began_s, self.heard.ended_s + self._mouth.waiting_ms / 1000 - FRAME_S)

    def dtmf(self, digits: str) -> None:
        """Press keys; nobody hears them while no stream is open."""
        if self._stream is not None and self._stream.record.open:
            for digit in digits:
                self._stream.dtmf(digit)

    def inject(self, message: str | bytes) -> None:
        """Send a message as it is on the open stream; CallOver when there is none."""
        if self._stream is None or not self._stream.record.open:
            raise CallOver(f"no stream is open: {self.describe()}")
        self._stream.inject(message)

    def drop(self) -> None:
        """Break the stream's connection without a word."""
        if self._stream is not None:
            self._stream.drop()

    async def hang_up(self) -> None:
        """The caller hangs up; returns when the callbacks have been answered."""
        self._give(_CALLER_HANGS_UP)
        await asyncio.wait([self._running])

    # ---- What Twilio's REST API does.

    def redirect(self, url: str, method: str = "POST") -> None:
        """The stream ends, and the call goes on with the TwiML of `url`."""
        self._give(_Order("api", _Page(url, method)))

    def execute(self, text: str) -> None:
        """The stream ends, and the call goes on with this TwiML."""
        self._give(_Order("api", _Page(self.webhook_url, text=text)))

    def complete(self) -> None:
        self._give(_Order("api", _End("completed by the API")))

    @property
    def stream(self) -> StreamRecord | None:
        """The record of the stream that is open now."""
        return self._stream.record if self._stream is not None and self._stream.record.open else None

    @property
    def requests(self) -> list[Request]:
        """All requests to the gateway, in the order in which they were answered."""
        return self._webhooks.requests

    @property
    def buffered_ms(self) -> float:
        """Audio that the gateway has sent and the caller not yet heard."""
        return self._stream.buffered_ms if self._stream else 0.0

    def heard_pcm(self, from_s: float | None = None, to_s: float | None = None) -> bytes:
        """s16le at 8 kHz of all that was played, silence included; see `heard` for times and gaps."""
        return self.heard.pcm(from_s, to_s)

    def describe(self) -> str:
        """One line for a test that fails."""
        streams = ", ".join(
            f"{stream.sid[:6]} {stream.ended_by or 'open'} {stream.errors or stream.close_code or ''}".strip()
            for stream in self.streams
        )
        answers = ", ".join(f"{request.kind} {request.status}" for request in self.requests)
        state = f"call {self.status} ({self.ended or 'not over'})"
        return f"{state}; streams: {streams}; requests: {answers}; {self.errors}"

    async def _tick(self) -> None:
        """Every 20 ms, for as long as the call lives, whatever else happens: late ticks are made up for."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = self.heard.ended_s
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            self.late_s = max(self.late_s, loop.time() - due_s)
            spoken = self._mouth.advance()
            if self._stream is not None and self._stream.record.open:
                self.heard.append(*self._stream.advance(spoken, due_s))
            else:
                self.heard.append(SILENT_FRAME, 0)
            self._watch.tell()

    # ---- The call's life.

    async def _run(self) -> None:
        """All of the call, in one task that owns whatever else the call starts: its clock and its callbacks."""
        try:
            async with asyncio.TaskGroup() as tasks:
                clock = tasks.create_task(self._tick(), name=f"twilio-clock-{self.sid}")
                async with asyncio.TaskGroup() as reports:
                    end = await self._live(reports)
                    self.ended, self.status = end.reason, end.status
                if self.status_url is not None:
                    await self._webhooks.report_end(self.status_url, self.status, self.began_at)
                self.errors.extend(self._webhooks.errors)
                clock.cancel()
        finally:
            self._watch.close(self._disappointment)
            await self._webhooks.close()

    def _disappointment(self) -> Exception:
        failure, self.failure = self.failure, None
        return failure or CallOver(self.describe())

    async def _live(self, reports: asyncio.TaskGroup) -> _End:
        """Document after document, until the call has ended.

        What goes wrong is heard as "an application error has occurred": for Twilio, such a call is completed.
        """
        self.status = "ringing"
        following: _Page | _End = self._first
        try:
            while isinstance(following, _Page):
                if len(self.documents) >= MAX_DOCUMENTS:
                    return _End(f"more than {MAX_DOCUMENTS} documents")
                following = await self._perform(following, reports)
        except twiml.TwimlError as error:
            self.failure = error
            following = _End(f"failed: {error}")
        except WebhookFailed as error:
            following = _End(f"failed: {error}")
        if following.reason.startswith("failed"):
            self.errors.append(following.reason)
        return following

    async def _perform(self, page: _Page, reports: asyncio.TaskGroup) -> _Page | _End:
        """One document; gives what follows it."""
        text = page.text if page.text is not None else await self._webhooks.fetch(page.url, page.method, self.status)
        if (order := self._taken()) is not None:
            return order.next
        self.documents.append(text)
        for verb in twiml.parse(text):
            if isinstance(verb, twiml.Connect):
                await self._connect(verb.stream, reports)
            following = await self._after(verb, page.url)
            if (order := self._taken()) is not None:
                return order.next
            if following is not None:
                return following
        return _End("the TwiML came to its end")

    async def _after(self, verb: twiml.Verb, document_url: str) -> _Page | _End | None:
        """Do a verb, or what comes after a Connect; gives what follows, or none for the document's next verb."""
        match verb:
            case twiml.Connect():
                await self._wait(self.return_ms / 1000)
                if verb.action is not None:
                    return _Page(urljoin(document_url, verb.action), verb.method)
            case twiml.Redirect():
                return _Page(urljoin(document_url, verb.url), verb.method)
            case twiml.Hangup():
                return _End("hung up by TwiML")
            case twiml.Reject():
                return _End(f"rejected: {verb.reason}", _REJECTED[verb.reason])
            case twiml.Dial():
                self.dialled.extend(verb.numbers)
                return _End("dialled " + ", ".join(verb.numbers))
            case twiml.Say():  # answers the call, which Pause and Redirect do not
                self.status = "in-progress"
                self.told.append(verb.text)
                await self._wait(len(verb.text) * SAY_S_PER_CHARACTER)
            case twiml.Pause():
                await self._wait(verb.length_s)
        return None

    async def _connect(self, noun: twiml.Stream, reports: asyncio.TaskGroup) -> None:
        """Open a stream, and return when it has ended."""
        self.status = "in-progress"
        ways = self.edge.ways(noun.url)
        # Who replays a `start` uses its stream's name throughout.
        replayed = json.loads(self.faults.replayed_start)["streamSid"] if self.faults.replayed_start else None
        sid = replayed or "MZ" + secrets.token_hex(16)
        record = StreamRecord(sid, noun.url, noun.name, noun.parameters, asyncio.get_running_loop().time())
        self.streams.append(record)
        uplink = Uplink(self.account_sid, self.sid, sid, self.faults)
        self._stream = MediaStream(record, uplink, self.faults, self._watch.tell)
        reports.create_task(self._report(noun, record), name=f"twilio-report-{sid}")
        try:
            await self._stream.run(ways, sign(self._auth_token, noun.url, {}, self.faults.upgrade_signature))
        finally:
            self._stream = None
        self.errors.extend(record.errors)

    async def _report(self, noun: twiml.Stream, record: StreamRecord) -> None:
        """Tell the gateway of a stream's beginning and of its end, in this order."""
        await self.until(lambda: record.opened_s is not None or record.ended_s is not None, None)
        if record.opened_s is not None:
            await self._webhooks.report_stream(noun, record, "stream-started", self.status)
            await self.until(lambda: record.ended_s is not None, None)
        event = "stream-error" if record.ended_by in ("refused", "error") else "stream-stopped"
        await self._webhooks.report_stream(noun, record, event, self.status)

    async def _wait(self, duration_s: float) -> None:
        """Let time pass, unless somebody wants something else of the call."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(duration_s):
                await self._ordered.wait()

    def _give(self, order: _Order) -> None:
        """Want something of the call; its end outdoes other TwiML, and an ended call wants nothing any more."""
        if self.ended or (self._order is not None and isinstance(order.next, _Page)):
            return
        self._order = order
        self._ordered.set()
        if self._stream is not None:
            self._stream.finish(order.by)

    def _taken(self) -> _Order | None:
        order, self._order = self._order, None
        self._ordered.clear()
        return order
