"""One WebSocket to Cartesia, and the contexts that share it.

Whoever listens to a context may be slow, for a caller hears in real time what is made several times faster; the socket
is read on regardless, since others share it. So what is unheard is bounded by sentence, not by the socket, and by how
many of them whoever speaks asks for ahead.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.connection import broadcast
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from trunkline.errors import ProviderError
from workers.providers.base import Word
from workers.providers.cartesia import protocol
from workers.providers.cartesia.account import hang_up

log = logging.getLogger(__name__)

UNHEARD_S = 120
"""Audio of one sentence that may wait to be heard. A sentence that has more is given up."""

REST_S = 0.1
"""How long the socket is left unread where nobody waits for what is on it. A vendor makes speech several times faster
than it is heard, in messages of some 50 to 100 ms, and each that wakes the process up by itself costs twice what one of
several costs: 5 answers at once, made at four times the pace of speech, take 0.63 of the CPU."""

AHEAD_MS = 400
"""Nobody waits for more of a speech of which so much cannot have been heard yet."""


class Stale(ProviderError):
    """Nothing came of a sentence, because the context or the socket was over before it was sent."""


class Sentence:
    """What comes of one text, until someone takes it."""

    def __init__(self, rate_hz: int, *, first: bool, last: bool) -> None:
        """`first` and `last`: of its context."""
        self.first = first
        self.last = last
        self.begins_ms = 0
        """How much audio its context had before it, which its words' times count from."""
        self.sounded = False
        """Whether any audio came."""
        self.flushed = False
        """Whether the vendor said that there is no more, though none came."""
        self.over = False
        """Whether no more will come."""
        self._bytes_per_s = rate_hz * 2
        self._parts: deque[bytes | Word] = deque()
        self._unheard_bytes = 0
        self._odd = b""
        self._failure: ProviderError | None = None
        self._news = asyncio.Event()

    def audio(self, pcm: bytes) -> None:
        pcm = self._odd + pcm
        whole = len(pcm) & ~1
        pcm, self._odd = pcm[:whole], pcm[whole:]
        self.sounded, self.flushed = True, False
        if pcm:
            self._unheard_bytes += len(pcm)
            self._parts.append(pcm)
            self._news.set()

    @property
    def too_long(self) -> bool:
        return self._unheard_bytes > UNHEARD_S * self._bytes_per_s

    def words(self, words: protocol.Words) -> None:
        for text, start_s, end_s in words.words:
            start_ms, end_ms = (max(0, round(at_s * 1000) - self.begins_ms) for at_s in (start_s, end_s))
            self._parts.append(Word(text, start_ms, max(start_ms, end_ms)))
        self._news.set()

    def end(self, failure: ProviderError | None = None) -> None:
        """Nothing more comes; `failure` is raised to the listener once the rest was taken."""
        if not self.over:
            self.over, self._failure = True, failure
            self._news.set()

    @property
    def waits(self) -> bool:
        """Whether there is nothing to be taken yet."""
        return not (self._parts or self.over)

    async def news(self) -> None:
        """Wait until there is."""
        while self.waits:
            self._news.clear()
            await self._news.wait()

    def take(self) -> bytes | Word | None:
        """The next part, unless it `waits`; None when it is over. Raises ProviderError, once what came before that was
        taken."""
        if not self._parts:
            if self._failure is not None:
                raise self._failure
            return None
        part = self._parts.popleft()
        if isinstance(part, bytes):
            self._unheard_bytes -= len(part)
        return part


