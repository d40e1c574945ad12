"""From frames to utterances."""

from __future__ import annotations

import asyncio

import pytest

from tests.standins.voices import LoudnessVad, ScriptedStt, speech
from trunkline.audio.frame import bytes_in
from trunkline.audio.resample import Resampler
from trunkline.bus.messages import UplinkAudio
from trunkline.errors import ProviderError
from trunkline.tenants import TurnSettings
from workers.cascade.hearing import Ear
from workers.turns.endpointing import Edge, EdgeKind

FRAME_MS = 20


def frames(pcm: bytes, rate_hz: int, first_seq: int = 0) -> list[UplinkAudio]:
    size = bytes_in(FRAME_MS, rate_hz)
    cut = [pcm[at : at + size] for at in range(0, len(pcm), size)]
    return [UplinkAudio("s", first_seq + n, (first_seq + n) * FRAME_MS, pcm) for n, pcm in enumerate(cut)]


def ear_at(rate_hz: int, stt: ScriptedStt | None = None) -> Ear:
    return Ear(stt or ScriptedStt(), LoudnessVad, rate_hz, TurnSettings())


def listen(ear: Ear, rate_hz: int) -> list[Edge]:
    pcm = bytes(16_000) + speech("one two three", 200) + bytes(16_000)
    return [edge for frame in frames(Resampler(8000, rate_hz).push(pcm), rate_hz) for edge in ear.hear(frame)]


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 24_000, 48_000])
def test_edges_are_the_same_at_every_rate(rate_hz: int) -> None:
    edges = listen(ear_at(rate_hz), rate_hz)
    assert [edge.kind for edge in edges] == [EdgeKind.STARTED, EdgeKind.FELL_SILENT, EdgeKind.STOPPED]
    assert edges[0].media_ms == pytest.approx(1000, abs=32)
    assert edges[2].media_ms == pytest.approx(1600, abs=32)


async def test_an_utterance_has_the_pre_roll_and_all_that_follows() -> None:
    stt = ScriptedStt(takes_s=0, shortest_ms=200)
    ear = ear_at(8000, stt)
    listen(ear, 8000)
    assert ear.utterance is not None
    assert 700 <= ear.utterance.first_seq * FRAME_MS + 20 <= 740
    assert (await ear.take(130).finish()).text == "one two three"
    assert stt.open == 0
    assert ear.needed_seq == 130


def test_what_was_dropped_is_cancelled_and_not_needed() -> None:
    stt = ScriptedStt()
    ear = ear_at(8000, stt)
    listen(ear, 8000)
    assert stt.open == 1
    ear.drop(130)
    assert stt.open == 0
    assert ear.utterance is None
    assert ear.needed_seq == 130


def test_deaf_ears_hear_silence() -> None:
    ear = ear_at(8000)
    assert not any(ear.hear(frame, deaf=True) for frame in frames(speech("one two three", 200), 8000))


def test_silence_needs_no_more_than_the_pre_roll() -> None:
    ear = ear_at(8000)
    for frame in frames(bytes(160_000), 8000):
        ear.hear(frame)
    assert ear.needed_seq >= 500 - 25


def test_a_leap_of_the_media_clock_moves_the_edges() -> None:
    ear = ear_at(8000)
    for frame in frames(bytes(16_000), 8000):
        ear.hear(frame)
    later = frames(speech("one two three", 200), 8000, first_seq=500)
    [started] = [edge for frame in later for edge in ear.hear(frame)]
    assert started.media_ms == pytest.approx(10_000, abs=32)


def test_a_provider_that_refuses_an_utterance_fails_when_its_text_is_wanted() -> None:
    class Refusing(ScriptedStt):
        def utterance(self) -> None:  # type: ignore[override]
            raise ProviderError("refusing", "no")

    ear = ear_at(8000, Refusing())
    listen(ear, 8000)
    with pytest.raises(ProviderError, match="refusing: no"):
        asyncio.run(ear.take(130).finish())
