"""Who hangs up while what they said last is on its way to text is remembered with it, and answered by nobody."""

from __future__ import annotations

import asyncio

import pytest

from tests.conversation.bridged import converse
from tests.conversation.talk import ANSWER, QUESTION, Cast, Outcome, talk, tenant
from tests.standins.session import Action, Dial, Edge, Say, StandInSession, Type
from tests.standins.troubled import MUTE, NONE, Trouble, TroubledStt
from tests.standins.virtual_time import run
from tests.standins.voices import Failing, LoudnessVad, ScriptedBatch, ScriptedLlm, ScriptedStt
from tests.unit.failover.linked import linked
from trunkline.tenants import Fillers, Tenant
from workers import context
from workers.backend import Snapshot
from workers.cascade.contributions import CONTRIBUTIONS, LAST_WORDS_S
from workers.cascade.runner import Cascade
from workers.cascade.stages import Stages
from workers.failover.speech_to_text import SpeechToTextChain
from workers.keys import pressed, told
from workers.providers.batch import BatchOptions, BatchSpeech

SPOKEN = Say(1000, QUESTION)
"""Until 1600 ms; the end of their turn is certain 480 ms later."""
DECIDED_MS = 2080
FULLY_SAID = [("user", QUESTION)]


def over_ms(outcome: Outcome, end_ms: int) -> float:
    """For how long the session was served after its caller had gone."""
    return outcome.served_ms[-1] - end_ms


@pytest.mark.parametrize("end_ms", [1400, 1700, 2000, DECIDED_MS + 40, DECIDED_MS + 800])
def test_the_last_words_are_waited_for(end_ms: int) -> None:
    """They hung up in the middle of a sentence, in the silence after it, or later: what was heard is remembered."""
    cast = Cast(stt=ScriptedStt(1.5))
    outcome = talk([SPOKEN], cast, end_ms=end_ms)
    words = QUESTION if end_ms > SPOKEN.end_ms else "what is"
    assert outcome.items == [("user", words)]
    assert outcome.told("transcript", "text") == [words]
    assert (cast.llm.asked, cast.tts.spoken) == ([], [])
    assert outcome.edge.turns == {}
    assert over_ms(outcome, end_ms) <= 1.5 * 1000 + 20
    assert not context.owes_answer(outcome.last.committed), "a worker that comes later has nothing to answer"


@pytest.mark.parametrize("stt", [ScriptedStt(30), TroubledStt(MUTE), ScriptedStt(LAST_WORDS_S + 0.1)])
def test_but_not_for_long(stt: ScriptedStt) -> None:
    outcome = talk([SPOKEN], Cast(stt=stt), end_ms=DECIDED_MS + 20)
    assert outcome.items == []
    assert over_ms(outcome, DECIDED_MS + 20) <= LAST_WORDS_S * 1000 + 40


def test_nor_for_longer_than_for_a_caller_who_is_there() -> None:
    class Impatient(Cast):
        @property
        def cascade(self) -> Cascade:
            chain = SpeechToTextChain(linked(self.stt, deadline_s=0.7))
            return Cascade(Stages(chain, self.llm, self.tts), LoudnessVad)

    outcome = talk([SPOKEN], Impatient(stt=TroubledStt(MUTE)), end_ms=DECIDED_MS + 100)
    assert outcome.items == []
    assert over_ms(outcome, DECIDED_MS + 100) <= 700


def test_a_transcriber_that_fails_is_only_not_understood() -> None:
    outcome = talk([SPOKEN], Cast(stt=ScriptedStt(1.0, Failing(0))), end_ms=DECIDED_MS + 20)
    assert outcome.items == []
    assert outcome.told("error", "code") == []


def test_those_that_are_known_wait_for_nobody_and_stand_where_they_were_said() -> None:
    """What came first is known last; a worker that dies while that is waited for loses nothing else."""
    stt = TroubledStt(Trouble(1.4), NONE, for_ever=False)
    script: list[Action] = [SPOKEN, Say(2200, "and this", word_ms=300), Type(3300, "and that")]
    outcome = talk(script, Cast(stt=stt), end_ms=3400)
    assert outcome.items == [("user", QUESTION), ("user", "and this"), ("user", "and that")]
    killed = talk(script, Cast(stt=TroubledStt(Trouble(1.4), NONE, for_ever=False)), end_ms=3400, kills_ms=[3450])
    assert killed.items[-2:] == [("user", "and this"), ("user", "and that")]
    left = killed.sessions[0].committed
    assert [item.text for item in left.items] == ["and that"]
    assert not context.owes_answer(left)


def test_what_is_said_over_an_answer_comes_after_what_was_heard_of_it() -> None:
    outcome = talk([SPOKEN, Say(4000, "no stop")], Cast(stt=ScriptedStt(1.0)), end_ms=4500)
    heard = outcome.edge.heard
    assert ANSWER.startswith(heard)
    assert heard
    assert [role for role, _ in outcome.items] == ["user", "assistant", "user"]
    assert outcome.items[-1] == ("user", "no stop")


