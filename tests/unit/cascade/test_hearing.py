"""From frames to utterances."""

from __future__ import annotations

import pytest

from tests.standins.voices import LoudnessVad, ScriptedStt, speech
from trunkline.audio.frame import bytes_in
from trunkline.audio.resample import Resampler
from trunkline.bus.messages import UplinkAudio
from trunkline.errors import ProviderError
from trunkline.tenants import TurnSettings
from workers.cascade.hearing import Ear
from workers.turns.endpointing import CHUNK_MS, Edge, EdgeKind
from workers.turns.patience import ASK_MS

FRAME_MS = 20


def frames(pcm: bytes, rate_hz: int, first_seq: int = 0) -> list[UplinkAudio]:
    size = bytes_in(FRAME_MS, rate_hz)
    cut = [pcm[at : at + size] for at in range(0, len(pcm), size)]
    return [UplinkAudio("s", first_seq + n, (first_seq + n) * FRAME_MS, pcm) for n, pcm in enumerate(cut)]


def ear_at(rate_hz: int, stt: ScriptedStt | None = None) -> Ear:
    return Ear(stt or ScriptedStt(), LoudnessVad, rate_hz, TurnSettings())


async def listen(ear: Ear, rate_hz: int) -> list[Edge]:
    pcm = bytes(16_000) + speech("red green blue", 200) + bytes(16_000)
    return [edge for frame in frames(Resampler(8000, rate_hz).push(pcm), rate_hz) for edge in await ear.hear(frame)]


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 24_000, 48_000])
async def test_edges_are_the_same_at_every_rate(rate_hz: int) -> None:
    edges = await listen(ear_at(rate_hz), rate_hz)
    assert [edge.kind for edge in edges] == [EdgeKind.STARTED, EdgeKind.FELL_SILENT, EdgeKind.STOPPED]
    assert edges[0].media_ms == pytest.approx(1000, abs=32)
    assert edges[2].media_ms == pytest.approx(1600, abs=32)


async def test_an_utterance_has_the_pre_roll_and_all_that_follows() -> None:
    stt = ScriptedStt(takes_s=0, shortest_ms=200)
    ear = ear_at(8000, stt)
    await listen(ear, 8000)
    assert ear.utterance is not None
    assert 700 <= ear.utterance.first_seq * FRAME_MS + 20 <= 740
    assert (await ear.take(130).finish()).text == "red green blue"
    assert stt.open == 0
    assert ear.needed_seq == 130


async def test_what_was_dropped_is_cancelled_and_not_needed() -> None:
    stt = ScriptedStt()
    ear = ear_at(8000, stt)
    await listen(ear, 8000)
    assert stt.open == 1
    ear.drop(130)
    assert stt.open == 0
    assert ear.utterance is None
    assert ear.needed_seq == 130


async def test_deaf_ears_hear_silence() -> None:
    ear = ear_at(8000)
    for frame in frames(speech("red green blue", 200), 8000):
        assert await ear.hear(frame, deaf=True) == []


async def test_silence_needs_no_more_than_the_pre_roll() -> None:
    ear = ear_at(8000)
    for frame in frames(bytes(160_000), 8000):
        await ear.hear(frame)
    assert ear.needed_seq >= 500 - 25


async def test_a_leap_of_the_media_clock_moves_the_edges() -> None:
    ear = ear_at(8000)
    for frame in frames(bytes(16_000), 8000):
        await ear.hear(frame)
    later = frames(speech("red green blue", 200), 8000, first_seq=500)
    [started] = [edge for frame in later for edge in await ear.hear(frame)]
    assert started.media_ms == pytest.approx(10_000, abs=32)


async def test_a_provider_that_refuses_an_utterance_fails_when_its_text_is_wanted() -> None:
    class Refusing(ScriptedStt):
        def utterance(self) -> None:  # type: ignore[override]
            raise ProviderError("refusing", "no")

    ear = ear_at(8000, Refusing())
    await listen(ear, 8000)
    with pytest.raises(ProviderError, match="refusing: no"):
        await ear.take(130).finish()


def fell_silent_for(edges: list[Edge]) -> int:
    [stopped] = [edge for edge in edges if edge.kind is EdgeKind.STOPPED]
    return stopped.decided_ms - stopped.media_ms


@pytest.mark.parametrize(
    ("words", "least_ms"),
    [("one two?", 256), ("one two", 480), ("one, two and", 1600), ("red green blue", 480), ("one two three", 1600)],
)
async def test_what_was_said_tells_how_long_a_silence_must_last(words: str, least_ms: int) -> None:
    ear = ear_at(8000)
    pcm = bytes(16_000) + speech(words, 200) + bytes(32_000)
    edges = [edge for frame in frames(pcm, 8000) for edge in await ear.hear(frame)]
    assert least_ms <= fell_silent_for(edges) <= least_ms + CHUNK_MS
    ear.drop(0)


class Sure:
    """Judges at once, and always the same."""

    def __init__(self, probability: float) -> None:
        self.probability = probability
        self.media_ms = 0
        self.asked: list[int] = []

    def ask(self, pcm: bytes, rate_hz: int, media_ms: int) -> Sure:
        self.asked.append(len(pcm) // (rate_hz // 1000 * 2))
        return self

    def answer(self) -> Sure:
        return self

    def withdraw(self) -> None:
        """Nothing goes on."""


@pytest.mark.parametrize(("probability", "least_ms"), [(0.99, 256), (0.5, 480), (0.01, 1600)])
@pytest.mark.parametrize("rate_hz", [8000, 24_000])
async def test_so_does_how_it_sounded(probability: float, least_ms: int, rate_hz: int) -> None:
    judge = Sure(probability)
    ear = Ear(ScriptedStt(), LoudnessVad, rate_hz, TurnSettings(), judge)
    pcm = Resampler(8000, rate_hz).push(bytes(16_000) + speech("one two", 200) + bytes(32_000))
    edges = [edge for frame in frames(pcm, rate_hz) for edge in await ear.hear(frame)]
    assert least_ms <= fell_silent_for(edges) <= least_ms + CHUNK_MS
    assert judge.asked == [pytest.approx(300 + 400 + ASK_MS, abs=2 * CHUNK_MS)], "once, about the utterance alone"
    ear.drop(0)
