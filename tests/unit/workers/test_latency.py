"""The parts of a wait: they sum, whoever measured them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.bus.messages import UNKNOWN_MS, Left
from workers.latency import TOLERANCE_MS, Latency, Wait

DECIDED_S = 100.0
SPEECH_END_MS = 5000
ENDPOINT_MS = 500


def left(media_ms: int, waited_ms: int = 0) -> Left:
    return Left("s", 1, 2, 0, media_ms, waited_ms)


def answered() -> Wait:
    """Transcript after 200 ms, first token after 500, a sentence after 560, its audio after 700."""
    latency = Latency(DECIDED_S, ENDPOINT_MS, SPEECH_END_MS)
    for part, after_s in (("transcript", 0.2), ("first_token", 0.5), ("first_sentence", 0.56)):
        latency.mark(part, DECIDED_S + after_s)
        latency.mark(part, DECIDED_S + 3)  # only the first counts
    return latency.until("first_audio", DECIDED_S + 0.7)


def test_what_the_worker_knows() -> None:
    wait = answered()
    assert wait.parts == (
        ("endpoint", 500),
        ("transcript", 200),
        ("first_token", 300),
        ("first_sentence", 60),
        ("first_audio", 140),
    )
    parts = [list(part) for part in wait.parts]
    assert wait.told(None) == {
        "total_ms": 1200,
        "parts": parts,
        "voice_to_voice": False,
        "filler": False,
        "providers": {},
    }


def test_the_whole_is_what_the_edge_saw() -> None:
    told = answered().told(left(SPEECH_END_MS + 1200 + 13 + 80, waited_ms=80))
    assert told["voice_to_voice"]
    assert told["total_ms"] == 1293
    assert told["parts"][-3:] == [["first_audio", 140], ["bus", 13], ["playout", 80]]


def test_audio_that_waits_for_what_is_heard_still_waits_at_both_ends() -> None:
    told = answered().told(left(SPEECH_END_MS + 1200 + 13 + 80 + 300, waited_ms=80), held_ms=300)
    assert told["parts"][-2:] == [["bus", 13], ["playout", 380]]
    assert told["total_ms"] == 1593


def test_a_token_before_the_end_of_speech_was_certain_took_no_time() -> None:
    latency = Latency(DECIDED_S, ENDPOINT_MS, SPEECH_END_MS)
    latency.mark("first_token", DECIDED_S - 0.3)
    latency.mark("transcript", DECIDED_S + 0.001)
    wait = latency.until("first_audio", DECIDED_S + 0.1)
    assert wait.parts == (("endpoint", 500), ("first_token", 0), ("transcript", 1), ("first_audio", 99))


def test_a_filler_is_marked_and_the_answer_after_it_has_a_wait_of_its_own() -> None:
    latency = Latency(DECIDED_S, ENDPOINT_MS, SPEECH_END_MS)
    filler = latency.until("first_audio", DECIDED_S + 1.1, filler=True)
    latency.mark("transcript", DECIDED_S + 2)
    answer = latency.until("first_audio", DECIDED_S + 3)
    assert filler.told(left(SPEECH_END_MS + 1603)) == {
        "total_ms": 1603,
        "parts": [["endpoint", 500], ["first_audio", 1100], ["bus", 3], ["playout", 0]],
        "voice_to_voice": True,
        "filler": True,
        "providers": {},
    }
    told = answer.told(left(SPEECH_END_MS + 3504))
    assert told["total_ms"] == 3504
    assert dict(told["parts"]) == {"endpoint": 500, "transcript": 2000, "first_audio": 1000, "bus": 4, "playout": 0}
    assert not told["filler"]


def test_a_worker_that_came_after_the_speech_was_over_says_how_long_there_was_none() -> None:
    told = answered().told(left(SPEECH_END_MS + 2100), since_ms=SPEECH_END_MS + 1400)
    assert told["parts"][:2] == [["endpoint", 500], ["takeover", 900]]
    assert told["total_ms"] == 2100 == sum(ms for _, ms in told["parts"])


def test_a_worker_that_found_a_question_in_the_record_knows_where_it_ended() -> None:
    latency = Latency(DECIDED_S, None, SPEECH_END_MS)
    wait = latency.until("first_audio", DECIDED_S + 0.4)
    told = wait.told(left(SPEECH_END_MS + 1500), since_ms=SPEECH_END_MS + 1000)
    assert told == {
        "total_ms": 1500,
        "parts": [["takeover", 1100], ["first_audio", 400], ["playout", 0]],
        "voice_to_voice": True,
        "filler": False,
        "providers": {},
    }


@pytest.mark.parametrize("media_ms", [UNKNOWN_MS, SPEECH_END_MS + 1200 - TOLERANCE_MS - 1])
def test_what_the_edge_cannot_tell_or_cannot_have_seen_is_not_told(media_ms: int) -> None:
    told = answered().told(left(media_ms))
    assert not told["voice_to_voice"]
    assert told["total_ms"] == 1200
    assert [part for part, _ in told["parts"]][-1] == "first_audio"


def test_who_made_what_was_waited_for_is_told_as_far_as_it_was_known_then() -> None:
    latency = Latency(DECIDED_S, ENDPOINT_MS, SPEECH_END_MS)
    latency.served("stt", "deepgram nova-3")
    latency.served("tts", "cartesia sonic-3")
    filler = latency.until("first_audio", DECIDED_S + 1.1, filler=True)
    latency.served("llm", "groq one")
    latency.served("llm", None)
    latency.served("llm", "openai two")  # which went on when the first had failed
    answer = latency.until("first_audio", DECIDED_S + 3)
    assert filler.told(None)["providers"] == {"stt": "deepgram nova-3", "tts": "cartesia sonic-3"}
    assert answer.told(None)["providers"] == {
        "stt": "deepgram nova-3",
        "tts": "cartesia sonic-3",
        "llm": "openai two",
    }


def test_typed_words_have_no_end_of_speech() -> None:
    latency = Latency(DECIDED_S)
    told = latency.until("first_audio", DECIDED_S + 0.4).told(left(9000, 3))
    assert told == {
        "total_ms": 400,
        "parts": [["first_audio", 400]],
        "voice_to_voice": False,
        "filler": False,
        "providers": {},
    }


@given(
    marks=st.lists(st.floats(-2, 5), max_size=5),
    endpoint_ms=st.none() | st.integers(0, 900),
    edge_ms=st.integers(-2000, 8000),
    waited_ms=st.integers(0, 3000),
    since_ms=st.integers(0, 20_000),
)
def test_parts_sum_and_none_is_negative(
    marks: list[float], endpoint_ms: int | None, edge_ms: int, waited_ms: int, since_ms: int
) -> None:
    latency = Latency(DECIDED_S, endpoint_ms, SPEECH_END_MS)
    for number, after_s in enumerate(marks):
        latency.mark(str(number), DECIDED_S + after_s)
    end_s = max([0.0, *marks])
    wait = latency.until("first_audio", DECIDED_S + end_s)
    assert wait.total_ms == (endpoint_ms or 0) + round(end_s * 1000)
    told = wait.told(left(SPEECH_END_MS + edge_ms, waited_ms), since_ms)
    assert sum(ms for _, ms in told["parts"]) == told["total_ms"]
    assert all(ms >= 0 for _, ms in told["parts"])
    if told["voice_to_voice"]:
        assert told["total_ms"] == pytest.approx(edge_ms, abs=TOLERANCE_MS)
