"""Plays a script to the relay and its model, in virtual time, with or without workers dying on the way."""

from __future__ import annotations

import asyncio
import logging
import re
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.conversation.talk import Outcome as Talked
from tests.standins import tones
from tests.standins.call import CallModel
from tests.standins.model import Model
from tests.standins.realtime import Options, Prompt, Reply, Say, text_of
from tests.standins.realtime.faults import SessionFault
from tests.standins.session import Action, Edge, StandInSession, Voice
from tests.standins.virtual_time import run
from tests.standins.voices import RATE_HZ
from trunkline.tenants import RelaySettings, Tenant, TurnSettings
from workers.backend import Snapshot
from workers.relay.conversation import Conversation
from workers.relay.interrupting import VoiceActivity

GREETING = "hello and welcome"
QUESTION = "what is now"
ANSWER = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
"""20 words, 200 ms each: 4 s. No word is there twice: what is lost, doubled or in disorder is seen at once."""
SECOND = "who are you"
SECOND_ANSWER = "star still stop story summer sun"
MS_BYTES = RATE_HZ // 1000 * 2
UNKNOWN = "sorry"
"""What the model says when it is asked something that it was not to be asked."""


def script(answers: Mapping[str, Reply]) -> Callable[[Prompt], Reply]:
    """A model that answers by table: the words of the last user's message, or of a tool's output, to a reply. What is
    quoted in a response's own instructions it says word for word, and an answer that was cut off it goes on with."""

    def reply(prompt: Prompt) -> Reply:
        own = prompt.response.get("instructions") or ""
        asking = prompt.last
        wanted = answers.get(_asked(asking), UNKNOWN) if asking is not None else UNKNOWN
        whole = wanted.text if isinstance(wanted, Say) else wanted
        if quoted := re.search(r'"([^"]+)"', own):
            said = quoted[1]
            if "then go on" in own and isinstance(whole, str):
                said = f"{said} {_after(whole, said)}".rstrip()
            return Say(said, aloud=tones.known(said))
        if "cut your answer off" in own and isinstance(whole, str):
            rest = _after(whole, text_of(prompt.items[-1]))
            return Say(rest) if rest else []
        return Say(wanted) if isinstance(wanted, str) else wanted

    return reply


def _asked(item: dict[str, Any]) -> str:
    if item["type"] == "function_call_output":
        return str(item["output"])
    content = item["content"][0]
    return str(content.get("text") or content.get("transcript") or "")


def _after(whole: str, said: str) -> str:
    """What follows the last words of `said` in `whole`."""
    last = said.split()[-1:]
    words = whole.split()
    if not last or last[0] not in words:
        return UNKNOWN
    return " ".join(words[words.index(last[0]) + 1 :])


class PeakVad:
    """Speech is what is loud. A `VoiceActivity`, in chunks of 32 ms like the real one."""

    def __init__(self, rate_hz: int) -> None:
        self._chunk = rate_hz * 32 // 1000 * 2
        self._buffer = b""

    def push(self, pcm: bytes) -> list[float]:
        self._buffer += pcm
        result = []
        while len(self._buffer) >= self._chunk:
            chunk, self._buffer = self._buffer[: self._chunk], self._buffer[self._chunk :]
            result.append(1.0 if max(array("h", chunk)) > 200 else 0.0)
        return result

    def reset(self) -> None:
        self._buffer = b""


wire: type[Model] = Model
"""By which the model is reached: a test that is for `both_wires` sees each."""
both_wires = pytest.mark.parametrize("wire", [Model, CallModel], indirect=True, ids=["websocket", "webrtc"])


@dataclass
class Cast:
    """Who takes part, with answers for the usual questions."""

    tenant: Tenant = field(default_factory=lambda: tenant())
    answers: Mapping[str, Reply] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    detector: Callable[[int], VoiceActivity] | None = None
    latency_ms: float = 5.0
    prepare: Callable[[Model], None] = lambda model: None
    """Called with the model before anything begins."""

    def model(self) -> Model:
        usual: dict[str, Reply] = {QUESTION: Say(ANSWER), SECOND: Say(SECOND_ANSWER)}
        options = {"answer": script({**usual, **self.answers}), **self.options}
        return wire(Options(**options), self.latency_ms)


def tenant(greeting: str | None = None, turn: dict[str, Any] | None = None, **relay: Any) -> Tenant:
    tools = relay.pop("tools", ())
    client_tools = relay.pop("client_tools", ())
    return Tenant(
        id="test",
        backend="relay",
        prompt="You are brief.",
        greeting=greeting,
        turn=TurnSettings(**(turn or {})),
        relay=RelaySettings(**relay),
        tools=tools,
        client_tools=client_tools,
    )


