from __future__ import annotations

import pytest

from benchmarks.cascade import account
from benchmarks.cascade.levels import holds, levels
from benchmarks.cascade.settings import SETTINGS, STOP_MS
from benchmarks.cascade.sonic import piece_key
from benchmarks.cascade.speeches import RATE_HZ, Speaker, Speech, speeches
from benchmarks.phone.times import Times
from trunkline.audio.frame import FRAME_MS
from trunkline.audio.g711 import ulaw_to_pcm
from trunkline.audio.resample import Resampler

BEFORE, AFTER = 40, 60
"""Frames of the line alone, before a caller's first speech and after it."""


def spoken(number: int = 0) -> tuple[Speaker, Speech]:
    """A caller who has said one thing."""
    speaker = Speaker(number)
    length = next(speaker.lengths())
    for frame in range(BEFORE + length + AFTER):
        speaker.frame(0, speaks=BEFORE <= frame < BEFORE + length)
    ((begin, speech),) = speaker.said
    assert (begin, len(speech.frames)) == (BEFORE, length)
    return speaker, speech


def pcm(speaker: Speaker, begin: int = 0) -> bytes:
    return ulaw_to_pcm(b"".join(frame.ulaw for frame in speaker.frames[begin:]))


def test_everything_that_is_said_is_two_or_three_seconds_long_and_differs_from_the_rest() -> None:
    said = speeches()
    assert all(1.8 <= len(speech.frames) * FRAME_MS / 1000 <= 3.2 for speech in said)
    for speech in said:
        assert sum(holds(speech.levels, other.levels) for other in said) == 1


@pytest.mark.parametrize("rate_hz", [8000, 16_000])
def test_what_a_vendor_was_sent_is_known_again_after_pre_roll_and_resampling(rate_hz: int) -> None:
    speaker, speech = spoken()
    resampler = Resampler(RATE_HZ, rate_hz)
    heard = levels(resampler.push(pcm(speaker, BEFORE - 20)) + resampler.flush(), rate_hz)
    assert holds(heard, speech.levels)
    assert not holds(heard[: len(speech.levels)], speech.levels)
    assert not holds(heard, next(other for other in speeches() if other is not speech).levels)


def test_the_end_of_a_question_is_found_where_silence_was_long_enough() -> None:
    speaker, speech = spoken()
    (end,) = account.decided(speaker.frames, SETTINGS)
    silent_ms = (end + 1 - BEFORE - len(speech.frames)) * FRAME_MS
    assert STOP_MS - 100 <= silent_ms <= STOP_MS + 200  # Silero hears the last of a word as speech, or not


def call_and_vendors(told_s: float = 0.0) -> tuple[account.Call, list[int], dict[str, account.Book]]:
    """A caller whose question number 5 is over at 100 s; `told_s`: when its text was sent."""
    speaker, _ = spoken()
    (end,) = account.decided(speaker.frames, SETTINGS)
    sent, heard = Times(), Times()
    for frame in range(len(speaker.frames)):
        sent.note(frame, 100 + (frame - end) * FRAME_MS / 1000)
    for piece in range(3):
        heard.note(piece_key(5, piece), 101 + piece)
    vendors: dict[str, account.Book] = {
        "heard": {"5": {"told_s": told_s, "levels": levels(pcm(speaker), RATE_HZ)}},
        "thought": {"5": {"asked_s": 100.01, "clause_s": 100.3}},
        "spoken": {"5": {"asked_s": 100.302, "first_s": 100.997}},
    }
    return account.Call(speaker.frames, speaker.said, sent, heard), [end], vendors


@pytest.mark.parametrize(("told_s", "uplink_ms"), [(99.0, 10), (100.004, 6)])
def test_what_an_answer_took_is_what_was_neither_silence_nor_a_vendors(told_s: float, uplink_ms: float) -> None:
    (wait,), wrong = account.waits(*call_and_vendors(told_s))
    assert (wait.uplink, wait.between, wait.downlink) == pytest.approx((uplink_ms, 2, 3))
    assert wait.added == pytest.approx(uplink_ms + 5)
    assert wrong == 0


def test_an_answer_to_what_somebody_else_said_is_wrong() -> None:
    call, ends, vendors = call_and_vendors()
    said = [(BEFORE, next(other for other in speeches() if other is not call.said[0][1]))]
    assert account.waits(account.Call(call.frames, said, call.sent, call.heard), ends, vendors) == ([], 1)


def test_an_answer_that_no_vendor_knows_of_is_wrong() -> None:
    call, ends, vendors = call_and_vendors()
    assert account.waits(call, ends, vendors | {"thought": {}}) == ([], 1)


def test_a_run_has_kept_up_only_when_nothing_is_missing() -> None:
    found = {"answers_late": 0.0, "samples": 7, "wrong": 0, "unanswered": 0, "uncleared": 0, "lost_calls": []}
    assert account.kept_up(found, late_p99_ms=2)
    assert not account.kept_up(found, late_p99_ms=25)
    for failure in ({"wrong": 1}, {"unanswered": 1}, {"uncleared": 1}, {"answers_late": 0.5}, {"samples": 0}):
        assert not account.kept_up(found | failure, late_p99_ms=2)
