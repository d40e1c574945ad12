"""Whole conversations in which providers fail: what the caller hears of it, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from operator import setitem

import pytest

from tests.conversation.talk import ANSWER, QUESTION, Cast, Outcome, talk, tenant
from tests.standins.session import Action, Say, Type
from tests.standins.troubled import (
    BROKEN,
    LOCKED_OUT,
    MUTE,
    NONE,
    REFUSED,
    Trouble,
    TroubledLlm,
    TroubledStt,
    TroubledTts,
    too_many,
)
from tests.standins.voices import LoudnessVad
from tests.unit.failover.linked import linked
from trunkline.tenants import SORRY
from workers.cascade.runner import Cascade
from workers.cascade.stages import Stages
from workers.failover.language_model import LanguageModelChain
from workers.failover.speech_to_text import SpeechToTextChain
from workers.failover.text_to_speech import TextToSpeechChain

ANSWERS = {QUESTION: ANSWER}

END_MS = 1600
"""Of the caller's question, which begins at 1 s."""


def llm(*plan: Trouble, for_ever: bool = True) -> TroubledLlm:
    return TroubledLlm(ANSWERS, *plan, for_ever=for_ever)


@dataclass
class Chained(Cast):
    """As `Cast`, each stage with a fallback or more, the first in trouble. Breakers outlive workers."""

    stts: Sequence[TroubledStt] = field(default_factory=lambda: [TroubledStt(), TroubledStt()])
    llms: Sequence[TroubledLlm] = field(default_factory=lambda: [llm(), llm()])
    ttss: Sequence[TroubledTts] = field(default_factory=lambda: [TroubledTts(), TroubledTts()])
    hedge_s: float | None = None

    def __post_init__(self) -> None:
        self.stt_links = linked(*self.stts, deadline_s=1.5)
        self.llm_links = linked(*self.llms, deadline_s=4.0, hedge_s=self.hedge_s)
        self.tts_links = linked(*self.ttss, deadline_s=1.5)

    @property
    def cascade(self) -> Cascade:
        served: dict[str, str] = {}
        stages = Stages(
            SpeechToTextChain(self.stt_links, partial(setitem, served, "stt")),
            LanguageModelChain(self.llm_links, partial(setitem, served, "llm")),
            TextToSpeechChain(self.tts_links, partial(setitem, served, "tts")),
            served,
        )
        return Cascade(stages, LoudnessVad)


def converse(
    cast: Chained,
    script: Sequence[Action] = (Say(1000, QUESTION),),
    *,
    end_ms: int = 16_000,
    kills_ms: Sequence[float] = (),
) -> Outcome:
    """The conversation; nothing of it may be left open at any vendor."""
    outcome = talk(script, cast, end_ms=end_ms, kills_ms=kills_ms)
    assert all(stt.open == 0 for stt in cast.stts)
    assert all(tts.open == 0 for tts in cast.ttss)
    every = [each.troubles for stage in (cast.stts, cast.llms, cast.ttss) for each in stage]
    assert all(troubles.open == 0 for troubles in every)
    return outcome


def answer_ms(outcome: Outcome) -> int:
    """How long after the end of their question the caller hears the answer itself, by its second word."""
    return next(at_ms for at_ms, _, word in outcome.edge.heard_at if word == "first") - END_MS


@pytest.fixture(scope="module")
def usual_ms() -> int:
    """That, where nothing is wrong."""
    return answer_ms(talk([Say(1000, QUESTION)]))


SLACK_MS = 20
"""A frame."""


def holes_ms(outcome: Outcome) -> int:
    """The longest silence from the end of the question on."""
    times = [END_MS, *(at_ms for at_ms, _, _ in outcome.edge.heard_at if at_ms > END_MS)]
    return max(after - before for before, after in pairwise(times))


AT_ONCE = {
    "broken": Trouble(error=BROKEN),
    "refused": Trouble(error=REFUSED),
    "locked out": Trouble(error=LOCKED_OUT),
    "too many": Trouble(error=too_many(20)),
}
WITH_TIME = {"mute": MUTE, "slow": Trouble(1.6)}
EVERY = AT_ONCE | WITH_TIME


