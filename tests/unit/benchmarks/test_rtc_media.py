from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import rtc_media
from tests.unit.rtc.speech import tone


def test_the_media_benchmark_finds_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a short tone instead of eSpeak's speech, which is of an optional extra."""
    monkeypatch.setattr(rtc_media, "speech", lambda: tone(400, rtc_media.RATE_HZ))
    monkeypatch.setattr(rtc_media, "PASSES", 1)
    monkeypatch.setattr(rtc_media, "LOSSES", (0, 15))
    file = tmp_path / "media.json"
    rtc_media.main(["--json", str(file)])
    found = json.loads(file.read_text())
    assert len(found["steps"]) == 7
    assert all(step["ours_us"] > 0 and step["aiortc_us"] > 0 for step in found["steps"])
    layers = {(each["application"], each["told_loss"]): each["layer"] for each in found["settings"]}
    assert layers == {("VOIP", 0): "hybrid", ("AUDIO", 0): "CELT", ("AUDIO", 10): "hybrid"}
    assert found["losses"][0]["celt_db"] < found["losses"][1]["celt_db"]
    assert "Opus's settings" in capsys.readouterr().out


def test_a_distance_is_of_the_spectra() -> None:
    said = tone(400, rtc_media.RATE_HZ)
    delay = bytes(int(rtc_media.CODEC_DELAY_MS * rtc_media.RATE_HZ / 1000) * 2)
    assert rtc_media.distance_db(said, (delay + said)[: len(said)]) == pytest.approx(0, abs=1e-9)
    assert rtc_media.distance_db(said, (delay + tone(400, rtc_media.RATE_HZ, hz=500))[: len(said)]) > 10
