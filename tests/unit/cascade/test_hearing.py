"""From frames to utterances."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import pytest

from tests.standins.voices import LoudnessVad, ScriptedStt, speech
from trunkline.audio.frame import bytes_in
from trunkline.audio.resample import Resampler
from trunkline.bus.messages import UplinkAudio
from trunkline.errors import ProviderError
from trunkline.tenants import TurnSettings
from workers.cascade.hearing import Ear, VoiceActivity
from workers.turns.endpointing import CHUNK_MS, PRE_ROLL_MS, Edge, EdgeKind
from workers.turns.patience import ASK_MS, Judge

FRAME_MS = 20


def frames(pcm: bytes, rate_hz: int, first_seq: int = 0) -> list[UplinkAudio]:
    size = bytes_in(FRAME_MS, rate_hz)
    cut = [pcm[at : at + size] for at in range(0, len(pcm), size)]
    return [UplinkAudio("s", first_seq + n, (first_seq + n) * FRAME_MS, pcm) for n, pcm in enumerate(cut)]


class Hearing(Ear):
    """An ear that writes down what it tells."""

    def __init__(
        self,
        rate_hz: int,
        stt: ScriptedStt | None = None,
        judge: Judge | None = None,
        activity: Callable[[int], VoiceActivity] = LoudnessVad,
    ) -> None:
        self.edges: list[Edge] = []
        self.told: list[int] = []
        """After which uplink, for every chunk."""
        self.deaf = False

        def heard(edge: Edge | None, next_seq: int) -> None:
            self.told.append(next_seq)
            self.edges += [] if edge is None else [edge]

        super().__init__(
            stt or ScriptedStt(),
            activity,
            rate_hz,
            TurnSettings(),
            judge,
            heard,
            lambda: self.deaf,
            lambda call: call,
        )

    def listen(self, frames: Iterable[UplinkAudio]) -> list[Edge]:
        """The edges that these brought."""
        before = len(self.edges)
        for frame in frames:
            self.hear(frame)
        return self.edges[before:]


def ear_at(rate_hz: int, stt: ScriptedStt | None = None) -> Hearing:
    return Hearing(rate_hz, stt)


def listen(ear: Hearing, rate_hz: int) -> list[Edge]:
    pcm = bytes(16_000) + speech("red green blue", 200) + bytes(16_000)
    return ear.listen(frames(Resampler(8000, rate_hz).push(pcm), rate_hz))


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 24_000, 48_000])
async def test_edges_are_the_same_at_every_rate(rate_hz: int) -> None:
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
    assert (await ear.take(130).finish()).text == "red green blue"
    assert stt.open == 0
    assert ear.needed_seq == 130


@pytest.mark.parametrize("start_ms", range(1000, 1060, 4))
async def test_the_pre_roll_is_no_shorter_where_audio_comes_together(start_ms: int) -> None:
    ear, size = ear_at(8000), bytes_in(60, 8000)
    pcm = bytes(bytes_in(start_ms, 8000)) + speech("red green blue", 200)
    ear.listen(UplinkAudio("s", at // size, at // size * 60, pcm[at : at + size]) for at in range(0, len(pcm), size))
    assert ear.utterance is not None
    assert start_ms - PRE_ROLL_MS - 60 - CHUNK_MS <= ear.utterance.first_seq * 60 <= start_ms - PRE_ROLL_MS + CHUNK_MS
    assert ear.utterance.first_seq * 60 <= ear.utterance.start_ms - PRE_ROLL_MS
    ear.stop()


async def test_what_was_dropped_is_cancelled_and_not_needed() -> None:
    stt = ScriptedStt()
    ear = ear_at(8000, stt)
    listen(ear, 8000)
    assert stt.open == 1
    ear.drop(130)
    assert stt.open == 0
    assert ear.utterance is None
    assert ear.needed_seq == 130


@pytest.mark.parametrize("over_ms", range(0, 101, 4))
async def test_what_is_cut_within_a_message_has_no_speech_that_is_before_it(over_ms: int) -> None:
    ear, settings = ear_at(8000), TurnSettings()
    pcm = bytes(16_000) + speech("word", settings.longest_utterance_ms + over_ms) + bytes(32_000)
    size, cut_seq = bytes_in(60, 8000), 0
    for seq, at in enumerate(range(0, len(pcm) - size, size)):
        edges = ear.listen([UplinkAudio("s", seq, seq * 60, pcm[at : at + size])])
        if any(edge.kind is EdgeKind.CUT for edge in edges):
            cut_seq = seq + 1
            ear.cut(cut_seq)
    assert ear.utterance is not None
    assert cut_seq, "it was cut"
    sound_ms = 1000 + settings.longest_utterance_ms + over_ms - cut_seq * 60
    if sound_ms <= 0:
        assert not ear.utterance.has_speech
    elif sound_ms >= CHUNK_MS:  # less may be less than half of its chunk
        assert ear.utterance.has_speech
    ear.stop()


async def test_deaf_ears_hear_silence() -> None:
    ear = ear_at(8000)
    ear.deaf = True
    assert ear.listen(frames(speech("red green blue", 200), 8000)) == []


async def test_silence_needs_no_more_than_the_pre_roll() -> None:
    ear = ear_at(8000)
    ear.listen(frames(bytes(160_000), 8000))
    assert ear.needed_seq >= 500 - 25


async def test_a_leap_of_the_media_clock_moves_the_edges() -> None:
    ear = ear_at(8000)
    ear.listen(frames(bytes(16_000), 8000))
    later = frames(speech("red green blue", 200), 8000, first_seq=500)
    [started] = ear.listen(later)
    assert started.media_ms == pytest.approx(10_000, abs=32)


async def test_a_provider_that_refuses_an_utterance_fails_when_its_text_is_wanted() -> None:
    class Refusing(ScriptedStt):
        def utterance(self) -> None:  # type: ignore[override]
            raise ProviderError("refusing", "no")

    ear = ear_at(8000, Refusing())
    listen(ear, 8000)
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
    edges = ear.listen(frames(pcm, 8000))
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
    ear = Hearing(rate_hz, judge=judge)
    pcm = Resampler(8000, rate_hz).push(bytes(16_000) + speech("one two", 200) + bytes(32_000))
    edges = ear.listen(frames(pcm, rate_hz))
    assert least_ms <= fell_silent_for(edges) <= least_ms + CHUNK_MS
    assert judge.asked == [pytest.approx(300 + 400 + ASK_MS, abs=2 * CHUNK_MS)], "once, about the utterance alone"
    ear.drop(0)


class Slow(LoudnessVad):
    """Is asked, and answers when it is let."""

    def __init__(self, rate_hz: int) -> None:
        super().__init__(rate_hz)
        self.asked: list[tuple[float, Callable[[float | Exception], None]]] = []
        self.patient: list[bool] = []

    def judge(self, chunk: bytes, found: Callable[[float | Exception], None], *, patient: bool) -> None:  # type: ignore[override]
        self.patient.append(patient)
        self.asked.append((super().judge(chunk, found, patient=patient), found))

    def answer(self, error: Exception | None = None) -> None:
        [(probability, found)] = self.asked
        self.asked.clear()
        found(error or probability)


def slow_ear() -> tuple[Hearing, Slow]:
    slow = Slow(8000)
    return Hearing(8000, activity=lambda rate_hz: slow), slow


async def test_what_comes_while_the_detector_is_asked_waits_its_turn() -> None:
    pcm = bytes(16_000) + speech("red green blue", 200) + bytes(16_000)
    at_once, (behind, slow) = ear_at(8000), slow_ear()
    at_once.listen(frames(pcm, 8000))
    assert behind.listen(frames(pcm, 8000)) == [], "one chunk is asked about, whatever came since"
    caught_up = asyncio.create_task(behind.caught_up(50))
    while slow.asked:
        slow.answer()
        await asyncio.sleep(0)
        assert caught_up.done() is (len(behind.told) >= 50 * FRAME_MS // CHUNK_MS)
    assert behind.edges == at_once.edges
    assert behind.told == at_once.told
    assert behind.utterance is not None
    assert at_once.utterance is not None
    assert behind.utterance.first_seq == at_once.utterance.first_seq
    behind.stop()
    at_once.stop()


async def test_who_is_behind_is_not_patient() -> None:
    ear, slow = slow_ear()
    ear.listen(frames(bytes(160 * 2 * 8), 8000))  # 5 chunks
    while slow.asked:
        slow.answer()
    assert slow.patient == [True, False, False, True, True], "until it has nearly caught up"
    ear.stop()


async def test_an_ear_that_was_stopped_tells_nothing_more() -> None:
    ear, slow = slow_ear()
    ear.listen(frames(speech("red green blue", 200), 8000))
    ear.stop()
    slow.answer()
    ear.hear(frames(speech("red", 200), 8000)[0])
    assert (ear.told, slow.asked) == ([], [])


async def test_the_error_of_a_detector_is_raised_where_it_answers() -> None:
    ear, slow = slow_ear()
    ear.listen(frames(speech("red green blue", 200), 8000))
    with pytest.raises(ValueError, match="no memory"):
        slow.answer(ValueError("no memory"))
    assert ear.told == []
