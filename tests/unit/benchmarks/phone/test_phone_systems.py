from __future__ import annotations

import asyncio

import pytest

from benchmarks.phone import talk
from benchmarks.phone.command import PHONE
from benchmarks.phone.dialling import call_sid, signature
from benchmarks.phone.systems import SYSTEMS, TENANT
from trunkline.tenants import parse


def test_the_signature_is_twilios() -> None:
    form = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675310",
        "Digits": "1234",
        "From": "+14158675310",
        "To": "+18005551212",
    }
    # The answer of twilio.request_validator.RequestValidator.
    assert signature("12345", "https://example.com/myapp.php?foo=1&bar=2", form) == "L/OH5YylLD5NRKLltdqwSvS0BnU="
    assert signature("12345", "wss://gw.example.com/twilio/media", {}) == "xOtUNom2O6Ixz0xt8ODDv8MkQUY="


def test_the_tenant_is_one_that_trunkline_takes() -> None:
    assert parse(TENANT, "the benchmark").backend == "relay"


def test_every_call_has_a_sid_of_its_own() -> None:
    sids = {call_sid(number) for number in range(100)}
    assert len(sids) == 100
    assert {len(sid) for sid in sids} == {34}


@pytest.mark.system
async def test_every_system_is_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once: what they cost is nobody's claim here, that each is called, heard and counted is."""
    monkeypatch.setattr(talk, "SPEECH_FRAMES", 50)
    results = await asyncio.gather(*(PHONE.measure(system, 2, 3) for system in SYSTEMS))
    for system, result in zip(SYSTEMS, results, strict=True):
        assert (result["system"], result["calls"], result["lost_calls"]) == (system, 2, [])
        assert result["model"]["answers"] >= 2
        assert result["answers"] >= 1
        assert result["samples"]["uplink"] + result["frames_lost"] == pytest.approx(2 * 3 * 50, abs=4)
        assert result["samples"]["uplink"] > result["frames_lost"]
        assert 0 < result["added_ms"]["p50"] <= result["added_ms"]["p99"]
        cost = dict(result["cpu_s_per_call_min"])
        assert cost.pop("total") == pytest.approx(sum(cost.values()), abs=0.001)
        assert max(cost.values()) > 0
        assert result["outside"]["generator"] > 0
    PHONE.show(results)
    assert "Phone calls" in capsys.readouterr().out
