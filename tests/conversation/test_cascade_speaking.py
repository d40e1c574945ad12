"""How answers sound: what the voice is given, when, and what of it counts as heard."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncGenerator

import pytest

from tests.conversation.talk import ANSWER, QUESTION, Cast, Outcome, talk, tenant
from tests.standins.session import Action, Say
from tests.standins.voices import RATE_HZ, ScriptedLlm, ScriptedTts, value_of
from workers.providers.base import Word

STOP = "no stop that"
UNEVEN = "We considerably do or if misunderstanding it is. An extraordinarily odd or wee short end he had to ask for."
"""Long words take eight times as long as short ones, more than their letters tell."""


class TimedTts(ScriptedTts):
    """Says when each word is, ahead of its audio. A word takes 80 ms, or 640 when it has more than five letters."""

    def __init__(self, *, tells: bool = True, speed: float = 5.0) -> None:
        super().__init__(speed=speed)
        self.tells = tells
        self.asked: list[tuple[float, str]] = []
        """When it was asked for what."""
        self.done: dict[str, float] = {}
        """When the last of it was taken."""

    def speak(self, text: str) -> AsyncGenerator[bytes | Word, None]:
        self.asked.append((asyncio.get_running_loop().time(), text))
        return self._speak(text)

    async def _speak(self, text: str) -> AsyncGenerator[bytes | Word, None]:
        self.spoken.append(text)
        await asyncio.sleep(self.first_s)
        at_ms = 0
        for word in text.split():
            length_ms = 640 if len(word) > 5 else 80
            if self.tells:
                yield Word(word.strip(".,"), at_ms, at_ms + length_ms)
            yield array("h", [value_of(word)] * (RATE_HZ * length_ms // 1000)).tobytes()
            at_ms += length_ms
            await asyncio.sleep(length_ms / 1000 / self.speed)
        self.done[text] = asyncio.get_running_loop().time()


def cast(answer: str, tts: ScriptedTts | None = None) -> Cast:
    return Cast(tenant=tenant(), llm=ScriptedLlm({QUESTION: answer, STOP: "All right."}), tts=tts or TimedTts())


def cut(outcome: Outcome) -> tuple[list[str], list[str]]:
    """The words of the answer that are remembered, and those that the caller heard, the last maybe in part."""
    [text] = [text for role, text in outcome.items if role == "assistant"][:1]
    return text.split(), outcome.edge.turns[2].text


def is_exact(outcome: Outcome) -> bool:
    """Whether all words but the last that the caller heard are remembered, and that one if it was heard to its end."""
    remembered, heard = cut(outcome)
    last_ms = outcome.edge.turns[2].played_ms - sum(640 if len(word) > 5 else 80 for word in heard[:-1])
    whole = last_ms >= (640 if len(heard[-1]) > 5 else 80)
    return remembered == heard[: None if whole else -1]


INTERRUPTIONS = range(3000, 5900, 130)


@pytest.mark.parametrize("interrupted_ms", INTERRUPTIONS[::3])
def test_an_answer_is_cut_at_the_word_that_was_heard(interrupted_ms: int) -> None:
    outcome = talk([Say(1000, QUESTION), Say(interrupted_ms, STOP)], cast(UNEVEN))
    assert is_exact(outcome), cut(outcome)


def test_without_its_times_it_is_cut_nearby() -> None:
    """What the times are good for: by proportion, some cuts are words away."""
    outcomes = [
        talk([Say(1000, QUESTION), Say(at_ms, STOP)], cast(UNEVEN, TimedTts(tells=False)))
        for at_ms in INTERRUPTIONS[::3]
    ]
    assert not all(is_exact(outcome) for outcome in outcomes)
    for outcome in outcomes:
        remembered, heard = cut(outcome)
        assert UNEVEN.split()[: len(remembered)] == remembered
        assert abs(len(remembered) - len(heard)) <= 4


@pytest.mark.parametrize("kill_ms", range(2500, 4900, 310))
def test_the_times_of_words_outlive_a_worker(kill_ms: int) -> None:
    script: list[Action] = [Say(1000, QUESTION), Say(5000, STOP)]
    outcome = talk(script, cast(UNEVEN), kills_ms=[kill_ms])
    assert is_exact(outcome), cut(outcome)
    assert cut(outcome) == cut(talk(script, cast(UNEVEN)))


# --- what it is given

PRICES = "**Well**, it is $5.50 a 🙂 week, or 10-20 % less. See https://www.example.com/a now."
SAID = "Well, it is 5 dollars and 50 cents a week, or 10 to 20 percent less. See example dot com slash a now."


def test_what_is_written_stays_in_the_record_and_is_said_as_one_would_read_it() -> None:
    talking = cast(PRICES, ScriptedTts())
    outcome = talk([Say(1000, QUESTION)], talking, end_ms=14_000)
    assert outcome.edge.heard == SAID
    assert outcome.items[-1] == ("assistant", PRICES)
    assert "".join(outcome.told("transcript_delta", "delta")) == PRICES
    assert outcome.told("transcript", "text")[-1] == PRICES


def test_a_tenant_may_want_it_as_it_is_written() -> None:
    talking = cast(PRICES, ScriptedTts())
    talking.tenant = talking.tenant.model_validate({"id": "test", "speech": {"normalise": False}})
    assert talk([Say(1000, QUESTION)], talking, end_ms=14_000).edge.heard == PRICES


@pytest.mark.parametrize("kill_ms", range(2300, 8000, 815))
def test_a_worker_that_goes_on_reads_as_the_one_before(kill_ms: int) -> None:
    """The first sentence tells the language of the second, which says nothing of it."""
    answer = "This is what it costs for you. $5.50, 20 %. $1 - 5 %, ok?"
    outcome = talk([Say(1000, QUESTION)], cast(answer, ScriptedTts()), kills_ms=[kill_ms], end_ms=14_000)
    assert (
        outcome.edge.heard
        == "This is what it costs for you. 5 dollars and 50 cents, 20 percent. 1 dollar - 5 percent, ok?"
    )
    assert outcome.items[-1] == ("assistant", answer)


def test_what_is_said_otherwise_is_heard_when_all_of_it_is() -> None:
    """Wherever it is interrupted, the price is remembered only when it was heard whole."""
    for at_ms in range(3000, 4700, 170):
        outcome = talk([Say(1000, QUESTION), Say(at_ms, STOP)], cast("Well, it is $5.50 a week."))
        remembered, heard = cut(outcome)
        assert remembered == "Well, it is $5.50 a week.".split()[: len(remembered)]
        assert ("$5.50" in remembered) <= ("cents" in heard)


def test_a_sentence_without_sound_is_written_and_not_spoken() -> None:
    talking = cast("It is done! 🙂\n---\nAnd that was it.", ScriptedTts())
    outcome = talk([Say(1000, QUESTION)], talking)
    assert talking.tts.spoken == ["It is done!", "And that was it."]
    assert outcome.items[-1] == ("assistant", "It is done! 🙂\n---\nAnd that was it.")


# --- when


def test_sentences_are_asked_for_while_those_before_them_are_taken() -> None:
    tts = TimedTts(speed=1.0)
    outcome = talk([Say(1000, QUESTION)], cast(ANSWER, tts), end_ms=14_000)
    assert outcome.edge.heard == ANSWER
    asked_s = {text: at_s for at_s, text in tts.asked}
    first, second, third = tts.spoken
    assert asked_s[second] < tts.done[first]
    assert asked_s[third] < tts.done[first], "both: the language model is faster than speech"
    assert list(tts.done) == [first, second, third], "one is taken after the other"


def test_a_slow_commit_delays_no_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has audio of a sentence that the next worker would not know of; but the voice takes longer than that."""

    def first_audio_ms(commit_s: float) -> int:
        monkeypatch.setattr("tests.standins.session.BUS_S", commit_s)
        outcome = talk([Say(1000, QUESTION)], cast(ANSWER, ScriptedTts(first_s=0.1)))
        return outcome.edge.heard_at[0][0]

    assert first_audio_ms(0.08) == first_audio_ms(0.0)


def test_between_the_first_clause_and_its_audio_is_only_the_voice() -> None:
    """Of 300 ms to the first token, 20 ms a token and 100 ms to the first audio, nothing is ours."""
    answer = "Well, that is a good question, and I am going to answer it now."
    outcome = talk([Say(1000, QUESTION)], cast(answer, ScriptedTts(first_s=0.1)))
    [told] = outcome.events("latency")
    parts = dict(told.data["parts"])
    assert parts["first_token"] == pytest.approx(300, abs=1)
    assert parts["first_sentence"] == pytest.approx(5 * 20, abs=1), "at the sixth word, which ends a clause"
    assert parts["first_audio"] == pytest.approx(100, abs=1)
