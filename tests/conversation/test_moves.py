"""Calls change their backend at every point of a conversation: nothing is forgotten, and nothing said twice but for the
word in which one voice broke off, and the other begins."""

from __future__ import annotations

import asyncio

import pytest

from tests.conversation.moves import ANSWER, GREETING, REPLIES, SECOND_ANSWER, TAKEN_MS, Cast, Moved, talk, tenant
from tests.conversation.relay_talk import QUESTION, SECOND, script
from tests.conversation.test_relay_faults import assert_once
from tests.standins import tones
from tests.standins.model import Model
from tests.standins.realtime import Drop, FailResponse, Mute, Options, Refuse
from tests.standins.session import Action, Ask, Say, Type
from tests.standins.voices import Failing
from trunkline.tenants import RelaySettings, Tenant
from workers.relay.line import FALL_BACK_S

SCRIPT: list[Action] = [Say(2000, QUESTION), Say(9500, SECOND)]
OTHER = {"cascade": "relay", "relay": "cascade"}


def assert_whole(outcome: Moved, seam: int = 3) -> None:
    """Up to three words are said again: where they are in a sentence whose audio is still being made, is a guess."""
    whole = tones.known(f"{GREETING} {ANSWER} {SECOND_ANSWER}")
    assert_once(outcome.heard, whole, seam)
    roles = [role for role, _ in outcome.items]
    assert roles == ["assistant", "user", "assistant", "user", "assistant"], outcome.items
    assert [text for role, text in outcome.items if role == "user"] == [QUESTION, SECOND]
    said = " ".join(text for role, text in outcome.items if role == "assistant")
    assert_once(tones.known(said), whole, seam)


@pytest.mark.parametrize("backend", ["cascade", "relay"])
def test_a_move_at_any_time(backend: str) -> None:
    for move_ms in range(5, 13_500, 610):
        outcome = talk(SCRIPT, Cast(tenant(backend)), moves_ms={move_ms: OTHER[backend]})
        try:
            assert outcome.backends == [backend, OTHER[backend]]
            assert_whole(outcome)
        except (AssertionError, ExceptionGroup) as error:
            raise AssertionError(f"moved at {move_ms} ms: {error}") from error


OVER: dict[str, Action] = {"spoken": Say(4500, SECOND), "typed": Type(4500, SECOND)}


@pytest.mark.parametrize("second", OVER.values(), ids=OVER.keys())
@pytest.mark.parametrize("backend", ["cascade", "relay"])
def test_a_move_in_an_interruption(backend: str, second: Action) -> None:
    for move_ms in range(4450, 6900, 490):
        outcome = talk([SCRIPT[0], second], Cast(tenant(backend)), moves_ms={move_ms: OTHER[backend]})
        users = [text for role, text in outcome.items if role == "user"]
        assert users == [QUESTION, SECOND], f"moved at {move_ms} ms"
        cut = outcome.items[2][1]
        assert ANSWER.startswith(cut), f"moved at {move_ms} ms"
        heard = [word for word in outcome.heard.split() if word in tones.known(ANSWER).split()]
        assert heard == tones.known(ANSWER).split()[: len(heard)], f"moved at {move_ms} ms: it did not come back"
        assert_once(tones.known(outcome.items[-1][1]), tones.known(SECOND_ANSWER), 3)


# --- a backend fails


def question(outcome: Moved) -> list[tuple[str, str]]:
    """What became of it; the greeting aside."""
    assert outcome.items[0] == ("assistant", GREETING)
    return outcome.items[1:]


ANSWERED = [("user", QUESTION), ("assistant", ANSWER)]
ASKED_MS = 2000 + 3 * 200
"""When the question is over."""


def silence_ms(outcome: Moved) -> int:
    """From the end of the question to the first word after it."""
    return next(ms for ms in range(ASKED_MS, 14_000, 20) if outcome.heard_between(ASKED_MS, ms)) - ASKED_MS


