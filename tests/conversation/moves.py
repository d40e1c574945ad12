"""Plays a script to a call that a cascade and a relay answer in turn, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.conversation.relay_talk import QUESTION, SECOND, Outcome, script
from tests.standins import tones
from tests.standins.model import Model
from tests.standins.realtime import Options, Say
from tests.standins.session import Action, Edge, StandInSession, Voice
from tests.standins.toned import ToneStt, ToneTts, ToneVad
from tests.standins.virtual_time import run
from tests.standins.voices import RATE_HZ, ScriptedLlm
from trunkline.tenants import Tenant
from workers import seam
from workers.backend import Session
from workers.cascade.runner import Cascade
from workers.cascade.stages import Stages
from workers.relay.conversation import Conversation

GREETING = "Hello and welcome."
ANSWER = (
    "One two three four five. Six seven eight nine ten. Eleven twelve thirteen fourteen fifteen. "
    "Sixteen seventeen eighteen nineteen twenty."
)
"""20 words, 200 ms each: 4 s."""
SECOND_ANSWER = "Star still stop story summer sun."
ANSWERS = {QUESTION: ANSWER, SECOND: SECOND_ANSWER}
REPLIES = {asked: Say(answer) for asked, answer in ANSWERS.items()}
TAKEN_MS = 5
"""What a move takes: two round trips to Redis, and one to the gateway."""


def tenant(backend: str) -> Tenant:
    other = {"cascade": "relay", "relay": "cascade"}[backend]
    return Tenant(id="test", backend=backend, fallback_backend=other, greeting=GREETING)


@dataclass
class Cast:
    """Who takes part."""

    tenant: Tenant = field(default_factory=lambda: tenant("cascade"))
    stt: ToneStt = field(default_factory=ToneStt)
    llm: ScriptedLlm = field(default_factory=lambda: ScriptedLlm(dict(ANSWERS)))
    tts: ToneTts = field(default_factory=ToneTts)
    model: Model = field(default_factory=lambda: Model(Options(answer=script(REPLIES), verify=False)))

    async def serve(self, backend: str, session: Session) -> None:
        if backend == "cascade":
            await Cascade(Stages(self.stt, self.llm, self.tts), ToneVad).run(session)
        else:
            await Conversation(session, self.model.dial, None).run()


@dataclass
class Moved(Outcome):
    served: list[tuple[int, str]]
    """(ms, backend) as each began."""

    @property
    def backends(self) -> list[str]:
        return [backend for _, backend in self.served]


def talk(
    actions: Sequence[Action],
    cast: Cast,
    *,
    end_ms: int = 14_000,
    moves_ms: Mapping[float, str] | None = None,
    beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
    others: bool = True,
) -> Moved:
    """The whole conversation. At each of `moves_ms` the call moves to that backend; else when its backend has failed,
    to the other one, once from each, if there are `others`. `beside` runs meanwhile."""
    return run(_talk(actions, cast, end_ms, dict(moves_ms or {}), beside, others=others))


async def _talk(
    actions: Sequence[Action],
    cast: Cast,
    end_ms: int,
    moves_ms: dict[float, str],
    beside: Callable[[], Coroutine[Any, Any, None]] | None,
    *,
    others: bool,
) -> Moved:
    edge, sessions, served = Edge(actions, end_ms, _VOICE), list[StandInSession](), list[tuple[int, str]]()
    loop = asyncio.get_running_loop()
    wanted: list[tuple[float, str]] = sorted(moves_ms.items())
    backend: str | None = cast.tenant.backend
    async with asyncio.TaskGroup() as group:
        playing = group.create_task(edge.play())
        if beside is not None:
            group.create_task(beside())
        while backend is not None:
            session = StandInSession(edge, cast.tenant, sessions[-1].committed if sessions else None)
            if served:
                seam.adapt(session.snapshot, session.playhead, cast.tenant.greeting)
                session.committed.uplink_seq = session.snapshot.uplink_seq
            sessions.append(session)
            served.append((round(loop.time() * 1000), backend))
            other = {"cascade": "relay", "relay": "cascade"}[backend]
            at_ms, target = wanted.pop(0) if wanted else (None, other)
            may_fail = others and [name for _, name in served].count(backend) == 1
            moved = await _serve(cast, backend, session, group, at_ms, may_fail=may_fail)
            session.alive, edge.session = False, None
            backend = target if moved else None
            await asyncio.sleep(TAKEN_MS / 1000)
        playing.cancel()
    assert cast.stt.open == 0, "an utterance was left open at the provider"
    assert cast.tts.open == 0, "a voice was left open at the provider"
    assert not cast.model.errors, cast.model.errors
    assert all(link.closed for link in cast.model.links), "a link to the model was left open"
    return Moved(edge, sessions, cast.model, [], served)


async def _serve(
    cast: Cast, backend: str, session: StandInSession, group: asyncio.TaskGroup, at_ms: float | None, *, may_fail: bool
) -> bool:
    """Returns whether it moves, and did not end."""
    moved = asyncio.Event()

    async def failed() -> None:
        if may_fail:
            moved.set()
            await asyncio.get_running_loop().create_future()

    session.on_failed = failed
    loop = asyncio.get_running_loop()
    timer = None if at_ms is None else loop.call_at(at_ms / 1000, moved.set)
    pumping = group.create_task(session.pump())
    serving, moving = group.create_task(cast.serve(backend, session)), group.create_task(moved.wait())
    await asyncio.wait([serving, moving], return_when=asyncio.FIRST_COMPLETED)
    for task in (serving, moving, pumping):
        task.cancel()
    await asyncio.wait([serving, moving, pumping])
    if timer is not None:
        timer.cancel()
    return moved.is_set()


_VOICE = Voice(lambda text, word_ms: tones.speak(text, RATE_HZ, word_ms), None)