class Context:
    """One speech at the vendor, sentence after sentence. Made by `Line.context`."""

    def __init__(self, line: Line, context_id: str, rate_hz: int) -> None:
        self.line = line
        self.context_id = context_id
        self.over = False
        """Whether the vendor takes no more of it."""
        self.active_s = 0.0
        """When, on the loop's clock, something of it last came, or it was last asked for something."""
        self._rate_hz = rate_hz
        self._bytes = 0
        self._sounds_s = 0.0
        """When its first audio came, on the loop's clock."""
        self._first_id: int | None = None
        """The flush id of the first sentence of which anything came."""
        self._passed = 0
        """Sentences that are all there."""
        self._begun = False
        self._complete = False
        self._sentences: deque[Sentence] = deque()
        """Asked for, and not all there: the first is being made."""

    @property
    def at_work(self) -> bool:
        """Whether something that was asked for is not there yet."""
        return bool(self._sentences)

    def is_ahead(self, now_s: float) -> bool:
        """Whether AHEAD_MS of it cannot have been heard yet, however soon each sample was."""
        return self._made_ms - (now_s - self._sounds_s) * 1000 >= AHEAD_MS

    def takes_more(self, now_s: float, within_s: float) -> bool:
        """Whether another sentence may be asked for: the vendor is at work on one, or was `within_s` ago."""
        alive = self.at_work or now_s - self.active_s < within_s
        return alive and self.line.usable and not self.over and not self._complete

    def begin(self, message: str, *, last: bool, now_s: float) -> Sentence:
        """Send `message`, which asks for the next sentence; `last` as in `protocol.generation`."""
        self.active_s = now_s
        sentence = Sentence(self._rate_hz, first=not self._begun, last=last)
        self._begun, self._complete = True, last
        if not self._sentences:
            sentence.begins_ms = self._made_ms
        self._sentences.append(sentence)
        self.line.send(message)
        return sentence

    def take(self, event: protocol.Event, now_s: float) -> None:
        """Give an event to the sentence that it belongs to. What comes between sentences belongs to none."""
        self.active_s = now_s
        match event:
            case protocol.Done():
                self.end(self._early())
            case protocol.Failed():
                first = bool(self._sentences) and self._sentences[0].first
                self.end(_stale(event.error) if event.ours and not first else event.error)
            case protocol.Chunk():
                self._turn_to(event.flush_id)
                if not self._bytes:
                    self._sounds_s = now_s
                self._bytes += len(event.pcm)
                if self._sentences:
                    self._sentences[0].audio(event.pcm)
                    if self._sentences[0].too_long:
                        self.give_up(ProviderError("cartesia", f"made {UNHEARD_S} s that nobody has heard"))
            case protocol.Words():
                self._turn_to(event.flush_id)
                if self._sentences:
                    self._sentences[0].words(event)
            case protocol.Flushed() if self._sentences and not self._sentences[0].last:
                self._flushed(self._sentences[0])

    @property
    def _made_ms(self) -> int:
        return self._bytes * 1000 // (2 * self._rate_hz)

    def _turn_to(self, flush_id: int | None) -> None:
        """What comes now has `flush_id`: the sentences before it are over, also one of which no sound came."""
        if flush_id is None:
            return
        if self._first_id is None:
            self._first_id = flush_id - self._passed
        while self._passed < flush_id - self._first_id and len(self._sentences) > 1:
            if not (self._sentences[0].sounded or self._sentences[0].flushed):
                return
            self._go_on()

    def _go_on(self) -> None:
        """All of the first sentence is there."""
        self._passed += 1
        self._sentences.popleft().end()
        if self._sentences:
            self._sentences[0].begins_ms = self._made_ms

    def _flushed(self, sentence: Sentence) -> None:
        """Before any sound it may be about the sentence before: who listens decides how long to wait for more."""
        if sentence.sounded:
            self._go_on()
        else:
            sentence.flushed = True

    def _early(self) -> ProviderError | None:
        """Of a context that is over: why, if its sentence is not. Where nothing came of the first and last, there may
        be nothing to come; else it ended as the sentence was sent."""
        sentence = self._sentences[0] if self._sentences else None
        silent = sentence is not None and not sentence.sounded and not (sentence.first and sentence.last)
        return Stale("cartesia", "ended before it said all") if silent else None

    def end(self, failure: ProviderError | None = None) -> None:
        """The vendor has ended it: `failure` is the first sentence's, and those behind it may be said elsewhere."""
        self.over = True
        self.line.forget(self)
        for sentence in self._sentences:
            sentence.end(failure)
            failure = Stale("cartesia", "its context ended before its turn")
        self._sentences.clear()

    def give_up(self, failure: ProviderError | None = None) -> None:
        """The vendor shall make no more of it. Does nothing when it is over."""
        if not self.over:
            self.line.send(protocol.cancel(self.context_id))
            self.end(failure)


