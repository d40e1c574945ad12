"""Workers die at every point of a relayed conversation; the caller hears, and the record holds, what they would have
anyway, but for a word or two where an answer was taken over: only the model knows what it was about to say."""

from __future__ import annotations

import pytest

from tests.conversation.relay_talk import (
    ANSWER,
    GREETING,
    QUESTION,
    SECOND,
    SECOND_ANSWER,
    Cast,
    Outcome,
    talk,
    tenant,
)
from tests.conversation.test_relay_faults import assert_once
from tests.standins.realtime import Drop
from tests.standins.session import Action, Ask, Say, Type

SCRIPT: list[Action] = [Say(2000, QUESTION), Say(9500, SECOND)]
END_MS = 14_000


def assert_unnoticed(outcome: Outcome, seam: int = 2) -> None:
    """Nothing was said twice or left out but at the seam, and nothing heard was forgotten or doubled."""
    whole = f"{GREETING} {ANSWER} {SECOND_ANSWER}"
    assert_once(outcome.heard, whole, seam)
    roles = [role for role, _ in outcome.items]
    assert roles == ["assistant", "user", "assistant", "user", "assistant"], outcome.items
    assert [text for role, text in outcome.items if role == "user"] == [QUESTION, SECOND]
    said = " ".join(text for role, text in outcome.items if role == "assistant")
    assert_once(said, whole, seam)
    users = [text for role, text in outcome.model_items if role == "user"]
    assert users == [QUESTION, SECOND]


@pytest.mark.parametrize("phase_ms", [0, 113])
def test_a_death_at_any_time(phase_ms: int) -> None:
    for kill_ms in range(phase_ms + 5, 13_500, 200):
        try:
            assert_unnoticed(talk(SCRIPT, cast(), end_ms=END_MS, kills_ms=[kill_ms], gap_ms=40 + kill_ms % 700))
        except (AssertionError, ExceptionGroup) as error:
            raise AssertionError(f"killed at {kill_ms} ms: {error}") from error


def cast() -> Cast:
    return Cast(tenant(GREETING), options={"verify": False})


@pytest.mark.parametrize("speed", [1.05, 0.0])
def test_a_death_with_a_slow_model_and_with_one_that_says_all_at_once(speed: float) -> None:
    for kill_ms in range(2900, 7500, 170):
        slow = cast()
        slow.options["speed"] = speed
        try:
            assert_unnoticed(talk(SCRIPT, slow, end_ms=END_MS, kills_ms=[kill_ms]))
        except (AssertionError, ExceptionGroup) as error:
            raise AssertionError(f"killed at {kill_ms} ms: {error}") from error


def test_many_deaths() -> None:
    outcome = talk(SCRIPT, cast(), end_ms=END_MS, kills_ms=range(700, 13_000, 1100))
    assert_unnoticed(outcome, seam=12)


@pytest.mark.parametrize("after_ms", [1, 55, 70, 120, 200])
def test_a_successor_that_dies_too(after_ms: int) -> None:
    for kill_ms in range(3050, 7000, 510):
        outcome = talk(SCRIPT, cast(), end_ms=END_MS, kills_ms=[kill_ms, kill_ms + 100 + after_ms])
        assert_unnoticed(outcome, seam=3)


@pytest.mark.parametrize("kill_ms", range(5000, 7500, 110))
def test_a_death_in_an_interruption(kill_ms: int) -> None:
    outcome = talk([Say(2000, QUESTION), Say(5000, SECOND)], cast(), end_ms=END_MS, kills_ms=[kill_ms])
    assert [role for role, _ in outcome.items] == ["assistant", "user", "assistant", "user", "assistant"]
    assert outcome.items[3] == ("user", SECOND)
    assert_once(outcome.items[4][1], SECOND_ANSWER, 0)
    cut = outcome.items[2][1]
    assert ANSWER.startswith(cut)
    heard = [word for word in outcome.heard.split() if word in ANSWER.split()]
    assert abs(len(heard) - len(cut.split())) <= 2
    assert heard == ANSWER.split()[: len(heard)], "it did not come back"


@pytest.mark.parametrize("kill_ms", [4001, 4010, 4100, 4600])
def test_a_death_after_a_cancel_does_not_bring_the_answer_back(kill_ms: int) -> None:
    outcome = talk([Say(1000, QUESTION), Ask(4000, "cancel")], kills_ms=[kill_ms])
    assert outcome.heard_between(4060, 12_000) == ""
    assert [role for role, _ in outcome.items] == ["user", "assistant"]


@pytest.mark.parametrize("kill_ms", [2310, 2700, 3200])
def test_a_question_that_was_cancelled_before_it_was_text_is_not_answered_after_a_death(kill_ms: int) -> None:
    """Its words come at 2555 ms, and are nobody's to answer."""
    late = Cast(options={"transcribe_ms": 250, "first_audio_ms": 3000})
    outcome = talk([Say(1000, QUESTION), Ask(2300, "cancel"), Say(6000, SECOND)], late, kills_ms=[kill_ms])
    assert outcome.heard == SECOND_ANSWER
    assert outcome.items == [("user", QUESTION), ("user", SECOND), ("assistant", SECOND_ANSWER)]


@pytest.mark.parametrize("drop_ms", [2310, 2700])
def test_a_question_that_was_cancelled_is_not_answered_by_the_next_session_with_the_model(drop_ms: int) -> None:
    late = Cast(options={"transcribe_ms": 250, "first_audio_ms": 3000})
    outcome = talk([Say(1000, QUESTION), Ask(2300, "cancel"), Say(6000, SECOND)], late, faults={drop_ms: Drop()})
    assert len(outcome.model.sessions) == 2
    assert outcome.heard == SECOND_ANSWER
    assert outcome.items == [("user", QUESTION), ("user", SECOND), ("assistant", SECOND_ANSWER)]


@pytest.mark.parametrize("kill_ms", [4001, 4006, 4012, 4100, 4200, 4350])
def test_a_death_after_typed_text(kill_ms: int) -> None:
    outcome = talk([Say(1000, QUESTION), Type(4000, SECOND)], kills_ms=[kill_ms])
    assert_once(outcome.heard_between(4100, 12_000), SECOND_ANSWER, 2)
    assert [text for role, text in outcome.items if role == "user"] == [QUESTION, SECOND]


@pytest.mark.parametrize("kill_ms", range(1500, 3400, 130))
def test_a_commit_outlives_its_worker(kill_ms: int) -> None:
    script: list[Action] = [Say(1000, QUESTION), Ask(2000, "commit")]
    outcome = talk(script, Cast(tenant(turn_detection=None)), kills_ms=[kill_ms])
    assert_once(outcome.heard, ANSWER, 2)
    assert [text for role, text in outcome.items if role == "user"] == [QUESTION]
    assert not outcome.events("error")


def test_a_question_without_transcription_outlives_its_worker() -> None:
    for kill_ms in range(1100, 2100, 90):
        outcome = talk([Say(1000, QUESTION)], Cast(tenant(transcription=None)), kills_ms=[kill_ms])
        assert outcome.heard == ANSWER
