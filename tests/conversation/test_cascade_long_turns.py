"""Somebody speaks for long: nothing is lost, and nobody answers before they are done. Unless they never are."""

from __future__ import annotations

import itertools

import pytest

from tests.conversation.talk import Cast, Outcome, talk, tenant
from tests.standins.session import FRAME_MS, Action, Say
from tests.standins.voices import ScriptedLlm

BREATHS = [" ".join(f"w{breath}x{word}" for word in range(12)) for breath in range(8)]
"""8 x 12 words: 2.4 s each, and 300 ms between them."""
STORY = " ".join(BREATHS)
SCRIPT: list[Action] = [Say(1000 + 2700 * number, breath) for number, breath in enumerate(BREATHS)]
STOPPED_MS = 1000 + 2700 * 8 - 300
NEEDED_MS = 13_000
"""The edge keeps 15 s."""


def story(*kills_ms: int) -> Outcome:
    return talk(SCRIPT, Cast(llm=ScriptedLlm({STORY: "What a story."})), end_ms=28_000, kills_ms=kills_ms)


def user_said(outcome: Outcome) -> list[str]:
    return [text for role, text in outcome.items if role == "user"]


def test_a_long_story_is_written_down_as_it_is_told_and_answered_when_it_is_over() -> None:
    outcome = story()
    assert " ".join(user_said(outcome)) == STORY
    assert all(part in BREATHS or part.split()[-1].endswith("x11") for part in user_said(outcome)), "cut in breaths"
    assert len(user_said(outcome)) > 2
    assert outcome.edge.heard == "What a story."
    assert outcome.edge.heard_at[0][0] == pytest.approx(STOPPED_MS + 480 + 200 + 300 + 100, abs=100)
    assert outcome.told("state", "state") == ["listening", "thinking", "speaking", "listening"]
    assert len(outcome.events("speech_stopped")) == 1


def test_who_never_breathes_loses_no_more_than_the_words_that_are_cut() -> None:
    words = STORY.split()
    outcome = talk([Say(1000, STORY)], Cast(llm=ScriptedLlm({})), end_ms=24_000)
    said = " ".join(user_said(outcome)).split()
    assert set(said) == set(words)
    assert len(said) <= len(words) + 2, "a word in two parts is heard twice"


def test_the_edge_never_needs_to_keep_more_than_it_does() -> None:
    for kill_ms in range(2000, 24_000, 4300):
        outcome = story(kill_ms)
        assert " ".join(user_said(outcome)) == STORY
        assert outcome.edge.heard.endswith("What a story.")
        needed_ms = outcome.sessions[0].committed.uplink_seq * FRAME_MS
        assert kill_ms - needed_ms <= NEEDED_MS


def test_a_part_that_is_only_the_silence_after_a_cut_is_not_transcribed() -> None:
    words = " ".join(f"v{number}" for number in range(35))
    cast = Cast(llm=ScriptedLlm({words: "Yes."}))
    outcome = talk([Say(1000, words)], cast)
    assert cast.stt.heard == [words]
    assert outcome.edge.heard == "Yes."


ENDLESS = " ".join(f"e{number}" for number in range(80))
"""16 s."""


def test_who_never_stops_is_answered_at_last_and_heard_again_after_a_silence() -> None:
    cast = Cast(tenant=tenant(longest_turn_ms=6000), llm=ScriptedLlm({"really": "Really."}))
    outcome = talk([Say(1000, ENDLESS), Say(19_000, "really")], cast, end_ms=24_000)
    assert 7000 < outcome.edge.heard_at[0][0] < 8000
    assert outcome.edge.heard.endswith("Really.")
    first = [word for _, turn, word in outcome.edge.heard_at if turn == outcome.edge.heard_at[0][1]]
    assert " ".join(first) == "I have no script for this.", "what never stopped is no interruption"
    assert user_said(outcome)[-1] == "really"
    times = [at_ms for at_ms, *_ in outcome.edge.heard_at]
    assert max(later - earlier for earlier, later in itertools.pairwise(times[: len(first)])) <= 220


@pytest.mark.parametrize("kill_ms", [*range(7300, 23_000, 1900), 22_350])
def test_no_model_is_asked_about_half_a_story_because_a_worker_died(kill_ms: int) -> None:
    cast = Cast(tenant=tenant(preemptive=False), llm=ScriptedLlm({STORY: "What a story."}))
    outcome = talk(SCRIPT, cast, end_ms=28_000, kills_ms=[kill_ms])
    assert outcome.edge.heard == "What a story."
    assert [len([each for each in asked if each.role == "user"]) for asked in cast.llm.asked] == [
        len(user_said(outcome))
    ]


@pytest.mark.parametrize("kill_ms", range(8140, 8480, 60))
def test_a_death_in_the_silence_after_a_cut_leaves_nobody_without_an_answer(kill_ms: int) -> None:
    words = " ".join(f"v{number}" for number in range(35))
    outcome = talk([Say(1000, words)], Cast(llm=ScriptedLlm({words: "Yes."})), kills_ms=[kill_ms])
    assert user_said(outcome) == [words]
    assert outcome.edge.heard == "Yes."
    assert outcome.edge.heard_at[0][0] < 12_000
