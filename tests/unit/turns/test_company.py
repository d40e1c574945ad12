"""Many callers' audio judged together gives each what it would have had alone."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from workers.turns import company as together
from workers.turns.company import MOST, Company, SharedVoiceActivity, company
from workers.turns.vad import CHUNK_MS, VoiceActivity

CHUNK_BYTES = {16000: 1024, 8000: 512}


def noise(seed: int, rate_hz: int, chunks: int) -> bytes:
    """Bursts of noise: loud enough for the model to be asked, and to make it waver."""
    random = np.random.default_rng(seed)
    samples = rate_hz * CHUNK_MS // 1000 * chunks
    swell = 1 + np.sin(np.arange(samples) * (0.001 + seed / 10_000))
    pcm: bytes = (random.normal(0, 2000, samples) * swell).astype("<i2").tobytes()
    return pcm


async def judged(shared: SharedVoiceActivity, pcm: bytes) -> list[float]:
    """The probabilities of all that `pcm` completes."""
    return [await judgement(shared, chunk) for chunk in shared.cut(pcm)]


async def judgement(shared: SharedVoiceActivity, chunk: bytes) -> float:
    later = Later()
    known = shared.judge(chunk, later.found, patient=False)
    return await later.probability if known is None else known


class Later:
    """What is told of one chunk."""

    def __init__(self) -> None:
        self.probability: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def found(self, probability: float | Exception) -> None:
        if isinstance(probability, Exception):
            self.probability.set_exception(probability)
        else:
            self.probability.set_result(probability)


def add(company: Company, seed: int, wait_s: float) -> asyncio.Future[float]:
    later = Later()
    company.add(loaded(seed), later.found, company.loop.time(), wait_s)
    return later.probability


async def in_real_time(rate_hz: int, pcm: bytes) -> list[float]:
    """The probabilities of `pcm`, pushed in frames of 20 ms."""
    shared = SharedVoiceActivity(rate_hz)
    found: list[float] = []
    frame = rate_hz // 50 * 2
    for at in range(0, len(pcm), frame):
        found += await judged(shared, pcm[at : at + frame])
        await asyncio.sleep(0.02)
    return found


async def test_each_of_many_has_what_it_would_have_had_alone() -> None:
    streams = [(rate_hz, noise(seed, rate_hz, 12)) for seed, rate_hz in enumerate([16000, 8000] * 6)]
    found = await asyncio.gather(*(in_real_time(rate_hz, pcm) for rate_hz, pcm in streams))
    for (rate_hz, pcm), probabilities in zip(streams, found, strict=True):
        assert probabilities == pytest.approx(VoiceActivity(rate_hz).push(pcm), abs=1e-4)
    assert company().judged == 12 * 12
    assert company().runs < company().judged / 2, "they were brought together"


def loaded(seed: int) -> VoiceActivity:
    activity = VoiceActivity(16000)
    assert activity.load(noise(seed, 16000, 1))
    return activity


async def test_what_comes_in_one_turn_of_the_loop_is_one_run() -> None:
    few = Company()
    futures = [add(few, seed, together.WINDOW_S) for seed in range(5)]
    assert few.runs == 0
    await asyncio.gather(*futures)
    assert (few.runs, few.judged) == (1, 5)


async def test_the_most_do_not_wait_and_who_is_late_does_not_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "WINDOW_S", 3600.0)
    many = Company()
    futures = [add(many, seed, together.WINDOW_S) for seed in range(MOST)]
    assert many.runs == 0, "nobody is told anything while they ask"
    await asyncio.gather(*futures)
    assert many.runs == 1
    monkeypatch.setattr(many, "_gap_s", 0.0)
    monkeypatch.setattr(many, "_arrived_s", asyncio.get_running_loop().time())
    waiting = add(many, 1, together.WINDOW_S)
    late = [add(many, seed, 0.0) for seed in (2, 3)]
    async with asyncio.timeout(60):
        await asyncio.gather(waiting, *late)
    assert many.runs == 2, "all that were there, at once"


async def test_a_lonely_caller_does_not_wait_for_company(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "WINDOW_S", 60.0)
    alone = Company()
    monkeypatch.setattr(alone, "_gap_s", 3600.0)
    async with asyncio.timeout(5):
        assert 0 <= await add(alone, 1, together.WINDOW_S) <= 1


async def test_where_many_come_a_chunk_waits_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "WINDOW_S", 0.2)
    crowd = Company()
    monkeypatch.setattr(crowd, "_gap_s", 0.0)
    monkeypatch.setattr(crowd, "_arrived_s", asyncio.get_running_loop().time())
    first = add(crowd, 1, together.WINDOW_S)
    await asyncio.sleep(0.01)
    assert not first.done()
    second = add(crowd, 2, together.WINDOW_S)
    await asyncio.gather(first, second)
    assert crowd.runs == 1


async def test_who_is_patient_waits_until_somebody_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "PATIENCE_S", 3600.0)
    crowd = Company()
    monkeypatch.setattr(crowd, "_gap_s", 0.0)
    monkeypatch.setattr(crowd, "_arrived_s", crowd.loop.time())
    patient = add(crowd, 1, together.PATIENCE_S)
    await asyncio.sleep(0.01)
    assert not patient.done()
    await asyncio.gather(patient, add(crowd, 2, together.WINDOW_S))
    assert crowd.runs == 1


async def test_audio_heard_again_after_a_takeover_is_not_slowed_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "_PACE_S", 3600.0)  # however slow this machine, it is behind its time
    shared, pcm = SharedVoiceActivity(8000), noise(1, 8000, 50)
    [first] = await judged(shared, pcm[: CHUNK_BYTES[8000]])
    monkeypatch.setattr(together, "WINDOW_S", 3600.0)
    monkeypatch.setattr(company(), "_gap_s", 0.0)
    async with asyncio.timeout(60):
        assert [first, *await judged(shared, pcm[CHUNK_BYTES[8000] :])] == VoiceActivity(8000).push(pcm)


async def test_a_failing_model_fails_every_session_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(streams: Any) -> list[float]:
        raise ValueError("no memory")

    monkeypatch.setattr(together, "judge", fails)
    some = Company()
    futures = [add(some, seed, together.WINDOW_S) for seed in range(3)]
    for failed in await asyncio.gather(*futures, return_exceptions=True):
        assert isinstance(failed, ValueError)


async def test_silence_asks_no_model() -> None:
    shared, before = SharedVoiceActivity(16000), company().judged
    found = await judged(shared, bytes(CHUNK_BYTES[16000] * 100))
    assert len(found) == 100
    assert max(found) < 0.1
    assert company().judged - before < 20
