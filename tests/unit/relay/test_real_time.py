"""The caller's audio on a wire that takes it in real time: what is sent, what is left out, and whose clock is whose."""

from __future__ import annotations

import random

import numpy as np
import pytest

from workers.relay.real_time import AT_FIRST_MS, BEHIND_MS, SILENCE_MS, RealTime

RATE_HZ = 8000
FRAME = 160


def frame(peak: int, dice: random.Random | None = None) -> bytes:
    noise = np.random.default_rng((dice or random.Random(1)).randrange(1 << 30))
    return (noise.uniform(-1, 1, FRAME) * peak).astype("<i2").tobytes()


SILENCE, SPEECH = bytes(2 * FRAME), frame(8000)
SPOKEN = [SPEECH, SPEECH, frame(3000), frame(400), SPEECH] * 20
"""2 s."""


def real_time(began_ms: float = 0.0) -> RealTime:
    made = RealTime(RATE_HZ)
    made.begin(began_ms)
    return made


def test_live_audio_passes_and_both_clocks_are_one() -> None:
    wire = real_time(1000.0)
    now_ms = 1000.0
    for number in range(500):
        now_ms = 1000.0 + number * 20 + (number % 3) * 7
        assert wire.takes(SPEECH if number % 100 < 30 else SILENCE, now_ms)
    assert wire.behind_ms(now_ms) < BEHIND_MS
    assert wire.heard_ms(4321.0) == pytest.approx(4321, abs=20)


def test_what_was_said_before_a_fault_takes_its_time_and_what_follows_waits_behind_it() -> None:
    wire = real_time()
    assert all(wire.takes(pcm, 0.0) for pcm in SPOKEN)
    assert wire.behind_ms(0.0) == 2000
    assert wire.takes(SPEECH, 20.0)
    assert wire.behind_ms(20.0) == 2000


def test_a_silence_is_cut_short_until_the_caller_is_heard_live_again() -> None:
    wire = real_time()
    for pcm in SPOKEN:
        wire.takes(pcm, 0.0)
    sent = [wire.takes(SILENCE, number * 20.0) for number in range(300)]
    assert sent.index(False) * 20 == SILENCE_MS
    assert wire.behind_ms(300 * 20.0) <= BEHIND_MS
    assert all(sent[-50:]), "and then all of it"
    assert sent.count(False) * 20 == pytest.approx(2000, abs=BEHIND_MS + 20)


def test_at_first_half_a_second_of_silence_is_enough() -> None:
    wire = real_time()
    sent = [wire.takes(SILENCE, 0.0) for _ in range(50)]
    assert AT_FIRST_MS <= sent.count(True) * 20 <= AT_FIRST_MS + BEHIND_MS + 20


@pytest.mark.parametrize("peak", [300, 2000])
def test_noise_that_does_not_change_is_silence(peak: int) -> None:
    dice = random.Random(7)
    wire = real_time()
    sent = [wire.takes(frame(peak, dice), 0.0) for _ in range(200)]
    assert sent.count(True) * 20 <= AT_FIRST_MS + SILENCE_MS + BEHIND_MS + 20
    assert not any(sent[-90:])


def test_speech_over_noise_is_not() -> None:
    dice = random.Random(7)
    wire = real_time()
    for _ in range(50):
        wire.takes(frame(1000, dice), 0.0)
    assert all(wire.takes(frame(1000 if number % 5 else 6000, dice), 0.0) for number in range(200))


def test_the_models_clock_is_the_wires_and_runs_on_while_nothing_is_sent() -> None:
    """What it says of its own ms is told in ms of the caller's audio."""
    wire = real_time()
    for number in range(50):
        wire.takes(SPEECH, 3000.0 + number * 20)  # it was connected for 3 s before
    assert [wire.heard_ms(ms) for ms in (0, 2900, 3000, 3500)] == [0, 0, 0, 500]
    for number in range(50):
        wire.takes(SPEECH, 6000.0 + number * 20)  # and then the caller's network was gone for 2 s
    assert [wire.heard_ms(ms) for ms in (4000, 5000, 6000, 6500, 9000)] == [1000, 1000, 1000, 1500, 2000]


def test_what_was_left_out_is_not_on_the_models_clock() -> None:
    wire = real_time()
    for pcm in SPOKEN:
        wire.takes(pcm, 0.0)
    left_out = 20 * [wire.takes(SILENCE, 0.0) for _ in range(200)].count(False)
    assert left_out == 4000 - SILENCE_MS
    wire.takes(SPEECH, 0.0)
    assert wire.heard_ms(2000 + SILENCE_MS - 20) == 3480
    assert wire.heard_ms(2000 + SILENCE_MS) == 6000