def test_a_question_that_no_language_model_answers_is_answered_by_the_relay() -> None:
    cast = Cast()
    cast.llm.failing = Failing(*range(9))
    outcome = talk([Say(2000, QUESTION)], cast)
    assert outcome.backends == ["cascade", "relay"]
    assert outcome.heard == tones.known(f"{GREETING} {ANSWER}")
    assert question(outcome) == ANSWERED
    assert not outcome.events("error"), "nobody need know"
    assert silence_ms(outcome) < 3000


def test_a_question_that_could_not_be_understood_is_heard_again_by_the_relay() -> None:
    cast = Cast()
    cast.stt.failing = Failing(*range(9))
    outcome = talk([Say(2000, QUESTION)], cast)
    assert outcome.backends == ["cascade", "relay"]
    assert outcome.heard == tones.known(f"{GREETING} {ANSWER}")
    assert question(outcome) == ANSWERED
    assert silence_ms(outcome) < 3000


@pytest.mark.parametrize("chunks", [0, 1, 11])
@pytest.mark.parametrize("sentence", [1, 2, 4])
def test_what_no_voice_says_is_said_by_the_relay(sentence: int, chunks: int) -> None:
    cast = Cast()
    cast.tts.failing, cast.tts.fail_after_chunks = Failing(*range(sentence, 20)), chunks
    outcome = talk([Say(2000, QUESTION)], cast)
    assert outcome.backends == ["cascade", "relay"]
    assert_once(outcome.heard, tones.known(f"{GREETING} {ANSWER}"))
    assert [role for role, _ in question(outcome)] == ["user", "assistant"]


def test_a_greeting_that_no_voice_says_is_said_by_the_relay() -> None:
    cast = Cast()
    cast.tts.failing = Failing(*range(9))
    outcome = talk([Say(2000, QUESTION)], cast)
    assert outcome.backends == ["cascade", "relay"]
    assert outcome.heard == tones.known(f"{GREETING} {ANSWER}")


def test_a_language_model_that_breaks_off_is_gone_on_with() -> None:
    cast = Cast()
    cast.llm.failing, cast.llm.fail_after = Failing(*range(9)), 8
    outcome = talk([Say(2000, QUESTION)], cast)
    assert outcome.backends == ["cascade", "relay"]
    assert_once(outcome.heard, tones.known(f"{GREETING} {ANSWER}"))
    assert [role for role, _ in question(outcome)] == ["user", "assistant"]


def test_a_model_that_refuses_is_replaced_by_the_cascade_and_the_caller_is_greeted() -> None:
    cast = Cast(tenant("relay"))
    cast.model.always = Refuse(401)
    outcome = talk(SCRIPT, cast)
    assert outcome.backends == ["relay", "cascade"]
    assert_whole(outcome, seam=0)
    assert not outcome.events("error")


def test_a_model_that_cannot_be_reached_is_not_waited_for() -> None:
    cast = Cast(tenant("relay"))
    cast.model.always = Refuse(503)
    outcome = talk(SCRIPT, cast)
    assert outcome.served[1][1] == "cascade"
    assert outcome.served[1][0] <= FALL_BACK_S * 1000 + TAKEN_MS + 20
    assert_whole(outcome, seam=0)


@pytest.mark.parametrize("since_ms", [0, 2900])
def test_a_model_that_lets_us_in_and_hangs_up_again_and_again_is_not_waited_for(since_ms: int) -> None:
    cast = Cast(tenant("relay"))

    async def lose() -> None:
        await asyncio.sleep(since_ms / 1000)
        cast.model.faults.extend([Drop()] * 9)
        if since_ms:
            cast.model.session.inject(Drop())

    outcome = talk(SCRIPT, cast, beside=lose)
    assert outcome.backends == ["relay", "cascade"]
    assert outcome.served[1][0] <= since_ms + FALL_BACK_S * 1000 + TAKEN_MS + 20
    assert silence_ms(outcome) < 3000
    assert_whole(outcome)


