"""Words that take long to become text: they are waited for together, come in the order in which they were said, and
those that are known are remembered when the user is gone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from tests.conversation.talk import ANSWER, QUESTION, Cast, Outcome, talk, tenant
from tests.standins.session import FRAME_MS, Action, Ask, Say, Type
from tests.standins.troubled import BROKEN, MUTE, NONE, Trouble, TroubledStt
from tests.standins.voices import LoudnessVad, ScriptedLlm, ScriptedStt
from tests.unit.failover.linked import linked
from trunkline.tenants import SORRY, Fillers
from workers.cascade.runner import Cascade
from workers.cascade.stages import Stages
from workers.failover.speech_to_text import SpeechToTextChain

WORDS = [f"w{number}" for number in range(30)]
STORY = " ".join(WORDS)
"""6 s, of which each second is transcribed by itself."""
SPOKEN = [Say(1000, STORY)]
ENDED_MS = 7000 + 480
DEADLINE_S = 1.5


class Hearing(Cast):
    """As `Cast`, whose transcriber has a deadline; long speech is cut after a second."""

    def __init__(self, stt: TroubledStt, deadline_s: float = DEADLINE_S) -> None:
        super().__init__(tenant=tenant(longest_utterance_ms=1000), stt=stt, llm=ScriptedLlm({}))
        stt.shortest_ms = 40  # so that each half of a word that was cut is one
        self.links = linked(stt, deadline_s=deadline_s)

    @property
    def cascade(self) -> Cascade:
        return Cascade(Stages(SpeechToTextChain(self.links), self.llm, self.tts), LoudnessVad)


def said(outcome: Outcome) -> list[str]:
    return [text for role, text in outcome.items if role == "user"]


def words_of(outcome: Outcome) -> list[str]:
    """What the user said; a word that a cut went through is heard in both parts."""
    return [word for word, _ in itertools.groupby(" ".join(said(outcome)).split())]


def test_a_mute_transcriber_costs_a_long_turn_its_deadline_once() -> None:
    outcome = talk(SPOKEN, Hearing(TroubledStt(MUTE)), end_ms=16_000)
    assert outcome.edge.heard == SORRY
    assert outcome.edge.heard_at[0][0] <= ENDED_MS + DEADLINE_S * 1000 + 300
    assert outcome.items == [("assistant", SORRY)]


def test_parts_that_are_known_sooner_wait_for_those_before_them() -> None:
    cast = Hearing(TroubledStt(Trouble(1.2), NONE, Trouble(1.0), NONE, Trouble(0.4), for_ever=False))
    outcome = talk(SPOKEN, cast, end_ms=16_000)
    assert words_of(outcome) == WORDS
    assert len(said(outcome)) >= 5
    assert len(outcome.edge.turns) == 1
    assert outcome.told("error", "code") == []


@pytest.mark.parametrize("kill_ms", [2600, 3300, 4700, 6100, 7500, 8100, 8700])
def test_a_death_while_parts_are_waited_for_loses_none_and_doubles_none(kill_ms: int) -> None:
    cast = Hearing(TroubledStt(takes_s=1.3))
    outcome = talk(SPOKEN, cast, end_ms=18_000, kills_ms=[kill_ms])
    assert words_of(outcome) == WORDS
    assert len(outcome.edge.turns) == 1


def test_a_part_that_fails_leaves_the_others() -> None:
    cast = Hearing(TroubledStt(NONE, Trouble(0.5, BROKEN), NONE, for_ever=False))
    outcome = talk(SPOKEN, cast, end_ms=16_000)
    assert words_of(outcome)[0] == WORDS[0]
    assert words_of(outcome)[-1] == WORDS[-1]
    assert len(outcome.told("error", "code")) == 1


def test_a_client_that_cancels_while_parts_are_waited_for_is_not_answered_and_all_is_remembered() -> None:
    outcome = talk([*SPOKEN, Ask(7600, "cancel")], Hearing(TroubledStt(Trouble(1.2))), end_ms=16_000)
    assert words_of(outcome) == WORDS
    assert outcome.edge.turns == {}
    assert outcome.told("state", "state")[-1] == "listening"


def test_what_is_typed_behind_them_is_answered_with_them() -> None:
    outcome = talk([*SPOKEN, Type(7600, "never mind")], Hearing(TroubledStt(Trouble(1.2))), end_ms=16_000)
    assert words_of(outcome) == [*WORDS, "never", "mind"]
    assert len(outcome.edge.turns) == 1


@pytest.mark.parametrize(
    ("script", "remembered"),
    [
        ([Say(1000, QUESTION), Type(2400, "and this")], ["and this"]),
        ([Say(1000, QUESTION), Type(2400, "this"), Type(2450, "that")], ["this", "that"]),
        ([Say(1000, QUESTION), Say(2200, "really", word_ms=300)], []),
    ],
    ids=["typed", "typed twice", "spoken"],
)
def test_who_hangs_up_is_remembered_as_far_as_they_are_known(script: Sequence[Action], remembered: list[str]) -> None:
    cast = Hearing(TroubledStt(Trouble(1.4)))
    outcome = talk(script, cast, end_ms=3000)
    assert said(outcome) == remembered
    assert outcome.told("transcript", "text") == remembered
    assert outcome.last.committed.uplink_seq > 2400 / FRAME_MS, "nobody is to hear it again"


def test_who_hangs_up_over_a_filler_is_remembered_before_it() -> None:
    """It was said to them because of words that are still on their way."""
    cast = Hearing(TroubledStt(takes_s=1.8), deadline_s=5.0)
    fillers = cast.tenant.fillers.model_copy(update={"delay_s": 0.5, "phrases": ("One moment.",)})
    cast.tenant = cast.tenant.model_copy(update={"fillers": fillers})
    outcome = talk([Say(1000, QUESTION), Type(2100, "and this")], cast, end_ms=3200)
    assert outcome.items == [("user", QUESTION), ("user", "and this"), ("assistant", "One moment.")]


@pytest.mark.parametrize("kill_ms", [2900, 3100, 3500, 4400])
def test_what_was_heard_of_a_filler_is_remembered_to_the_word_when_its_worker_dies(kill_ms: int) -> None:
    """Its audio was all made; what follows it is not known for seconds."""
    fillers = Fillers(phrases=("Hold on please.",), delay_s=0.5, interval_s=30)
    late = Cast(tenant=tenant().model_copy(update={"fillers": fillers}), stt=ScriptedStt(3.0))
    outcome = talk([Say(1000, QUESTION)], late, end_ms=16_000, kills_ms=[kill_ms])
    assert outcome.edge.heard.endswith(ANSWER)
    assert " ".join(text for role, text in outcome.items if role == "assistant") == outcome.edge.heard


@pytest.mark.parametrize("kill_ms", [7600, 7640, 7660])
def test_a_filler_that_nobody_heard_is_not_remembered_when_its_worker_dies(kill_ms: int) -> None:
    """It was about to be spoken. What the edge has is of the greeting."""
    fillers = Fillers(phrases=("Hold on please.",), delay_s=0.5, interval_s=30)
    greeted = tenant("Hello and welcome to this place here.").model_copy(update={"fillers": fillers})
    late = Cast(tenant=greeted, stt=ScriptedStt(3.0))
    outcome = talk([Say(6000, QUESTION)], late, end_ms=21_000, kills_ms=[kill_ms])
    assert " ".join(text for role, text in outcome.items if role == "assistant") == outcome.edge.heard
