"""A caller's conversation in virtual time: frame by frame, with a model that answers at once."""

from __future__ import annotations

from benchmarks.phone.talk import BARGE_IN_S, CLEAR_S, FRAME_S, PATIENCE_S, PAUSE_S, SPEECH_FRAMES, Talk

PIECES = 50
PIECE_S = 0.1


def speak(talk: Talk, now_s: float) -> float:
    """Let the caller speak to the end; returns when that is."""
    for _ in range(SPEECH_FRAMES):
        assert talk.speaks(now_s)
        now_s += FRAME_S
    assert not talk.speaks(now_s)
    return now_s


def answer(talk: Talk, now_s: float, number: int, pieces: int = PIECES) -> None:
    """All of an answer arrives at once."""
    for piece in range(pieces):
        talk.piece(now_s, number, last=piece == PIECES - 1)
        talk.audio(now_s, PIECE_S)


def next_speech(talk: Talk, now_s: float) -> float:
    while not talk.speaks(now_s):
        now_s += FRAME_S
    return now_s


def test_a_caller_hears_the_answer_out_and_speaks_again_after_a_pause() -> None:
    talk = Talk(0)
    heard_s = speak(talk, 0) + 0.5
    answer(talk, heard_s, 0)
    assert abs(next_speech(talk, heard_s) - (heard_s + PIECES * PIECE_S + PAUSE_S)) < 2 * FRAME_S
    assert (talk.answers, talk.unanswered, talk.gaps_s) == (1, 0, [])


def test_every_third_answer_is_interrupted_and_the_clear_timed() -> None:
    talk = Talk(2)  # whose first answer it is
    heard_s = speak(talk, 0)
    answer(talk, heard_s, 0)
    barges_s = next_speech(talk, heard_s)
    assert BARGE_IN_S[0] <= barges_s - heard_s <= BARGE_IN_S[1] + FRAME_S
    talk.clear(barges_s + 0.03)
    assert [(at_s, round(took_s, 9)) for at_s, took_s in talk.barge_ins_s] == [(barges_s, 0.03)]
    assert talk.stale == 0
    answer(talk, barges_s + 0.04, 0, pieces=2)
    assert talk.stale == 2


def test_an_interruption_that_nobody_notices_is_counted() -> None:
    talk = Talk(2)
    heard_s = speak(talk, 0)
    answer(talk, heard_s, 0)
    barges_s = next_speech(talk, heard_s)
    talk.speaks(barges_s + CLEAR_S + FRAME_S)
    assert (talk.uncleared, talk.barge_ins_s) == (1, [])
    talk.clear(barges_s + CLEAR_S + 1)
    assert talk.barge_ins_s == []


def test_a_missing_answer_is_counted_and_the_caller_tries_again() -> None:
    talk = Talk(0)
    ended_s = speak(talk, 0)
    assert abs(next_speech(talk, ended_s) - (ended_s + PATIENCE_S)) < 2 * FRAME_S
    assert (talk.answers, talk.unanswered) == (0, 1)


def test_silence_inside_an_answer_is_a_gap_and_before_it_is_none() -> None:
    talk = Talk(0)
    heard_s = speak(talk, 0) + 3
    answer(talk, heard_s, 0, pieces=1)
    talk.audio(heard_s + PIECE_S + 0.25, PIECE_S)
    assert [(at_s, round(gap_s, 9)) for at_s, gap_s in talk.gaps_s] == [(heard_s + PIECE_S + 0.25, 0.25)]
