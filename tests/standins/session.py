"""A session without a bus: an edge with a scripted caller, and what a backend is given of it.

The edge outlives sessions, as the real one does: kill a session's backend, make another `StandInSession` from what was
committed, and the caller should notice nothing. Times are those of the running loop, meant to be virtual.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.standins.voices import RATE_HZ, speech, words
from trunkline.bus.messages import ClientEvent, Dtmf, Hangup, Played, Text, UplinkAudio
from trunkline.errors import SessionLost
from trunkline.tenants import Tenant
from workers.backend import Inbound, Playhead, Snapshot
from workers.latency import Wait

A = TypeVar("A")

FRAME_MS = 20
FRAME_BYTES = RATE_HZ * FRAME_MS // 1000 * 2
MS_BYTES = RATE_HZ // 1000 * 2
CREDIT_MS = 2000
REPLAY_STEP_S = 0.001
"""Replayed uplink comes this far apart, 20 times faster than real time."""
BUS_S = 0.001


@dataclass(frozen=True)
class Say:
    at_ms: int
    text: str
    word_ms: int = 200

    @property
    def end_ms(self) -> int:
        return self.at_ms + self.word_ms * len(self.text.split())


@dataclass(frozen=True)
class Type:
    at_ms: int
    text: str


@dataclass(frozen=True)
class Ask:
    """A client event: `commit`, `cancel`, `session_update`, `tool_output`."""

    at_ms: int
    name: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Dial:
    """A telephone key."""

    at_ms: int
    digit: str


Action = Say | Type | Ask | Dial


@dataclass(frozen=True)
class Voice:
    """How the caller speaks, and how an ear tells words apart while they are played (none: it does not)."""

    speech: Callable[[str, int], bytes] = speech
    """Text and ms a word, to s16le at RATE_HZ."""
    words: Callable[[bytes], list[str]] | None = words


@dataclass
class TurnAudio:
    """What the edge has of one turn."""

    audio: bytearray = field(default_factory=bytearray)
    played_ms: int = 0
    ended: bool = False
    cleared: bool = False
    done: bool = False
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when some of it was played, or cleared."""

    @property
    def received_ms(self) -> int:
        return len(self.audio) // MS_BYTES

    @property
    def text(self) -> list[str]:
        """The words that were heard, begun ones included."""
        return words(bytes(self.audio[: self.played_ms * MS_BYTES]))


class Edge:
    """The caller's side: speaks the script, plays what comes, reports what was heard."""

    def __init__(self, script: Sequence[Action], end_ms: int, voice: Voice | None = None) -> None:
        self._voice = voice or Voice()
        self.uplink = list(_uplink(script, end_ms, self._voice))
        self.turns: dict[int, TurnAudio] = {}
        self.session: StandInSession | None = None
        self.heard_at: list[tuple[int, int, str]] = []
        """(ms, turn, word) as words began to be heard, if the voice's words can be told apart while they are played."""
        self.paused = False
        self.line = bytearray()
        """All that came out of the caller's ear piece, silence included, from 0 ms on."""
        self.closing: str | None = None
        """Why the session is to end once all is played."""
        self.hung_up = asyncio.Event()
        """Set when it ended so."""

    @property
    def playhead(self) -> Playhead:
        if not self.turns:
            return Playhead()
        number = max(self.turns)
        turn = self.turns[number]
        return Playhead(number, turn.received_ms, turn.played_ms, turn.done)

    @property
    def heard(self) -> str:
        """Every word that the caller heard, in order."""
        return " ".join(word for number in sorted(self.turns) for word in self.turns[number].text)

    async def play(self) -> None:
        """Play until cancelled, FRAME_MS at a time."""
        tick = 0
        while True:
            await asyncio.sleep(FRAME_MS / 1000)
            tick += 1
            frame = b""
            for number in sorted(self.turns):
                turn = self.turns[number]
                if turn.done:
                    continue
                frame = self._play_frame(number, turn, report=tick % 5 == 0)
                break
            else:
                self._close()
            self.line += frame.ljust(FRAME_BYTES, b"\0")

    def _close(self) -> None:
        if self.closing is not None and self.session is not None and not self.hung_up.is_set():
            self.hung_up.set()
            self.session.deliver(Hangup("s", len(self.uplink), self.closing))

    def _play_frame(self, number: int, turn: TurnAudio, *, report: bool) -> bytes:
        frame = b""
        if not self.paused and turn.played_ms < turn.received_ms:
            before_ms, turn.played_ms = turn.played_ms, min(turn.played_ms + FRAME_MS, turn.received_ms)
            frame = bytes(turn.audio[before_ms * MS_BYTES : turn.played_ms * MS_BYTES])
            turn.moved.set()
            self._note(number, turn, before_ms)
        turn.done = turn.ended and turn.played_ms >= turn.received_ms
        if turn.done or report:
            self.report(number)
        return frame

    def _note(self, number: int, turn: TurnAudio, before_ms: int) -> None:
        """Which words began to be heard since `before_ms`."""
        if (words := self._voice.words) is None:
            return
        # The last ms before this frame tells whether a word goes on or begins.
        known_at = max(0, before_ms - 1) * MS_BYTES
        known = words(bytes(turn.audio[known_at : before_ms * MS_BYTES]))
        heard = words(bytes(turn.audio[known_at : turn.played_ms * MS_BYTES]))
        now_ms = round(asyncio.get_running_loop().time() * 1000)
        self.heard_at += [(now_ms, number, word) for word in heard[len(known) :]]

    def report(self, number: int) -> None:
        turn = self.turns[number]
        if self.session is not None:
            self.session.deliver(Played(session="s", epoch=1, turn=number, ms=turn.played_ms, done=turn.done))

    def end_before(self, number: int) -> None:
        """Nothing more comes of earlier turns, whether their worker lived to say so or not. As `Playout` has it."""
        for earlier in self.turns:
            if earlier < number:
                self.turns[earlier].ended = True

    def clear(self, number: int) -> None:
        """Throw away a turn and all before it; only what was heard of `number` is told."""
        self.paused = False
        self.turns.setdefault(number, TurnAudio())
        for cleared in [each for each in self.turns if each <= number]:
            turn = self.turns[cleared]
            turn.cleared = turn.done = True
            turn.moved.set()
        self.report(number)


