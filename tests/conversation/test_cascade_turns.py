"""Whole conversations with the cascade: what is said, what is heard, what is remembered."""

from __future__ import annotations

import itertools

import pytest

from tests.conversation.talk import ANSWER, QUESTION, Cast, talk, tenant
from tests.standins.session import Ask, Say, Type
from tests.standins.voices import Failing, ScriptedLlm, ScriptedStt, ScriptedTts
from trunkline.tenants import SORRY
from workers.backend import Item, Snapshot


def test_question_and_answer() -> None:
    outcome = talk([Say(1000, QUESTION)])
    assert outcome.edge.heard == ANSWER
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)]
    assert outcome.told("state", "state") == ["listening", "thinking", "speaking", "listening"]
    assert outcome.told("transcript", "text") == [QUESTION, ANSWER]
    assert "".join(outcome.told("transcript_delta", "delta")) == ANSWER
    assert outcome.last.committed.answer is None
    assert outcome.last.rests == [True, False, True]


def test_latency_parts_sum_and_begin_at_the_end_of_speech() -> None:
    [told] = talk([Say(1000, QUESTION)]).events("latency")
    parts = dict(told.data["parts"])
    assert list(parts) == ["endpoint", "transcript", "first_token", "first_sentence", "first_audio"]
    assert sum(parts.values()) == told.data["total_ms"]
    assert 480 <= parts["endpoint"] <= 480 + 64
    assert parts["transcript"] == pytest.approx(200, abs=5)
    assert parts["first_token"] == pytest.approx(300, abs=5)
    assert parts["first_audio"] == pytest.approx(100, abs=5)
    assert told.at_ms == pytest.approx(1600 + told.data["total_ms"], abs=40)


def test_a_voice_is_told_what_is_the_last_it_will_say() -> None:
    cast = Cast()
    talk([Say(1000, QUESTION)], cast)
    assert cast.tts.last == ["And that was all there is."]


def test_a_speaker_s_pauses_are_told_to_the_transcriber_and_talk_over_an_answer_is_none() -> None:
    cast = Cast()
    talk([Say(1000, "what is"), Say(1600, "new"), Say(3400, "aha", word_ms=160)], cast)
    assert cast.stt.heard == ["what is new"]
    assert cast.stt.paused == ["what is", "what is new"]


def test_greeting_comes_first_and_only_once() -> None:
    cast = Cast(tenant=tenant("Hello and welcome here."))
    outcome = talk([Say(3000, QUESTION)], cast)
    assert outcome.edge.heard == f"Hello and welcome here. {ANSWER}"
    assert outcome.items[0] == ("assistant", "Hello and welcome here.")
    assert outcome.edge.heard_at[0][0] < 250
    assert cast.llm.asked[0][1].content == "Hello and welcome here."


def test_known_caller_is_not_greeted() -> None:
    known = Snapshot(items=[Item("user", "hi", 1), Item("assistant", "Hello.", 2)], next_turn=3)
    outcome = talk([], Cast(tenant=tenant("Hello again.")), end_ms=3000, snapshot=known)
    assert outcome.edge.heard == ""


def test_edges_are_where_speech_really_was() -> None:
    outcome = talk([Say(1000, QUESTION)])
    assert outcome.told("speech_started", "media_ms")[0] == pytest.approx(1000, abs=32)
    assert outcome.told("speech_stopped", "media_ms")[0] == pytest.approx(1600, abs=32)


def test_interruption_silences_at_once_and_cuts_the_context_to_what_was_heard() -> None:
    cast = Cast(llm=ScriptedLlm({QUESTION: ANSWER, "no stop that": "All right."}))
    outcome = talk([Say(1000, QUESTION), Say(4000, "no stop that")], cast)
    (_, _), (role, cut), (_, question), (_, answer) = outcome.items
    assert (role, question, answer) == ("assistant", "no stop that", "All right.")
    heard = [word for _, turn, word in outcome.edge.heard_at if turn == 2]
    assert ANSWER.startswith(cut)
    assert len(heard) - 1 <= len(cut.split()) <= len(heard)
    assert max(at_ms for at_ms, turn, _ in outcome.edge.heard_at if turn == 2) < 4000 + 96 + 64
    assert outcome.told("transcript", "text")[1] == cut
    assert outcome.events("transcript")[1].data["interrupted"] is True
    assert outcome.edge.heard.endswith("All right.")
    assert [message.content for message in cast.llm.asked[1][1:]] == [QUESTION, cut, "no stop that"]


def test_short_noise_over_an_answer_only_pauses_it() -> None:
    outcome = talk([Say(1000, QUESTION), Say(4000, "mhm", word_ms=160)])
    assert outcome.edge.heard == ANSWER
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)]
    times = [at_ms for at_ms, _, _ in outcome.edge.heard_at]
    assert max(after - before for before, after in itertools.pairwise(times)) > 600, "it was paused"
    assert len(outcome.events("speech_stopped")) == 2


