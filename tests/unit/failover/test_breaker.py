"""When a vendor is left alone, for how long, and who finds out that it is back. The clock is an argument."""

from __future__ import annotations

import logging

import pytest

from trunkline.errors import ProviderError
from workers.breaker import COOL_DOWN_S, FAILURES, LONGEST_COOL_DOWN_S, LONGEST_WAIT_S, Breaker

SILENT = ProviderError("acme", "nothing came")


def opened(now_s: float = 0.0) -> Breaker:
    breaker = Breaker("acme")
    for _ in range(FAILURES):
        breaker.permit(now_s).failed(SILENT, now_s)
    return breaker


def is_asked(breaker: Breaker, now_s: float) -> bool:
    """Whether a request would be let through; it is dropped."""
    try:
        breaker.permit(now_s).dropped()
    except ProviderError:
        return False
    return True


def test_a_few_failures_in_a_row_open_it_and_others_are_told_why() -> None:
    breaker = Breaker("acme")
    for _ in range(FAILURES - 1):
        breaker.permit(0).failed(SILENT, 0)
    breaker.permit(0).succeeded()
    for _ in range(FAILURES - 1):
        breaker.permit(0).failed(SILENT, 0)
    assert breaker.closed, "a success between them begins the count anew"
    breaker.permit(0).failed(SILENT, 0)
    with pytest.raises(ProviderError, match="acme: is left alone: acme: nothing came"):
        breaker.permit(COOL_DOWN_S - 0.01)
    assert (breaker.tally.succeeded, breaker.tally.failed, breaker.tally.opened, breaker.tally.spared) == (1, 5, 1, 1)


def test_one_request_probes_and_its_success_lets_everybody_in() -> None:
    breaker = opened()
    probe = breaker.permit(COOL_DOWN_S)
    assert not is_asked(breaker, COOL_DOWN_S + 1), "one is enough"
    probe.succeeded()
    assert breaker.closed
    assert is_asked(breaker, COOL_DOWN_S + 1)


def test_each_probe_that_fails_doubles_the_wait_up_to_a_bound() -> None:
    breaker, now_s, waits = opened(), 0.0, []
    for _ in range(6):
        wait_s = next(wait for wait in range(1, 1000) if is_asked(breaker, now_s + wait))
        waits.append(wait_s)
        now_s += wait_s
        breaker.permit(now_s).failed(SILENT, now_s)
    assert waits == [15, 30, 60, 120, 120, 120]
    breaker.permit(now_s + LONGEST_COOL_DOWN_S).succeeded()
    for _ in range(FAILURES):
        breaker.permit(1000).failed(SILENT, 1000)
    assert is_asked(breaker, 1000 + COOL_DOWN_S), "a success ends the doubling"


def test_cancelled_requests_say_nothing() -> None:
    breaker = Breaker("acme")
    for _ in range(FAILURES - 1):
        breaker.permit(0).failed(SILENT, 0)
    breaker.permit(0).dropped()
    breaker.permit(0).failed(SILENT, 0)
    assert not breaker.closed, "it was no success"
    breaker.permit(COOL_DOWN_S).dropped()
    assert not breaker.closed, "nor when it was to probe"
    breaker.permit(COOL_DOWN_S).succeeded()
    assert breaker.closed


def test_a_probe_that_is_never_heard_of_again_does_not_keep_it_open_for_ever() -> None:
    breaker = opened()
    lost = breaker.permit(COOL_DOWN_S)
    assert not is_asked(breaker, 2 * COOL_DOWN_S - 0.01)
    second = breaker.permit(2 * COOL_DOWN_S)
    lost.failed(SILENT, 2 * COOL_DOWN_S)
    second.succeeded()
    assert breaker.closed


def test_a_wait_that_the_vendor_names_is_kept_exactly() -> None:
    breaker = Breaker("acme")
    breaker.permit(10).failed(ProviderError("acme", "HTTP 429", retry_after_s=2.5), 10)
    assert not is_asked(breaker, 12.49)
    assert is_asked(breaker, 12.5)


def test_a_wait_of_a_day_is_not_believed() -> None:
    breaker = Breaker("acme")
    breaker.permit(0).failed(ProviderError("acme", "HTTP 503", retry_after_s=86_400), 0)
    assert not is_asked(breaker, LONGEST_WAIT_S - 0.1)
    breaker.permit(LONGEST_WAIT_S).succeeded()
    assert breaker.closed


def test_a_request_that_began_before_may_make_the_wait_longer_and_never_ends_it() -> None:
    breaker = Breaker("acme")
    early, late = breaker.permit(0), breaker.permit(0)
    breaker.permit(0).failed(ProviderError("acme", "HTTP 429", retry_after_s=2), 0)
    assert early.doubtful
    early.succeeded()
    assert not is_asked(breaker, 1.9)
    late.failed(ProviderError("acme", "HTTP 429", retry_after_s=20), 1)
    assert not is_asked(breaker, 20.9)
    assert is_asked(breaker, 21)


def test_who_has_locked_us_out_is_of_no_use_to_anybody() -> None:
    breaker = Breaker("acme")
    breaker.permit(0).failed(ProviderError("acme", "HTTP 401", retryable=False, locked_out=True), 0)
    assert not is_asked(breaker, LONGEST_COOL_DOWN_S - 1)
    assert is_asked(breaker, LONGEST_COOL_DOWN_S)


def test_what_is_wrong_with_one_request_is_nobody_else_s_trouble() -> None:
    breaker = Breaker("acme")
    for _ in range(2 * FAILURES):
        breaker.permit(0).failed(ProviderError("acme", "HTTP 400", retryable=False), 0)
    assert breaker.closed
    assert breaker.tally.failed == 0


def test_one_warning_when_it_opens_and_one_when_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    breaker = opened()
    for now_s in (1, 2, 3):
        assert not is_asked(breaker, now_s)
    breaker.permit(COOL_DOWN_S).failed(SILENT, COOL_DOWN_S)
    breaker.permit(3 * COOL_DOWN_S).succeeded()
    breaker.permit(3 * COOL_DOWN_S).succeeded()
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["provider acme is left alone: acme: nothing came", "provider acme is back"]
