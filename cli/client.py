"""A caller of `/ws` (docs/websocket.md) who speaks, listens and comes back: for `trunkline call`, tests and benchmarks.

    async with Caller("ws://127.0.0.1:8080/ws", tenant="demo") as caller:
        await caller.say(pcm)
        await caller.answered()
        print(caller.transcripts, caller.speaker.gaps())

The microphone never stops (silence when nothing is said) and the loudspeaker is simulated: it plays in real time, and
what it reports as `played` was heard. All times `*_s` are seconds since the call began.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from cli.account import FINAL, LOST, Answer, CallError, End, Event, Reconnect
from cli.downlink import Downlink, Output
from cli.sent_audio import SentAudio
from cli.speaker import AUDIBLE_PEAK, Gap
from cli.wire import checked_address, refusal
from trunkline.audio.frame import FRAME_MS, RATES_HZ, bytes_in, check_rate, check_whole, duration_ms, peak

RETRY_S = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""And every 2 s from there."""
GIVE_UP_S = 30.0
ATTEMPT_S = 4.0
"""From a socket's start to `session_ready`."""
PING_S = 1.0
PONG_S = 2.0
CLOSE_S = 0.5
GOODBYE_S = 1.0
MOST_CONTROLS = 100
LARGEST_MESSAGE = 16 * 1024 * 1024

TOKEN_REJECTED = 4401
DRAINING = 503

Encoding = Literal["binary", "base64"]