@dataclass
class Outcome(Talked):
    model: Model
    log: list[logging.LogRecord]

    @property
    def heard(self) -> str:
        """Every word that the caller heard, in order."""
        return self.heard_between(0, len(self.edge.line) // MS_BYTES)

    def heard_between(self, from_ms: int, until_ms: int) -> str:
        return tones.hear(bytes(self.edge.line[from_ms * MS_BYTES : until_ms * MS_BYTES]), RATE_HZ)

    def silent_ms(self, from_ms: int, until_ms: int) -> int:
        """How much of that time nothing sounded, but for the pauses between words."""
        step = 10 * MS_BYTES
        line = bytes(self.edge.line[from_ms * MS_BYTES : until_ms * MS_BYTES])
        loud = [max(array("h", line[at : at + step])) > 200 for at in range(0, len(line), step)]
        return sum(10 for at, here in enumerate(loud) if not here and not any(loud[max(0, at - 3) : at + 4]))

    def sent(self, kind: str, link: int = -1) -> list[dict[str, Any]]:
        """The events of this type that one session of the model's got from us."""
        return [event for _, event in self.model.links[link].sent if event["type"] == kind]

    @property
    def responses(self) -> list[str]:
        """How every response of the model's ended."""
        return [response.status for session in self.model.sessions for response in session.responses]

    @property
    def model_items(self) -> list[tuple[str, str]]:
        """What the newest session of the model's holds: role and words. For what was truncated: its audio's words."""
        return [_described(item.wire(), item.heard(tones.WORD_MS)) for item in self.model.session.conversation.items]

    def warned(self, part: str) -> bool:
        return any(part in record.getMessage() for record in self.log)


def _described(fields: dict[str, Any], heard: str) -> tuple[str, str]:
    if fields["type"] == "function_call":
        return "call", str(fields["name"])
    if fields["type"] == "function_call_output":
        return "output", str(fields["output"])
    content = fields["content"][0] if fields["content"] else {}
    return str(fields["role"]), str(content.get("text") or content.get("transcript") or heard)


def talk(
    actions: Sequence[Action],
    cast: Cast | None = None,
    *,
    end_ms: int = 12_000,
    kills_ms: Sequence[float] = (),
    gap_ms: int = 100,
    faults: Mapping[float, SessionFault] | None = None,
    snapshot: Snapshot | None = None,
    strange: bool = False,
) -> Outcome:
    """The whole conversation. At each of `kills_ms` the worker dies; the next comes `gap_ms` later. At each time of
    `faults` the model's newest session goes wrong. `strange`: the model is meant to send events that are no good."""
    outcome = run(_talk(actions, cast or Cast(), end_ms, kills_ms, gap_ms, faults or {}, snapshot))
    assert not outcome.model.errors, outcome.model.errors
    assert all(link.closed for link in outcome.model.links), "a link to the model was left open"
    assert strange or not outcome.warned("a strange"), [record.getMessage() for record in outcome.log]
    assert not [record for record in outcome.log if record.exc_info], "an exception was logged"
    return outcome


async def _talk(
    actions: Sequence[Action],
    cast: Cast,
    end_ms: int,
    kills_ms: Sequence[float],
    gap_ms: int,
    faults: Mapping[float, SessionFault],
    snapshot: Snapshot | None,
) -> Outcome:
    edge, model, sessions = Edge(actions, end_ms, _VOICE), cast.model(), list[StandInSession]()
    cast.prepare(model)
    for at_ms, fault in faults.items():
        model.inject(at_ms, fault)
    loop, raised = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, about: raised.append(about))
    with _Log() as log:
        async with asyncio.TaskGroup() as group:
            playing = group.create_task(edge.play())
            for kill_ms in [*kills_ms, None]:
                session = StandInSession(edge, cast.tenant, sessions[-1].committed if sessions else snapshot)
                sessions.append(session)
                pumping = group.create_task(session.pump())
                serving = group.create_task(Conversation(session, model.dial, cast.detector).run())
                if kill_ms is not None:
                    await asyncio.sleep(max(0.0, kill_ms / 1000 - loop.time()))
                    session.alive, edge.session = False, None
                    serving.cancel()
                await asyncio.wait([serving])
                pumping.cancel()
                if kill_ms is not None:
                    await asyncio.sleep(gap_ms / 1000)
            playing.cancel()
    assert not raised, raised
    return Outcome(edge, sessions, model, log.records)


_VOICE = Voice(lambda text, word_ms: tones.speak(text, RATE_HZ, word_ms), None)


class _Log(logging.Handler):
    """What the relay and its tools say."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def __enter__(self) -> _Log:
        logging.getLogger("workers").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("workers").removeHandler(self)
