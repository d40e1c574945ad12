"""Who speaks over an answer: listeners, and those who want the floor."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from workers.turns.backchannels import LONGEST_MS, Verdict, asks, is_backchannel, verdict


@dataclass(frozen=True)
class Settings:
    barge_in_ms: int = 256
    min_words: int = 0
    ignore_backchannels: bool = True


@pytest.mark.parametrize(
    "words",
    [
        *("mhm", "Mhm.", "MM-HMM", "hm hm", "uh-huh", "Uh huh.", "yeah", "yeah, okay", "Okay!", "I see.", "got it"),
        *("Yes, of course.", "ja genau", "alles klar", "Ach so, okay."),
    ],
)
def test_listeners(words: str) -> None:
    assert is_backchannel(words)


@pytest.mark.parametrize(
    "words",
    [
        *("", "...", "42", "no", "I", "see", "got", "of", "course", "what?", "okay stop", "yeah but"),
        *("I see a problem", "doch", "nein", "ja aber"),
    ],
)
def test_others(words: str) -> None:
    assert not is_backchannel(words)


B, L, U = Verdict.BARGE_IN, Verdict.BACKCHANNEL, Verdict.UNSURE


@pytest.mark.parametrize(
    ("settings", "speech_ms", "words", "asked", "so_far", "over"),
    [
        # too short for anything
        (Settings(), 100, "", False, U, L),
        (Settings(), 100, "stop", False, U, L),
        # nothing asked for: length alone
        (Settings(ignore_backchannels=False), 256, "", False, B, B),
        (Settings(ignore_backchannels=False), 256, "mhm", False, B, B),
        # without words nobody knows
        (Settings(), LONGEST_MS, "", False, U, U),
        (Settings(), 10 * LONGEST_MS, "", False, U, U),
        (Settings(min_words=2), 300, "", False, U, U),
        (Settings(ignore_backchannels=False, min_words=2), 300, "", False, U, U),
        # words tell
        (Settings(), 300, "", False, U, U),
        (Settings(), 300, "mhm", False, L, L),
        (Settings(), 300, "yeah but", False, B, B),
        (Settings(), 300, "stop", False, B, B),
        # an answer to a question is no backchannel
        (Settings(), 300, "yeah", True, B, B),
        (Settings(), 300, "", True, U, U),
        (Settings(min_words=3), 300, "yeah", True, B, B),
        # so much speech is no backchannel
        (Settings(), LONGEST_MS + 1, "mhm", False, B, B),
        (Settings(), LONGEST_MS + 1, "yeah okay yeah okay", False, B, B),
        # a least number of words, but for some
        (Settings(min_words=2), 300, "what", False, U, L),
        (Settings(min_words=2), 300, "what else", False, B, B),
        (Settings(min_words=3), 300, "wait", False, B, B),
        (Settings(min_words=3), 300, "nein", False, B, B),
        (Settings(min_words=2, ignore_backchannels=False), 300, "okay okay", False, B, B),
        (Settings(min_words=2, ignore_backchannels=False), 300, "okay", False, U, L),
        (Settings(min_words=2), LONGEST_MS + 1, "what", False, B, B),
    ],
)
def test_verdicts(settings: Settings, speech_ms: int, words: str, asked: bool, so_far: Verdict, over: Verdict) -> None:
    assert verdict(settings, speech_ms, words, asked=asked) is so_far
    assert verdict(settings, speech_ms, words, asked=asked, over=True) is over


@dataclass(frozen=True)
class Sentence:
    text: str
    start_ms: int
    end_ms: int


SPOKEN = [
    Sentence("It is ten. ", 0, 1000),
    Sentence("Is that right? ", 1000, 2500),
    Sentence("I can wait.", 2500, 2500),
]


@pytest.mark.parametrize(
    ("played_ms", "expected"),
    [(0, False), (900, False), (1000, False), (1100, True), (2400, True), (2600, True), (3400, True), (3600, False)],
)
def test_questions(played_ms: int, expected: bool) -> None:
    assert asks(SPOKEN, played_ms) is expected


def test_an_answer_of_nothing_asks_nothing() -> None:
    assert not asks([], 5000)
