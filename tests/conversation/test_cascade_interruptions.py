"""Somebody speaks over an answer, and it takes a while until their words are known, if there are any."""

from __future__ import annotations

import itertools

import pytest

from tests.conversation.talk import ANSWER, QUESTION, Cast, Outcome, talk, tenant
from tests.standins.session import Action, Ask, Dial, Say, Type
from tests.standins.voices import ScriptedLlm, ScriptedStt, ScriptedTranscriber
from trunkline.tenants import Fillers, Tenant, TurnSettings
from workers.cascade.interrupting import DOUBT_S
from workers.keys import told

STOP = "no stop that"
HEARD = [("user", QUESTION), ("assistant", ANSWER)]
SILENT = Tenant(id="test", fillers=Fillers(phrases=()), turn=TurnSettings(preemptive=False))
"""Says nothing to who waits for a slow transcriber, and thinks when the words are final."""
STOP_MS = 480
WORD_MS = 200
SLACK_MS = 100


def noise(at_ms: int, duration_ms: int) -> Say:
    """Sound that is taken for speech, and has no words."""
    return Say(at_ms, " ".join("abcdefghijklmnopqrstuvwxyz"[: duration_ms // 100]), word_ms=100)


class LateTranscriber(ScriptedTranscriber):
    @property
    def interim(self) -> str:
        return "" if self._open else super().interim


class LateStt(ScriptedStt):
    """Says nothing before the end."""

    def utterance(self) -> LateTranscriber:
        self.open += 1
        return LateTranscriber(self)


def cast(takes_s: float = 0.2, *, tells: bool = True) -> Cast:
    stt = (ScriptedStt if tells else LateStt)(takes_s, shortest_ms=180)
    return Cast(tenant=SILENT, stt=stt, llm=ScriptedLlm({QUESTION: ANSWER, STOP: "All right.", "well": "Very well."}))


def pauses(outcome: Outcome, after_ms: int) -> list[int]:
    """How long nothing was heard, where that was longer than a word."""
    times = [at_ms for at_ms, *_ in outcome.edge.heard_at if at_ms > after_ms]
    return [later - earlier for earlier, later in itertools.pairwise(times) if later - earlier > 240]


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("duration_ms", [300, 900, 2500])
def test_a_sound_without_words_only_holds_the_answer(duration_ms: int, *, tells: bool) -> None:
    outcome = talk([Say(1000, QUESTION), noise(5000, duration_ms)], cast(tells=tells), end_ms=16_000)
    assert outcome.edge.heard == ANSWER
    assert outcome.items == HEARD
    [held_ms] = pauses(outcome, 2000)
    assert duration_ms < held_ms <= WORD_MS + duration_ms + STOP_MS + 200 + SLACK_MS, "until the text was known"
    assert outcome.last.rests[-1] is True


def test_a_slow_transcriber_holds_a_short_one_for_a_second_at_most() -> None:
    outcome = talk([Say(1000, QUESTION), noise(7000, 300)], cast(takes_s=3), end_ms=20_000)
    assert outcome.items == HEARD
    [held_ms] = pauses(outcome, 2000)
    least_ms = 300 + STOP_MS + DOUBT_S * 1000
    assert least_ms - SLACK_MS < held_ms <= least_ms + WORD_MS + SLACK_MS


def test_words_that_a_slow_transcriber_finds_end_the_answer_after_all() -> None:
    script = [Say(1000, QUESTION), Say(7000, STOP, word_ms=250)]
    outcome = talk(script, cast(takes_s=2.5, tells=False), end_ms=20_000)
    assert outcome.items[2:] == [("user", STOP), ("assistant", "All right.")]
    cut = outcome.items[1][1]
    assert ANSWER.startswith(cut)
    assert cut != ANSWER
    assert [pause for pause in pauses(outcome, 6500) if pause > 1500], "it was held for a while, and went on"


def test_words_that_come_when_the_answer_is_over_are_answered() -> None:
    script = [Say(1000, QUESTION), Say(9000, STOP, word_ms=250)]
    outcome = talk(script, cast(takes_s=2.5, tells=False), end_ms=20_000)
    assert outcome.items == [*HEARD, ("user", STOP), ("assistant", "All right.")]


@pytest.mark.parametrize("duration_ms", [300, 1500])
def test_who_says_nothing_before_the_end_is_answered_as_soon(duration_ms: int) -> None:
    word_ms = duration_ms // 3 if duration_ms > 600 else 200
    script = [Say(1000, QUESTION), Say(5000, STOP, word_ms=word_ms)]
    early = talk(script, cast(), end_ms=16_000)
    late = talk(script, cast(tells=False), end_ms=16_000)
    assert [role for role, _ in early.items] == [role for role, _ in late.items] == ["user", "assistant"] * 2
    assert late.items[2:] == early.items[2:]
    assert late.edge.heard_at[-1][0] == pytest.approx(early.edge.heard_at[-1][0], abs=40)
    heard = [[word for at_ms, turn, word in each.edge.heard_at if turn == 2] for each in (early, late)]
    assert heard[0] == heard[1], "nothing more of the answer was heard"


def test_who_breaks_off_and_speaks_again_is_heard_as_one() -> None:
    cast_ = cast(takes_s=0.8, tells=False)
    cast_.llm.answers["no i meant the other one"] = "The other one."
    script = [
        Say(1000, QUESTION),
        Say(5000, "no", word_ms=300),
        Say(5000 + 300 + STOP_MS + 300, "i meant the other one"),
    ]
    outcome = talk(script, cast_, end_ms=16_000)
    assert outcome.edge.heard.endswith("The other one.")
    assert [text for role, text in outcome.items if role == "user"] == [QUESTION, "no", "i meant the other one"]


def test_a_cough_and_then_words() -> None:
    script = [Say(1000, QUESTION), noise(5000, 300), Say(5000 + 300 + STOP_MS + 150, STOP)]
    outcome = talk(script, cast(takes_s=0.6, tells=False), end_ms=16_000)
    assert [text for role, text in outcome.items if role == "user"] == [QUESTION, STOP]
    assert outcome.edge.heard.endswith("All right.")


DOUBT_MS = 5000 + 300 + STOP_MS + 100
"""Nobody knows yet what the noise was."""


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (Type(DOUBT_MS, "well"), ["well"]),
        (Ask(DOUBT_MS, "cancel"), []),
        (Ask(DOUBT_MS, "commit"), []),
        (Dial(DOUBT_MS, "#"), [told("#")]),
    ],
)
def test_what_the_caller_does_meanwhile_ends_the_answer(action: Action, said: list[str]) -> None:
    outcome = talk([Say(1000, QUESTION), noise(5000, 300), action], cast(takes_s=0.8), end_ms=16_000)
    assert [text for role, text in outcome.items if role == "user"] == [QUESTION, *said]
    cut = outcome.items[1][1]
    assert ANSWER.startswith(cut)
    assert cut != ANSWER
    assert outcome.told("state", "state")[-1] == "listening"
    assert outcome.last.rests[-1] is True


@pytest.mark.parametrize("kill_ms", range(4990, 7000, 270))
@pytest.mark.parametrize("tells", [True, False])
def test_a_death_before_the_text_is_known(kill_ms: int, *, tells: bool) -> None:
    outcome = talk([Say(1000, QUESTION), noise(5000, 300)], cast(0.8, tells=tells), end_ms=16_000, kills_ms=[kill_ms])
    assert outcome.edge.heard == ANSWER
    assert outcome.items == HEARD
    script = [Say(1000, QUESTION), Say(5000, STOP)]
    outcome = talk(script, cast(0.8, tells=tells), end_ms=16_000, kills_ms=[kill_ms])
    assert outcome.items[2:] == [("user", STOP), ("assistant", "All right.")]
    assert outcome.edge.heard.endswith("All right.")


def test_a_tenant_who_asks_for_nothing_but_length_is_interrupted_by_any_sound() -> None:
    cast_ = cast()
    cast_.tenant = tenant(ignore_backchannels=False)
    outcome = talk([Say(1000, QUESTION), noise(5000, 500)], cast_)
    assert outcome.items[1] != HEARD[1]
