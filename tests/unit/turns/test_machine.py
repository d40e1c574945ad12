"""Walks the whole table of turns."""

from __future__ import annotations

import itertools

import pytest

from workers.turns.machine import ANSWERING, HELD, SHOWN, TABLE, USER, IllegalMove, Move, State, TurnMachine


def machine_in(state: State) -> TurnMachine:
    machine = TurnMachine()
    machine.state = state
    return machine


@pytest.mark.parametrize(("state", "move"), list(itertools.product(State, Move)))
def test_every_move_from_every_state(state: State, move: Move) -> None:
    machine = machine_in(state)
    if move in TABLE[state]:
        assert machine.move(move, 100) is TABLE[state][move]
        assert machine.state is TABLE[state][move]
        return
    with pytest.raises(IllegalMove, match=rf"{move.value} is no move from {state.value} \(at 100 ms\)"):
        machine.move(move, 100)
    assert machine.state is state, "a refused move changes nothing"


@pytest.mark.parametrize("state", list(State))
def test_every_state_leads_back_to_listening(state: State) -> None:
    reached = {state}
    while (more := reached | {after for before in reached for after in TABLE[before].values()}) != reached:
        reached = more
    assert State.LISTENING in reached
    assert reached == set(State)


def test_every_state_is_shown_and_belongs_to_somebody() -> None:
    assert set(SHOWN) == set(TABLE) == set(State)
    assert HELD < ANSWERING
    assert {State.LISTENING} | USER | ANSWERING == set(State)
    assert not USER & ANSWERING


@pytest.mark.parametrize("state", sorted(ANSWERING, key=str))
def test_typed_text_is_answered_at_any_time(state: State) -> None:
    assert TABLE[state][Move.ASK] is State.THINKING


@pytest.mark.parametrize("state", sorted(HELD, key=str))
def test_who_was_speaking_over_an_answer_keeps_the_floor_when_it_goes(state: State) -> None:
    for move in (Move.BARGE_IN, Move.DONE, Move.CANCEL):
        assert TABLE[state][move] is State.USER_SPEAKING


def test_since_is_when_the_state_changed() -> None:
    machine = TurnMachine(now_ms=10)
    machine.move(Move.ASK, 50)
    machine.move(Move.ASK, 90)
    assert machine.since_ms == 50
    machine.move(Move.AUDIO, 120)
    assert (machine.state, machine.since_ms) == (State.SPEAKING, 120)
