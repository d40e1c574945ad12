"""A caller who waits is told so: by the tenant's phrases or a tool's, in time, and never in anybody's way."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from tests.conversation.talk import ANSWER, QUESTION, Cast, Outcome, talk
from tests.standins.session import Action, Ask, Dial, Say, Type
from tests.standins.tool_model import Script, ToolLlm, Use
from tests.standins.voices import Failing, ScriptedLlm, ScriptedStt
from trunkline.tenants import SORRY, Tenant
from workers.tools import registry
from workers.tools.base import Caller

FIRST, SECOND, THIRD, FOURTH = Tenant(id="test").fillers.phrases
OTHER = "and where"
ELSEWHERE = "Right here in town."
DECIDED_MS = 2100
"""The turn of somebody who asks QUESTION at 1 s is over."""


def cast(llm: ScriptedLlm | None = None, stt: ScriptedStt | None = None, **settings: Any) -> Cast:
    tenant = Tenant.model_validate({"id": "test", "turn": {"preemptive": False}, **settings})
    known = ScriptedLlm({QUESTION: ANSWER, OTHER: ELSEWHERE})
    return Cast(tenant=tenant, llm=llm or known, stt=stt or ScriptedStt())


def slow(first_s: float, **settings: Any) -> Cast:
    return cast(ScriptedLlm({QUESTION: ANSWER, OTHER: ELSEWHERE}, first_s=first_s), **settings)


def heard_at(outcome: Outcome, phrase: str) -> int:
    """When `phrase` began to be heard."""
    words = phrase.split()
    heard = outcome.edge.heard_at
    for number in range(len(heard)):
        if [word for _, _, word in heard[number : number + len(words)]] == words:
            return heard[number][0]
    raise AssertionError(f"{phrase!r} was not heard")


def longest_silence_ms(outcome: Outcome, since_ms: int) -> int:
    """Of the caller's, from a word's beginning to the next one's."""
    times = [since_ms, *(at_ms for at_ms, _, _ in outcome.edge.heard_at if at_ms > since_ms)]
    return max(after - before for before, after in itertools.pairwise(times))


def test_a_model_that_takes_long_is_bridged() -> None:
    talking = slow(2.5)
    outcome = talk([Say(1000, QUESTION)], talking)
    assert outcome.edge.heard == f"{FIRST} {ANSWER}"
    assert outcome.items == [("user", QUESTION), ("assistant", f"{FIRST} {ANSWER}")]
    assert heard_at(outcome, FIRST) == pytest.approx(DECIDED_MS + 1600, abs=80), "100 ms are the voice's"
    assert [told.data.get("filler", False) for told in outcome.events("latency")] == [True, False], "one wait each"
    assert "".join(outcome.told("transcript_delta", "delta")) == f"{FIRST} {ANSWER}"
    assert len(talking.llm.asked) == 1


def test_nobody_waits_in_silence_for_a_model_that_takes_very_long() -> None:
    outcome = talk([Say(1000, QUESTION)], slow(11.0), end_ms=24_000)
    assert outcome.edge.heard == f"{FIRST} {SECOND} {THIRD} {ANSWER}"
    assert heard_at(outcome, SECOND) - heard_at(outcome, FIRST) == pytest.approx(3500, abs=80)
    assert longest_silence_ms(outcome, DECIDED_MS) < 3700, "a real voice takes twice as long for a phrase"


def test_the_next_answer_begins_with_another_phrase() -> None:
    outcome = talk([Say(1000, QUESTION), Say(11_000, OTHER)], slow(2.0), end_ms=20_000)
    assert outcome.edge.heard == f"{FIRST} {ANSWER} {SECOND} {ELSEWHERE}"


@pytest.mark.parametrize("first_s", [1.0, 1.2])
def test_text_that_is_about_to_be_spoken_is_not_delayed(first_s: float) -> None:
    """The turn is over at 2.1 s, its text known at 2.3 s: words come from 3.3 or 3.5 s on, the sentence is whole at
    3.6 s, when a filler would be due."""
    talking = slow(first_s)
    talking.llm.delta_s = 0.06
    assert talk([Say(1000, QUESTION)], talking).edge.heard == ANSWER


