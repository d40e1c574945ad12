"""The smart turn model in its thread: asked, refused, withdrawn, failing. And its features, from their definition."""

from __future__ import annotations

import importlib.metadata
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.turns import tiny_smart_turn
from trunkline.audio.resample import Resampler
from trunkline.errors import SettingsError
from workers.turns import smart_turn as module
from workers.turns.log_mel import BANDS, FRAMES, RATE_HZ, WINDOW_S, log_mel
from workers.turns.smart_turn import VARIABLE, WAITING, Judgement, Question, SmartTurn, model_path

SOON_S = 20


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_smart_turn.write(tmp_path / "smart-turn-v3.9-cpu.onnx")


@pytest.fixture
def smart_turn(model: Path) -> Iterator[SmartTurn]:
    made = SmartTurn(model)
    yield made
    made.close()


def audio(seconds: float, rate_hz: int = RATE_HZ) -> bytes:
    samples = np.random.default_rng(3).normal(0, 2000, int(seconds * rate_hz))
    return samples.astype("<i2").tobytes()


def answered(question: Question | None) -> Judgement:
    assert question is not None
    until_s = time.monotonic() + SOON_S
    while (answer := question.answer()) is None:
        assert time.monotonic() < until_s, "no answer"
        time.sleep(0.005)
    return answer


def expected(pcm: bytes) -> float:
    mean = float(log_mel(np.frombuffer(pcm, "<i2").astype(np.float32)).mean())
    return float(1 / (1 + np.exp(-mean)))


def test_a_question_is_answered_in_its_time_by_what_was_heard(smart_turn: SmartTurn) -> None:
    pcm = audio(2)
    answer = answered(smart_turn.ask(pcm, RATE_HZ, 12_340))
    assert answer.media_ms == 12_340
    assert answer.probability == pytest.approx(expected(pcm), abs=1e-5)


def test_the_last_eight_seconds_count(smart_turn: SmartTurn) -> None:
    pcm = audio(9.5)
    answer = answered(smart_turn.ask(pcm, RATE_HZ, 0))
    assert answer.probability == pytest.approx(expected(pcm[-WINDOW_S * RATE_HZ * 2 :]), abs=1e-5)


def test_a_telephone_is_heard_at_the_models_rate(smart_turn: SmartTurn) -> None:
    pcm = audio(1, 8000)
    resampler = Resampler(8000, RATE_HZ)
    wanted = expected(resampler.push(pcm) + resampler.flush())
    assert answered(smart_turn.ask(pcm, 8000, 0)).probability == pytest.approx(wanted, abs=1e-5)


def test_too_many_questions_are_refused_and_withdrawn_ones_make_room(
    smart_turn: SmartTurn, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow(pcm: bytes, rate_hz: int) -> float:
        began.set()
        assert go_on.wait(SOON_S)
        return 0.5

    monkeypatch.setattr(smart_turn, "judge", slow)
    questions = [smart_turn.ask(b"", RATE_HZ, number) for number in range(WAITING)]
    assert began.wait(SOON_S)
    assert smart_turn.ask(b"", RATE_HZ, 0) is None, "full: silence decides"
    withdrawn = questions.pop()
    assert withdrawn is not None
    withdrawn.withdraw()
    assert withdrawn.answer() is None
    questions.append(smart_turn.ask(b"", RATE_HZ, 99))
    go_on.set()
    assert [answered(question).media_ms for question in questions] == [*range(WAITING - 1), 99]


def test_a_failing_model_gives_no_answer_and_says_so(
    smart_turn: SmartTurn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(pcm: bytes, rate_hz: int) -> float:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(smart_turn, "judge", fails)
    with caplog.at_level(logging.ERROR, logger=module.__name__):
        questions = [smart_turn.ask(b"", RATE_HZ, 0) for _ in range(WAITING)]
        smart_turn.close()
    assert "out of memory" in caplog.text
    assert all(question is not None and question.answer() is None for question in questions)


def test_a_wrong_model_is_refused_by_name(tmp_path: Path) -> None:
    other = tiny_smart_turn.write(tmp_path / "other.onnx", bands=128)
    with pytest.raises(SettingsError, match=r"other\.onnx is no smart turn v3 model"):
        SmartTurn(other)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"<html>not found</html>")
    with pytest.raises(SettingsError, match=r"TRUNKLINE_SMART_TURN_MODEL: .*broken\.onnx cannot be loaded"):
        SmartTurn(broken)


def test_the_model_is_the_one_that_is_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(model))
    assert model_path() == model
    monkeypatch.setenv(VARIABLE, str(model.with_name("gone.onnx")))
    with pytest.raises(SettingsError, match="there is no file"):
        model_path()