def _uplink(script: Sequence[Action], end_ms: int, voice: Voice) -> list[tuple[int, Inbound]]:
    """The caller's messages with the time at which each leaves, in ms. One seq a message."""
    audio = bytearray(end_ms * MS_BYTES)
    for action in script:
        if isinstance(action, Say):
            pcm = voice.speech(action.text, action.word_ms)
            audio[action.at_ms * MS_BYTES : action.at_ms * MS_BYTES + len(pcm)] = pcm
    others = sorted((action for action in script if not isinstance(action, Say)), key=lambda action: action.at_ms)
    result: list[tuple[int, Inbound]] = []
    for media_ms in range(0, end_ms, FRAME_MS):
        while others and others[0].at_ms <= media_ms:
            result.append((media_ms, _message(others.pop(0), len(result))))
        pcm = bytes(audio[media_ms * MS_BYTES : (media_ms + FRAME_MS) * MS_BYTES])
        result.append((media_ms + FRAME_MS, UplinkAudio("s", len(result), media_ms, pcm)))
    result.append((end_ms, Hangup("s", len(result), "hung up")))
    return result


def _message(action: Type | Ask | Dial, seq: int) -> Inbound:
    match action:
        case Type():
            return Text("s", seq, action.text)
        case Dial():
            return Dtmf("s", seq, action.digit)
        case Ask():
            return ClientEvent("s", seq, action.name, copy.deepcopy(action.data))


@dataclass(frozen=True)
class Told:
    """An event, when it was sent (ms)."""

    at_ms: int
    name: str
    data: dict[str, Any]