def test_a_listener_who_says_so_only_pauses_the_answer() -> None:
    outcome = talk([Say(1000, QUESTION), Say(4000, "yeah okay")])
    assert outcome.edge.heard == ANSWER
    assert outcome.items == [("user", QUESTION), ("assistant", ANSWER)]


def test_who_begins_like_a_listener_and_goes_on_interrupts() -> None:
    cast = Cast(llm=ScriptedLlm({QUESTION: ANSWER, "yeah but when": "At ten."}))
    outcome = talk([Say(1000, QUESTION), Say(4000, "yeah but when")], cast)
    assert outcome.edge.heard.endswith("At ten.")
    assert outcome.items[2] == ("user", "yeah but when")


def test_yes_is_the_answer_to_a_question() -> None:
    asking = "It is at ten. Shall I write that down for you?"
    cast = Cast(llm=ScriptedLlm({QUESTION: asking, "yes okay": "Done."}))
    outcome = talk([Say(1000, QUESTION), Say(4000, "yes okay")], cast)
    role, heard = outcome.items[1]
    assert role == "assistant"
    assert "Shall I write" in heard
    assert not heard.endswith("?"), "the answer came before its last word"
    assert outcome.edge.heard.endswith("Done.")


def test_a_tenant_who_wants_every_word_has_it() -> None:
    cast = Cast(tenant=tenant(ignore_backchannels=False), llm=ScriptedLlm({QUESTION: ANSWER, "yeah okay": "Well."}))
    outcome = talk([Say(1000, QUESTION), Say(4000, "yeah okay")], cast)
    assert outcome.edge.heard.endswith("Well.")


@pytest.mark.parametrize(("words", "interrupts"), [("what", False), ("stop", True), ("what about me", True)])
def test_fewer_words_than_the_tenant_asks_for_end_no_answer_but_some_do(words: str, interrupts: bool) -> None:
    cast = Cast(tenant=tenant(min_words=2), llm=ScriptedLlm({QUESTION: ANSWER, words: "All right."}))
    outcome = talk([Say(1000, QUESTION), Say(4000, words, word_ms=400)], cast)
    assert outcome.edge.heard.endswith("All right.") is interrupts
    assert (outcome.edge.heard == ANSWER) is not interrupts


def test_nobody_interrupts_where_the_tenant_forbids_it() -> None:
    cast = Cast(tenant=tenant(barge_in=False))
    outcome = talk([Say(1000, QUESTION), Say(4000, "no stop that")], cast)
    assert outcome.edge.heard == ANSWER
    assert len(outcome.items) == 2


def test_speaking_on_while_it_thinks_is_answered_as_one_question() -> None:
    cast = Cast(llm=ScriptedLlm({f"{QUESTION} in the town": "Nothing much."}, first_s=1.0))
    outcome = talk([Say(1000, QUESTION), Say(2400, "in the town")], cast)
    assert outcome.edge.heard == "Nothing much."
    assert [text for _, text in outcome.items] == [QUESTION, "in the town", "Nothing much."]


def test_a_cough_while_it_thinks_does_not_lose_the_question() -> None:
    cast = Cast(llm=ScriptedLlm({QUESTION: ANSWER}, first_s=1.0), stt=ScriptedStt(shortest_ms=180))
    outcome = talk([Say(1000, "what is new"), Say(2400, "a b c d e", word_ms=100)], cast)
    assert outcome.edge.heard == ANSWER


def test_long_pause_within_a_sentence_does_not_end_it() -> None:
    outcome = talk([Say(1000, "what is"), Say(1400 + 400, "new")])
    assert outcome.items[0] == ("user", QUESTION)
    assert len(outcome.events("speech_stopped")) == 1


@pytest.mark.parametrize(("words", "least_ms"), [(QUESTION, 256), ("i would like a", 1040)])
def test_a_transcriber_that_says_who_is_done_is_believed_as_far_as_the_words_allow(words: str, least_ms: int) -> None:
    cast = Cast(llm=ScriptedLlm({words: "Well."}))
    cast.stt.ended_ms = 160
    [told] = talk([Say(1000, words)], cast).events("latency")
    assert least_ms <= dict(told.data["parts"])["endpoint"] <= least_ms + 64


def test_first_word_is_whole() -> None:
    cast = Cast(stt=ScriptedStt(shortest_ms=200))
    assert talk([Say(1013, QUESTION)], cast).items[0] == ("user", QUESTION)


def test_commit_ends_the_utterance_now() -> None:
    outcome = talk([Say(1000, QUESTION), Ask(1620, "commit")])
    [told] = outcome.events("latency")
    assert outcome.edge.heard == ANSWER
    assert told.at_ms < 1620 + 720
    assert dict(told.data["parts"])["endpoint"] == 0


