from __future__ import annotations

import asyncio

import pytest

from benchmarks.cascade.command import CASCADE
from benchmarks.cascade.settings import BATCH, STOP_MS, STREAMING, tenant
from benchmarks.cascade.systems import SYSTEMS
from trunkline.tenants import parse


@pytest.mark.parametrize(("stt", "provider"), [(STREAMING, "deepgram"), (BATCH, "groq")])
def test_the_tenant_is_one_that_trunkline_takes(stt: str, provider: str) -> None:
    taken = parse(tenant(stt, 1234), "the benchmark")
    assert (taken.backend, taken.providers.stt.provider, taken.turn.stop_ms) == ("cascade", provider, STOP_MS)


@pytest.mark.system
async def test_every_system_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """All at once: what they cost is nobody's claim here, that each is called, heard and counted is."""
    results = await asyncio.gather(*(CASCADE.measure(system, 2, 3) for system in SYSTEMS))
    for system, result in zip(SYSTEMS, results, strict=True):
        assert (result["system"], result["calls"], result["lost_calls"]) == (system, 2, [])
        assert result["answers"] >= 1
        assert (result["wrong"], result["unanswered"]) == (0, 0)
        assert result["vendors"]["llm asked"] >= result["answers"]
        assert result["utterances"] >= result["utterances_ended"] >= 1
        cost = dict(result["cpu_s_per_call_min"])
        assert cost.pop("total") == pytest.approx(sum(cost.values()), abs=0.001)
        assert max(cost.values()) > 0
    CASCADE.show(results)
    assert "Cascade calls" in capsys.readouterr().out