def test_a_model_that_stops_in_the_middle_of_a_sentence_is_bridged_before_it() -> None:
    class Stalling(ScriptedLlm):
        async def reply(self, *asked: Any) -> Any:
            async for delta in super().reply(*asked):
                yield delta
                if delta == "second ":
                    await asyncio.sleep(8.0)

    outcome = talk([Say(1000, QUESTION)], cast(Stalling({QUESTION: ANSWER})), end_ms=20_000)
    sentence = "The first sentence is here now."
    rest = ANSWER.removeprefix(sentence).strip()
    assert outcome.edge.heard == f"{sentence} {FIRST} {SECOND} {rest}"
    assert outcome.items[-1] == ("assistant", outcome.edge.heard)
    assert longest_silence_ms(outcome, DECIDED_MS) < 3700


def test_a_voice_that_fails_in_a_filler_apologises_once_whatever_the_words_are() -> None:
    """They are known while the apology is on its way: it is theirs, too."""
    for takes_s in (1.7, 1.8, 2.5):
        talking = cast(stt=ScriptedStt(takes_s), fillers={"phrases": [FIRST]})
        talking.tts.failing = Failing(0)
        outcome = talk([Say(1000, QUESTION)], talking)
        assert outcome.edge.heard == SORRY
        assert outcome.items == [("user", QUESTION), ("assistant", SORRY)]


@pytest.mark.parametrize("at_ms", [4000, 4300])
def test_a_sound_over_a_filler_that_is_understood_last_keeps_no_answer_back(at_ms: int) -> None:
    """The question is known, but what was said over the filler is not: only when that turns out to be nothing, all is
    known."""
    talking = cast(stt=ScriptedStt(2.5), turn={"preemptive": False, "barge_in_ms": 96})
    outcome = talk([Say(1000, QUESTION), Say(at_ms, "mhm", word_ms=200)], talking, end_ms=16_000)
    assert outcome.edge.heard.endswith(f" {ANSWER}")
    assert [text for role, text in outcome.items if role == "user"] == [QUESTION]
    assert outcome.told("state", "state")[-1] == "listening"


@pytest.mark.parametrize("failures", [(0,), (0, 1)], ids=["apologises", "is mute"])
def test_words_that_are_known_after_a_voice_failed_in_a_filler_are_answered(failures: tuple[int, ...]) -> None:
    talking = cast(stt=ScriptedStt(5.0), fillers={"phrases": [FIRST]})
    talking.tts.failing = Failing(*failures)
    outcome = talk([Say(1000, QUESTION)], talking, end_ms=14_000)
    answered = f"{FIRST} {ANSWER}"  # they have waited for long
    assert outcome.edge.heard == (f"{SORRY} {answered}" if failures == (0,) else answered)


@pytest.mark.parametrize("at_ms", [2300, 3000, 3450])
def test_a_cough_while_words_are_awaited_does_not_keep_the_filler_back(at_ms: int) -> None:
    """It is due at 3.6 s, when somebody may be going on; 0.5 s after the cough, that is known."""
    talking = cast(stt=ScriptedStt(5.0, shortest_ms=150))
    outcome = talk([Say(1000, QUESTION), Say(at_ms, "k h", word_ms=100)], talking, end_ms=16_000)
    assert outcome.edge.heard.startswith(f"{FIRST} ")
    assert heard_at(outcome, FIRST) < max(DECIDED_MS + 1500, at_ms + 700) + 400
    assert outcome.edge.heard.endswith(f" {ANSWER}")


@pytest.mark.parametrize("more", [Type(4300, OTHER), Dial(4300, "#")], ids=["typed", "keyed"])
def test_who_types_while_their_words_are_awaited_is_not_left_in_silence(more: Action) -> None:
    """It ends the filler, and is known at once, but not before what was said before it."""
    outcome = talk([Say(1000, QUESTION), more], cast(stt=ScriptedStt(7.0)), end_ms=16_000)
    assert outcome.edge.heard.startswith(f"{FIRST} {SECOND} ")
    assert heard_at(outcome, SECOND) < 4300 + 1500 + 400


def test_without_phrases_callers_wait_in_silence() -> None:
    assert talk([Say(1000, QUESTION)], slow(3.0, fillers={"phrases": []})).edge.heard == ANSWER


def test_the_tenant_says_when_and_what() -> None:
    talking = slow(3.0, fillers={"delay_s": 0.5, "interval_s": 1.5, "phrases": ["Well.", "So."]})
    outcome = talk([Say(1000, QUESTION)], talking)
    assert outcome.edge.heard == f"Well. So. {ANSWER}"
    assert heard_at(outcome, "Well.") == pytest.approx(DECIDED_MS + 600, abs=80)


