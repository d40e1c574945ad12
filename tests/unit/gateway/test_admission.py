from __future__ import annotations

import pytest
from starlette.requests import HTTPConnection

from gateway.admission import Admission, TurnedAway
from trunkline.settings import load


def admission(**settings: object) -> Admission:
    return Admission(load({}, **settings))


def asked(**headers: str) -> HTTPConnection:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return HTTPConnection({"type": "http", "headers": raw})


def refused(door: Admission, address: str = "") -> TurnedAway:
    with pytest.raises(TurnedAway) as refusal:
        door.admit(address)
    return refusal.value


def test_places_are_counted_together_and_given_back_once() -> None:
    door = admission(max_connections=3)
    browser, call, other = door.admit("192.0.2.1"), door.admit(), door.admit("192.0.2.2")
    assert len(door) == 3
    full = refused(door, "192.0.2.3")
    assert (full.status, full.error.code, full.retry) == (429, "too_many", True)
    for place in (browser, browser, call):
        place.leave()
    assert len(door) == 1
    other.leave()
    assert (len(door), dict(door._by_address)) == (0, {}), "addresses that are gone are forgotten"


def test_an_address_has_its_own_bound_and_telephone_calls_have_none() -> None:
    door = admission(max_connections_per_ip=1)
    place = door.admit("192.0.2.1")
    assert refused(door, "192.0.2.1").status == 429
    for other in ("192.0.2.2", "", ""):
        door.admit(other)
    place.leave()
    door.admit("192.0.2.1")


def test_a_place_that_is_shared_is_one_until_all_have_left() -> None:
    door = admission(max_connections=1, max_connections_per_ip=1)
    old = door.admit("192.0.2.1")
    new = door.admit_again(old)
    assert len(door) == 1
    old.leave()
    old.leave()
    assert (len(door), refused(door, "192.0.2.2").status) == (1, 429)
    third = door.admit_again(new)
    new.leave()
    third.leave()
    assert (len(door), dict(door._by_address)) == (0, {})
    door.draining = True
    with pytest.raises(TurnedAway):
        door.admit_again(old)


def test_a_gateway_that_is_going_sends_newcomers_to_others() -> None:
    door = admission()
    door.draining = True
    refusal = refused(door)
    assert (refusal.status, refusal.response().headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://good.example", True),
        ("https://gw.example:8443", True),
        ("http://gw.example:8443", True),
        ("https://gw.example", False),
        ("https://good.example.evil.example", False),
        ("https://[good", False),
        ("null", False),
        ("", False),
    ],
)
def test_origins(origin: str, allowed: bool) -> None:
    door = admission(allowed_origins=" https://good.example ,,")
    assert door.allows(origin, "gw.example:8443") is allowed
    if allowed:
        door.check_origin(asked(origin=origin, host="gw.example:8443"))
    else:
        with pytest.raises(TurnedAway) as refusal:
            door.check_origin(asked(origin=origin, host="gw.example:8443"))
        assert (refusal.value.status, refusal.value.error.code) == (403, "origin")


def test_no_page_has_no_origin_and_any_may_be_allowed() -> None:
    admission().check_origin(asked(host="gw.example"))
    assert not admission().allows("https://gw.example", ""), "a request that calls us nothing"
    assert admission(allowed_origins="*").allows("https://anything.example", "")