class StandInSession:
    """Implements `workers.backend.Session` for one worker's time with the conversation."""

    def __init__(self, edge: Edge, tenant: Tenant, snapshot: Snapshot | None = None) -> None:
        self.id = "s"
        self.tenant = tenant
        self.rate_hz = RATE_HZ
        self.snapshot = copy.deepcopy(snapshot) if snapshot is not None else Snapshot()
        self.committed = copy.deepcopy(self.snapshot)
        self.playhead = edge.playhead
        self.events: list[Told] = []
        self.rests: list[bool] = []
        self.commits = 0
        self.waits: list[Wait] = []
        """For each `timed` audio, the wait that it ended."""
        self.spoken_over_ms: list[int | None] = []
        """For each `clear`, since when the user spoke over it."""
        self.eased: list[tuple[int, int, int]] = []
        self.alive = True
        self.lost = False
        self.closed: tuple[str, str] | None = None
        """Why it was closed, and whom the caller is put through to."""
        self.on_failed: Callable[[], Awaitable[None]] = _nobody
        self.gave_up: str | None = None
        """Why it was given up."""
        self._edge = edge
        self._inbox: asyncio.Queue[Inbound] = asyncio.Queue()
        self._hear: Callable[[UplinkAudio], None] | None = None
        self._in_turn = self._busy = False
        edge.session = self

    def deliver(self, message: Inbound) -> None:
        if isinstance(message, Played):
            turn = self._edge.turns[message.turn]
            self.playhead = Playhead(message.turn, turn.received_ms, message.ms, message.done)
        waits = self._in_turn and (self._busy or not self._inbox.empty())
        if self._hear is not None and isinstance(message, UplinkAudio) and not waits:
            self._hear(message)
        else:
            self._inbox.put_nowait(message)

    def listen(self, hear: Callable[[UplinkAudio], None], *, in_turn: bool) -> None:
        self._hear, self._in_turn = hear, in_turn

    def on_behalf(self, call: Callable[[A], None]) -> Callable[[A], None]:
        return call

    def ease(self, audio_ms: int, least_rms: int, most_rms: int) -> None:
        self.eased.append((audio_ms, least_rms, most_rms))

    async def pump(self) -> None:
        """Bring the caller's messages, from the snapshot's position on: past ones quickly, others when they are due."""
        loop = asyncio.get_running_loop()
        if self.playhead.done and self.playhead.turn:
            self._edge.report(self.playhead.turn)  # as the bridge does: the last worker may not have lived to hear it
        for at_ms, message in self._edge.uplink[self.snapshot.uplink_seq :]:
            await asyncio.sleep(max(REPLAY_STEP_S, at_ms / 1000 - loop.time()))
            self.deliver(message)

    async def inbox(self) -> AsyncIterator[Inbound]:
        while True:
            message = await self._inbox.get()
            if self._hear is not None and isinstance(message, UplinkAudio):
                self._hear(message)
                continue
            self._busy = True
            yield message
            if isinstance(message, Hangup):
                return
            self._busy = False

    async def speak(self, turn: int, pcm: bytes, *, sentence_end: bool = False) -> None:
        assert len(pcm) % 2 == 0
        audio = self._edge.turns.setdefault(turn, TurnAudio())
        while self.alive and not audio.cleared and audio.received_ms - audio.played_ms >= CREDIT_MS:
            audio.moved.clear()
            await audio.moved.wait()
        if self.alive and not audio.cleared and pcm:
            assert not audio.ended, "audio after the turn's end"
            assert turn == max(self._edge.turns), "audio of an old turn"
            self._edge.end_before(turn)
            audio.audio += pcm

    def end_turn(self, turn: int) -> None:
        if self.alive:
            self._edge.turns[turn].ended = True

    def pause(self, turn: int) -> None:
        if self.alive:
            self._edge.paused = True

    def resume(self, turn: int) -> None:
        if self.alive:
            self._edge.paused = False

    def clear(self, turn: int, *, spoken_over_ms: int | None = None) -> None:
        self.spoken_over_ms.append(spoken_over_ms)
        if self.alive:
            self._edge.clear(turn)

    def timed(self, turn: int, wait: Wait) -> None:
        """There is no wire here: what the worker knows is all that is told."""
        self.waits.append(wait)
        self.event("latency", turn=turn, **wait.told(None))

    def event(self, name: str, **data: Any) -> None:
        self.events.append(Told(round(asyncio.get_running_loop().time() * 1000), name, data))

    async def commit(self) -> None:
        state = copy.deepcopy(self.snapshot)
        if self.lost:
            raise SessionLost("fenced")
        assert state.uplink_seq >= self.committed.uplink_seq, "uplink_seq went back"
        await asyncio.sleep(BUS_S)
        if self.alive:
            self.committed = state
            self.commits += 1

    def rest(self, at_rest: bool) -> None:
        self.rests.append(at_rest)

    async def fall_back(self) -> None:
        """`on_failed` says what comes of it: nobody goes on, unless a test sets it."""
        await self.on_failed()

    def close(self, reason: str, *, transfer_to: str = "") -> None:
        """The edge hangs up when all is played."""
        if self.alive:
            self.closed = reason, transfer_to
            self._edge.closing = reason

    def give_up(self, reason: str) -> None:
        """The edge hangs up at once; its apology is not part of this."""
        if self.alive and self.gave_up is None:
            self.gave_up = reason
            self._edge.hung_up.set()
            self.deliver(Hangup("s", len(self._edge.uplink), reason))


async def _nobody() -> None:
    """There is no other backend."""
