"""The first sentence of an answer that may be wanted is spoken ahead: that saves the voice's time to first audio, and
is never noticed otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from tests.conversation.talk import ANSWER, QUESTION, Cast, Outcome, talk
from tests.conversation.test_cascade_failover import Chained, converse
from tests.standins.session import Action, Ask, Dial, Say, Type
from tests.standins.tool_model import Script, ToolLlm, Use
from tests.standins.troubled import BROKEN, MUTE, NONE, Trouble, TroubledLlm, TroubledStt, TroubledTts
from tests.standins.voices import Failing, ScriptedLlm, ScriptedStt, ScriptedTts
from trunkline.tenants import SORRY, Tenant
from workers.breaker import FAILURES
from workers.cascade.pipeline import Pipeline
from workers.keys import told as keys
from workers.providers.base import ToolCall, Word

FIRST = "The first sentence is here now."
OTHER = "and where"
ELSEWHERE = "Right here in town."
ALL = {QUESTION: ANSWER, OTHER: ELSEWHERE, "what is": "Hm, that is much."}
GOES_ON = [Say(1000, "what is"), Say(1800, "new")]


def cast(
    llm: ScriptedLlm | None = None, tts: ScriptedTts | None = None, *, ahead: bool = True, **settings: Any
) -> Cast:
    turn = {"preemptive_tts": ahead, **settings.pop("turn", {})}
    tenant = Tenant.model_validate({"id": "test", "turn": turn, **settings})
    llm, tts = llm or ScriptedLlm(ALL, first_s=0.1), tts or ScriptedTts(first_s=0.2)
    return Cast(tenant=tenant, llm=llm, tts=tts, stt=ScriptedStt(takes_s=0.05))


def first_word_ms(outcome: Outcome) -> int:
    return outcome.edge.heard_at[0][0]


def told(outcome: Outcome) -> list[tuple[str, dict[str, Any]]]:
    """All that clients are told, but for times."""
    return [(told.name, told.data) for told in outcome.events("state") + outcome.events("transcript")] + [
        (told.name, told.data) for told in outcome.events("transcript_delta") + outcome.events("error")
    ]


@pytest.mark.parametrize("first_s", [0.1, 0.2])
def test_the_voice_s_time_to_first_audio_is_saved(first_s: float) -> None:
    """With a model that has its first sentence early in the pause, all of it."""
    plain, ahead = (talk([Say(1000, QUESTION)], cast(tts=ScriptedTts(first_s), ahead=ahead)) for ahead in (False, True))
    assert first_word_ms(plain) - first_word_ms(ahead) == pytest.approx(first_s * 1000, abs=40)
    assert ahead.edge.heard == ANSWER
    assert ahead.items == plain.items
    assert told(ahead) == told(plain)
    [wait] = ahead.last.waits
    assert [name for name, _ in wait.parts][-1] == "first_audio"
    assert dict(wait.parts)["first_audio"] < 20


def test_a_model_that_needs_the_whole_pause_saves_nothing_and_costs_nothing() -> None:
    llm = ScriptedLlm(ALL, first_s=1.0)
    talking = cast(llm)
    outcome = talk([Say(1000, QUESTION)], talking)
    assert outcome.edge.heard == ANSWER
    assert " ".join(map(str.strip, talking.tts.spoken)) == ANSWER


def test_nothing_is_asked_of_the_voice_twice() -> None:
    talking = cast()
    talk([Say(1000, QUESTION)], talking)
    assert " ".join(map(str.strip, talking.tts.spoken)) == ANSWER


def test_who_goes_on_hears_nothing_of_what_was_spoken_to_nobody() -> None:
    talking, plain = cast(), cast(ahead=False)
    outcome, without = talk(GOES_ON, talking), talk(GOES_ON, plain)
    assert talking.tts.spoken[:2] == ["Hm, that is much.", FIRST], "it was spoken ahead, in vain"
    assert outcome.edge.heard == ANSWER
    assert outcome.items == without.items == [("user", QUESTION), ("assistant", ANSWER)]
    assert told(outcome) == told(without)
    assert plain.tts.spoken[0] == FIRST


def test_many_pauses_do_not_have_much_spoken() -> None:
    breaths = [Say(1000 + 600 * number, word) for number, word in enumerate("a b c d e f g h".split())]
    answers = {" ".join("abcdefgh"[:count]): f"Number {count}. And more of that." for count in range(1, 9)}
    talking = cast(ScriptedLlm(answers, first_s=0.02))
    outcome = talk(breaths, talking, end_ms=16_000)
    assert outcome.edge.heard == answers["a b c d e f g h"]
    assert len(talking.tts.spoken) <= 4 + 2


class Misheard(ScriptedStt):
    """The final text is another than what it told before."""

    def utterance(self) -> Any:
        transcriber = super().utterance()
        finish = transcriber.finish

        async def final() -> Any:
            heard = await finish()
            return type(heard)(OTHER if heard.text == QUESTION else heard.text)

        transcriber.finish = final  # type: ignore[method-assign]
        return transcriber


def test_what_was_spoken_to_words_that_were_not_said_is_not_heard() -> None:
    talking = cast()
    talking.stt = Misheard(takes_s=0.05)
    outcome = talk([Say(1000, QUESTION)], talking)
    assert talking.tts.spoken == [FIRST, ELSEWHERE]
    assert outcome.edge.heard == ELSEWHERE
    assert outcome.items == [("user", OTHER), ("assistant", ELSEWHERE)]


# --- instead of an answer


@pytest.mark.parametrize("hangs_up_ms", range(1620, 2400, 60))
def test_who_hangs_up_leaves_nothing_behind(hangs_up_ms: int) -> None:
    """`talk` sees to that: nothing is left open at the voice."""
    outcome = talk([Say(1000, QUESTION)], cast(), end_ms=hangs_up_ms)
    assert outcome.edge.heard in ("", "The", "The first")


def test_what_is_typed_or_pressed_instead_is_what_is_answered() -> None:
    llm = ScriptedLlm({**ALL, f"{QUESTION} and where": ELSEWHERE}, first_s=0.05)
    talking = cast(llm)
    outcome = talk([Say(1000, QUESTION), Type(1900, OTHER)], talking)
    assert talking.tts.spoken == [FIRST, ELSEWHERE]
    assert outcome.edge.heard == ELSEWHERE


def test_who_presses_a_key_is_answered_about_it() -> None:
    llm = ScriptedLlm({**ALL, f"{keys('1')} {QUESTION}": ELSEWHERE}, first_s=0.05)
    talking = cast(llm, keys={"longest": 1})
    outcome = talk([Say(1000, QUESTION), Dial(1900, "1")], talking)
    assert talking.tts.spoken == [FIRST, ELSEWHERE]
    assert outcome.edge.heard == ELSEWHERE


@pytest.mark.parametrize("at_ms", [2150, 2220, 2300])
def test_who_wants_no_answer_gets_none(at_ms: int) -> None:
    """While their words are understood, which takes 300 ms from 2110 on."""
    talking = cast()
    talking.stt = ScriptedStt(takes_s=0.3)
    outcome = talk([Say(1000, QUESTION), Ask(at_ms, "cancel")], talking, end_ms=5000)
    assert talking.tts.spoken == [FIRST]
    assert outcome.edge.heard == ""
    assert outcome.items == [("user", QUESTION)]


def test_a_tool_instead_of_words_has_nothing_spoken() -> None:
    scripts: dict[str, Script] = {QUESTION: [Use("page")], "seen": [ELSEWHERE]}
    talking = cast(ToolLlm(scripts, first_s=0.1), client_tools=[PAGE], fillers={"phrases": []})
    outcome = talk([Say(1000, QUESTION), Ask(4000, "tool_output", {"call_id": "id_1", "output": "seen"})], talking)
    assert talking.tts.spoken == [ELSEWHERE]
    assert outcome.edge.heard == ELSEWHERE


def test_words_before_a_tool_are_spoken_ahead_and_the_tool_waits() -> None:
    scripts: dict[str, Script] = {QUESTION: ["Let me look", Use("page")], "seen": [ELSEWHERE]}
    talking = cast(ToolLlm(scripts, first_s=0.1), client_tools=[PAGE], fillers={"phrases": []})
    outcome = talk([Say(1000, QUESTION), Ask(4000, "tool_output", {"call_id": "id_1", "output": "seen"})], talking)
    [called] = outcome.events("tool_call")
    assert called.at_ms > 1900, "the turn was over then"
    assert talking.tts.spoken == ["Let me look", ELSEWHERE]
    assert talking.tts.last == [ELSEWHERE]
    assert outcome.edge.heard == f"Let me look {ELSEWHERE}"


PAGE = {"name": "page", "description": "Show a page."}


def test_a_filler_that_comes_first_has_a_voice_of_its_own() -> None:
    """The words are known late: what is said begins with a filler, and not as it was spoken ahead."""
    talking = cast(fillers={"phrases": ["One moment."], "delay_s": 0.3})
    talking.stt = ScriptedStt(takes_s=1.0)
    outcome = talk([Say(1000, QUESTION)], talking)
    assert outcome.edge.heard == f"One moment. {ANSWER}"
    assert talking.tts.spoken[:3] == [FIRST, "One moment.", FIRST]
    assert outcome.items == [("user", QUESTION), ("assistant", f"One moment. {ANSWER}")]


# --- the voice fails


def test_a_voice_that_failed_ahead_is_asked_again() -> None:
    outcome = talk([Say(1000, QUESTION)], cast(tts=ScriptedTts(0.1, failing=Failing(0))))
    assert outcome.edge.heard == ANSWER
    assert outcome.events("error") == []


@pytest.mark.parametrize("chunks", [1, 7])
def test_what_came_of_a_voice_that_failed_ahead_is_not_heard(chunks: int) -> None:
    talking = cast(tts=ScriptedTts(0.02, speed=50, failing=Failing(0)))
    talking.tts.fail_after_chunks = chunks
    outcome = talk([Say(1000, QUESTION)], talking)
    assert outcome.edge.heard == ANSWER
    assert talking.tts.spoken[:2] == [FIRST, FIRST]


def test_one_that_fails_when_it_is_wanted_is_apologised_for() -> None:
    """It had said two words of the sentence: they were heard, and count as they would without."""
    outcomes = []
    for ahead in (False, True):
        talking = cast(ScriptedLlm(ALL, first_s=0.3), ScriptedTts(0.3, speed=1.2, failing=Failing(0)), ahead=ahead)
        talking.tts.fail_after_chunks = 8
        outcomes.append(talk([Say(1000, QUESTION)], talking))
    plain, outcome = outcomes
    assert outcome.edge.heard == f"The first {SORRY}"
    assert outcome.items == plain.items
    assert told(outcome) == told(plain)
    assert outcome.told("error", "code") == ["provider"]


# --- everything else that may happen


TWO = [Say(1000, QUESTION), Say(8000, OTHER)]


@pytest.mark.parametrize("kill_ms", [*range(1580, 2400, 61), *range(2400, 11_000, 1201)])
def test_a_worker_may_die_at_any_time(kill_ms: int) -> None:
    outcome = talk(TWO, cast(), kills_ms=[kill_ms])
    assert outcome.edge.heard == f"{ANSWER} {ELSEWHERE}"
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER), ("user", OTHER), ("assistant", ELSEWHERE)]


@pytest.mark.parametrize("at_ms", [*range(1900, 2300, 50), 3000, 4000])
def test_who_interrupts_is_answered(at_ms: int) -> None:
    """Before they hear anything, they go on with their question; then the answer is cut where it was heard."""
    llm = ScriptedLlm({**ALL, f"{QUESTION} {OTHER}": ELSEWHERE}, first_s=0.1)
    script: list[Action] = [Say(1000, QUESTION), Say(at_ms, OTHER, word_ms=300)]
    talking = cast(llm)
    outcome = talk(script, talking)
    assert outcome.edge.heard.endswith(ELSEWHERE)
    cut = " ".join(outcome.edge.turns[min(outcome.edge.turns)].text).removesuffix(ELSEWHERE)
    assert ANSWER.startswith(cut.strip())
    assert [text for role, text in outcome.items if role == "user"] in ([QUESTION, OTHER], [f"{QUESTION} {OTHER}"])


class Timed(ScriptedTts):
    """Says when words are, before their sound."""

    async def speak(self, text: str) -> AsyncGenerator[bytes | Word, None]:
        for number, word in enumerate(text.split()):
            yield Word(word.strip(".,"), number * self.WORD_MS, (number + 1) * self.WORD_MS)
        async for chunk in super().speak(text):
            yield chunk


def test_the_times_of_words_come_with_it() -> None:
    outcome = talk([Say(1000, QUESTION), Say(2700, "no stop that")], cast(tts=Timed(0.2)))
    heard = outcome.edge.turns[min(outcome.edge.turns)]
    assert 1 <= len(heard.text) < 6
    whole = heard.played_ms // ScriptedTts.WORD_MS
    assert outcome.items[1] == ("assistant", " ".join(ANSWER.split()[:whole]))


def test_a_voice_with_contexts_is_given_all_of_an_answer_in_one() -> None:
    class Contexts(ScriptedTts):
        voices = 0

        def voice(self) -> Any:
            self.voices += 1
            return super().voice()

    talking = cast(tts=Contexts(0.2))
    outcome = talk([Say(1000, QUESTION)], talking)
    assert outcome.edge.heard == ANSWER
    assert isinstance(talking.tts, Contexts)
    assert talking.tts.voices == 1


def test_a_long_sentence_is_made_no_further_than_it_may_be_wanted() -> None:
    class Endless(ScriptedTts):
        made = 0

        async def speak(self, text: str) -> AsyncGenerator[bytes | Word, None]:
            self.spoken.append(text)
            while True:
                await asyncio.sleep(0)
                self.made += 1
                yield bytes(160)

    tts = Endless()
    talk([Say(1000, QUESTION)], cast(tts=tts, turn={"stop_ms": 4000, "finished_ms": 4000}), end_ms=4500)
    assert 0 < tts.made < 100


def test_a_model_may_call_a_tool_in_any_part_of_it() -> None:
    """Only the model's own words are spoken."""
    call = ToolCall("id_0", "page", "{}")

    class Odd(ScriptedLlm):
        async def reply(self, *asked: Any) -> Any:
            self.asked.append(list(asked[0]))
            if asked[0][-1].role == "tool":
                yield ELSEWHERE
                return
            yield "Let me "
            yield call
            yield "look at that. "

    talking = cast(Odd(ALL), client_tools=[PAGE], fillers={"phrases": []})
    outcome = talk([Say(1000, QUESTION), Ask(4000, "tool_output", {"call_id": "id_0", "output": "seen"})], talking)
    assert outcome.edge.heard == f"Let me look at that. {ELSEWHERE}"
    assert talking.tts.spoken == ["Let me look at that.", ELSEWHERE]