def test_where_nothing_is_wrong_it_is_as_without_fallbacks() -> None:
    cast = Chained()
    outcome, plain = converse(cast), talk([Say(1000, QUESTION)])
    assert outcome.edge.heard_at == plain.edge.heard_at
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)]
    assert [each.troubles.requests for each in (cast.stts[1], cast.llms[1], cast.ttss[1])] == [0, 0, 0]


@pytest.mark.parametrize("trouble", EVERY)
def test_nobody_hears_that_transcription_failed(trouble: str, usual_ms: int) -> None:
    outcome = converse(Chained(stts=[TroubledStt(EVERY[trouble]), TroubledStt()]))
    assert outcome.edge.heard.endswith(ANSWER)
    assert outcome.edge.heard.count(ANSWER) == 1
    assert outcome.told("error", "code") == []
    assert answer_ms(outcome) <= usual_ms + SLACK_MS + (1500 if trouble in WITH_TIME else 0)
    assert holes_ms(outcome) <= 3000


def test_nobody_hears_that_transcription_broke_down_while_they_spoke(usual_ms: int) -> None:
    outcome = converse(Chained(stts=[TroubledStt(dies_ms=300), TroubledStt()]))
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)]
    assert answer_ms(outcome) <= usual_ms + SLACK_MS


@pytest.mark.parametrize("trouble", AT_ONCE)
def test_a_model_that_refuses_costs_the_caller_the_next_one_s_time_only(trouble: str, usual_ms: int) -> None:
    outcome = converse(Chained(llms=[llm(AT_ONCE[trouble]), llm()]))
    assert outcome.edge.heard == ANSWER
    assert outcome.told("error", "code") == []
    assert answer_ms(outcome) <= usual_ms + 300 + SLACK_MS


@pytest.mark.parametrize("after", [1, 6, 12])
def test_an_answer_is_whole_wherever_its_model_breaks_off(after: int) -> None:
    outcome = converse(Chained(llms=[llm(Trouble(error=BROKEN, after=after)), llm()]))
    assert outcome.edge.heard == ANSWER
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)]


@pytest.mark.parametrize("after", [0, 6, 12])
def test_an_answer_is_whole_wherever_its_model_falls_silent(after: int, usual_ms: int) -> None:
    outcome = converse(Chained(llms=[llm(Trouble(3600, after=after)), llm()]))
    answered = [word for word in outcome.edge.heard.split() if word in ANSWER.split()]
    assert answered == ANSWER.split()
    assert outcome.told("error", "code") == []
    assert answer_ms(outcome) <= usual_ms + 4000 + 300 + SLACK_MS
    assert holes_ms(outcome) <= 3000, "the caller is told to wait"


@pytest.mark.parametrize("trouble", EVERY)
def test_a_voice_that_cannot_begin_is_replaced(trouble: str, usual_ms: int) -> None:
    outcome = converse(Chained(ttss=[TroubledTts(EVERY[trouble]), TroubledTts()]))
    assert outcome.edge.heard == ANSWER
    assert outcome.told("error", "code") == []
    assert answer_ms(outcome) <= usual_ms + 100 + SLACK_MS + (1500 if trouble in WITH_TIME else 0)
    assert holes_ms(outcome) <= 3000


@pytest.mark.parametrize("after", [2, 8, 14])
@pytest.mark.parametrize("wait_s", [0.0, 3600.0])
def test_a_voice_that_breaks_off_is_replaced_at_the_next_word(wait_s: float, after: int) -> None:
    voices = [TroubledTts(Trouble(wait_s, BROKEN, after), timed=True), TroubledTts(timed=True)]
    outcome = converse(Chained(ttss=voices))
    assert outcome.edge.heard == ANSWER, "a word that was cut is heard whole, and no other twice"
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)]
    assert holes_ms(outcome) <= 3000


@pytest.mark.parametrize("after", [2, 8, 14])
def test_a_voice_that_says_nothing_of_its_words_is_replaced_without_losing_one(after: int) -> None:
    outcome = converse(Chained(ttss=[TroubledTts(Trouble(error=BROKEN, after=after)), TroubledTts()]))
    heard = outcome.edge.heard
    assert heard.endswith("The second sentence has a few more words in it. And that was all there is.")
    said, again = heard.split()[: after // 4 + 1], ANSWER.split()[:5]
    assert set(again) <= set(heard.split())
    assert said == again[: len(said)]
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)]


