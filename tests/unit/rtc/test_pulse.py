"""When the other side is asked, and when it is lost: with time as an argument, and peers that behave as real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest

from trunkline.rtc.pulse import ASK_EVERY_S, LOST_S, LOST_WITHOUT_ANSWERS_S, Beat, Pulse

STEP_S = 0.01


def live(
    pulse: Pulse,
    signs_s: Iterable[float] = (),
    *,
    answers: Callable[[float], bool] = lambda at_s: False,
    until_s: float = 60.0,
    awake: Callable[[float], bool] = lambda at_s: True,
) -> tuple[float | None, list[float]]:
    """Runs it from 0 on; signs of life come by themselves at `signs_s`. When it was lost, and when it was asked."""
    asked: list[float] = []
    coming = sorted(signs_s)
    now_s = 0.0
    while now_s < until_s:
        while coming and coming[0] <= now_s:
            pulse.heard(coming.pop(0))
        if awake(now_s) and now_s >= pulse.due_s:
            beat = pulse.beat(now_s)
            if beat is Beat.LOST:
                return now_s, asked
            if beat is Beat.ASK:
                asked.append(now_s)
                if answers(now_s):
                    pulse.answered(now_s)
        now_s = round(now_s + STEP_S, 6)
    return None, asked


def every(interval_s: float, until_s: float = 60.0) -> list[float]:
    return [n * interval_s for n in range(1, int(until_s / interval_s))]


def test_who_speaks_is_asked_as_rfc_7675_wants() -> None:
    lost, asked = live(Pulse(0.0, lambda: 0.5), every(0.02), answers=lambda at_s: True)
    assert lost is None
    assert asked[0] == 0.0
    gaps = [later - earlier for earlier, later in pairwise(asked[1:])]
    assert all(gap == pytest.approx(ASK_EVERY_S, abs=2 * STEP_S) for gap in gaps)


@pytest.mark.parametrize("dice", [0.0, 1.0])
def test_questions_are_4_to_6_s_apart(dice: float) -> None:
    _, asked = live(Pulse(0.0, lambda: dice), every(0.02), answers=lambda at_s: True)
    assert asked[-1] - asked[-2] == pytest.approx(4.0 + 2.0 * dice, abs=2 * STEP_S)


@pytest.mark.parametrize("own_checks_s", [2.5, 5.0])
def test_who_is_silent_but_answers_lives(own_checks_s: float) -> None:
    """A browser without a microphone, or with DTX: it sends its own checks only, and answers ours."""
    lost, asked = live(Pulse(0.0), every(own_checks_s), answers=lambda at_s: True)
    assert lost is None
    assert min(later - earlier for earlier, later in pairwise(asked[1:])) >= 1.0


@pytest.mark.parametrize("last_packet_s", [10.0, 10.37, 14.99])
def test_who_vanishes_is_lost_after_3_s(last_packet_s: float) -> None:
    lost, asked = live(Pulse(0.0), every(0.02, last_packet_s), answers=lambda at_s: at_s < last_packet_s)
    assert lost is not None
    assert LOST_S - 0.1 <= lost - last_packet_s <= LOST_S + 0.6
    assert len([at_s for at_s in asked if at_s > last_packet_s]) >= 3


def test_who_vanishes_right_after_the_beginning_is_lost_as_soon() -> None:
    lost, _ = live(Pulse(0.0), every(0.02, 0.5), answers=lambda at_s: at_s < 0.5)
    assert lost == pytest.approx(0.5 + LOST_S, abs=0.6)


def test_lost_packets_are_not_a_lost_peer() -> None:
    """Two questions of three, or their answers, do not come through for a minute, and nothing else comes."""
    fates = iter([True, *[False, False, True] * 100])
    lost, _ = live(Pulse(0.0), (), answers=lambda at_s: next(fates))
    assert lost is None


@pytest.mark.parametrize("own_checks_s", [2.5, 5.0, 6.0])
def test_who_never_answers_but_checks_us_lives(own_checks_s: float) -> None:
    lost, asked = live(Pulse(0.0, lambda: 0.5), every(own_checks_s))
    assert lost is None
    assert len(asked) < 60 * 2 + 10


def test_who_never_answered_is_lost_after_15_s() -> None:
    lost, _ = live(Pulse(0.0), every(0.02, 10.0))
    assert lost == pytest.approx(10.0 + LOST_WITHOUT_ANSWERS_S, abs=0.6)


def test_who_speaks_and_never_answers_is_not_asked_every_second_for_ever() -> None:
    _, asked = live(Pulse(0.0, lambda: 0.5), every(0.02))
    assert len([at_s for at_s in asked if at_s >= 10.0]) <= 11


def test_a_loop_that_stood_still_has_lost_nobody() -> None:
    """For 10 s nothing was read and nothing asked; whoever lives answers the first question after that."""
    lost, _ = live(
        Pulse(0.0),
        every(0.02, 5.0),
        answers=lambda at_s: True,
        awake=lambda at_s: not 5.0 < at_s < 15.0,
        until_s=30.0,
    )
    assert lost is None


def test_a_loop_that_stood_still_notices_who_vanished_meanwhile() -> None:
    lost, asked = live(
        Pulse(0.0),
        every(0.02, 5.0),
        answers=lambda at_s: at_s < 5.0,
        awake=lambda at_s: not 5.0 < at_s < 15.0,
        until_s=30.0,
    )
    assert lost is not None
    assert 15.0 < lost < 15.0 + LOST_S
    assert len([at_s for at_s in asked if at_s >= 15.0]) >= 3
