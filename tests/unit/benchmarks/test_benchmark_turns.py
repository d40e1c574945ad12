from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import turns
from tests.unit.turns import tiny_smart_turn
from workers.turns.smart_turn import VARIABLE


def test_the_benchmark_of_turns_finds_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, str(tiny_smart_turn.write(tmp_path / "tiny.onnx")))
    monkeypatch.setattr(turns, "PASSES", 1)
    monkeypatch.setattr(turns, "TOGETHER", (1, 4))
    monkeypatch.setattr(turns, "SESSIONS", (3,))
    file = tmp_path / "turns.json"
    turns.main(["--seconds", "0.4", "--json", str(file)])
    found = json.loads(file.read_text())
    assert all(cost > 0 for of_rate in found["model_us"].values() for cost in of_rate.values())
    assert [(run["rate_hz"], run["sessions"]) for run in found["live"]] == [(16_000, 3), (8_000, 3)]
    for run in found["live"]:
        assert run["together"] >= 1
        assert 0 < run["company"]["waited_ms"]["p50"] <= run["company"]["waited_ms"]["p99"]
    assert all(
        found["smart_turn"]["answer_ms"][seconds] > 0 < found["smart_turn"]["features_ms"][seconds]
        for seconds in ("1", "2", "4", "8")
    )
    assert found["phrase_us"] > 0
    assert "Silero" in capsys.readouterr().out
