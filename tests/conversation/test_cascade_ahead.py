"""The model is asked before it is certain that the user is done: that saves time, and is never noticed otherwise."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.conversation.talk import ANSWER, QUESTION, Cast, Outcome, talk, tenant
from tests.standins.session import Ask, Say, Type
from tests.standins.tool_model import Script, ToolLlm, Use
from tests.standins.voices import Failing, ScriptedBatch, ScriptedLlm, ScriptedStt
from trunkline.tenants import SORRY, Tenant
from workers.providers.base import Transcript
from workers.providers.batch import BatchOptions, BatchSpeech

OTHER = "and where"
ELSEWHERE = "Right here in town."
GREETING = "Hello and welcome here."
ALL = {QUESTION: ANSWER, OTHER: ELSEWHERE}


def cast(
    llm: ScriptedLlm | None = None, stt: ScriptedStt | None = None, *, preemptive: bool = True, **turn: Any
) -> Cast:
    llm = llm or ScriptedLlm(ALL)
    return Cast(tenant=tenant(None, preemptive=preemptive, **turn), llm=llm, stt=stt or ScriptedStt(takes_s=0.0))


def first_word_ms(outcome: Outcome) -> int:
    return outcome.edge.heard_at[0][0]


def asked(cast: Cast) -> list[str]:
    """The last words of each request."""
    return [messages[-1].content for messages in cast.llm.asked]


@pytest.mark.parametrize("first_s", [0.2, 0.4, 0.8])
def test_the_model_thinks_while_the_silence_is_waited_for(first_s: float) -> None:
    """A pause is noticed after 32 ms or two of the 480, and what is left of them is saved, if the model takes it."""
    plain, ahead = (
        talk([Say(1000, QUESTION)], cast(ScriptedLlm(ALL, first_s=first_s), preemptive=preemptive))
        for preemptive in (False, True)
    )
    saved_ms = min(first_s * 1000 + 100, 430)
    assert first_word_ms(plain) - first_word_ms(ahead) == pytest.approx(saved_ms, abs=60)
    assert ahead.edge.heard == ANSWER
    assert ahead.items == plain.items
    assert [told.name for told in ahead.events("transcript")] == [told.name for told in plain.events("transcript")]
    assert ahead.last.rests == plain.last.rests


def test_one_request_is_made_for_a_question_in_one_breath() -> None:
    talking = cast()
    talk([Say(1000, QUESTION)], talking)
    assert asked(talking) == [QUESTION]


def test_who_goes_on_has_the_request_thrown_away() -> None:
    talking = cast(ScriptedLlm({"what is": "Hm.", QUESTION: ANSWER}, first_s=1.0))
    outcome = talk([Say(1000, "what is"), Say(1700, "new")], talking)
    assert asked(talking) == ["what is", QUESTION]
    assert outcome.edge.heard == ANSWER
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)]


def test_words_that_say_that_more_is_to_come_are_no_question_yet() -> None:
    talking = cast(ScriptedLlm({"I would like a table": ANSWER}))
    talk([Say(1000, "I would like a"), Say(2400, "table")], talking)
    assert asked(talking) == ["I would like a table"]


def test_many_pauses_do_not_cost_many_requests() -> None:
    breaths = [Say(1000 + 500 * number, word) for number, word in enumerate("a b c d e f g h".split())]
    talking = cast(ScriptedLlm({"a b c d e f g h": ANSWER}), stt=ScriptedStt(takes_s=0.0))
    outcome = talk(breaths, talking, end_ms=16_000)
    assert outcome.edge.heard == ANSWER
    assert len(talking.llm.asked) <= 5


class Punctual(ScriptedStt):
    """Writes the final text otherwise than what it told before."""

    def utterance(self) -> Any:
        transcriber, finish = super().utterance(), None
        finish = transcriber.finish

        async def final() -> Transcript:
            return Transcript(self.final.get(text := (await finish()).text, text))

        transcriber.finish = final  # type: ignore[method-assign]
        return transcriber

    final: dict[str, str] = {QUESTION: "What is new?"}  # noqa: RUF012


def test_a_final_text_that_is_only_written_otherwise_is_the_same_question() -> None:
    talking = cast(stt=Punctual(takes_s=0.0))
    outcome = talk([Say(1000, QUESTION)], talking)
    assert asked(talking) == [QUESTION]
    assert outcome.items == [("user", "What is new?"), ("assistant", ANSWER)]


def test_a_final_text_with_other_words_is_another_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Punctual, "final", {QUESTION: OTHER})
    talking = cast(stt=Punctual(takes_s=0.0))
    outcome = talk([Say(1000, QUESTION)], talking)
    assert asked(talking) == [QUESTION, OTHER]
    assert outcome.edge.heard == ELSEWHERE


def test_a_recogniser_of_whole_recordings_is_asked_ahead_too() -> None:
    """Its guess is there 300 ms into the silence; the model begins then."""
    first = []
    for preemptive in (False, True):
        talking = cast(ScriptedLlm(ALL, first_s=0.5), preemptive=preemptive, stop_ms=640, finished_ms=640)
        talking.batch = BatchSpeech(ScriptedBatch(0.3), BatchOptions())
        outcome = talk([Say(1000, QUESTION)], talking)
        assert outcome.edge.heard == ANSWER
        assert asked(talking) == [QUESTION]
        first.append(first_word_ms(outcome))
    assert first[0] - first[1] == pytest.approx(300, abs=80)


def test_what_is_typed_instead_is_what_is_answered() -> None:
    talking = cast(ScriptedLlm({QUESTION: ANSWER, f"{QUESTION} shorter": ELSEWHERE}, first_s=0.8))
    outcome = talk([Say(1000, QUESTION), Type(1900, "shorter")], talking)
    assert outcome.edge.heard == ELSEWHERE


def test_who_wants_no_answer_gets_none() -> None:
    outcome = talk([Say(1000, QUESTION), Ask(2150, "cancel")], cast(ScriptedLlm(ALL, first_s=1.0)), end_ms=5000)
    assert outcome.edge.heard == ""
    assert outcome.items == [("user", QUESTION)]


def test_who_hangs_up_in_the_pause_leaves_nothing_behind() -> None:
    outcome = talk([Say(1000, QUESTION)], cast(ScriptedLlm(ALL, first_s=3.0)), end_ms=1900)
    assert outcome.edge.heard == ""


def test_a_request_that_failed_ahead_is_made_again() -> None:
    outcome = talk([Say(1000, QUESTION)], cast(ScriptedLlm(ALL, first_s=0.1, failing=Failing(0))))
    assert outcome.edge.heard == ANSWER
    assert outcome.events("error") == []


def test_one_that_fails_when_it_is_wanted_is_apologised_for() -> None:
    outcome = talk([Say(1000, QUESTION)], cast(ScriptedLlm(ALL, first_s=1.5, failing=Failing(0))))
    assert outcome.edge.heard == SORRY
    assert outcome.told("error", "code") == ["provider"]


def test_tools_wait_for_the_end_of_the_turn() -> None:
    """What a guess would do is done only when it was right; the client would be asked in the pause otherwise."""
    scripts: dict[str, Script] = {"what is": [Use("page")], QUESTION: [Use("page")], "seen": [ELSEWHERE]}
    page = {"name": "page", "description": "Show a page."}
    talking = cast(ToolLlm(scripts, first_s=0.1))
    talking.tenant = Tenant.model_validate({"id": "test", "client_tools": [page], "fillers": {"phrases": []}})
    outcome = talk([Say(1000, "what is"), Say(1800, "new"), Ask(4000, "tool_output", RESULT)], talking)
    [told] = outcome.events("tool_call")
    assert told.at_ms > 2400, "the turn was over then"
    assert told.data["call_id"] == "id_2", "the first was the guess's"
    assert outcome.edge.heard == ELSEWHERE


RESULT = {"call_id": "id_2", "output": "seen"}


def test_who_interrupts_is_answered_ahead_as_well() -> None:
    talking = cast(ScriptedLlm(ALL, first_s=0.4))
    outcome = talk([Say(1000, QUESTION), Say(4000, OTHER, word_ms=300)], talking)
    assert asked(talking) == [QUESTION, OTHER]
    assert outcome.edge.heard.endswith(ELSEWHERE)


KILLED = [Say(1000, QUESTION), Say(8000, OTHER)]


@pytest.mark.parametrize("kill_ms", [*range(1500, 2400, 79), *range(2400, 11_000, 997)])
def test_a_worker_may_die_at_any_time(kill_ms: int) -> None:
    talking = cast(ScriptedLlm(ALL, first_s=0.3))
    outcome = talk(KILLED, talking, kills_ms=[kill_ms])
    assert outcome.edge.heard == f"{ANSWER} {ELSEWHERE}"
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER), ("user", OTHER), ("assistant", ELSEWHERE)]


def test_a_model_that_says_much_is_read_no_further_than_wanted() -> None:
    """Who pauses for long has not all of a book read to nobody."""

    class Endless(ScriptedLlm):
        said = 0

        async def reply(self, *asked: Any) -> Any:
            self.asked.append(list(asked[0]))
            while True:
                await asyncio.sleep(0)
                self.said += 1
                yield "word "

    model = Endless(ALL)
    talk([Say(1000, QUESTION)], cast(model, stop_ms=4000, finished_ms=4000), end_ms=4500)
    assert 0 < model.said < 300