def test_or_that_of_an_installed_pipecat(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class File:
        def __init__(self, path: Path) -> None:
            self.name = path.name
            self._path = path

        def locate(self) -> Path:
            return self._path

    files: Any = [File(model), File(model.with_name("smart-turn-v3.1-cpu.onnx")), File(model.with_name("silero.onnx"))]
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(importlib.metadata, "files", lambda name: files if name == "pipecat-ai" else [])
    assert model_path() == model, "the newest"

    def missing(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    assert model_path() is None


# --- features


def by_definition(samples: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Whisper's features, every sum written out."""
    wave = np.zeros(WINDOW_S * RATE_HZ)
    wave[wave.size - samples.size :] = samples
    wave = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
    mirrored = np.concatenate([wave[200:0:-1], wave, wave[-2:-202:-1]])
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    angles = np.exp(-2j * np.pi * np.outer(np.arange(400), np.arange(201)) / 400)
    power = np.array([np.abs((mirrored[at : at + 400] * hann) @ angles) ** 2 for at in range(0, 128_000, 160)])
    top = 15 + np.log(8) / np.log(6.4) * 27  # 8 kHz in mel
    mels = [band * top / 81 for band in range(82)]
    corners = [mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27) for mel in mels]
    bands = np.zeros((80, 800))
    for band, (low, centre, high) in enumerate(zip(corners, corners[1:], corners[2:], strict=False)):
        for number in range(201):
            hz = number * 40
            share = max(0.0, min((hz - low) / (centre - low), (high - hz) / (high - centre)))
            bands[band] += share * 2 / (high - low) * power[:, number]
    logs = np.log10(np.maximum(bands, 1e-10))
    return np.asarray((np.maximum(logs, logs.max() - 8) + 4) / 4)


@pytest.mark.parametrize("length", [1000, 33_333, 128_000])
def test_features_are_whispers(length: int) -> None:
    samples = np.random.default_rng(length).normal(0, 0.1, length) * np.linspace(0, 1, length)
    found = log_mel(samples.astype(np.float32))
    assert found.dtype == np.float32
    assert found.shape == (BANDS, FRAMES)
    np.testing.assert_allclose(found, by_definition(samples), atol=2e-3)


def test_features_agree_with_those_that_the_model_was_made_for() -> None:
    """A sweep from 50 to 7000 Hz; the figures are those of pipecat-ai 1.14.0, which follows transformers' extractor."""
    sweep = 0.3 * np.sin(2 * np.pi * np.cumsum(np.linspace(50, 7000, 48_000)) / RATE_HZ)
    found = log_mel(sweep.astype(np.float32))
    theirs = {(0, 0): 0.0705, (0, 498): 0.0705, (0, 502): 1.4695, (20, 560): -0.2185, (79, 799): 0.6569}
    assert {place: float(found[place]) for place in theirs} == pytest.approx(theirs, abs=2e-4)
    assert (float(found.mean()), float(found.std())) == pytest.approx((-0.17202, 0.23638), abs=2e-4)


@pytest.mark.parametrize("length", [0, 1, 200, 201, 360])
def test_features_of_next_to_nothing_are_finite(length: int) -> None:
    assert np.isfinite(log_mel(np.ones(length, np.float32))).all()


def test_features_do_not_depend_on_loudness() -> None:
    samples = np.random.default_rng(1).normal(0, 1, 20_000).astype(np.float32)
    np.testing.assert_allclose(log_mel(samples), log_mel(samples * 3000), atol=1e-3)