class Caller:
    """One call. `watch` is told every event as it comes; `keep_audio=False` keeps account of the audio, not the sound.

    Raises CallError for an address, and AudioError for a rate, that cannot be.
    """

    def __init__(
        self,
        url: str,
        *,
        tenant: str | None = None,
        conversation_id: str | None = None,
        rate_hz: int = 16_000,
        encoding: Encoding = "binary",
        output: Output = "pcm",
        keep_audio: bool = True,
        watch: Callable[[Event], None] | None = None,
    ) -> None:
        self.url = checked_address(url)
        self.rate_hz = check_rate(rate_hz, RATES_HZ)
        self.events: list[Event] = []
        self._downlink = Downlink(rate_hz, keep_audio=keep_audio)
        self.speaker = self._downlink.speaker
        self.transcripts = self._downlink.transcripts
        self.arrivals = self._downlink.arrivals
        self.answers = self._downlink.answers
        self.reconnects: list[Reconnect] = []
        self.ended: End | None = None
        self.session_id = ""
        self.sent = SentAudio(rate_hz)
        self.last_input_s: float | None = None
        """When the caller last spoke or typed."""
        self._start: dict[str, Any] = {
            **({"tenant": tenant} if tenant else {}),
            **({"conversation_id": conversation_id} if conversation_id else {}),
            "audio": {"rate_hz": rate_hz, "encoding": encoding},
            "output": output,
        }
        self._watch = watch
        self._token: str | None = None
        self._socket: ClientConnection | None = None  # only while a session is ready on it
        self._deadline: asyncio.Timeout | None = None
        self._lost: tuple[float, int] | None = None
        self._attempts = 0
        self._speech = b""
        self._spoken = 0
        self._controls: deque[str] = deque()
        self._played: dict[int, int] = {}
        self._work = asyncio.Event()
        self._news = asyncio.Event()
        self._group = asyncio.TaskGroup()
        self._tasks: list[asyncio.Task[None]] = []
        self._began_s = 0.0
        self._microphone_s: float | None = None

    # --- the call itself

    async def __aenter__(self) -> Self:
        """Call. Raises CallError when nobody takes the call."""
        await self._group.__aenter__()
        self._began_s = asyncio.get_running_loop().time()
        try:
            self._tasks += [self._group.create_task(work()) for work in (self._link, self._clock, self._send)]
            await self.until(lambda: self.session_id, GIVE_UP_S + ATTEMPT_S)
        except BaseException:
            await self.__aexit__(*sys.exc_info())
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.hang_up()
        for task in self._tasks:
            task.cancel()
        if kind is asyncio.CancelledError:
            await self._group.__aexit__(kind, error, trace)
        else:  # an error of the body's is its own, not one of the group's
            await self._group.__aexit__(None, None, None)

    async def hang_up(self) -> None:
        """Say goodbye, and wait a moment for the server to close. The second time nothing happens."""
        if self.ended is not None:
            return
        self._end(1000, "hung up")
        if self._socket is not None:
            with contextlib.suppress(TimeoutError, ConnectionClosed):
                async with asyncio.timeout(GOODBYE_S):
                    self._control(type="stop")
                    await self._socket.wait_closed()

    def _end(self, code: int, reason: str) -> None:
        self.ended = self.ended or End(code, reason)
        self._tell()

    @property
    def now_s(self) -> float:
        """Seconds since the call began."""
        return asyncio.get_running_loop().time() - self._began_s

    @property
    def state(self) -> str:
        """What the server says it does: `listening`, `thinking`, `speaking`."""
        return self._downlink.state

    # --- what a caller does

    async def say(self, pcm: bytes) -> None:
        """Speak: s16le mono at the call's rate, in real time. Back when it is spoken. Raises AudioError, CallError."""
        check_whole(pcm)
        self._speech = self._speech[self._spoken :] + pcm
        self._spoken = 0
        await self.until(lambda: not self._speech, duration_ms(len(self._speech), self.rate_hz) / 1000 + GIVE_UP_S)

    def type_text(self, text: str) -> None:
        """Type instead of speaking."""
        self.last_input_s = self.now_s
        self._control(type="text", text=text)

    def commit(self) -> None:
        """The utterance is over: answer now."""
        self._control(type="input_audio_buffer.commit")

    def cancel(self) -> None:
        """Stop the answer."""
        self._control(type="response.cancel")

    def _control(self, **message: Any) -> None:
        if len(self._controls) >= MOST_CONTROLS:
            raise CallError(f"{MOST_CONTROLS} messages wait for a link")
        self._controls.append(json.dumps(message))
        self._work.set()

    async def until(self, condition: Callable[[], object], timeout_s: float = 10.0) -> None:
        """Wait until `condition` holds; it is looked at whenever something happens. Raises TimeoutError, or CallError
        when the call ends first."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                if self.ended is not None and not self.speaker.queued_ms:
                    raise CallError(self.ended.reason, self.ended.code)
                await self._news.wait()

    async def event(self, kind: str, timeout_s: float = 10.0, *, after_s: float = -1.0, **fields: Any) -> Event:
        """The first event of this kind after `after_s` whose data have these fields. Waits, and raises, as `until`."""

        def found() -> Event | None:
            wanted = fields.items()
            matching = (event for event in self.events if event.type == kind and event.at_s > after_s)
            return next((event for event in matching if wanted <= event.data.items()), None)

        await self.until(found, timeout_s)
        event = found()
        assert event is not None
        return event

    async def answered(self, timeout_s: float = 20.0) -> Answer:
        """The answer to what was said or typed last, once it is heard to its end. Raises as `until`."""
        await self.until(lambda: self.is_answered, timeout_s)
        return self.answers[max(self.answers)]

    @property
    def is_answered(self) -> bool:
        """Whether an answer that came after all that was said or typed is heard to its end."""
        if not self.answers or self.speaker.queued_ms:
            return False
        answer = self.answers[max(self.answers)]
        return (answer.done_s is not None or answer.interrupted) and answer.arrived_s > (self.last_input_s or -1.0)

    @property
    def last_sign_s(self) -> float:
        """When the caller was last active, or the server last heard of, or something audible last heard."""
        last_event_s = self.events[-1].at_s if self.events else 0.0
        return max(self.last_input_s or 0.0, last_event_s, self.speaker.last_sound_s)

    # --- what was measured

    @property
    def heard(self) -> bytes:
        """All that was heard since the call began, as s16le at the call's rate; silence where nothing was."""
        return self.speaker.track()

    def largest_silence_within(self, turn: int) -> float:
        """The longest silence inside an answer, in ms, that what was queued at the edge could not bridge."""
        return max((gap.ms for gap in self.speaker.gaps(turn)), default=0.0)

    @property
    def gaps(self) -> list[Gap]:
        """Every silence inside an answer."""
        return self.speaker.gaps()

    # --- microphone and loudspeaker: one clock, never drifting

    async def _clock(self) -> None:
        start_s, ticks = self.now_s, 0
        while True:
            ticks += 1
            await asyncio.sleep(start_s + ticks * FRAME_MS / 1000 - self.now_s)
            if self._microphone_s is not None and self._microphone_s <= start_s + (ticks - 1) * FRAME_MS / 1000:
                self._capture()
            self._listen()

    def _capture(self) -> None:
        size = bytes_in(FRAME_MS, self.rate_hz)
        frame = self._speech[self._spoken : self._spoken + size]
        if frame:
            self._spoken += size
            if peak(frame) >= AUDIBLE_PEAK:
                self.last_input_s = self.now_s
            if self._spoken >= len(self._speech):
                self._speech, self._spoken = b"", 0
                self._tell()
        self.sent.push(frame.ljust(size, b"\0"))
        self._work.set()

    def _listen(self) -> None:
        speaker = self.speaker
        busy = speaker.queued_ms > 0
        speaker.advance(self.now_s)
        for turn in speaker.first_heard_s.keys() & {t for t, answer in self.answers.items() if answer.heard_s is None}:
            self._downlink.heard(turn, speaker.first_heard_s[turn], self.last_input_s)
        if reports := speaker.take_reports():
            self._played.update(reports)
            self._work.set()
        if busy and not speaker.queued_ms:
            self._tell()

    # --- the uplink

    async def _send(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            if self._socket is not None:
                with contextlib.suppress(ConnectionClosed):  # the link's task sees it too
                    await self._flush(self._socket)

    async def _flush(self, socket: ClientConnection) -> None:
        while self._socket is socket and (piece := self.sent.take()):
            await socket.send(piece)
        while self._socket is socket and self._controls:
            await socket.send(self._controls[0])
            self._controls.popleft()
        while self._socket is socket and self._played:
            turn = min(self._played)
            await socket.send(json.dumps({"type": "played", "turn": turn, "ms": self._played.pop(turn)}))

    # --- the link

    async def _link(self) -> None:
        while self.ended is None:
            code, reason = await self._one_link()
            self._socket = None
            if code in FINAL or (not self.session_id and code != DRAINING):
                self._end(code, self._downlink.last_error or FINAL.get(code) or reason)
            elif not self._lost:
                self._lost, self._attempts = (self.now_s, code), 0
                self._note("link_lost", {"code": code})
            if code == TOKEN_REJECTED:
                self._token = None
            await self._wait_to_retry(reason)

    async def _wait_to_retry(self, reason: str) -> None:
        wait_s = RETRY_S[min(self._attempts, len(RETRY_S) - 1)]
        self._attempts += 1
        if self._lost and self.now_s + wait_s - self._lost[0] > GIVE_UP_S:
            self._end(self._lost[1], f"lost, and not back within {GIVE_UP_S:g} s: {reason}")
        if self.ended is None:
            await asyncio.sleep(wait_s)

    async def _one_link(self) -> tuple[int, str]:
        """Connect, start and listen until the socket ends; gives the close code (or HTTP status) and why in words."""
        try:
            async with asyncio.timeout(ATTEMPT_S) as self._deadline:
                async with connect(
                    self.url,
                    compression=None,
                    proxy=None,
                    max_size=LARGEST_MESSAGE,
                    ping_interval=PING_S,
                    ping_timeout=PONG_S,
                    close_timeout=CLOSE_S,
                    open_timeout=None,
                ) as socket:
                    await socket.send(json.dumps({"type": "start", **self._start, **self._resume()}))
                    while True:
                        self._take(socket, await socket.recv())
        except ConnectionClosed as error:
            code = error.rcvd.code if error.rcvd else LOST
            return code, f"closed with {code}" + (f" ({error.rcvd.reason})" if error.rcvd and error.rcvd.reason else "")
        except CallError as error:
            self._end(error.close_code, f"{self.url} is no Trunkline: {error}")
            return LOST, str(error)
        except InvalidStatus as error:
            status = error.response.status_code
            return status, refusal(self.url, status, error.response.body)
        except TimeoutError:
            return LOST, f"{self.url} did not answer within {ATTEMPT_S:g} s"
        except InvalidHandshake as error:
            return LOST, f"{self.url} is no WebSocket server: {error}"
        except OSError as error:
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
            return LOST, f"nobody answers at {self.url}: {why}; is `trunkline up` running?"

    def _resume(self) -> dict[str, Any]:
        return {"resume": self._token, "received": self._downlink.received} if self._token else {}

    def _take(self, socket: ClientConnection, message: str | bytes) -> None:
        told = self._downlink.take(message, self.now_s)
        if told is None:
            return
        kind, data = told
        if kind == "session_ready":
            self._ready(socket, data)
        self._note(kind, data)

    def _ready(self, socket: ClientConnection, ready: dict[str, Any]) -> None:
        if self._deadline is not None:
            self._deadline.reschedule(None)
        self._token = ready["resume"]
        if self._socket is socket:  # said twice: once more after a start that came late
            return
        if not ready["resumed"]:
            self.sent.restart()
            self._downlink.restart(self.now_s)
        came_back = self._lost if self.session_id else None
        self.session_id = ready["session_id"]
        self.sent.seek(ready["uplink_ms"])
        self._microphone_s = self._microphone_s if self._microphone_s is not None else self.now_s
        self._socket = socket
        if came_back:
            lost_s, code = came_back
            back = Reconnect(lost_s, self.now_s, self._attempts, code, ready["resumed"])
            self.reconnects.append(back)
            self._note("link_back", {"resumed": back.resumed, "ms": back.ms, "attempts": back.attempts})
        self._lost = None
        self._work.set()

    def _note(self, kind: str, data: dict[str, Any]) -> None:
        event = Event(self.now_s, kind, data)
        self.events.append(event)
        if self._watch:
            self._watch(event)
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