def _stale(error: ProviderError) -> Stale:
    return Stale("cartesia", str(error).removeprefix("cartesia: "), retryable=error.retryable)


class Line:
    """An open socket. `run` reads it, and must be running for anything to come."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._contexts: dict[str, Context] = {}
        self._retired = False
        self._resting: asyncio.TimerHandle | None = None
        """While the socket is not read."""
        self._clock = asyncio.get_running_loop().time
        self.complaint = ""
        """What the vendor last found wrong without saying in which context."""

    @property
    def usable(self) -> bool:
        """Whether a new context may begin here."""
        return not self._retired and self._socket.state is State.OPEN

    def context(self, context_id: str, rate_hz: int) -> Context:
        context = self._contexts[context_id] = Context(self, context_id, rate_hz)
        return context

    def send(self, message: str) -> None:
        """By websockets' call for many receivers, which does not wait: a few hundred bytes, and when nobody takes
        them, no audio comes and the line is retired. On a socket that has closed it does nothing."""
        self._read_on()
        broadcast((self._socket,), message)

    def forget(self, context: Context) -> None:
        """Whatever still comes of it is dropped."""
        self._contexts.pop(context.context_id, None)
        if self._retired and not self._contexts:
            self._socket.transport.abort()

    def retire(self) -> None:
        """It was mute: begin nothing more here. Closed once the contexts it has are over."""
        self._retired = True
        if not self._contexts:
            self._socket.transport.abort()

    async def run(self) -> None:
        """Read until the socket closes, then tell those who wait. Raises nothing but cancellation."""
        lost = ProviderError("cartesia", "the socket was given up")
        try:
            while True:
                self._pass_on(protocol.parse(await self._socket.recv(decode=False)))
                self._rest()
        except ConnectionClosed as error:
            lost = _hung_up(error)
        except ProviderError as error:
            log.warning("the socket is given up: %s", error)
            lost = error
        finally:
            self._retired = True
            self._read_on()
            for context in list(self._contexts.values()):
                context.end(lost)
            self._socket.transport.abort()
        await self._socket.wait_closed()

    def _pass_on(self, event: protocol.Event | None) -> None:
        """Raises ProviderError for an error of the connection itself."""
        if event is None:
            return
        context = self._contexts.get(event.context_id)
        if context is not None:
            context.take(event, self._clock())
        elif isinstance(event, protocol.Failed) and not event.context_id:
            if not event.ours:
                raise event.error
            # One message was wrong, and most contexts are not concerned. The one that is will hear nothing.
            self.complaint = str(event.error)
            log.warning("an error of no context: %s", event.error)

    def _rest(self) -> None:
        """Leave the socket unread for a while, if all that is being made is far ahead of what can be heard."""
        if self._resting is not None or self._socket.transport.is_closing():
            return
        now_s = self._clock()
        ahead = [context.is_ahead(now_s) for context in self._contexts.values() if context.at_work]
        if ahead and all(ahead):
            self._socket.transport.pause_reading()
            self._resting = asyncio.get_running_loop().call_later(REST_S, self._read_on)

    def _read_on(self) -> None:
        """Something is waited for again, or the rest is over."""
        if self._resting is None:
            return
        self._resting.cancel()
        self._resting = None
        if not self._socket.transport.is_closing():
            self._socket.transport.resume_reading()

    async def close(self) -> None:
        """Say goodbye; `run` returns then."""
        self._read_on()
        await hang_up(self._socket)


def _hung_up(error: ConnectionClosed) -> Stale:
    frame = error.rcvd or error.sent
    why = f"{frame.code} {frame.reason}".strip() if frame else "without a word"
    return Stale("cartesia", f"hung up: {why}")