def test_an_answer_that_is_given_up_before_any_part_of_it_runs_closes_its_voice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Pipeline.run

    async def stopped_at_once(self: Pipeline) -> None:
        asyncio.get_running_loop().call_soon(self.stop)
        await run(self)

    monkeypatch.setattr(Pipeline, "run", stopped_at_once)
    for ahead in (False, True):
        outcome = talk([Say(1000, QUESTION)], cast(ahead=ahead), end_ms=5000)
        assert outcome.edge.heard == ""


# --- with fallbacks


def chained(*ttss: TroubledTts) -> Chained:
    tenant = Tenant.model_validate({"id": "test", "turn": {"preemptive_tts": True}})
    llms = [TroubledLlm(ALL, first_s=0.05), TroubledLlm(ALL)]
    return Chained(tenant=tenant, stts=[TroubledStt(takes_s=0.05), TroubledStt()], llms=llms, ttss=ttss)


@pytest.mark.parametrize(
    ("trouble", "served"),
    [
        (Trouble(error=BROKEN), "b"),
        (Trouble(error=BROKEN, after=3), "b"),
        (Trouble(0.2), "a"),
        (Trouble(1.7), "b"),
    ],
)
def test_nobody_hears_that_the_voice_failed_or_was_slow_ahead(trouble: Trouble, served: str) -> None:
    """Only the figures tell who went on with it."""
    talking = chained(TroubledTts(trouble), TroubledTts())
    outcome = converse(talking)
    assert outcome.edge.heard == ANSWER
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)]
    assert outcome.events("error") == []
    assert [each["tts"] for each in outcome.told("latency", "providers")] == [served]


