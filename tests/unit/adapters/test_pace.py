from __future__ import annotations

import pytest

from adapters.pace import MessagePace, Pace, Patience
from trunkline.errors import ClientError


def test_what_comes_in_time_is_never_too_soon() -> None:
    pace = Pace(0.1)
    assert all(pace.add(0.02, now_s=number * 0.02) <= 0 for number in range(1000))


def test_what_comes_too_soon_waits_until_it_is_not() -> None:
    pace = Pace(0.1)
    assert [round(pace.add(0.02, now_s=5), 3) for _ in range(7)] == [-0.08, -0.06, -0.04, -0.02, 0, 0.02, 0.04]
    assert pace.add(0.02, now_s=5.06) == pytest.approx(0.0)
    assert pace.add(0.02, now_s=60) == pytest.approx(-0.08), "nobody saves up by being silent"


def test_what_does_not_fit_does_not_count() -> None:
    pace = Pace(1.0, speed=1.1)
    taken = sum(pace.fits(0.02, now_s=number / 500) for number in range(5000))  # ten times too fast, for 10 s
    assert taken * 0.02 == pytest.approx(10 * 1.1 + 1.1, abs=0.05)


def test_what_nothing_came_in_is_made_up_for_to_a_bound() -> None:
    pace = Pace(1.0, credit_s=10)
    assert pace.fits(1.0, now_s=0)
    assert pace.fits(4.0, now_s=4), "a hole in the audio, filled when it was over"
    assert not pace.fits(12.0, now_s=3600)
    assert pace.fits(11.0, now_s=3600)


def test_messages_count() -> None:
    pace = MessagePace(per_s=10, at_once=5)
    assert [round(pace.add(1, now_s=0), 1) for _ in range(6)] == [-0.4, -0.3, -0.2, -0.1, 0, 0.1]
    assert pace.add(20, now_s=100) == pytest.approx(1.5)


def test_patience_ends() -> None:
    patience = Patience(most=2)
    error = ClientError("bad_json", "not JSON", "an object")
    patience.forgive(error)
    patience.forgive(error)
    with pytest.raises(ClientError) as fatal:
        patience.forgive(error)
    assert (fatal.value.code, fatal.value.fatal, patience.forgiven) == ("bad_json", True, 3)
    with pytest.raises(ClientError, match="at once"):
        Patience().forgive(ClientError("bad_rate", "at once", "", fatal=True))
