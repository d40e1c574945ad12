"""Speech edges from probabilities, in media time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trunkline.bus.messages import UplinkAudio
from trunkline.tenants import TurnSettings
from workers.turns.endpointing import BREATH_MS, CHUNK_MS, Edge, EdgeKind, Endpointing, PreRoll

SETTINGS = TurnSettings(start_ms=96, stop_ms=320, longest_utterance_ms=3000)


def edges(probabilities: list[float], settings: TurnSettings = SETTINGS, start_ms: int = 0) -> list[Edge]:
    endpointing = Endpointing(settings)
    pushed = (
        endpointing.push(start_ms + CHUNK_MS * number, probability)
        for number, probability in enumerate(probabilities, 1)
    )
    return [edge for edge in pushed if edge is not None]


def test_an_utterance_has_its_real_edges_and_the_time_of_the_decision() -> None:
    found = edges([0.0] * 10 + [0.9] * 20 + [0.0] * 10)
    assert found == [
        Edge(EdgeKind.STARTED, 320, 320 + 96),
        Edge(EdgeKind.FELL_SILENT, 960, 960 + 32),
        Edge(EdgeKind.STOPPED, 960, 960 + 320),
    ]


def test_media_time_may_begin_anywhere() -> None:
    assert edges([0.9] * 20, start_ms=60_000)[0] == Edge(EdgeKind.STARTED, 60_000, 60_096)


def test_speech_shorter_than_start_is_nothing() -> None:
    assert edges(([0.9] * 2 + [0.0]) * 20) == []


def test_a_pause_shorter_than_stop_does_not_end_it() -> None:
    found = edges([0.9] * 10 + [0.0] * 9 + [0.9] * 10 + [0.0] * 10)
    assert [edge.kind for edge in found] == [
        EdgeKind.STARTED,
        EdgeKind.FELL_SILENT,
        EdgeKind.WENT_ON,
        EdgeKind.FELL_SILENT,
        EdgeKind.STOPPED,
    ]
    assert found[-1].media_ms == 29 * CHUNK_MS


def test_hysteresis_keeps_wavering_speech_together_and_wavering_silence_out() -> None:
    assert [edge.kind for edge in edges([0.6] + [0.4] * 20)] == [EdgeKind.STARTED]
    assert edges([0.4] * 50) == []
    after_silence = edges([0.9] * 5 + [0.0] + [0.4] * 20)
    assert [edge.kind for edge in after_silence] == [EdgeKind.STARTED, EdgeKind.FELL_SILENT, EdgeKind.STOPPED]


def test_who_speaks_without_a_breath_is_cut_where_the_utterance_is_longest_and_speaks_on() -> None:
    found = edges([0.9] * 300)
    assert [edge.kind for edge in found] == [EdgeKind.STARTED] + [EdgeKind.CUT] * 3
    assert [round(edge.media_ms, -2) for edge in found[1:]] == [3000, 6000, 9000]


def test_long_speech_is_cut_at_a_breath_if_there_is_one() -> None:
    breath = [0.0] * (BREATH_MS // CHUNK_MS)
    found = edges([0.9] * 40 + breath + [0.9] * 30 + breath + [0.9] * 10 + [0.0] * 20)
    cuts = [edge for edge in found if edge.kind is EdgeKind.CUT]
    assert [edge.media_ms for edge in cuts] == [(40 + 30 + 2 * len(breath)) * CHUNK_MS], "the first came too early"
    assert cuts[0].speech_ms == 70 * CHUNK_MS
    assert [edge.kind for edge in found[-3:]] == [EdgeKind.WENT_ON, EdgeKind.FELL_SILENT, EdgeKind.STOPPED]


def test_a_silence_is_cut_once() -> None:
    slow = TurnSettings(stop_ms=5000, unfinished_ms=5000, longest_utterance_ms=1000)
    found = edges([0.9] * 20 + [0.0] * 200, slow)
    assert [edge.kind for edge in found] == [
        EdgeKind.STARTED,
        EdgeKind.FELL_SILENT,
        EdgeKind.CUT,
        EdgeKind.STOPPED,
    ]


def test_a_turn_that_never_ends_is_ended_and_heard_again_after_a_silence() -> None:
    settings = TurnSettings(stop_ms=320, longest_utterance_ms=3000, longest_turn_ms=4000)
    short, enough = [0.0] * 9, [0.0] * 10
    found = edges([0.9] * 200 + short + [0.9] * 50 + enough + [0.9] * 20, settings)
    assert [edge.kind for edge in found] == [EdgeKind.STARTED, EdgeKind.CUT, EdgeKind.STOPPED, EdgeKind.STARTED]
    assert 4000 <= found[2].media_ms < 4000 + CHUNK_MS
    assert found[3].media_ms == (200 + 9 + 50 + 10) * CHUNK_MS


def test_speech_ms_counts_speech_only() -> None:
    endpointing = Endpointing(SETTINGS)
    for number, probability in enumerate([0.9] * 4 + [0.0] * 3 + [0.9] * 2, 1):
        endpointing.push(number * CHUNK_MS, probability)
    assert (endpointing.speaking, endpointing.quiet, endpointing.speech_ms) == (True, False, 6 * CHUNK_MS)
    endpointing.reset()
    assert (endpointing.speaking, endpointing.speech_ms) == (False, 0)


@given(st.lists(st.floats(0, 1), max_size=300))
def test_edges_come_in_order_and_utterances_do_not_overlap(probabilities: list[float]) -> None:
    on = {EdgeKind.FELL_SILENT, EdgeKind.WENT_ON, EdgeKind.CUT, EdgeKind.STOPPED}
    after = {
        None: {EdgeKind.STARTED},
        EdgeKind.STARTED: on - {EdgeKind.WENT_ON},
        EdgeKind.FELL_SILENT: on - {EdgeKind.FELL_SILENT},
        EdgeKind.WENT_ON: on - {EdgeKind.WENT_ON},
        EdgeKind.CUT: on,
        EdgeKind.STOPPED: {EdgeKind.STARTED},
    }
    before: EdgeKind | None = None
    stopped_ms = 0
    for edge in edges(probabilities):
        assert edge.kind in after[before]
        assert edge.media_ms <= edge.decided_ms
        assert edge.media_ms >= stopped_ms
        before = edge.kind
        stopped_ms = edge.media_ms if edge.kind is EdgeKind.STOPPED else stopped_ms


def test_pre_roll_keeps_the_last_frames() -> None:
    pre_roll = PreRoll(100)
    assert pre_roll.first_seq is None
    for number in range(20):
        pre_roll.push(UplinkAudio("s", number, number * 20, b""))
    assert pre_roll.first_seq == 14
    assert [frame.seq for frame in pre_roll.since(340)] == [17, 18, 19]
    pre_roll.clear()
    assert pre_roll.since(0) == []