def test_a_mute_voice_is_noticed_from_when_it_was_asked_on() -> None:
    """Which was in the pause: its fallback is heard so much sooner."""
    plain, ahead = (chained(TroubledTts(MUTE), TroubledTts()) for _ in range(2))
    plain.tenant = Tenant(id="test")
    saved_ms = first_word_ms(converse(plain)) - first_word_ms(converse(ahead))
    assert saved_ms > 250


def test_a_vendor_is_not_blamed_for_what_nobody_wanted() -> None:
    """It was mute, and the user went on before that could be known."""
    talking = chained(TroubledTts(MUTE, NONE, for_ever=False), TroubledTts())
    outcome = converse(talking, GOES_ON)
    assert outcome.edge.heard == ANSWER
    assert talking.tts_links[0].breaker.tally.failed == 0
    assert talking.ttss[1].troubles.requests == 0


@pytest.mark.parametrize("first_s", [0.05, 3.0])
def test_a_vendor_that_is_back_is_not_kept_from_an_answer_by_a_request_that_was_thrown_away(first_s: float) -> None:
    """One request may find out whether it is back: that to words that nobody said, and then that to what was said."""

    class MisheardThere(Misheard, TroubledStt):
        """In a chain."""

    talking = chained(TroubledTts())
    talking.stts, talking.llms = [MisheardThere(takes_s=0.05)], [TroubledLlm(ALL, first_s=first_s)]
    talking.__post_init__()
    breaker = talking.llm_links[0].breaker
    for _ in range(FAILURES):
        breaker.failed(breaker.permit(-60.0), BROKEN, -60.0)
    outcome = converse(talking)
    assert talking.llms[0].troubles.requests == 2
    assert outcome.edge.heard.removeprefix("One moment, please. ") == ELSEWHERE
    assert breaker.closed
