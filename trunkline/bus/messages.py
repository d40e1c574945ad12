"""Every message that crosses the bus.

A message is frozen and positional on the wire: its kind's number, then its fields in the order written here. Fields are
only ever appended, each with a default, so an older reader ignores what it does not know and a newer reader fills in
what it was not sent. A kind's number is never reused.

Uplink messages that carry something the caller did have a `seq` of their session, so that a new worker can be sent
them again and drop what it had. Downlink messages have a `seq` of their (session, epoch) for the same reason.
`pcm` is s16le mono at the session's rate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar, dataclass_transform

VERSION = 1

UNKNOWN_MS = -1
"""A media time that a gateway cannot tell: no audio of the caller's has come to it."""

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def _message(kind: type[T]) -> type[T]:
    """Frozen for the type checker only: at run time it would triple the cost of making a message."""
    return dataclass(slots=True)(kind)


# --- to a worker ------------------------------------------------------------------------------------------------------


@_message
class UplinkAudio:
    """What the caller spoke: a frame of 20 ms, or several as one, where `Ease` allows it. `media_ms` is its first
    sample's place on the session's media clock."""

    KIND: ClassVar[int] = 1
    session: str
    seq: int
    media_ms: int
    pcm: bytes


@_message
class Text:
    """What the caller typed instead of speaking."""

    KIND: ClassVar[int] = 2
    session: str
    seq: int
    text: str


@_message
class Dtmf:
    """A telephone key: one of `0-9`, `*`, `#`, `A-D`."""

    KIND: ClassVar[int] = 3
    session: str
    seq: int
    digit: str


@_message
class ClientEvent:
    """Something else a client asked for, e.g. `commit` (the utterance is over) or `cancel` (stop answering)."""

    KIND: ClassVar[int] = 4
    session: str
    seq: int
    name: str
    data: dict[str, Any] = field(default_factory=dict)


@_message
class Played:
    """What the caller has heard: `ms` of `turn`; `done` once nothing of that turn is left to play."""

    KIND: ClassVar[int] = 5
    session: str
    epoch: int
    turn: int
    ms: int
    done: bool = False


@_message
class LinkLost:
    """The caller's wire broke. The session waits for it to come back."""

    KIND: ClassVar[int] = 6
    session: str


@_message
class LinkResumed:
    """The caller is back, on the gateway that reads `lane`. `turn` and `received_ms` say where its audio ends; a `turn`
    of -1, that nobody there knows (a telephone): it ends where the worker knows it to be heard. The last message it saw
    was `client_seq` (epoch << 32 | seq)."""

    KIND: ClassVar[int] = 7
    session: str
    lane: str
    link: int
    turn: int
    received_ms: int
    client_seq: int = 0


@_message
class Hangup:
    """The caller is gone for good."""

    KIND: ClassVar[int] = 8
    session: str
    seq: int
    reason: str


@_message
class Joined:
    """A gateway's answer to `Attached`, or its wish to be sent again what it misses.

    It says what it has of this epoch, the first uplink it can still send, where its playout stands, and up to which
    media time the caller had spoken by then.
    """

    KIND: ClassVar[int] = 9
    session: str
    epoch: int
    received_seq: int
    turn: int
    received_ms: int
    played_ms: int
    uplink_from_seq: int = 0
    media_ms: int = 0


@_message
class Superseded:
    """A worker with a newer epoch serves this session, or one with the same that came first: let go at once. `lane` is
    that worker's; none: the gateway ends the session itself."""

    KIND: ClassVar[int] = 10
    session: str
    epoch: int
    lane: str = ""


@_message
class Left:
    """Audio that was to be `timed` went out on the wire, `waited_ms` after it came to the gateway, when the caller's
    own audio had come to `media_ms`. With audio before it that was still to be heard, that much later."""

    KIND: ClassVar[int] = 11
    session: str
    epoch: int
    turn: int
    offset_ms: int
    media_ms: int
    waited_ms: int


