"""How long a silence must last, by words, by sound and by time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.turns.endpointing import CHUNK_MS, PRE_ROLL_MS, Edge, EdgeKind, Endpointing
from workers.turns.patience import ASK_MS, HEARD_MS, Judgement, Patience, Question, patience_ms
from workers.turns.phrasing import Phrase


@dataclass(frozen=True)
class Limits:
    finished_ms: int = 256
    stop_ms: int = 480
    unfinished_ms: int = 1600
    vad_threshold: float = 0.5
    start_ms: int = 96
    longest_utterance_ms: int = 30_000
    longest_turn_ms: int = 120_000


LIMITS = Limits()


@pytest.mark.parametrize(
    ("said", "done", "expected_ms"),
    [
        (Phrase.NOTHING, None, 480),
        (Phrase.PLAIN, None, 480),
        (Phrase.SENTENCE, None, 368),
        (Phrase.QUESTION, None, 256),
        (Phrase.OPEN, None, 1600),
        (Phrase.DICTATING, None, 1600),
        (Phrase.NOTHING, 0.5, 480),
        (Phrase.NOTHING, 0.95, 256),
        (Phrase.NOTHING, 0.05, 1600),
        (Phrase.NOTHING, 1.0, 256),
        (Phrase.NOTHING, 0.0, 1600),
        (Phrase.SENTENCE, 0.05, 1040),  # they disagree
        (Phrase.QUESTION, 0.05, 480),
        (Phrase.OPEN, 0.95, 1040),
        (Phrase.SENTENCE, 0.8, 256),
    ],
)
def test_the_table(said: Phrase, done: float | None, expected_ms: int) -> None:
    assert patience_ms(LIMITS, said, done) == expected_ms


@pytest.mark.parametrize(
    ("said", "done", "expected_ms"),
    [
        (Phrase.NOTHING, None, 256),
        (Phrase.SENTENCE, 0.05, 368),
        (Phrase.OPEN, None, 1040),  # an open end outweighs it
        (Phrase.DICTATING, 0.95, 368),
    ],
)
def test_a_transcriber_s_word_is_a_strong_hint(said: Phrase, done: float | None, expected_ms: int) -> None:
    assert patience_ms(LIMITS, said, done, ended=True) == expected_ms


@given(st.sampled_from(Phrase), st.floats(0, 1), st.floats(0, 1))
def test_who_sounds_more_done_is_never_waited_for_longer(said: Phrase, one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert LIMITS.unfinished_ms >= patience_ms(LIMITS, said, less) >= patience_ms(LIMITS, said, more)
    assert patience_ms(LIMITS, said, more) >= LIMITS.finished_ms


def test_a_tenants_own_stop_is_never_beyond_its_limits() -> None:
    slow, quick = Limits(stop_ms=3000), Limits(stop_ms=128)
    assert patience_ms(slow, Phrase.OPEN, None) == 3000
    assert patience_ms(quick, Phrase.QUESTION, None) == 128


@dataclass
class Asked:
    probability: float | None
    media_ms: int
    withdrawn: bool = False

    def answer(self) -> Judgement | None:
        return _Judgement(self.probability, self.media_ms) if self.probability is not None else None

    def withdraw(self) -> None:
        self.withdrawn = True


@dataclass(frozen=True)
class _Judgement:
    probability: float
    media_ms: int


@dataclass
class Model:
    """Answers when told to."""

    full: bool = False
    heard: list[bytes] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def ask(self, pcm: bytes, rate_hz: int, media_ms: int) -> Question | None:
        if self.full:
            return None
        self.heard.append(pcm)
        self.asked.append(Asked(None, media_ms))
        return self.asked[-1]


RATE_HZ = 8000
FRAME = RATE_HZ * CHUNK_MS // 1000 * 2


def test_the_model_is_asked_once_a_silence_about_what_was_said() -> None:
    model = Model()
    patience = Patience(LIMITS, RATE_HZ, model)
    for number in range(100):
        patience.hear(bytes([number]) * FRAME)
    now_ms = 100 * CHUNK_MS
    early = patience.quiet(2000, now_ms - ASK_MS + 32, now_ms, "hello there")
    assert (early, model.asked) == (480, [])
    speech_end_ms = now_ms - ASK_MS
    assert patience.quiet(2000, speech_end_ms, now_ms, "hello there") == 480, "not answered yet"
    [asked] = model.asked
    assert asked.media_ms == now_ms
    assert len(model.heard[0]) == (now_ms - 2000 + PRE_ROLL_MS) * RATE_HZ // 1000 * 2
    assert model.heard[0].endswith(bytes([99]) * FRAME)
    asked.probability = 0.99
    assert patience.quiet(2000, speech_end_ms, now_ms + 32, "hello there") == 256
    assert patience.quiet(2000, speech_end_ms, now_ms + 64, "hello there and") == 1040
    assert len(model.asked) == 1
    patience.over()
    assert asked.withdrawn
    assert patience.quiet(2000, now_ms, now_ms + 64, "hello there") == 480, "of the next silence nothing is known"


def test_a_model_that_is_busy_or_missing_leaves_it_to_the_words() -> None:
    for patience in (Patience(LIMITS, RATE_HZ, Model(full=True)), Patience(LIMITS, RATE_HZ)):
        patience.hear(bytes(FRAME))
        assert patience.quiet(0, 1000, 1000 + ASK_MS, "") == 480
        assert patience.quiet(0, 1000, 1000 + ASK_MS, "is it?") == 256


def test_no_more_is_kept_than_the_model_takes() -> None:
    model = Model()
    patience = Patience(LIMITS, RATE_HZ, model)
    for _ in range(2000):
        patience.hear(bytes(FRAME))
        assert len(patience._heard) <= HEARD_MS * RATE_HZ // 1000 * 2 * 9 // 8
    patience.quiet(0, 63_000, 64_000, "")
    assert len(model.heard[0]) >= HEARD_MS * RATE_HZ // 1000 * 2


# --- with endpointing


def edges(limits: Limits, model: Model | None, script: Iterable[tuple[float, str]], done: float) -> list[Edge]:
    """Endpointing of a script of (probability, words so far), one a chunk; the model answers `done` a chunk later."""
    endpointing, patience = Endpointing(limits), Patience(limits, RATE_HZ, model)
    found = []
    for number, (probability, words) in enumerate(script, 1):
        now_ms = number * CHUNK_MS
        patience.hear(bytes(FRAME))
        if endpointing.quiet:
            spans = endpointing.start_ms, endpointing.speech_end_ms
            endpointing.stop_ms = patience.quiet(*spans, now_ms, words)
        edge = endpointing.push(now_ms, probability)
        if model is not None:
            for asked in model.asked:
                asked.probability = done
        if edge is not None:
            found.append(edge)
            if edge.kind in (EdgeKind.WENT_ON, EdgeKind.STOPPED):
                patience.over()
    return found


def silence_before_the_end(found: list[Edge]) -> int:
    [stopped] = [edge for edge in found if edge.kind is EdgeKind.STOPPED]
    return stopped.decided_ms - stopped.media_ms


@pytest.mark.parametrize(
    ("words", "done", "least_ms"),
    [
        ("what time is it?", None, 256),
        ("hello", None, 480),
        ("I want a", None, 1600),
        ("hello", 0.99, 256),
        ("hello", 0.01, 1600),
        ("I want a", 0.99, 1040),
    ],
)
def test_an_utterance_ends_when_it_should(words: str, done: float | None, least_ms: int) -> None:
    script = [(0.9, "")] * 20 + [(0.0, words)] * 60
    found = edges(LIMITS, None if done is None else Model(), script, done or 0.0)
    assert least_ms <= silence_before_the_end(found) < least_ms + CHUNK_MS
    assert found[-1].speech_ms == 20 * CHUNK_MS


def test_who_goes_on_after_a_long_pause_is_one_utterance_and_the_next_silence_is_judged_anew() -> None:
    long_pause = [(0.9, "")] * 20 + [(0.0, "I would like a")] * 40 + [(0.9, "I would like a")] * 10
    script = long_pause + [(0.0, "I would like a pizza, can you do that?")] * 20
    found = edges(LIMITS, None, script, 0.0)
    assert [edge.kind for edge in found] == [
        EdgeKind.STARTED,
        EdgeKind.FELL_SILENT,
        EdgeKind.WENT_ON,
        EdgeKind.FELL_SILENT,
        EdgeKind.STOPPED,
    ]
    assert 256 <= silence_before_the_end(found) < 256 + CHUNK_MS
