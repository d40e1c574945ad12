from __future__ import annotations

import asyncio

import pytest

from benchmarks.webrtc.caller import payload
from benchmarks.webrtc.command import WEBRTC
from benchmarks.webrtc.systems import SYSTEMS, TENANT
from trunkline.tenants import parse


def test_the_tenant_is_one_that_trunkline_takes() -> None:
    assert parse(TENANT, "the benchmark").backend == "relay"


@pytest.mark.parametrize(
    "packet",
    [
        bytes([0x80, 111]) + bytes(10) + b"opus",
        bytes([0x82, 111]) + bytes(10 + 8) + b"opus",
        bytes([0x90, 111]) + bytes(10) + b"\xbe\xde\x00\x02" + bytes(8) + b"opus",
    ],
)
def test_the_payload_is_behind_what_is_before_it(packet: bytes) -> None:
    assert payload(packet) == b"opus"


@pytest.mark.system
async def test_every_system_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """Both at once: what they cost is nobody's claim here, that each is called, heard and counted is."""
    results = await asyncio.gather(*(WEBRTC.measure(system, 2, 3) for system in SYSTEMS))
    for system, result in zip(SYSTEMS, results, strict=True):
        assert (result["system"], result["calls"], result["lost_calls"]) == (system, 2, [])
        assert result["answers"] >= 1
        assert sum(result["samples"].values()) > sum(result["marks_lost"].values())
        for way in ("uplink", "downlink"):  # one of them may have been silent for so short a time
            assert 0 < result[f"{way}_ms"]["p50"] <= result[f"{way}_ms"]["p99"]
        cost = dict(result["cpu_s_per_call_min"])
        assert cost.pop("total") == pytest.approx(sum(cost.values()), abs=0.001)
        assert max(cost.values()) > 0
    WEBRTC.show(results)
    assert "WebRTC calls" in capsys.readouterr().out
