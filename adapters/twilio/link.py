"""One Twilio media stream as a session's link: reads the caller's audio, sends the answer's, and learns by marks what
was heard of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from adapters.bridge import Bridge
from adapters.pace import AHEAD_S, MAX_ERRORS, MessagePace, Pace, Patience
from adapters.twilio.protocol import (
    PIECE_MS,
    RATE_HZ,
    SAMPLES_PER_MS,
    CloseCode,
    Connected,
    Dtmf,
    Heard,
    Mark,
    Media,
    Message,
    Start,
    Stop,
    Timeline,
    Unknown,
    compose_clear,
    compose_mark,
    compose_media,
    parse,
    parse_mark,
)
from adapters.wire import Wire
from trunkline.audio.frame import silence
from trunkline.audio.g711 import pcm_to_ulaw, ulaw_to_pcm
from trunkline.errors import ClientError

log = logging.getLogger(__name__)

MAX_QUEUED = 1000
"""Messages Twilio may be behind; then the stream is cut off (the call comes back with another)."""
STALL_S = 5.0
"""One message may wait this long for a Twilio that does not read."""
UNHEARD_KEPT = 64
"""Pieces whose marks have not come back; the playout's lead is 4."""
MARK_GRACE_S = 0.5
"""The last mark may come so much later than the audio before it lasts."""


class Lost(Exception):
    """The wire is gone, without a goodbye."""


class _Piece(NamedTuple):
    """Up to 100 ms of an answer, and where it ends."""

    turn: int
    end_ms: int
    ulaw: bytes