def test_the_tenant_says_how_to_apologise() -> None:
    talking = cast(ScriptedLlm({QUESTION: ANSWER}, failing=Failing(0)), apology="Verzeihung.")
    assert talk([Say(1000, QUESTION)], talking).edge.heard == "Verzeihung."


# --- what the user said is not known yet


def test_words_that_take_long_to_be_understood_are_bridged() -> None:
    talking = cast(stt=ScriptedStt(takes_s=2.5))
    outcome = talk([Say(1000, QUESTION)], talking)
    assert outcome.edge.heard == f"{FIRST} {ANSWER}"
    assert outcome.items == [("user", QUESTION), ("assistant", f"{FIRST} {ANSWER}")]
    assert heard_at(outcome, FIRST) == pytest.approx(DECIDED_MS + 1600, abs=80)
    assert [message.role for message in talking.llm.asked[0]] == ["system", "user"]
    assert [told.data["turn"] for told in outcome.events("transcript")] == [1, 2]
    assert outcome.told("state", "state") == ["listening", "thinking", "speaking", "listening"]


def test_words_that_are_never_understood_are_apologised_for_in_the_same_answer() -> None:
    outcome = talk([Say(1000, QUESTION)], cast(stt=ScriptedStt(takes_s=2.5, failing=Failing(0))))
    assert outcome.edge.heard == f"{FIRST} {SORRY}"
    assert outcome.last.rests[-1] is True


def test_words_that_were_none_are_not_answered() -> None:
    outcome = talk([Say(1000, QUESTION), Say(8000, QUESTION)], cast(stt=ScriptedStt(2.5, shortest_ms=5000)))
    assert outcome.edge.heard == f"{FIRST} {SECOND}"
    assert outcome.last.rests[-1] is True


def test_who_speaks_on_while_their_words_are_not_known_yet_is_answered_once() -> None:
    talking = cast(ScriptedLlm({f"{QUESTION} {OTHER}": ELSEWHERE}), ScriptedStt(takes_s=3.0))
    outcome = talk([Say(1000, QUESTION), Say(4000, OTHER)], talking, end_ms=14_000)
    assert outcome.edge.heard.endswith(ELSEWHERE)
    assert outcome.edge.heard.count(ELSEWHERE) == 1
    assert [text for role, text in outcome.items if role == "user"] == [QUESTION, OTHER]
    assert len(talking.llm.asked) == 1


@pytest.mark.parametrize("at_ms", range(13_800, 15_000, 200))
def test_what_is_said_over_a_filler_is_not_lost_when_its_words_take_long_too(at_ms: int) -> None:
    """The next filler comes before it is known whether it was an interruption: it is answered, after both."""
    last = "four five six seven"
    scripts: dict[str, Script] = {QUESTION: [ANSWER], OTHER: [ANSWER]}
    scripts |= {last: [ELSEWHERE], f"{OTHER} {last}": [ELSEWHERE]}
    talking = cast(ToolLlm(scripts, 4.0, 0.3), ScriptedStt(2.5))
    outcome = talk([Say(1000, QUESTION), Say(9600, OTHER), Say(at_ms, last)], talking, end_ms=34_000)
    assert outcome.edge.heard.endswith(ELSEWHERE)
    assert [text for role, text in outcome.items if role == "user"] == [QUESTION, OTHER, last]


def test_who_wants_no_answer_any_more_hears_none() -> None:
    outcome = talk([Say(1000, QUESTION), Ask(4200, "cancel")], cast(stt=ScriptedStt(takes_s=3.0)))
    assert FIRST.startswith(outcome.edge.heard)
    assert [role for role, _ in outcome.items].count("user") == 1
    assert ANSWER not in outcome.edge.heard


# --- tools


class Slow:
    name = "slow"
    description = "Takes long."
    parameters: dict[str, Any] = {"type": "object", "properties": {"of": {"type": "string"}}}  # noqa: RUF012

    async def call(self, arguments: dict[str, Any], caller: Caller) -> Any:
        await asyncio.sleep(6.0)
        return "done"


def using(monkeypatch: pytest.MonkeyPatch, filler: Any, use: dict[str, Any] | None = None) -> Outcome:
    tool, make = Slow(), registry.make
    if filler is not None:
        monkeypatch.setattr(tool, "filler", filler, raising=False)
    monkeypatch.setattr(registry, "make", lambda use: tool if use.name == "slow" else make(use))
    scripts: dict[str, Script] = {QUESTION: [Use("slow", {"of": "tables"})], '"done"': [ELSEWHERE]}
    talking = cast(ToolLlm(scripts), tools=[{"name": "slow", **(use or {})}])
    return talk([Say(1000, QUESTION)], talking, end_ms=16_000)


