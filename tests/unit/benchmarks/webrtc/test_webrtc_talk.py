"""A caller's conversation in virtual time, packet by packet."""

from __future__ import annotations

import pytest

from benchmarks.webrtc.talk import (
    BARGE_IN_S,
    FRAME_S,
    OVER_S,
    PATIENCE_S,
    PAUSE_S,
    SPEECH_FRAMES,
    STREAM_S,
    Talk,
)

SINGLE_S = 0.33


def speak(talk: Talk, now_s: float) -> float:
    """Let the caller speak to the end; returns when that is."""
    assert [talk.speaks(now_s + frame * FRAME_S) for frame in range(SPEECH_FRAMES)] == list(range(SPEECH_FRAMES))
    now_s += SPEECH_FRAMES * FRAME_S
    assert talk.speaks(now_s) is None
    return now_s


def next_speech(talk: Talk, now_s: float) -> float:
    while talk.speaks(now_s) is None:
        now_s += FRAME_S
    return now_s


def test_an_answer_of_single_marks_is_heard_out() -> None:
    talk = Talk(0)
    now_s = speak(talk, 0)
    for mark in range(14):
        for packet in range(6):
            talk.hears(now_s + mark * SINGLE_S + packet * FRAME_S)
    last_s = now_s + 13 * SINGLE_S + 5 * FRAME_S
    assert next_speech(talk, last_s) == pytest.approx(last_s + OVER_S + PAUSE_S, abs=2 * FRAME_S)
    assert (talk.answers, talk.unanswered, talk.interruptions_s) == (1, 0, [])


def test_a_stream_is_interrupted() -> None:
    talk = Talk(0)
    begins_s = now_s = speak(talk, 0)
    while talk.speaks(now_s) is None:
        talk.hears(now_s)
        now_s += FRAME_S
    assert talk.interruptions_s == [now_s]
    assert BARGE_IN_S[0] <= now_s - begins_s <= BARGE_IN_S[1] + FRAME_S
    assert now_s - begins_s > STREAM_S
    talk.hears(now_s + FRAME_S)  # what is still under way of the answer is none of its own
    assert talk.answers == 1


def test_an_answer_that_does_not_come_is_missed() -> None:
    talk = Talk(0)
    ended_s = speak(talk, 0)
    assert next_speech(talk, ended_s) == pytest.approx(ended_s + PATIENCE_S, abs=2 * FRAME_S)
    assert (talk.answers, talk.unanswered) == (0, 1)