class TwilioLink:
    """One media stream. `opening` reads up to its `start`; then `run` serves until the stream or the session ends.

    `run` never closes the socket: what becomes of the call then must be written down first. `close` does.
    """

    def __init__(self, websocket: WebSocket, wire: Wire) -> None:
        self._websocket = websocket
        self._wire = wire
        self._queueing = True
        """Whether a message must queue: `run` has not begun, or earlier ones wait for Twilio."""
        self._stream_sid = ""
        self.name = "a stream"
        """For logs: which call and stream this is, once that is known."""
        self._timeline = Timeline()
        self._generation = 0
        self._unheard: deque[_Piece] = deque(maxlen=UNHEARD_KEPT)
        self._queue: deque[str] = deque()
        self._wake = asyncio.Event()
        self._outcome: str | None = None
        self._patience = Patience()
        self._unknown: Counter[str] = Counter()
        self._audio_pace = Pace(AHEAD_S)
        self._message_pace = MessagePace()

    # --- reading

    async def opening(self, timeout_s: float) -> Start:
        """The stream's `start`. Raises Lost and (fatal) ClientError."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    message = await self._receive()
                    if isinstance(message, Start):
                        break
                    if message is not None and not isinstance(message, Connected | Unknown):
                        what = type(message).__name__
                        raise ClientError("no_start", f"{what} before start", "connected, then start", fatal=True)
                    await asyncio.sleep(max(0.0, self._message_pace.add(1, time.monotonic())))
        except TimeoutError:
            raise ClientError("silent", f"no start within {timeout_s:g} s", "send start at once", fatal=True) from None
        self._stream_sid = message.stream_sid
        self.name = f"call {message.call_sid}, stream {message.stream_sid}"
        return message

    async def _receive(self) -> Message | None:
        """The next message, or None for a wrong one that was forgiven."""
        event = await self._websocket.receive()
        if event["type"] == "websocket.disconnect":
            raise Lost(f"closed with {event.get('code')}")
        text = event.get("text")
        try:
            return self._parse((event.get("bytes") or b"") if text is None else text)
        except ClientError as error:
            self._forgive(error)
            return None

    def _parse(self, data: str | bytes) -> Message:
        """Raises ClientError."""
        if isinstance(data, bytes):
            raise ClientError("binary", "a binary frame", "JSON in text frames")
        message = parse(data, self._stream_sid)
        if isinstance(message, Unknown):
            self._note(message)
        return message

    def _forgive(self, error: ClientError) -> None:
        """Count a wrong message; raises the error, as fatal, when it is or was one too many."""
        self._patience.forgive(error)
        level = logging.WARNING if self._patience.forgiven == 1 else logging.DEBUG
        log.log(level, "%s: a wrong message: %s (right: %s)", self.name, error.message, error.hint)

    def _note(self, message: Unknown) -> None:
        if not self._unknown:
            log.info("%s: %s is not for us; that and the like is ignored", self.name, message.what)
        if len(self._unknown) < MAX_ERRORS:
            self._unknown[message.what] += 1

    def _taken(self, data: str | bytes) -> None:
        """One message, by call from the wire."""
        if self._read.done():
            return
        try:
            self._take(self._parse(data))
        except ClientError as error:
            self._wrong_one(error)
        except Exception as error:  # a fault of ours: `run` raises it
            self._read.set_exception(error)

    def _wrong_one(self, error: ClientError) -> None:
        try:
            self._forgive(error)
        except ClientError as fatal:
            log.warning("%s refused after %d wrong messages: %s", self.name, self._patience.forgiven, fatal.message)
            self._read.set_result("refused")

    def _closed(self, code: int) -> None:
        if not self._read.done():
            log.info("%s: closed with %s", self.name, code)
            self._read.set_result("lost")

    def _take(self, message: Message) -> None:
        """Deal with a message, and read no more for a while if that is too much too soon."""
        now_s = time.monotonic()
        ahead_s = self._message_pace.add(1, now_s)
        match message:
            case Media():
                ahead_s = max(ahead_s, self._media(message, now_s))
            case Mark():
                self._marked(self._bridge, message)
            case Dtmf():
                self._bridge.dtmf(message.digit)
            case Start():
                raise ClientError("late_start", "a second start", "one start a stream")
            case Stop():
                self._read.set_result("hung_up")
        if ahead_s > 0:
            self._wire.hold(ahead_s)

    def _media(self, media: Media, now_s: float) -> float:
        """Pass on what was said. Returns by how many seconds it is too soon."""
        hole_ms = self._timeline.place(media)
        if hole_ms is None:
            return 0.0
        if hole_ms:
            self._bridge.audio(silence(hole_ms, RATE_HZ))
        self._bridge.audio(ulaw_to_pcm(media.ulaw))
        return self._audio_pace.add(hole_ms / 1000 + len(media.ulaw) / RATE_HZ, now_s)

    def _marked(self, bridge: Bridge, mark: Mark) -> None:
        """Of marks that a clear sent back nothing was heard; they are of an older generation."""
        heard = parse_mark(mark.name)
        if heard is None or heard.generation != self._generation:
            return
        while self._unheard and (self._unheard[0].turn, self._unheard[0].end_ms) <= (heard.turn, heard.ms):
            self._unheard.popleft()
        if self._outcome is not None:
            self._wake.set()
        bridge.played(heard.turn, heard.ms)

    # --- adapters.link.Link

    def play(self, turn: int, offset_ms: int, pcm: bytes, sentence_end: bool) -> None:
        ulaw = pcm_to_ulaw(pcm)
        pieces = []
        for start in range(0, len(ulaw), PIECE_MS * SAMPLES_PER_MS):
            part = ulaw[start : start + PIECE_MS * SAMPLES_PER_MS]
            pieces.append(_Piece(turn, offset_ms + (start + len(part)) // SAMPLES_PER_MS, part))
        self._send(pieces)

    def _send(self, pieces: Iterable[_Piece]) -> None:
        messages = []
        for piece in pieces:
            self._unheard.append(piece)
            messages.append(compose_media(self._stream_sid, piece.ulaw))
            mark = Heard(self._generation, piece.turn, piece.end_ms).name
            messages.append(compose_mark(self._stream_sid, mark))
        self._put(*messages)

    def _put(self, *messages: str) -> None:
        if not self._queueing and self._wire.write(*messages):
            return
        self._queueing = True
        self._queue.extend(messages)
        self._wake.set()

    def event(self, seq: int, name: str, data: dict[str, Any]) -> None:
        pass  # a telephone shows nothing

    def clear(self, turn: int) -> None:
        later = [piece for piece in self._unheard if piece.turn > turn]
        self._forget()
        if later:
            self._send(later)

    def pause(self, turn: int) -> bool:
        self._forget()
        return False  # Twilio cannot hold what it has

    def _forget(self) -> None:
        """Throw away what waits here and at Twilio: marks that come back from now on say nothing."""
        self._generation += 1
        self._unheard.clear()
        self._queue.clear()
        self._put(compose_clear(self._stream_sid))

    def end(self, reason: str) -> None:
        self._finish("ended")

    def replaced(self) -> None:
        self._finish("replaced")

    # --- ours

    def send_away(self) -> None:
        """This gateway is going: the call is to come back by another stream."""
        self._finish("sent_away")

    def _finish(self, outcome: str) -> None:
        self._outcome = self._outcome or outcome
        self._wake.set()

    # --- writing

    async def run(self, bridge: Bridge) -> str:
        """Serve until it ends; says how: `hung_up` (Twilio said so), `lost`, `refused` (it sent too much that was
        wrong), `replaced` (the call has another stream), `sent_away`, or `ended` (by us)."""
        self._bridge = bridge
        self._read: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(self._write())
                self._wire.listen(self._taken, self._closed)
                await asyncio.wait((self._read, writer), return_when=asyncio.FIRST_COMPLETED)
                writer.cancel()
            self._summarise()
            return self._read.result() if self._read.done() else writer.result()
        finally:
            self._read.cancel()
            self._queueing = True

    def _summarise(self) -> None:
        timeline = self._timeline
        wrong = self._patience.forgiven
        if wrong or self._unknown or timeline.dropped or timeline.filled_ms or timeline.skipped_ms:
            log.info(
                "%s: %d wrong messages, %d not for us, %d late or double; holes of %d ms filled, of %d ms skipped",
                self.name,
                wrong,
                self._unknown.total(),
                timeline.dropped,
                timeline.filled_ms,
                timeline.skipped_ms,
            )

    async def _write(self) -> str:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not await self._flush():
                return "lost"
            if self._outcome == "ended":
                await self._heard_out()
            if self._outcome is not None:
                return self._outcome
            self._queueing = False

    async def _heard_out(self) -> None:
        """Let the caller hear the last of what was said: the playout may have gone by the clock, which runs ahead of
        Twilio's."""
        rest_s = sum(len(piece.ulaw) for piece in self._unheard) / RATE_HZ
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(rest_s + MARK_GRACE_S):
                while self._unheard:
                    self._wake.clear()
                    await self._wake.wait()

    async def _flush(self) -> bool:
        """Send what is queued. False when Twilio is gone or does not read."""
        try:
            async with asyncio.timeout(STALL_S) as deadline:
                while self._queue:
                    if len(self._queue) > MAX_QUEUED:
                        log.warning("%s does not read: %d messages behind", self.name, len(self._queue))
                        return False
                    await self._websocket.send_text(self._queue.popleft())
                    deadline.reschedule(asyncio.get_running_loop().time() + STALL_S)
        except (TimeoutError, WebSocketDisconnect, RuntimeError) as error:
            log.info("%s lost while sending: %r", self.name, error)
            return False
        return True

    async def close(self, code: CloseCode) -> None:
        """Close the socket, if it is not closed yet."""
        if self._websocket.application_state is not WebSocketState.CONNECTED:
            return
        try:
            async with asyncio.timeout(STALL_S):
                await self._websocket.close(code)
        except (TimeoutError, WebSocketDisconnect, RuntimeError) as error:
            log.debug("%s was closed already: %r", self.name, error)
