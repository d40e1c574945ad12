"""Every move of what is asked of a model, and of what it does by itself."""

from __future__ import annotations

import pytest

from workers.relay.responses import SOME, Responses, Wish

SAY = Wish("Say this.", says="this")


@pytest.fixture
def responses() -> Responses:
    return Responses()


def test_nothing_is_asked_for_unless_wanted(responses: Responses) -> None:
    assert responses.idle
    assert responses.next() is None
    assert responses.asked is None


def test_a_wish_is_asked_for_once_and_done(responses: Responses) -> None:
    responses.want(SAY)
    assert not responses.idle
    assert responses.next() == SAY
    assert responses.next() is None
    assert responses.owed
    assert responses.created("r1", ours=True)
    assert responses.active_wish == SAY
    assert responses.next() is None
    responses.done("another")
    assert responses.active == "r1"
    responses.done("r1")
    assert responses.idle


def test_a_wish_waits_for_the_active_one(responses: Responses) -> None:
    responses.expect(knows_all=True)
    responses.created("r1", ours=False)
    responses.want()
    assert responses.next() is None
    responses.done("r1")
    assert responses.next() == Wish()


def test_a_wish_with_instructions_is_not_replaced_by_one_without(responses: Responses) -> None:
    responses.want(SAY)
    responses.want()
    assert responses.wish == SAY
    responses.want(Wish("Say that."))
    assert responses.wish == Wish("Say that.")


@pytest.mark.parametrize(("knows_all", "left"), [(True, None), (False, Wish())])
def test_the_models_own_answer_covers_what_it_knew(responses: Responses, knows_all: bool, left: Wish | None) -> None:
    responses.want()
    responses.expect(knows_all=knows_all)
    assert responses.created("r1", ours=False)
    assert responses.wish == left


def test_what_is_wanted_after_the_model_decided_is_not_covered(responses: Responses) -> None:
    responses.expect(knows_all=True)
    responses.want()
    responses.created("r1", ours=False)
    assert responses.wish == Wish()


def test_instructions_are_never_covered(responses: Responses) -> None:
    responses.want(SAY)
    responses.expect(knows_all=True)
    responses.created("r1", ours=False)
    assert responses.wish == SAY


def test_what_nobody_wants_any_more_is_cancelled_when_it_begins(responses: Responses) -> None:
    responses.want(SAY)
    responses.next()
    responses.unwant()
    assert not responses.created("r1", ours=True)
    responses.done("r1")
    responses.expect(knows_all=True)
    responses.unwant()
    responses.want()
    assert not responses.created("r2", ours=False)
    assert responses.wish == Wish(), "that was wanted afterwards"


def test_the_next_utterance_is_answered_after_one_that_nobody_wanted(responses: Responses) -> None:
    responses.expect(knows_all=True)
    responses.unwant()
    responses.expect(knows_all=True)
    assert responses.created("r1", ours=False)


def test_busy_asks_again_after_the_active_one(responses: Responses) -> None:
    responses.want(SAY)
    responses.next()
    responses.created("own", ours=False)
    assert responses.asked == SAY, "the other was not ours"
    assert responses.refused(ours=True, busy=True) is None
    assert responses.wish == SAY
    assert responses.active == "own"
    responses.done("own")
    assert responses.next() == SAY


def test_busy_of_the_models_own(responses: Responses) -> None:
    responses.expect(knows_all=True)
    responses.refused(ours=False, busy=True)
    assert (responses.wish, responses.active) == (Wish(), SOME)
    responses.done("r0")
    assert responses.next() == Wish()


def test_what_nobody_wants_is_not_asked_again(responses: Responses) -> None:
    responses.expect(knows_all=True)
    responses.unwant()
    responses.refused(ours=False, busy=True)
    assert responses.wish is None
    responses.done(SOME)
    responses.want(SAY)
    responses.next()
    responses.unwant()
    assert responses.refused(ours=True, busy=False) is None
    assert responses.idle


def test_a_refusal_gives_back_what_was_asked(responses: Responses) -> None:
    responses.want(SAY)
    responses.next()
    assert responses.refused(ours=True, busy=False) == SAY
    assert responses.idle


def test_a_new_session_is_asked_what_the_old_one_owed(responses: Responses) -> None:
    responses.want(SAY)
    responses.next()
    assert responses.forget() is None
    assert responses.next() == SAY
    responses.created("r1", ours=True)
    assert responses.forget() == SAY, "that was in progress"
    assert responses.idle
    responses.expect(knows_all=True)
    responses.forget()
    assert not responses.owed
    responses.want(SAY)
    responses.next()
    responses.unwant()
    responses.forget()
    assert responses.wish is None