def test_a_tool_that_takes_long_is_bridged(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = using(monkeypatch, None)
    assert outcome.edge.heard == f"{FIRST} {SECOND} {ELSEWHERE}"
    assert [role for role, _ in outcome.items] == ["user", "tool", "assistant"]


def test_a_tool_has_words_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert using(monkeypatch, "I look.").edge.heard == f"I look. {FIRST} {ELSEWHERE}"


def test_a_tool_s_words_follow_from_what_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = using(monkeypatch, lambda arguments: f"I look for {arguments['of']}.")
    assert outcome.edge.heard == f"I look for tables. {FIRST} {ELSEWHERE}"


def test_the_tenant_s_words_for_a_tool_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = using(monkeypatch, "I look.", {"filler": "Asking the kitchen."})
    assert outcome.edge.heard == f"Asking the kitchen. {FIRST} {ELSEWHERE}"


def test_a_tool_whose_words_fail_takes_the_tenant_s(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = using(monkeypatch, lambda arguments: arguments["no such key"])
    assert outcome.edge.heard == f"{FIRST} {SECOND} {ELSEWHERE}"


def test_a_tool_of_the_client_may_have_words_too() -> None:
    page = {"name": "page", "description": "Show a page.", "filler": "Look at your screen."}
    scripts: dict[str, Script] = {QUESTION: [Use("page")], "seen": [ELSEWHERE]}
    talking = cast(ToolLlm(scripts), client_tools=[page])
    answered = Ask(6000, "tool_output", {"call_id": "id_1", "output": "seen"})
    assert talk([Say(1000, QUESTION), answered], talking).edge.heard == f"Look at your screen. {ELSEWHERE}"


# --- the user, and the end of a worker


def test_nothing_is_said_over_the_user_s_own_voice() -> None:
    """They make a sound when the filler is due: it is said after that."""
    outcome = talk([Say(1000, QUESTION), Say(3450, "mhm", word_ms=160)], slow(4.0), end_ms=16_000)
    assert outcome.edge.heard == f"{FIRST} {ANSWER}"
    assert heard_at(outcome, FIRST) > 3450 + 160 + 480


def test_who_interrupts_a_filler_is_answered() -> None:
    outcome = talk([Say(1000, QUESTION), Say(4000, OTHER, word_ms=300)], cast_of_two(), end_ms=16_000)
    assert outcome.edge.heard.endswith(ELSEWHERE)
    assert [role for role, _ in outcome.items] == ["user", "assistant", "user", "assistant"]
    assert FIRST.startswith(outcome.items[1][1])


def cast_of_two() -> Cast:
    return cast(ScriptedLlm({QUESTION: ANSWER, OTHER: ELSEWHERE}, first_s=4.0))


def without_fillers(text: str) -> str:
    for phrase in (FIRST, SECOND, THIRD, FOURTH):
        text = text.replace(phrase, "")
    return " ".join(text.split())


@pytest.mark.parametrize("kill_ms", range(2000, 12_000, 457))
def test_a_worker_may_die_while_the_caller_waits_for_the_model(kill_ms: int) -> None:
    outcome = talk([Say(1000, QUESTION)], slow(4.0), kills_ms=[kill_ms], end_ms=20_000)
    assert without_fillers(outcome.edge.heard) == ANSWER
    assert [(role, without_fillers(text)) for role, text in outcome.items] == [
        ("user", QUESTION),
        ("assistant", ANSWER),
    ]
    assert " ".join(text for role, text in outcome.items if role == "assistant") == outcome.edge.heard


@pytest.mark.parametrize("kill_ms", range(2000, 9000, 457))
def test_a_worker_may_die_while_the_caller_s_words_are_not_known(kill_ms: int) -> None:
    talking = cast(stt=ScriptedStt(takes_s=3.0))
    outcome = talk([Say(1000, QUESTION)], talking, kills_ms=[kill_ms], end_ms=20_000)
    assert without_fillers(outcome.edge.heard) == ANSWER
    said = [(role, without_fillers(text)) for role, text in outcome.items]
    begun = [each for each in said if not FIRST.startswith(each[1])]
    assert begun == [("user", QUESTION), ("assistant", ANSWER)]