@_message
class Silenced:
    """`turn` was cleared while it was heard, when the caller's own audio had come to `cleared_ms`; nothing of it was
    heard since `silent_ms`: it may have been paused before."""

    KIND: ClassVar[int] = 12
    session: str
    epoch: int
    turn: int
    silent_ms: int
    cleared_ms: int


# --- to a gateway -----------------------------------------------------------------------------------------------------


@_message
class Attached:
    """A worker serves this session; send its uplink to `lane`, beginning at `resume_from_seq`, which is at
    `resume_media_ms`. Of its downlink, what is before `downlink_from_seq` will not come again. `unhurried`: audio may
    come a few ms later, in fewer entries. `backend`: by which it does; empty, if it is of before it said so."""

    KIND: ClassVar[int] = 32
    session: str
    epoch: int
    lane: str
    resume_from_seq: int
    resume_media_ms: int = 0
    downlink_from_seq: int = 0
    unhurried: bool = False
    backend: str = ""


@_message
class DownlinkAudio:
    """Part of a spoken answer, `offset_ms` from its turn's start. `sentence_end` closes a sentence. When the start of
    a `timed` one goes out, the gateway says so by `Left`."""

    KIND: ClassVar[int] = 33
    session: str
    epoch: int
    seq: int
    turn: int
    offset_ms: int
    pcm: bytes
    sentence_end: bool = False
    timed: bool = False


@_message
class TurnEnd:
    """Nothing more will be said in this turn."""

    KIND: ClassVar[int] = 34
    session: str
    epoch: int
    seq: int
    turn: int


@_message
class Pause:
    """Hold the playout: the caller may be interrupting."""

    KIND: ClassVar[int] = 35
    session: str
    epoch: int
    seq: int
    turn: int


@_message
class Resume:
    """Go on playing: it was no interruption."""

    KIND: ClassVar[int] = 36
    session: str
    epoch: int
    seq: int
    turn: int


@_message
class Clear:
    """Throw away what is left of `turn`; nothing of it may be heard any more."""

    KIND: ClassVar[int] = 37
    session: str
    epoch: int
    seq: int
    turn: int


@_message
class Event:
    """What a client shows: transcripts, speech edges, latencies, errors. `name` is the client's message type."""

    KIND: ClassVar[int] = 38
    session: str
    epoch: int
    seq: int
    name: str
    data: dict[str, Any] = field(default_factory=dict)


@_message
class Close:
    """End the session once what was said has been played; a telephone call is put through to `transfer_to` then.
    `failed`: nobody can answer, and the gateway says so to the caller first."""

    KIND: ClassVar[int] = 39
    session: str
    epoch: int
    seq: int
    reason: str
    transfer_to: str = ""
    failed: bool = False


@_message
class Committed:
    """The worker will never ask for uplink before `uplink_seq` again."""

    KIND: ClassVar[int] = 40
    session: str
    epoch: int
    uplink_seq: int


@_message
class Ease:
    """From now on, the caller's audio may wait for what comes after it, until there are `audio_ms` of it, and come as
    one message, where it is no softer than `least_rms` and no louder than `most_rms` (of 32768). 0 ms: each frame as it
    comes. It has no `seq`: who misses it goes on as before, until the next, or until it is `Joined`."""

    KIND: ClassVar[int] = 41
    session: str
    epoch: int
    audio_ms: int
    least_rms: int
    most_rms: int


# --- to any process, about a session it owns --------------------------------------------------------------------------


@_message
class Control:
    """An operator's wish for a session, acted on by the process that owns it."""

    KIND: ClassVar[int] = 64
    session: str
    action: str
    data: dict[str, Any] = field(default_factory=dict)


Uplink = UplinkAudio | Text | Dtmf | ClientEvent | Hangup
"""Messages with an uplink `seq`: kept in the gateway's ring and sent again to a new worker."""

Downlink = DownlinkAudio | TurnEnd | Pause | Resume | Clear | Event | Close
"""Messages with a downlink `seq`: kept by the worker until acknowledged."""

ToWorker = Uplink | Played | LinkLost | LinkResumed | Joined | Superseded | Left | Silenced | Control
ToGateway = Downlink | Attached | Committed | Ease | Control
Message = ToWorker | ToGateway
