"""The echo backend, alone and taken over."""

from __future__ import annotations

import asyncio

from tests.standins.session import Edge, Say, StandInSession
from tests.standins.virtual_time import run
from trunkline.tenants import Tenant
from workers.echo.runner import Echo

WORDS = "one two three four five six seven eight nine ten"


async def echo(kill_ms: int | None, *, forgotten: bool = False) -> Edge:
    edge = Edge([Say(500, WORDS, word_ms=700)], 12_000)
    sessions: list[StandInSession] = []
    async with asyncio.TaskGroup() as group:
        playing = group.create_task(edge.play())
        for until_ms in [kill_ms, None]:
            known = sessions[-1].committed if sessions and not forgotten else None
            session = StandInSession(edge, Tenant(id="echo"), known)
            sessions.append(session)
            pumping = group.create_task(session.pump())
            serving = group.create_task(Echo().run(session))
            if until_ms is not None:
                await asyncio.sleep(until_ms / 1000)
                session.alive = False
                serving.cancel()
            await asyncio.wait([serving])
            pumping.cancel()
            await asyncio.sleep(0.3)
        playing.cancel()
    assert sessions[-1].committed.uplink_seq >= 500
    return edge


def test_it_says_what_it_hears() -> None:
    edge = run(echo(None))
    assert edge.heard == WORDS
    assert edge.turns[1].received_ms == 12_000


def test_a_takeover_leaves_out_and_repeats_nothing() -> None:
    undisturbed = run(echo(None)).turns[1].audio
    for kill_ms in (100, 3010, 5500, 8003):
        edge = run(echo(kill_ms))
        assert edge.turns[1].audio == undisturbed


def test_who_takes_over_what_redis_has_forgotten_is_heard_at_once() -> None:
    """Its snapshot is empty, and the edge has heard much already."""
    edge = run(echo(8003, forgotten=True))
    assert edge.turns[1].received_ms > 7000
    assert edge.turns[2].received_ms > 3000