def test_a_voice_that_fails_in_a_later_sentence_is_replaced_there() -> None:
    voices = [TroubledTts(NONE, Trouble(error=BROKEN, after=8), timed=True), TroubledTts(timed=True)]
    outcome = converse(Chained(ttss=voices))
    assert outcome.edge.heard == ANSWER
    assert voices[1].spoken == ["sentence has a few more words in it.", "And that was all there is."]


def test_all_three_stages_fail_in_one_turn() -> None:
    cast = Chained(
        stts=[TroubledStt(Trouble(error=BROKEN)), TroubledStt()],
        llms=[llm(Trouble(error=BROKEN, after=7)), llm()],
        ttss=[TroubledTts(Trouble(error=BROKEN, after=8), timed=True), TroubledTts(timed=True)],
    )
    outcome = converse(cast)
    assert outcome.edge.heard == ANSWER
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)]


def test_callers_wait_for_a_dead_model_a_few_times_only(usual_ms: int) -> None:
    asked = [Say(1000 + 12_000 * number, QUESTION) for number in range(5)]
    cast = Chained(llms=[llm(MUTE), llm()])
    outcome = converse(cast, asked, end_ms=62_000)
    answered = [at_ms for at_ms, _, word in outcome.edge.heard_at if word == "first"]
    waits = [at_ms - said.end_ms for at_ms, said in zip(answered, asked, strict=True)]
    assert all(wait_ms > 4000 for wait_ms in waits[:3])
    assert waits[3] <= usual_ms + SLACK_MS
    assert waits[4] > 4000, "one caller finds out whether it is back"


def test_a_hedge_saves_the_caller_the_deadline(usual_ms: int) -> None:
    outcome = converse(Chained(llms=[llm(Trouble(2.0)), llm()], hedge_s=0.6))
    assert outcome.edge.heard == ANSWER
    assert answer_ms(outcome) <= usual_ms + 600 + SLACK_MS


@pytest.mark.parametrize("kill_ms", [2300, 2700, 3300, 4100, 5300, 6500])
def test_a_worker_may_die_while_its_model_is_being_replaced(kill_ms: float) -> None:
    cast = Chained(llms=[llm(Trouble(error=BROKEN, after=3)), llm()])
    outcome = converse(cast, kills_ms=[kill_ms])
    assert outcome.edge.heard == ANSWER
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)]


def test_an_interruption_while_a_voice_is_being_replaced_ends_the_answer() -> None:
    answers = {QUESTION: ANSWER, "no stop that": "All right."}
    cast = Chained(
        llms=[TroubledLlm(answers), TroubledLlm(answers)],
        ttss=[TroubledTts(Trouble(3600, after=8), NONE, timed=True), TroubledTts(timed=True)],
    )
    outcome = converse(cast, [Say(1000, QUESTION), Say(3400, "no stop that")])
    assert outcome.edge.heard.split() == ["The", "first", "All", "right."]
    role, said = outcome.items[1]
    assert role == "assistant"
    assert "The first".startswith(said)


def test_the_caller_hears_an_apology_when_no_model_is_left() -> None:
    cast = Chained(llms=[llm(Trouble(error=BROKEN)), llm(Trouble(error=BROKEN))])
    outcome = converse(cast)
    assert outcome.edge.heard == SORRY
    [failed] = outcome.events("error")
    assert failed.data["message"] == "llm: language model failed"


def test_the_caller_of_dead_transcription_hears_an_apology_at_once_after_a_few_times() -> None:
    asked = [Say(1000 + 8000 * number, QUESTION) for number in range(4)]
    cast = Chained(stts=[TroubledStt(MUTE)])
    outcome = converse(cast, asked, end_ms=34_000)
    sorry = [at_ms for at_ms, _, word in outcome.edge.heard_at if word == "Sorry,"]
    waits = [at_ms - said.end_ms for at_ms, said in zip(sorry, asked, strict=True)]
    assert all(wait_ms > 1500 for wait_ms in waits[:3])
    assert waits[3] < 1000


