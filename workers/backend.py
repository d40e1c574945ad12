"""What answers a session (a Backend), and what a session offers it.

A backend is a package `workers/<name>/` whose `runner` module has `backend(tenant, providers) -> Backend`; a tenant
names it. It knows nothing of transports, Redis or epochs: it reads what the caller does, and speaks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from trunkline.bus.messages import ClientEvent, Dtmf, Hangup, Played, Text, UplinkAudio
from workers.latency import Wait

if TYPE_CHECKING:  # it knows Redis; here it is only a shape
    from trunkline.tenants import Tenant

A = TypeVar("A")
Inbound = UplinkAudio | Text | Dtmf | ClientEvent | Played | Hangup


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What a model asked of a tool. `arguments` is JSON, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Item:
    """One finished contribution to the conversation. For the assistant: what was heard of it. For a tool: what it
    answered, as JSON, to the call in `tool`."""

    role: Literal["user", "assistant", "tool"]
    text: str
    turn: int
    tool: ToolCall | None = None


@dataclass(frozen=True, slots=True)
class Spoken:
    """A sentence whose audio went out, and where in its turn, in ms from the turn's start."""

    text: str
    start_ms: int
    end_ms: int
    words: tuple[tuple[int, int], ...] = ()
    """Where words end, if the voice says so: characters of `text`, and ms from `start_ms`; both grow."""


@dataclass(slots=True)
class Called:
    """A call of a tool that an answer in progress made."""

    call: ToolCall
    at: int
    """How many characters of the answer's text come before it."""
    round: int = 0
    """Calls that the model made at once have the same."""
    output: str | None = None
    """What the model is told, as JSON; None while the tool runs."""


@dataclass(slots=True)
class Answer:
    """An answer in progress: enough of it to be carried on by another worker."""

    turn: int
    text: str = ""
    """All that the assistant says in it, so far."""
    complete: bool = False
    """Whether the language model was done."""
    spoken: list[Spoken] = field(default_factory=list)
    called: list[Called] = field(default_factory=list)
    """The tools it used, in order. They become items with it."""
    fillers: list[tuple[int, int]] = field(default_factory=list)
    """Where in `text` (from, to) there are words that the model did not say, and is not shown while it answers."""


@dataclass(slots=True)
class Snapshot:
    """All that a session's next worker must know. Committed to Redis by `Session.commit`."""

    items: list[Item] = field(default_factory=list)
    answer: Answer | None = None
    next_turn: int = 1
    flow: dict[str, Any] = field(default_factory=dict)
    """The backend's own state, of plain values."""
    uplink_seq: int = 0
    """Uplink before this is dealt with: a next worker is sent everything from here on again."""
    backend: str = ""
    """Who left it so; `seam.adapt` makes it fit for another."""


@dataclass(frozen=True, slots=True)
class Playhead:
    """How far the edge is: it has `received_ms` of `turn`, and the caller has heard `played_ms` of that."""

    turn: int = 0
    received_ms: int = 0
    played_ms: int = 0
    done: bool = True


class Session(Protocol):
    """One conversation, as its backend sees it. A backend owns it from `run` being called to its return."""

    id: str
    tenant: Tenant
    rate_hz: int
    """Rate of the audio both ways: s16le mono."""
    snapshot: Snapshot
    """Changed in place, then `commit`ted. At `run` it holds what an earlier worker left."""

    @property
    def playhead(self) -> Playhead:
        """How far the caller is; at `run`, how far they were when this worker came."""

    def inbox(self) -> AsyncIterator[Inbound]:
        """What the caller does, in order, without gaps or duplicates: lost audio arrives as silence.

        After a takeover it begins at the snapshot's `uplink_seq`, faster than real time. Ends after `Hangup`. To be
        iterated once.
        """

    def listen(self, hear: Callable[[UplinkAudio], None], *, in_turn: bool) -> None:
        """Have audio brought by a call from now on, and not by `inbox`: for a backend that only passes each frame on, a
        task that wakes for it costs more than all the rest. `hear` must not take long; what it raises is raised by the
        inbox. `in_turn`: it is not called before the backend is done with what the inbox had earlier, which asks for
        the next then. If not, audio is brought as soon as it is here, and may be ahead of the inbox."""

    def on_behalf(self, call: Callable[[A], None]) -> Callable[[A], None]:
        """The same call, for somebody to make who is no task of this session's: it runs as this session's code does,
        and what it raises is raised by the inbox."""
        ...

    def ease(self, audio_ms: int, least_rms: int, most_rms: int) -> None:
        """From now on, audio may wait for what comes after it, until there are `audio_ms` of it, and come as one
        message, where it is no softer than `least_rms` and no louder than `most_rms` (of 32768). 0 ms: each frame as it
        comes, as it is at first."""

    async def speak(self, turn: int, pcm: bytes, *, sentence_end: bool = False) -> None:
        """Send the next audio of `turn` (any even number of bytes). Waits while the edge has 2 s of it unheard. In a
        turn that a takeover goes on with, the first audio belongs at `playhead.received_ms`."""

    def end_turn(self, turn: int) -> None:
        """Nothing more comes in `turn`. Its last `Played` (with `done`) says it was all heard."""

    def pause(self, turn: int) -> None: ...

    def resume(self, turn: int) -> None: ...

    def clear(self, turn: int, *, spoken_over_ms: int | None = None) -> None:
        """Silence `turn` now. The `Played` that answers has `done` and says how much was heard. Waiting `speak`s of
        that turn return at once, and later ones do nothing. `spoken_over_ms`: the media time at which the user began to
        speak over it, if that is why; event `barge_in` says how long it was heard on."""

    def timed(self, turn: int, wait: Wait) -> None:
        """The next audio of `turn` ends this wait. Once that is on the wire, event `latency` says how long it was."""

    def event(self, name: str, **data: Any) -> None:
        """Tell the client; names and fields as in docs/websocket.md."""

    async def commit(self) -> None:
        """Make `snapshot` what the next worker begins with. Raises SessionLost when another worker owns the session."""

    def rest(self, at_rest: bool) -> None:
        """Say whether this is a moment when another worker may take over unnoticed: nobody speaks, nothing is
        pending, and all is committed."""

    def close(self, reason: str, *, transfer_to: str = "") -> None:
        """End the session once what was said has been played. A telephone call is put through to `transfer_to` then."""

    async def fall_back(self) -> None:
        """This backend has failed: have the tenant's other one go on from what was committed. Returns when there is
        none that could; otherwise never, for `run` is cancelled."""

    def give_up(self, reason: str) -> None:
        """Nobody can answer: the gateway apologises to the caller, and ends the session."""


class Backend(Protocol):
    @property
    def providers(self) -> dict[str, str]:
        """Who answers, stage by stage, in words for people."""

    async def run(self, session: Session) -> None:
        """Serve the session until its inbox ends. Whatever this starts must be gone when it returns."""

    async def close(self) -> None: ...
