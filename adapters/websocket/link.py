"""One browser WebSocket as a session's link: reads messages, sends audio and events, notices who cannot keep up."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from adapters.bridge import Bridge
from adapters.messages import Stop, compose, compose_error, weight
from adapters.pace import AHEAD_S, MessagePace, Pace, Patience
from adapters.websocket import files
from adapters.websocket.protocol import Audio, ClientMessage, CloseCode, Start, parse_binary, parse_text
from adapters.wire import Wire
from trunkline.audio.resample import Resampler
from trunkline.errors import ClientError

log = logging.getLogger(__name__)

MAX_QUEUED = 1000
"""Messages a client may be behind; then it is cut off (it may come back)."""
STALL_S = 5.0
"""One message may wait this long for a client that does not read."""
RESUMED_AHEAD_S = 20.0
"""How far ahead of real time audio is read from a client that came back and sends what it kept."""
REFUSED = (1002, 1007, 1009)
"""Closed below us for what the client sent (docs/websocket.md): it does not come back."""


class Lost(Exception):
    """The wire is gone, without a goodbye."""


class _Outgoing(NamedTuple):
    """A queued message; `audio` ones are thrown away by a clear. A tuple is a sentence still to be made a file."""

    payload: str | bytes | tuple[int, int, bytes]
    audio: bool = False


class WebSocketLink:
    """One WebSocket. `opening` reads the first message; then `run` serves until the wire or the session ends."""

    def __init__(self, websocket: WebSocket, wire: Wire) -> None:
        self._websocket = websocket
        self._wire = wire
        self._queueing = True
        """Whether a message must queue: `run` has not begun, or earlier ones wait for the client."""
        self._start = Start()
        self._queue: deque[_Outgoing] = deque()
        self._wake = asyncio.Event()
        self._close: CloseCode | None = None
        self._announced: tuple[int, int] | None = None
        self._sentence = bytearray()
        self._sentence_at = (0, 0)
        self._patience = Patience()
        self._seq = 0
        self._up: Resampler | None = None
        self._down: Resampler | None = None
        self._down_turn = 0
        self._audio_pace = Pace(AHEAD_S)
        self._message_pace = MessagePace()
        self.on_answered: Callable[[], None] | None = None
        """For who comes back: called with the first message after we had said so. Clients wait for that word, so they
        have it then, and the token with it. (A pong says as much of the wire, but not that anybody reads by it.)"""
        self._saying_so = False
        """Whether that word has begun to leave: the client's may come before the send of ours returns."""
        self._replaced = False

    # --- reading

    async def opening(self, timeout_s: float) -> ClientMessage | None:
        """The first message; None when none came in time. Raises Lost and (fatal) ClientError."""
        try:
            async with asyncio.timeout(timeout_s):
                while (message := await self._receive()) is None:
                    await self.flush()
                return message
        except TimeoutError:
            return None

    def adopt(self, start: Start, session_rate_hz: int) -> None:
        """Take on what the client asked for, for a session of this rate."""
        self._start = start
        if start.rate_hz != session_rate_hz:
            self._up = Resampler(start.rate_hz, session_rate_hz)
            self._down = Resampler(session_rate_hz, start.rate_hz)
        self._session_rate_hz = session_rate_hz
        if start.resume:
            self._audio_pace = Pace(RESUMED_AHEAD_S)

    async def _receive(self) -> ClientMessage | None:
        """The next message, or None for a wrong one that was answered with an error."""
        event = await self._websocket.receive()
        if event["type"] == "websocket.disconnect":
            if event.get("code") == CloseCode.DONE:
                return Stop()
            if event.get("code") in REFUSED:
                raise _refused(event["code"])
            raise Lost(f"closed with {event.get('code')}")
        text = event.get("text")
        try:
            return _parse((event.get("bytes") or b"") if text is None else text)
        except ClientError as error:
            self._forgive(error)
            return None

    def _forgive(self, error: ClientError) -> None:
        """Tell the client what was wrong; raises the error, as fatal, when it is or was one too many."""
        self._patience.forgive(error)
        self._put(compose_error(self._seq, error))

    def _taken(self, data: str | bytes) -> None:
        """One message, by call from the wire."""
        if self._read.done() or self._replaced:
            return
        if self.on_answered is not None and self._saying_so:
            on_answered, self.on_answered = self.on_answered, None
            on_answered()
            self._known()
        try:
            self._take(_parse(data))
        except ClientError as error:
            self._wrong(error)
        except Exception as error:  # a fault of ours: `run` raises it
            self._read.set_exception(error)

    def _wrong(self, error: ClientError) -> None:
        try:
            self._forgive(error)
        except ClientError as fatal:
            self.refuse(fatal)
            self._read.set_result("refused")

    def _closed(self, code: int) -> None:
        if self._read.done() or self._close is not None:
            return  # when we close, the writer says how it ended
        if code in REFUSED:
            self.refuse(_refused(code))
            self._read.set_result("refused")
        else:
            # Who has yet to show that it knows of coming back may have given this wire up, to come back by the next.
            hung_up = code == CloseCode.DONE and self.on_answered is None
            self._read.set_result("stop" if hung_up else "lost")

    def _take(self, message: ClientMessage) -> None:
        """Deal with a message, and read no more for a while if that is too much too soon."""
        if isinstance(message, Stop):
            self._read.set_result("stop")
            return
        now_s = time.monotonic()
        if isinstance(message, Audio):  # nearly every one
            ahead_s = max(self._audio(message.pcm, now_s), self._message_pace.add(1, now_s))
        else:
            if isinstance(message, Start):
                raise ClientError("late_start", "start is not the first message", "open a new socket to start anew")
            self._bridge.take(message)
            ahead_s = self._message_pace.add(weight(message), now_s)
        if ahead_s > 0:
            self._wire.hold(ahead_s)

    def _audio(self, pcm: bytes, now_s: float) -> float:
        """Pass on what was said. Returns by how many seconds it is too soon."""
        self._bridge.audio(self._up.push(pcm) if self._up else pcm)
        return self._audio_pace.add(len(pcm) / 2 / self._start.rate_hz, now_s)

    # --- adapters.link.Link

    def play(self, turn: int, offset_ms: int, pcm: bytes, sentence_end: bool) -> None:
        if self._start.output != "pcm":
            if self._sentence and turn != self._sentence_at[0]:
                self._end_sentence()
            if not self._sentence:
                self._sentence_at = (turn, offset_ms)
            self._sentence += pcm
            if sentence_end:
                self._end_sentence()
            return
        length_ms = len(pcm) * 1000 // (2 * self._session_rate_hz)
        if self._down is not None:
            if turn != self._down_turn:
                self._down, self._down_turn = Resampler(self._session_rate_hz, self._start.rate_hz), turn
            pcm = self._down.push(pcm)
        if self._start.encoding == "base64":
            delta = base64.b64encode(pcm).decode()
            self._put(compose(self._seq, "audio", {"turn": turn, "offset_ms": offset_ms, "delta": delta}), audio=True)
            return
        if self._announced != (turn, offset_ms):
            self._put(compose(self._seq, "audio", {"turn": turn, "offset_ms": offset_ms}), audio=True)
        self._announced = (turn, offset_ms + length_ms)
        self._put(pcm, audio=True)

    def event(self, seq: int, name: str, data: dict[str, Any]) -> None:
        self._seq = seq
        if name == "response_done" and data.get("turn") == self._sentence_at[0]:
            self._end_sentence()
        self._put(compose(seq, name, data))

    def clear(self, turn: int) -> None:
        self._sentence.clear()
        self._queue = deque(item for item in self._queue if not item.audio)
        self._announced = None

    def pause(self, turn: int) -> bool:
        return True  # the client is told by the event

    def end(self, reason: str) -> None:
        self._put(compose(self._seq, "closing", {"reason": reason}))
        self.close(CloseCode.DONE)

    def replaced(self) -> None:
        self._replaced = True  # the client says by the other what it said by this, if it was not heard yet
        self.close(CloseCode.RESUMED_ELSEWHERE)

    # --- ours

    def close(self, code: CloseCode) -> None:
        """Close once what is queued was sent."""
        self._close = self._close or code
        self._wake.set()

    def refuse(self, error: ClientError, code: CloseCode | None = None) -> None:
        """Tell the client what it did wrong, and close."""
        self._put(compose_error(self._seq, error))
        self.close(code or CloseCode.BAD_INPUT)

    def _end_sentence(self) -> None:
        if self._sentence:
            self._put((*self._sentence_at, bytes(self._sentence)), audio=True)
            self._sentence.clear()

    def _put(self, payload: str | bytes | tuple[int, int, bytes], audio: bool = False) -> None:
        if not self._queueing and not isinstance(payload, tuple) and self._wire.write(payload):
            return
        self._queueing = True
        self._queue.append(_Outgoing(payload, audio))
        self._wake.set()

    # --- writing

    async def run(self, bridge: Bridge, first: ClientMessage | None) -> str:
        """Serve until it ends; says how: `stop` (the client hung up), `lost`, `refused` (it sent too much that was
        wrong), or `ended` (by us; one sent to another gateway is `lost`). What is left to tell the client is sent by a
        last `flush`."""
        self._bridge = bridge
        self._read: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        try:
            if first is not None:
                self._take(first)
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(self._write())
                self._wire.listen(self._taken, self._closed)
                await asyncio.wait((self._read, writer), return_when=asyncio.FIRST_COMPLETED)
                writer.cancel()
            return self._read.result() if self._read.done() else writer.result()
        finally:
            self._read.cancel()
            self._queueing = True

    async def _write(self) -> str:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not await self.flush():
                return "lost"
            if self._close is not None:
                return "lost" if self._close is CloseCode.RESTARTING else "ended"
            if self._saying_so and self._queueing:
                self._wire.ask(self._known)
            self._queueing = False

    def _known(self) -> None:
        """The client has our word that it came back."""
        if self._bridge.link is self:
            self._bridge.answered()

    async def flush(self) -> bool:
        """Send what is queued (and close, if that was asked for). False when the client is gone or does not read."""
        try:
            async with asyncio.timeout(STALL_S) as deadline:
                while self._queue:
                    if len(self._queue) > MAX_QUEUED:
                        log.info("a client does not read: %d messages behind", len(self._queue))
                        return False
                    self._saying_so = self.on_answered is not None
                    await self._send(self._queue.popleft().payload)
                    deadline.reschedule(asyncio.get_running_loop().time() + STALL_S)
                if self._close is not None and self._websocket.application_state is WebSocketState.CONNECTED:
                    await self._websocket.close(self._close)
        except (TimeoutError, WebSocketDisconnect, RuntimeError) as error:
            log.debug("link lost while sending: %r", error)
            return False
        return True

    async def _send(self, item: str | bytes | tuple[int, int, bytes]) -> None:
        if isinstance(item, str):
            await self._websocket.send_text(item)
        elif isinstance(item, bytes):
            await self._websocket.send_bytes(item)
        else:
            await self._send_file(*item)

    async def _send_file(self, turn: int, offset_ms: int, pcm: bytes) -> None:
        output = self._start.output
        data = await asyncio.to_thread(files.encode, pcm, self._session_rate_hz, output)
        about: dict[str, Any] = {"turn": turn, "offset_ms": offset_ms, "format": output}
        if self._start.encoding == "base64":
            about["delta"] = base64.b64encode(data).decode()
            await self._websocket.send_text(compose(self._seq, "audio", about))
        else:
            await self._websocket.send_text(compose(self._seq, "audio", about))
            await self._websocket.send_bytes(data)


def _parse(data: str | bytes) -> ClientMessage:
    return parse_text(data) if isinstance(data, str) else parse_binary(data)


def _refused(code: int) -> ClientError:
    return ClientError("refused", f"closed with {code}", "see the close code", fatal=True)