REFUSALS = {"too many": Trouble(error=too_many(14)), "refused": Trouble(error=REFUSED)}
ASKED = (Say(1000, QUESTION), Say(8000, QUESTION), Say(18_000, QUESTION))


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_model_that_refuses_alone_is_apologised_for_and_asked_when_it_may_be(refusal: str) -> None:
    """429 with a wait of 14 s: nobody asks in between. 400: the next may be better."""
    cast = Chained(llms=[llm(REFUSALS[refusal], NONE, for_ever=False)])
    outcome = converse(cast, ASKED, end_ms=26_000)
    sorry = 2 if refusal == "too many" else 1
    assert outcome.edge.heard == " ".join([*[SORRY] * sorry, *[ANSWER] * (3 - sorry)])
    assert outcome.told("error", "code") == ["provider"] * sorry
    assert cast.llms[0].troubles.requests == 4 - sorry
    assert outcome.edge.heard_at[0][0] - END_MS < 1300, "the apology does not wait"


def test_a_voice_that_refuses_one_text_alone_apologises() -> None:
    cast = Chained(ttss=[TroubledTts(REFUSALS["refused"], NONE, for_ever=False)])
    outcome = converse(cast, ASKED, end_ms=26_000)
    assert outcome.edge.heard == f"{SORRY} {ANSWER} {ANSWER}"
    assert outcome.told("error", "message") == ["tts: text-to-speech failed"]


def test_a_voice_that_is_asked_too_much_is_silent_alone_until_it_may_be_asked() -> None:
    """Whoever has no voice cannot say so: the client is told. What was not heard was not said: the model answers all
    that was asked since."""
    answers = {QUESTION: ANSWER, f"{QUESTION} {QUESTION}": ANSWER, " ".join([QUESTION] * 3): "Here I am again."}
    cast = Chained(llms=[TroubledLlm(answers)], ttss=[TroubledTts(REFUSALS["too many"], NONE, for_ever=False)])
    outcome = converse(cast, ASKED, end_ms=26_000)
    assert outcome.edge.heard == "Here I am again."
    assert outcome.items == [*[("user", QUESTION)] * 3, ("assistant", "Here I am again.")]
    assert cast.ttss[0].troubles.requests == 2, "nothing is asked of it meanwhile"
    assert set(outcome.told("error", "message")) == {"tts: text-to-speech failed"}
    assert outcome.told("state", "state")[-1] == "listening"


# --- who served


def served(outcome: Outcome) -> list[dict[str, str]]:
    """For each answer, or filler before it."""
    told: list[dict[str, str]] = outcome.told("latency", "providers")
    return told


FIRST = {"stt": "a", "llm": "a", "tts": "a"}


def test_an_answer_names_who_made_it() -> None:
    assert served(converse(Chained())) == [FIRST]


@pytest.mark.parametrize("trouble", AT_ONCE.values(), ids=AT_ONCE)
@pytest.mark.parametrize("preemptive", [False, True])
def test_after_a_failure_it_names_who_went_on(trouble: Trouble, preemptive: bool) -> None:
    late = tenant(preemptive=preemptive, preemptive_tts=preemptive)
    stt = Chained(late, stts=[TroubledStt(trouble), TroubledStt()])
    assert served(converse(stt)) == [FIRST | {"stt": "b"}]
    begun = replace(trouble, after=2)  # the model broke off in the first sentence
    for each in (trouble, begun):
        model = Chained(late, llms=[llm(each), llm()])
        assert served(converse(model)) == [FIRST | {"llm": "b"}]
    voice = Chained(late, ttss=[TroubledTts(trouble), TroubledTts()])
    assert served(converse(voice)) == [FIRST | {"tts": "b"}]


def test_a_filler_names_who_served_until_then() -> None:
    outcome = converse(Chained(llms=[llm(Trouble(2.5)), llm()]))
    assert served(outcome) == [{"stt": "a", "tts": "a"}, FIRST]


def test_a_worker_that_came_later_names_what_it_had_itself() -> None:
    assert served(converse(Chained(), kills_ms=[2400])) == [{"llm": "a", "tts": "a"}]


def test_who_typed_was_transcribed_by_nobody() -> None:
    assert served(converse(Chained(), [Type(1000, QUESTION)])) == [{"llm": "a", "tts": "a"}]


def test_an_apology_for_a_model_names_none() -> None:
    outcome = converse(Chained(llms=[llm(Trouble(error=REFUSED)), llm(Trouble(error=REFUSED))]))
    assert served(outcome) == [{"stt": "a", "tts": "a"}]
