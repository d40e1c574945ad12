"""Plays a script to the cascade, in virtual time, with or without workers dying on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.standins.session import Action, Edge, StandInSession, Told
from tests.standins.virtual_time import run
from tests.standins.voices import LoudnessVad, ScriptedLlm, ScriptedStt, ScriptedTts
from trunkline.tenants import Tenant, TurnSettings
from workers.backend import Snapshot
from workers.cascade.runner import Cascade
from workers.cascade.stages import Stages
from workers.providers.batch import BatchSpeech

QUESTION = "what is new"
ANSWER = "The first sentence is here now. The second sentence has a few more words in it. And that was all there is."
"""5 + 10 + 6 words, 200 ms each: 4.4 s."""


@dataclass
class Cast:
    """Who takes part, with answers for the usual questions."""

    tenant: Tenant = field(default_factory=lambda: tenant())
    stt: ScriptedStt = field(default_factory=ScriptedStt)
    llm: ScriptedLlm = field(default_factory=lambda: ScriptedLlm({QUESTION: ANSWER}))
    tts: ScriptedTts = field(default_factory=ScriptedTts)
    batch: BatchSpeech | None = None
    """Hears instead of `stt`, if it is there."""
    closes: bool = False
    """Whether the call is to be ended by us."""

    @property
    def cascade(self) -> Cascade:
        return Cascade(Stages(self.batch or self.stt, self.llm, self.tts), LoudnessVad)


@dataclass
class Outcome:
    edge: Edge
    sessions: list[StandInSession]
    served_ms: list[float] = field(default_factory=list, kw_only=True)
    """When each worker was done with its session."""

    @property
    def last(self) -> StandInSession:
        return self.sessions[-1]

    @property
    def items(self) -> list[tuple[str, str]]:
        """The conversation as the next worker would find it."""
        return [(item.role, item.text) for item in self.last.committed.items]

    def events(self, name: str) -> list[Told]:
        return [told for session in self.sessions for told in session.events if told.name == name]

    def told(self, name: str, field_name: str) -> list[Any]:
        return [told.data[field_name] for told in self.events(name)]


def tenant(greeting: str | None = None, **turn: Any) -> Tenant:
    """Whose model is asked when the turn is over, and not ahead, unless `turn` says so: what is told of times is easier
    to follow."""
    return Tenant(id="test", greeting=greeting, turn=TurnSettings.model_validate({"preemptive": False, **turn}))


def talk(
    script: Sequence[Action],
    cast: Cast | None = None,
    *,
    end_ms: int = 12_000,
    kills_ms: Sequence[float] = (),
    gap_ms: int = 100,
    snapshot: Snapshot | None = None,
) -> Outcome:
    """The whole conversation. At each of `kills_ms` the worker dies; the next comes `gap_ms` later."""
    return run(_talk(script, cast or Cast(), end_ms, kills_ms, gap_ms, snapshot))


async def _talk(
    script: Sequence[Action],
    cast: Cast,
    end_ms: int,
    kills_ms: Sequence[float],
    gap_ms: int,
    snapshot: Snapshot | None,
) -> Outcome:
    edge = Edge(script, end_ms)
    sessions: list[StandInSession] = []
    served_ms: list[float] = []
    async with asyncio.TaskGroup() as group:
        playing = group.create_task(edge.play())
        for kill_ms in [*kills_ms, None]:
            session = StandInSession(edge, cast.tenant, sessions[-1].committed if sessions else snapshot)
            sessions.append(session)
            pumping = group.create_task(session.pump())
            serving = group.create_task(cast.cascade.run(session))
            if kill_ms is not None:
                await asyncio.sleep(max(0.0, kill_ms / 1000 - asyncio.get_running_loop().time()))
                session.alive, edge.session = False, None
                serving.cancel()
            await asyncio.wait([serving])
            served_ms.append(asyncio.get_running_loop().time() * 1000)
            pumping.cancel()
            if kill_ms is not None:
                await asyncio.sleep(gap_ms / 1000)
        playing.cancel()
    if cast.batch is not None:
        await cast.batch.close()
    assert cast.stt.open == 0, "an utterance was left open at the provider"
    assert cast.llm.open == 0, "an answer was left open at the provider"
    assert cast.tts.open == 0, "a voice was left open at the provider"
    assert all(each.gave_up is None for each in sessions)
    assert any(each.closed is not None for each in sessions) is cast.closes
    return Outcome(edge, sessions, served_ms=served_ms)
