from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import bus
from benchmarks.figures import percentiles
from benchmarks.gateway import BINARY, message


def test_the_bus_benchmark_finds_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bus.json"
    bus.main(["--sessions", "5", "--seconds", "1", "--json", str(file)])
    result = json.loads(file.read_text())
    assert (result["sessions"], result["seconds"], result["answered"]) == (5, 1, 1)
    assert 0 < result["rtt_ms"]["p50"] <= result["rtt_ms"]["p99"]
    cost = result["cpu_s_per_session_min"]
    assert cost["total"] == pytest.approx(cost["gateway"] + cost["worker"] + cost["redis"])
    assert min(cost.values()) > 0
    assert isinstance(result["kept_up"], bool)
    assert result["machine"]["cpus"] >= 1
    assert "The bus alone" in capsys.readouterr().out


def test_percentiles_are_among_the_values() -> None:
    assert percentiles([float(value) for value in range(1, 101)]) == {"p50": 51, "p99": 100}
    assert percentiles([7.0]) == {"p50": 7, "p99": 7}


def test_the_generator_speaks_websocket() -> None:
    assert message(BINARY, b"ab") == b"\x82\x82\0\0\0\0ab"
    assert message(BINARY, bytes(640))[:8] == b"\x82\xfe\x02\x80\0\0\0\0"
