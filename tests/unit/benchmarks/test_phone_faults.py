"""What the benchmark of a telephone call's faults makes of what was heard."""

from __future__ import annotations

import pytest

from benchmarks.phone_faults import model
from benchmarks.phone_faults.hearing import RATE_HZ, Words, begins_ms, compare, silence_ms, silences
from benchmarks.phone_faults.outcome import Outcome
from tests.standins import tones
from tests.standins.realtime import Prompt, Say


def silence(ms: int) -> bytes:
    return bytes(RATE_HZ * 2 * ms // 1000)


def test_the_pauses_between_words_are_no_silence() -> None:
    pcm = silence(300) + tones.speak("queen star book winter", RATE_HZ) + silence(400)
    assert silences(pcm) == []


def test_a_silence_is_what_is_beyond_a_pause_and_belongs_to_where_it_begins() -> None:
    words = tones.speak("queen star", RATE_HZ)  # 400 ms, the last 20 of them quiet
    stretches = silences(words + silence(300) + words + silence(100) + words)
    assert [stretch.start_ms for stretch in stretches] == [pytest.approx(380, abs=5), pytest.approx(1080, abs=5)]
    assert silence_ms(stretches, 0, 3000) == pytest.approx(400, abs=20)
    assert silence_ms(stretches, 500, 3000) == pytest.approx(100, abs=10)
    assert silence_ms(stretches, 500, 1000) == 0


def test_when_the_first_sound_begins() -> None:
    assert begins_ms(silence(250) + tones.speak("star", RATE_HZ)) == pytest.approx(250, abs=2)
    assert begins_ms(silence(250)) is None


@pytest.mark.parametrize(
    ("heard", "found"),
    [
        ("queen star book winter", Words(0, 0, 0, disordered=False)),
        ("queen star star book winter", Words(0, 1, 0, disordered=False)),
        ("queen star book star book winter", Words(0, 2, 0, disordered=False)),
        ("queen book winter", Words(1, 0, 0, disordered=False)),
        ("star queen book winter", Words(0, 0, 0, disordered=True)),
        ("queen star sorry book winter", Words(0, 0, 1, disordered=False)),
        ("", Words(4, 0, 0, disordered=False)),
    ],
)
def test_words_are_missing_or_come_twice(heard: str, found: Words) -> None:
    assert compare("queen star book winter".split(), heard.split()) == found


def test_no_word_of_the_story_comes_twice_and_each_can_be_heard() -> None:
    assert len(set(model.STORY)) == len(model.STORY)
    assert tones.hear(tones.speak(" ".join(model.STORY), RATE_HZ), RATE_HZ).split() == list(model.STORY)


def prompt(instructions: str, *items: tuple[str, str]) -> Prompt:
    messages = [{"type": "message", "role": role, "content": [{"text": text}]} for role, text in items]
    return Prompt(messages, instructions, {"instructions": instructions} if instructions else {}, {})


def test_the_model_goes_on_where_it_was_cut_off() -> None:
    asked = ("user", model.ASK_STORY)
    assert model.answer(prompt("", asked)) == Say(" ".join(model.STORY))
    cut = prompt("A fault cut your answer off. Go on.", asked, ("assistant", " ".join(model.STORY[:5])))
    assert model.answer(cut) == Say(" ".join(model.STORY[5:]))
    said = f'A fault cut your answer off. Say this, {{}}: "{" ".join(model.STORY[3:5])}"'
    assert model.answer(prompt(said.format("and nothing else"), asked)) == Say(" ".join(model.STORY[3:5]))
    going_on = prompt(said.format("and then go on with your answer"), asked)
    assert model.answer(going_on) == Say(" ".join(model.STORY[3:]))


def test_the_model_knows_what_it_was_told_and_nothing_else() -> None:
    name = ("user", model.NAME)
    assert model.answer(prompt("", name, ("user", model.ASK_NAME))) == Say(model.NAME_KNOWN)
    assert model.answer(prompt("", ("user", model.ASK_NAME))) == Say("sorry")


def test_percentiles_are_figures_that_were_measured() -> None:
    outcome = Outcome("kill", "in mid-answer", 500, times_ms=[float(time_ms) for time_ms in range(20, 0, -1)])
    result = outcome.result()
    assert (result["p50_ms"], result["p95_ms"], result["p100_ms"]) == (10, 19, 20)
    outcome.times_ms.append(float("inf"))
    assert outcome.result()["p100_ms"] == float("inf")