def test_commit_of_nothing_says_so() -> None:
    outcome = talk([Ask(1000, "commit")], end_ms=3000)
    assert outcome.told("error", "code") == ["nothing_heard"]


def test_cancel_stops_the_answer_and_owes_none() -> None:
    outcome = talk([Say(1000, QUESTION), Ask(4000, "cancel"), Say(6000, QUESTION)])
    assert outcome.items[1][0] == "assistant"
    assert ANSWER.startswith(outcome.items[1][1])
    assert outcome.edge.heard.endswith(ANSWER)
    assert len([word for at_ms, _, word in outcome.edge.heard_at if 4020 < at_ms < 6000]) == 0


def test_cancel_while_thinking_is_silence() -> None:
    outcome = talk([Say(1000, QUESTION), Ask(2150, "cancel")], end_ms=5000)
    assert outcome.edge.heard == ""
    assert outcome.items == [("user", QUESTION)]


def test_typed_text_interrupts_and_is_answered() -> None:
    cast = Cast(llm=ScriptedLlm({QUESTION: ANSWER, "shorter": "Very well."}))
    outcome = talk([Say(1000, QUESTION), Type(4000, "shorter")], cast)
    assert outcome.edge.heard.endswith("Very well.")
    assert [role for role, _ in outcome.items] == ["user", "assistant", "user", "assistant"]
    assert outcome.items[2] == ("user", "shorter")


def test_typed_text_while_speaking_keeps_what_was_said() -> None:
    cast = Cast(llm=ScriptedLlm({f"{QUESTION} today": ANSWER}))
    outcome = talk([Say(1000, QUESTION), Type(1700, "today")], cast)
    assert [text for _, text in outcome.items] == [QUESTION, "today", ANSWER]


def test_failing_transcription_is_apologised_for() -> None:
    cast = Cast(stt=ScriptedStt(failing=Failing(0)))
    outcome = talk([Say(1000, QUESTION), Say(6000, QUESTION)], cast)
    assert outcome.edge.heard == f"{SORRY} {ANSWER}"
    assert outcome.told("error", "code") == ["provider"]


@pytest.mark.parametrize("after", [0, 9])
def test_failing_language_model_is_apologised_for(after: int) -> None:
    cast = Cast(llm=ScriptedLlm({QUESTION: ANSWER}, failing=Failing(0)))
    cast.llm.fail_after = after
    outcome = talk([Say(1000, QUESTION), Say(8000, QUESTION)], cast, end_ms=16_000)
    begun = " ".join([*ANSWER.split()[:after], SORRY])
    assert outcome.edge.heard == f"{begun} {ANSWER}"
    assert [text for _, text in outcome.items] == [QUESTION, begun, QUESTION, ANSWER]


@pytest.mark.parametrize("chunks", [0, 8])
def test_failing_voice_apologises_when_it_can_again(chunks: int) -> None:
    cast = Cast(tts=ScriptedTts(failing=Failing(1)))
    cast.tts.fail_after_chunks = chunks
    outcome = talk([Say(1000, QUESTION), Say(10_000, QUESTION)], cast, end_ms=18_000)
    first = "The first sentence is here now."
    assert outcome.edge.turns[2].text == [*first.split(), *["The", "second"][: chunks // 4], *SORRY.split()]
    assert outcome.edge.heard.endswith(ANSWER)
    assert [role for role, _ in outcome.items] == ["user", "assistant", "user", "assistant"]
    assert outcome.items[1][1].startswith(first)
    assert outcome.items[1][1].endswith(SORRY)


def test_dead_voice_leaves_the_session_alive() -> None:
    cast = Cast(tts=ScriptedTts(failing=Failing(0, 1)), llm=ScriptedLlm({f"{QUESTION} {QUESTION}": ANSWER}))
    outcome = talk([Say(1000, QUESTION), Say(6000, QUESTION)], cast, end_ms=14_000)
    assert outcome.edge.heard == ANSWER
    assert len(outcome.events("error")) == 2
    assert outcome.last.rests[-1] is True


def test_hangup_in_an_answer_remembers_what_was_heard() -> None:
    outcome = talk([Say(1000, QUESTION)], end_ms=4000)
    role, text = outcome.items[-1]
    assert role == "assistant"
    assert text
    assert text != ANSWER
    assert ANSWER.startswith(text)


def test_silence_lets_go_of_uplink_and_rests() -> None:
    outcome = talk([], end_ms=12_000)
    assert outcome.last.committed.uplink_seq > 400
    assert outcome.last.rests == [True]


def test_long_talk_is_cut_and_answered_at_its_end() -> None:
    words = [f"w{number}" for number in range(20)]
    cast = Cast(tenant=tenant(longest_utterance_ms=2000), llm=ScriptedLlm({" ".join(words): "Yes."}, first_s=0.5))
    cast.stt.shortest_ms = 100
    outcome = talk([Say(1000, " ".join(words))], cast)
    assert outcome.edge.heard == "Yes."