def test_who_only_listened_along_said_nothing() -> None:
    outcome = talk([SPOKEN, Say(4000, "mhm", word_ms=160)], end_ms=4300)
    assert [role for role, _ in outcome.items] == ["user", "assistant"]


def test_a_filler_that_was_said_meanwhile_stands_after_it() -> None:
    kind = Fillers(phrases=("One moment.",), delay_s=0.5)
    cast = Cast(tenant=tenant().model_copy(update={"fillers": kind}), stt=ScriptedStt(2.0))
    outcome = talk([SPOKEN], cast, end_ms=3400)
    assert outcome.items == [("user", QUESTION), ("assistant", "One moment.")]
    assert cast.llm.asked == []


def test_nobody_says_a_filler_to_who_has_gone() -> None:
    kind = Fillers(phrases=("One moment.",), delay_s=0.5)
    cast = Cast(tenant=tenant().model_copy(update={"fillers": kind}), stt=ScriptedStt(1.5))
    outcome = talk([SPOKEN], cast, end_ms=DECIDED_MS + 100)
    assert outcome.items == FULLY_SAID
    assert cast.tts.spoken == []


def test_a_vendor_of_whole_recordings_is_waited_for_too() -> None:
    batch = ScriptedBatch(1.0)
    outcome = talk([SPOKEN], Cast(batch=BatchSpeech(batch, BatchOptions())), end_ms=1700)
    assert outcome.items == FULLY_SAID
    assert batch.running == 0


@pytest.mark.parametrize("kill_ms", [2150, 2500, 3000])
def test_a_death_in_that_wait_leaves_the_record_as_it_was_and_nobody_is_answered(kill_ms: int) -> None:
    cast = Cast(tenant=tenant("Hello."), stt=ScriptedStt(1.5))
    outcome = talk([SPOKEN], cast, end_ms=2100, kills_ms=[kill_ms])
    assert outcome.items[0] == ("assistant", "Hello.")
    assert cast.llm.asked == []


def test_a_worker_that_dies_when_all_is_known_leaves_it_to_the_next_to_end_the_session() -> None:
    """Which is told that the caller has gone: that was not dealt with yet."""
    outcome = talk([SPOKEN], Cast(stt=ScriptedStt(0.1)), end_ms=1700, kills_ms=[1900])
    assert outcome.items == FULLY_SAID


def test_a_worker_that_is_told_to_let_go_does_not_wait() -> None:
    cast = Cast(stt=ScriptedStt(30))

    async def letting_go() -> float:
        edge = Edge([SPOKEN], DECIDED_MS + 20)
        session = StandInSession(edge, cast.tenant)
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            playing, pumping = group.create_task(edge.play()), group.create_task(session.pump())
            serving = group.create_task(cast.cascade.run(session))
            await asyncio.sleep(3)
            serving.cancel()
            await asyncio.wait([serving])
            for task in (playing, pumping):
                task.cancel()
        return loop.time()

    assert run(letting_go()) == pytest.approx(3, abs=0.01)
    assert cast.stt.open == 0


def test_many_who_wait_behind_a_mute_transcriber_do_not_keep_the_session() -> None:
    """Telephone keys wait for room in the queue, which nobody makes any more."""
    typed = [Type(2200 + 10 * number, f"text {number}") for number in range(CONTRIBUTIONS)]
    script: list[Action] = [SPOKEN, *typed, Dial(2500, "1"), Dial(2510, "#")]
    outcome = talk(script, Cast(tenant=Tenant(id="test"), stt=TroubledStt(MUTE), llm=ScriptedLlm({})), end_ms=3000)
    said = [text for _, text in outcome.items]
    assert [text for text in said if text.startswith("text")] == [f"text {number}" for number in range(CONTRIBUTIONS)]
    assert over_ms(outcome, 3000) <= LAST_WORDS_S * 1000 + 40


@pytest.mark.parametrize("mute", [(), ("greeting",)])
@pytest.mark.parametrize("end_ms", [1400, 2400])
def test_a_number_that_was_not_whole_is_remembered_as_far_as_it_was_entered(end_ms: int, mute: tuple[str, ...]) -> None:
    script: list[Action] = [Dial(1000, "1"), Dial(1100, "#"), Dial(1200, "2"), Dial(1300, "3")]
    cast = Cast(tenant("Hello and welcome to this place where you are now.", mute=mute), llm=ScriptedLlm({}, 5))
    outcome = talk(script, cast, end_ms=end_ms)
    waited = mute and end_ms < 2400  # all of them, for the end of the greeting
    entered = [told("1#23")] if waited else [told("1#"), told("23")]
    assert [text for role, text in outcome.items if role == "user"] == entered
    assert pressed(outcome.last.committed) == ""
    assert not context.owes_answer(outcome.last.committed)


def test_through_a_real_session_and_bridge() -> None:
    outcome = converse([SPOKEN], 1700, cast_=Cast(stt=ScriptedStt(0.8)))
    assert outcome.items == [QUESTION]
    assert outcome.wire.audio == {}


def test_nothing_is_waited_for_where_nothing_was_said() -> None:
    outcome = talk([SPOKEN], end_ms=9000, snapshot=Snapshot())
    assert over_ms(outcome, 9000) <= 10