@pytest.mark.parametrize("drop_ms", [2300, 2900, 3150, 4000])
def test_a_model_that_is_lost_in_a_question_is_replaced(drop_ms: int) -> None:
    cast = Cast(tenant("relay"))

    async def lose() -> None:
        await asyncio.sleep(drop_ms / 1000)
        cast.model.always = Refuse(503)
        cast.model.session.inject(Drop())

    outcome = talk(SCRIPT, cast, beside=lose)
    assert outcome.backends == ["relay", "cascade"]
    assert_whole(outcome)


@pytest.mark.parametrize("mute_ms", [2300, 2900, 3125, 3150])
def test_a_model_that_owes_an_answer_is_replaced_before_three_seconds_are_over(mute_ms: int) -> None:
    """Mute since the question is being asked, since its end, and since its answer has begun."""
    cast = Cast(tenant("relay"))

    async def mute() -> None:
        await asyncio.sleep(mute_ms / 1000)
        cast.model.session.inject(Mute())

    outcome = talk(SCRIPT[:1], cast, beside=mute)
    assert outcome.backends == ["relay", "cascade"]
    assert question(outcome) == ANSWERED
    assert silence_ms(outcome) < 3000


def test_a_model_that_does_not_take_a_commit_is_replaced_before_three_seconds_are_over() -> None:
    relay = RelaySettings(turn_detection=None)
    cast = Cast(Tenant(id="test", backend="relay", fallback_backend="cascade", relay=relay))

    async def mute() -> None:
        await asyncio.sleep(1.9)
        cast.model.session.inject(Mute())

    outcome = talk([Say(2000, QUESTION), Ask(2700, "commit")], cast, beside=mute)
    assert outcome.backends == ["relay", "cascade"]
    assert outcome.items == ANSWERED
    assert silence_ms(outcome) < 3000


@pytest.mark.parametrize("wait", ["", " Please try again in 4s."], ids=["again and again", "for long"])
def test_a_model_that_fails_to_answer_is_replaced_before_three_seconds_are_over(wait: str) -> None:
    cast = Cast(tenant("relay"))

    async def fail() -> None:
        await asyncio.sleep(2)
        for _ in range(1 if wait else 2):
            cast.model.session.inject(FailResponse("rate_limit_exceeded", f"Rate limit reached.{wait}"))

    outcome = talk(SCRIPT[:1], cast, beside=fail)
    assert outcome.backends == ["relay", "cascade"]
    assert question(outcome) == ANSWERED
    assert silence_ms(outcome) < 3000


def test_a_model_that_hears_a_long_question_is_asked_whether_it_lives() -> None:
    outcome = talk([Say(2000, QUESTION, word_ms=1000)], Cast(tenant("relay")))
    assert outcome.backends == ["relay"]
    assert 2 <= len([event for event in outcome.sent("session.update") if "event_id" not in event]) <= 4
    assert question(outcome) == ANSWERED


def test_a_model_is_waited_for_where_nobody_else_can_answer() -> None:
    """The other backend has no worker: the model is slow, and answers at last."""
    model = Model(Options(answer=script(REPLIES), verify=False, first_audio_ms=4000))
    cast = Cast(Tenant(id="test", backend="relay", fallback_backend="cascade"), model=model)
    outcome = talk(SCRIPT[:1], cast, others=False)
    assert outcome.backends == ["relay"]
    assert outcome.items == ANSWERED
    assert len(model.sessions) == 1


def test_when_both_fail_the_caller_hears_the_apology_of_the_first() -> None:
    cast = Cast()
    cast.llm.failing = Failing(*range(9))
    cast.model.always = Refuse(401)
    outcome = talk([Say(2000, QUESTION)], cast)
    assert outcome.backends == ["cascade", "relay", "cascade"]
    assert question(outcome) == [("user", QUESTION), ("assistant", cast.tenant.apology)]
    assert outcome.last.gave_up is None
