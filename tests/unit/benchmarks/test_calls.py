"""What benchmarks of calls have in common."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.calls import Load, costs, medians
from benchmarks.cascade.command import CASCADE
from benchmarks.figures import Result
from benchmarks.processes import cpu_s


def test_what_a_call_costs_is_the_systems_and_the_rest_is_outside_or_others() -> None:
    cores = os.cpu_count() or 1
    load = Load(began_s=100.0, ended_s=110.0, machine_cpu_s=5.0 * cores)  # half of the machine
    load.cpu_s_per_call_min = {"gateway": 0.6 * cores, "worker": 1.2 * cores, "generator": 0.6 * cores}
    found = costs(load, 10, ["gateway", "worker"], late_p99_ms=1.5)
    assert found["cpu_s_per_call_min"]["total"] == pytest.approx(1.8 * cores)
    assert found["outside"] == {"late_p99_ms": 1.5, "generator": 0.1, "others": 0.1}


def result(calls: int, system: str, cost: float) -> Result:
    return {"calls": calls, "system": system, "cpu_s_per_call_min": {"total": cost}}


def test_systems_are_compared_by_their_medians_at_the_same_load() -> None:
    runs = [result(5, "ours", cost) for cost in (1.0, 3.0, 2.0)] + [result(5, "lean", 0.5), result(9, "ours", 4.0)]
    assert medians(runs, ["lean"]) == [[5, "ours", 2.0, 4.0], [5, "lean", 0.5, 1.0], [9, "ours", 4.0, "-"]]


def test_what_is_measured_only_by_name_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        CASCADE.main(["--help"])
    told = capsys.readouterr().out
    assert "{ours,batch,lean}" in told
    assert "instead of ours, lean" in " ".join(told.split())


def test_a_process_that_has_ended_cannot_be_metered() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    with pytest.raises(ProcessLookupError, match=str(process.pid)):
        cpu_s(process.pid)
