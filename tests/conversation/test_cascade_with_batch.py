"""Conversations with a recogniser that takes whole recordings and 700 ms for each (peers' p50; their p99 is 1.5 s)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import pytest

from tests.conversation.talk import Cast, Outcome, talk, tenant
from tests.standins.session import Action, Ask, Say
from tests.standins.voices import Failing, ScriptedBatch, ScriptedLlm
from trunkline.tenants import SORRY
from workers.providers.batch import BatchOptions, BatchSpeech

TAKES_MS = 700

QUESTIONS = [
    "is tuesday free",
    "and what about the day after that one",
    "no",
    "then i would like to come at ten",
    "please write that down for me and for my wife as well",
]
ANSWERS = {question: "All right then." for question in QUESTIONS}


def questions(pause_ms: int = 200) -> list[Action]:
    """Each question in two breaths, where it has words enough; 6 s from one to the next."""
    script: list[Action] = []
    for number, question in enumerate(QUESTIONS):
        words = question.split()
        first, second = words[: len(words) // 2], words[len(words) // 2 :]
        at_ms = 1000 + 6000 * number
        for breath in (first, second):
            if breath:
                script.append(Say(at_ms, " ".join(breath)))
                at_ms += 200 * len(breath) + pause_ms
    return script


def converse(
    vendor: ScriptedBatch, stop_ms: int, *, script: Sequence[Action] | None = None, **options: float
) -> Outcome:
    cast = Cast(
        tenant=tenant(stop_ms=stop_ms, longest_utterance_ms=60_000),
        llm=ScriptedLlm(ANSWERS),
        batch=BatchSpeech(vendor, BatchOptions.model_validate(options)),
    )
    return talk(script or questions(), cast, end_ms=34_000)


def waits_ms(outcome: Outcome) -> list[int]:
    """From knowing that the caller is done to having the text, question by question."""
    return [dict(parts)["transcript"] for parts in outcome.told("latency", "parts")]


@pytest.mark.parametrize(("stop_ms", "share"), [(480, 0.40), (640, 0.15), (800, 0.0)])
def test_most_of_the_recogniser_s_time_passes_in_the_silence_that_ends_a_turn(stop_ms: int, share: float) -> None:
    plainly, ahead = ScriptedBatch(TAKES_MS / 1000), ScriptedBatch(TAKES_MS / 1000)
    slow = converse(plainly, stop_ms, speculate=False)
    fast = converse(ahead, stop_ms, speculate=True)
    for outcome in (slow, fast):
        assert [text for role, text in outcome.items if role == "user"] == QUESTIONS
    assert statistics.median(waits_ms(slow)) == pytest.approx(TAKES_MS, abs=5)
    assert statistics.median(waits_ms(fast)) <= share * statistics.median(waits_ms(slow))
    assert max(waits_ms(fast)) <= TAKES_MS - (stop_ms - 64) + 5 or share == 0


def test_what_being_early_costs() -> None:
    vendor = ScriptedBatch(TAKES_MS / 1000)
    converse(vendor, 640)
    assert len(vendor.asked) == 2 * len(QUESTIONS) - 1, "one for each breath"
    assert vendor.given_up == len(QUESTIONS) - 1
    vendor = ScriptedBatch(TAKES_MS / 1000)
    converse(vendor, 640, pause_ms=250)
    assert len(vendor.asked) == len(QUESTIONS), "a breath is no pause for the patient"
    assert vendor.given_up == 0


def test_a_guess_that_fails_is_not_noticed_but_by_the_wait() -> None:
    vendor = ScriptedBatch(TAKES_MS / 1000, Failing(0))
    outcome = converse(vendor, 800, script=[Say(1000, "is tuesday free")])
    assert [text for _, text in outcome.items] == ["is tuesday free", "All right then."]
    assert waits_ms(outcome) == [pytest.approx(TAKES_MS, abs=5)]


def test_a_recogniser_that_is_away_is_apologised_for() -> None:
    vendor = ScriptedBatch(TAKES_MS / 1000, Failing(0, 1))
    outcome = converse(vendor, 800, script=[Say(1000, "is tuesday free"), Say(9000, "no")])
    assert [text for _, text in outcome.items] == [SORRY, "no", "All right then."]


def test_a_long_story_is_text_when_it_ends() -> None:
    vendor = ScriptedBatch(TAKES_MS / 1000)
    story = [" ".join(f"w{breath}x{word}" for word in range(10)) for breath in range(10)]
    script: list[Action] = [Say(1000 + 2300 * number, breath) for number, breath in enumerate(story)]
    outcome = converse(vendor, 800, script=script)
    assert outcome.items[0] == ("user", " ".join(story))
    assert waits_ms(outcome) == [0]
    assert max(asked.length_ms for asked in vendor.asked) < 14_000
    assert [asked.context for asked in vendor.asked if asked.length_ms >= 10_000] == ["", " ".join(story[:5])]


def test_a_client_that_ends_its_utterance_in_the_middle_loses_nothing() -> None:
    vendor = ScriptedBatch(TAKES_MS / 1000)
    script: list[Action] = [Say(1000, "is tuesday"), Say(1600, "free"), Ask(1850, "commit")]
    outcome = converse(vendor, 800, script=script)
    assert outcome.items[0] == ("user", "is tuesday free")


def test_talk_over_an_answer_is_transcribed_only_when_it_is_an_interruption() -> None:
    vendor = ScriptedBatch(TAKES_MS / 1000)
    script = [Say(1000, "is tuesday free"), Say(2900, "aha", word_ms=160)]
    outcome = converse(vendor, 480, script=script)
    assert outcome.edge.heard == "All right then."
    assert [asked.text for asked in vendor.asked] == ["is tuesday free"]


def test_nothing_is_left_of_a_caller_who_hangs_up_in_a_pause() -> None:
    vendor = ScriptedBatch(takes_s=1000)
    cast = Cast(llm=ScriptedLlm(ANSWERS), batch=BatchSpeech(vendor, BatchOptions()))
    talk([Say(1000, "is tuesday free")], cast, end_ms=1800)
    assert vendor.asked
    assert vendor.running == 0
    assert vendor.given_up == len(vendor.asked)
