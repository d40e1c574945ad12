"""Workers die at every point of a conversation; the caller hears, and the record holds, what they would have anyway."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import replace

import pytest

from tests.conversation.talk import ANSWER, QUESTION, Cast, Outcome, talk, tenant
from tests.standins.session import FRAME_MS, Action, Ask, Edge, Say, StandInSession, Type
from tests.standins.virtual_time import run
from tests.standins.voices import ScriptedLlm
from trunkline.errors import SessionLost
from workers.backend import Answer, Item, Snapshot, Spoken

GREETING = "Hello and welcome here."
SECOND = "and what else"
SECOND_ANSWER = "Nothing else at all. I am done."
SCRIPT: list[Action] = [Say(2000, QUESTION), Say(10_000, SECOND)]
END_MS = 16_000


def cast(**turn: int) -> Cast:
    return Cast(tenant=tenant(GREETING, **turn), llm=ScriptedLlm({QUESTION: ANSWER, SECOND: SECOND_ANSWER}))


@functools.cache
def undisturbed() -> Outcome:
    return talk(SCRIPT, cast(), end_ms=END_MS)


def assert_unnoticed(outcome: Outcome) -> None:
    """Nothing was said twice or left out, and nothing heard was forgotten or doubled."""
    assert outcome.items == undisturbed().items
    heard = {number: bytes(turn.audio) for number, turn in outcome.edge.turns.items()}
    assert heard == {number: bytes(turn.audio) for number, turn in undisturbed().edge.turns.items()}
    assert outcome.edge.heard == f"{GREETING} {ANSWER} {SECOND_ANSWER}"


KILLS = {
    "before the greeting": 1,
    "in the greeting": 300,
    "mid-question": 2300,
    "in the silence after it": 2800,
    "transcribing": 3150,
    "asking": 3400,
    "first tokens": 3650,
    "first audio": 3850,
    "first sentence": 4300,
    "second sentence, text incomplete": 4010,
    "second sentence": 5700,
    "last sentence": 7500,
    "all sent, not all heard": 8000,
    "listening again": 9500,
}


@pytest.mark.parametrize("kill_ms", KILLS.values(), ids=KILLS.keys())
def test_one_death(kill_ms: int) -> None:
    assert_unnoticed(talk(SCRIPT, cast(), end_ms=END_MS, kills_ms=[kill_ms]))


@pytest.mark.parametrize("phase_ms", [0, 61, 113])
def test_a_death_at_any_time(phase_ms: int) -> None:
    for kill_ms in range(phase_ms + 5, 15_000, 691):
        assert_unnoticed(talk(SCRIPT, cast(), end_ms=END_MS, kills_ms=[kill_ms], gap_ms=40 + kill_ms % 700))


def test_many_deaths() -> None:
    assert_unnoticed(talk(SCRIPT, cast(), end_ms=END_MS, kills_ms=range(700, 15_000, 900), gap_ms=100))


@pytest.mark.parametrize("after_ms", [1, 20, 110, 160])
def test_a_successor_that_dies_too_before_it_says_anything(after_ms: int) -> None:
    for kill_ms in range(3900, 8000, 510):
        outcome = talk(SCRIPT, cast(), end_ms=END_MS, kills_ms=[kill_ms, kill_ms + 100 + after_ms], gap_ms=100)
        assert_unnoticed(outcome)


def test_caller_hears_no_gap_when_the_edge_holds_enough() -> None:
    outcome = talk(SCRIPT, cast(), end_ms=END_MS, kills_ms=[5000], gap_ms=900)
    plain = undisturbed().edge.heard_at
    assert [heard[1:] for heard in outcome.edge.heard_at] == [heard[1:] for heard in plain]
    late_ms = [heard[0] - before[0] for heard, before in zip(outcome.edge.heard_at, plain, strict=True)]
    assert set(late_ms) <= {-FRAME_MS, 0, FRAME_MS}, "chunks begin elsewhere after a takeover"


def test_incomplete_text_is_continued_not_begun_again() -> None:
    slow = cast()
    slow.llm.delta_s = 0.2
    outcome = talk([Say(2000, QUESTION)], slow, kills_ms=[5500])
    assert outcome.edge.heard == f"{GREETING} {ANSWER}"
    assert len(slow.llm.asked) == 2
    last = slow.llm.asked[1][-1]
    assert last.role == "assistant"
    assert ANSWER.startswith(last.content)


INTERRUPTED: list[Action] = [Say(2000, QUESTION), Say(5000, SECOND)]


@pytest.mark.parametrize("kill_ms", [5080, 5130, 5200, 5262, 5300, 5400, 5600, 5900, 6150, 6300, 7000])
def test_a_death_in_an_interruption(kill_ms: int) -> None:
    plain = talk(INTERRUPTED, cast(), end_ms=END_MS)
    outcome = talk(INTERRUPTED, cast(), end_ms=END_MS, kills_ms=[kill_ms])
    assert [role for role, _ in outcome.items] == [role for role, _ in plain.items]
    assert outcome.items[-2:] == [("user", SECOND), ("assistant", SECOND_ANSWER)]
    assert outcome.edge.heard.endswith(f" {SECOND_ANSWER}")
    cut = outcome.items[2][1]
    assert ANSWER.startswith(cut)
    heard = [word for _, turn, word in outcome.edge.heard_at if turn == 3]
    assert len(heard) - 1 <= len(cut.split()) <= len(heard)


def test_a_death_while_paused_by_noise() -> None:
    noise: list[Action] = [Say(2000, QUESTION), Say(5000, "mhm", word_ms=160)]
    for kill_ms in range(5050, 5750, 100):
        outcome = talk(noise, cast(), end_ms=END_MS, kills_ms=[kill_ms])
        assert outcome.edge.heard == f"{GREETING} {ANSWER}"
        assert outcome.items[-1] == ("assistant", ANSWER)


@pytest.mark.parametrize("kill_ms", [5001, 5010, 5100, 5600])
def test_a_death_after_a_cancel_does_not_bring_the_answer_back(kill_ms: int) -> None:
    outcome = talk([Say(2000, QUESTION), Ask(5000, "cancel")], cast(), kills_ms=[kill_ms])
    assert not [at for at, *_ in outcome.edge.heard_at if at > 5040]
    assert len(outcome.items) == 3


@pytest.mark.parametrize("kill_ms", [5001, 5200, 5350, 5600])
def test_a_death_after_typed_text(kill_ms: int) -> None:
    outcome = talk([Say(2000, QUESTION), Type(5000, SECOND)], cast(), kills_ms=[kill_ms])
    assert outcome.items[-2:] == [("user", SECOND), ("assistant", SECOND_ANSWER)]
    assert outcome.edge.heard.endswith(f" {SECOND_ANSWER}")
    assert [text for _, text in outcome.items].count(SECOND) == 1


def test_an_unanswered_question_is_answered() -> None:
    """As another kind of backend may leave it."""
    left = Snapshot(items=[Item("user", QUESTION, 1)], next_turn=2)
    outcome = talk([], cast(), snapshot=left)
    assert outcome.edge.heard == ANSWER


def test_an_edge_that_is_ahead_of_the_snapshot_is_believed() -> None:
    async def serve() -> tuple[StandInSession, Edge]:
        edge = Edge([], 2000)
        answer = Answer(2, ANSWER, complete=True, spoken=[Spoken(ANSWER, 0, 4400)])
        session = StandInSession(edge, tenant(GREETING), Snapshot([Item("user", QUESTION, 1)], answer, 3))
        await session.speak(7, bytes(320))
        session.playhead = edge.playhead
        session.deliver(edge.uplink[-1][1])
        await cast().cascade.run(session)
        return session, edge

    session, edge = run(serve())
    assert session.committed.next_turn == 8
    assert session.committed.items[-1] == Item("assistant", ANSWER, 2)
    assert list(edge.turns) == [7]


def test_losing_the_session_ends_everything() -> None:
    async def serve() -> None:
        edge = Edge([], 2000)
        session = StandInSession(edge, tenant(GREETING))
        session.lost = True
        with pytest.raises(SessionLost):
            await cast().cascade.run(session)

    run(serve())


def test_a_turn_that_the_edge_is_done_with_is_not_gone_on_with() -> None:
    """An earlier worker cleared it, and died before it could commit that."""

    async def serve(played_ms: int) -> tuple[StandInSession, Edge]:
        edge = Edge([], 3000)
        answer = Answer(2, ANSWER, complete=True, spoken=[Spoken("The first sentence is here now. ", 0, 1200)])
        session = StandInSession(edge, tenant(), Snapshot([Item("user", QUESTION, 1)], answer, 3))
        await session.speak(2, bytes(16 * played_ms))
        edge.turns[2].played_ms = played_ms
        session.playhead = replace(edge.playhead, done=False)
        edge.clear(2)
        async with asyncio.TaskGroup() as group:
            group.create_task(session.pump())
            await cast().cascade.run(session)
        return session, edge

    session, edge = run(serve(800))
    assert session.committed.items[-1] == Item("assistant", "The first sentence is", 2)
    assert session.committed.answer is None
    assert edge.turns[2].received_ms == 800
    session, edge = run(serve(0))
    assert [item.role for item in session.committed.items] == ["user"]


def test_another_backend_s_endless_turn_is_not_an_answer() -> None:
    outcome = talk([Say(1000, QUESTION)], snapshot=Snapshot(answer=Answer(1), next_turn=2))
    assert outcome.edge.heard == ANSWER
