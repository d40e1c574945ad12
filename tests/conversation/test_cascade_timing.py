"""What is said of how long the caller waited, held against what their wire saw, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from adapters.bridge import Bridge
from tests.conversation.bridged import DirectLanes, Outcome, act, converse
from tests.conversation.talk import ANSWER, QUESTION, Cast, tenant
from tests.standins.session import Action, Ask, Say, Told, Type
from tests.standins.voices import Failing, ScriptedLlm, ScriptedStt, ScriptedTts
from trunkline.bus.messages import DownlinkAudio, Message, UplinkAudio
from trunkline.tenants import Fillers, Tenant
from workers.backend import Inbound

TOLERANCE_MS = 5
CHUNK_MS = 32
"""Speech ends where a chunk of the detector's does."""
STEPS = ["endpoint", "transcript", "first_token", "first_sentence", "first_audio"]
SECOND = "and what else"


def parts_of(told: Told) -> dict[str, int]:
    return dict(told.data["parts"])


def assert_is_what_the_wire_saw(outcome: Outcome, told: Told, *, rest: str = "bus") -> None:
    """Parts sum to the whole, and that is the wire's time from where the detector says that speech ended."""
    assert told.data["voice_to_voice"]
    stopped = [event for event in outcome.wire.told("speech_stopped") if event.at_ms <= told.at_ms][-1]
    seen_ms = outcome.wire.came_ms[told.data["turn"]] - stopped.data["media_ms"]
    assert told.data["total_ms"] == pytest.approx(seen_ms, abs=TOLERANCE_MS)
    assert sum(parts_of(told).values()) == told.data["total_ms"]
    assert rest in parts_of(told)
    assert all(ms >= 0 for ms in parts_of(told).values())


@pytest.mark.parametrize(("up_ms", "down_ms"), [(0, 0), (3, 5), (40, 80)])
def test_voice_to_voice_is_what_the_wire_saw_whatever_the_bus_takes(up_ms: int, down_ms: int) -> None:
    outcome = converse([Say(1000, QUESTION)], 8000, lanes=lambda: DirectLanes(up_ms, down_ms))
    [told] = outcome.wire.told("latency")
    assert_is_what_the_wire_saw(outcome, told)
    assert told.data["total_ms"] == pytest.approx(outcome.wire.came_ms[2] - 1600, abs=CHUNK_MS)
    parts = parts_of(told)
    assert list(parts) == [*STEPS, "bus", "playout"]
    assert parts["transcript"] == pytest.approx(200, abs=2)
    assert parts["first_token"] == pytest.approx(300, abs=2)
    assert parts["first_audio"] == pytest.approx(100, abs=2)
    assert parts["bus"] == pytest.approx(up_ms + down_ms, abs=TOLERANCE_MS)
    assert parts["playout"] == 0


@pytest.mark.parametrize("late_ms", [0, 7, 60])
def test_a_network_before_the_edge_is_not_the_edge_s(late_ms: int) -> None:
    """Every third frame is late by that, and holds up those behind it; the clock is that of the others."""
    came: list[bytes] = []

    def late(bridge: Bridge, message: Inbound) -> None:
        if not isinstance(message, UplinkAudio):
            act(bridge, message)
            return
        came.append(message.pcm)
        if late_ms < 20 or len(came) == late_ms // 20:
            while came:
                bridge.audio(came.pop(0))

    outcome = converse([Say(1000, QUESTION)], 8000, caller=late)
    [told] = outcome.wire.told("latency")
    assert_is_what_the_wire_saw(outcome, told)


def test_each_turn_has_its_own() -> None:
    cast = Cast(tenant("Hello and welcome here."), llm=ScriptedLlm({QUESTION: ANSWER, SECOND: "Nothing."}))
    outcome = converse([Say(2000, QUESTION), Say(10_000, SECOND)], 16_000, cast_=cast)
    first, second = outcome.wire.told("latency")
    assert (first.data["turn"], second.data["turn"]) == (3, 5), "nobody waited for the greeting"
    assert_is_what_the_wire_saw(outcome, first)
    assert_is_what_the_wire_saw(outcome, second)


@pytest.mark.parametrize("kill_ms", [1200, 1900, 2150, 2250, 2500, 2650])
def test_a_wait_in_which_the_worker_died_is_whole(kill_ms: int) -> None:
    """It died while the caller spoke, in the silence after, while their words were understood, and while it thought."""
    outcome = converse([Say(1000, QUESTION)], 10_000, [kill_ms], gap_ms=700)
    [told] = outcome.wire.told("latency")
    rest = "bus" if kill_ms == 1200 else "takeover"
    seen_ms = outcome.wire.came_ms[2] - 1600
    assert told.data["voice_to_voice"]
    assert told.data["total_ms"] == pytest.approx(seen_ms, abs=CHUNK_MS)
    assert sum(parts_of(told).values()) == told.data["total_ms"]
    assert rest in parts_of(told)
    if kill_ms >= 2150:
        assert parts_of(told)["takeover"] >= 500


def test_typed_words_are_waited_for_from_where_the_worker_has_them() -> None:
    outcome = converse([Type(1000, QUESTION)], 6000, lanes=lambda: DirectLanes(3, 5))
    [told] = outcome.wire.told("latency")
    assert not told.data["voice_to_voice"]
    assert told.data["total_ms"] == pytest.approx(outcome.wire.came_ms[2] - 1000 - 8, abs=TOLERANCE_MS)
    assert list(parts_of(told)) == ["first_token", "first_sentence", "first_audio"]


def test_a_commit_is_the_end_of_speech() -> None:
    outcome = converse([Say(1000, QUESTION), Ask(1620, "commit")], 8000, lanes=lambda: DirectLanes(3, 5))
    [told] = outcome.wire.told("latency")
    assert_is_what_the_wire_saw(outcome, told)
    assert parts_of(told)["endpoint"] == 0


def test_an_answer_that_is_given_up_before_it_is_heard_has_none() -> None:
    outcome = converse([Say(1000, QUESTION), Ask(2150, "cancel")], 6000)
    assert outcome.wire.audio == {}
    assert outcome.wire.told("latency") == []


def test_speech_while_it_thinks_counts_from_its_own_end() -> None:
    cast = Cast(llm=ScriptedLlm({f"{QUESTION} in the town": "Nothing much."}, first_s=1.0))
    outcome = converse([Say(1000, QUESTION), Say(2400, "in the town")], 9000, cast_=cast)
    [told] = outcome.wire.told("latency")
    assert_is_what_the_wire_saw(outcome, told)
    assert told.data["total_ms"] == pytest.approx(outcome.wire.came_ms[told.data["turn"]] - 3000, abs=CHUNK_MS)


class Untimed(DirectLanes):
    """To a gateway of before answers were timed: it does not read the field."""

    def send(self, lane: str, message: Message, *, within_s: float = 0.0) -> None:
        if isinstance(message, DownlinkAudio):
            message = replace(message, timed=False)
        super().send(lane, message, within_s=within_s)


def test_a_gateway_that_times_nothing_leaves_what_the_worker_knows() -> None:
    outcome = converse([Say(1000, QUESTION)], 8000, lanes=Untimed)
    [told] = outcome.wire.told("latency")
    assert not told.data["voice_to_voice"]
    assert list(parts_of(told)) == STEPS


# --- spoken over


@pytest.mark.parametrize(("up_ms", "down_ms"), [(0, 0), (3, 5), (40, 80)])
def test_how_long_an_answer_is_heard_by_who_speaks_over_it(up_ms: int, down_ms: int) -> None:
    script: Sequence[Action] = [Say(1000, QUESTION), Say(4000, "no stop that")]
    outcome = converse(script, 8000, lanes=lambda: DirectLanes(up_ms, down_ms))
    [told] = outcome.wire.told("barge_in")
    paused, cleared = outcome.wire.told("pause")[0], outcome.wire.told("clear")[0]
    started = outcome.wire.told("speech_started")[1].data["media_ms"]
    assert told.data["turn"] == cleared.data["turn"] == 2
    assert told.data["silent_ms"] == pytest.approx(paused.at_ms - started, abs=TOLERANCE_MS)
    assert told.data["clear_ms"] == pytest.approx(cleared.at_ms - started, abs=TOLERANCE_MS)
    assert told.data["silent_ms"] <= 64 + CHUNK_MS + 20 + up_ms + down_ms + TOLERANCE_MS


def test_noise_over_an_answer_ends_nothing() -> None:
    outcome = converse([Say(1000, QUESTION), Say(4000, "mhm", word_ms=160)], 9000)
    assert outcome.wire.told("pause")
    assert outcome.wire.told("barge_in") == []


def test_who_stops_an_answer_by_a_button_did_not_speak() -> None:
    outcome = converse([Say(1000, QUESTION), Ask(4000, "cancel")], 8000)
    assert outcome.wire.told("clear")
    assert outcome.wire.told("barge_in") == []


@pytest.mark.parametrize("spoken", [False, True])
def test_what_was_done_ahead_takes_less_and_the_parts_still_sum(spoken: bool) -> None:
    cast = Cast(tenant(preemptive=True, preemptive_tts=spoken), tts=ScriptedTts(first_s=0.05))
    outcome = converse([Say(1000, QUESTION)], 8000, cast_=cast, lanes=lambda: DirectLanes(3, 5))
    [told] = outcome.wire.told("latency")
    assert_is_what_the_wire_saw(outcome, told)
    parts = parts_of(told)
    assert parts["first_token"] < 50, "it was asked in the pause, and had its 300 ms before the text was final"
    assert parts["first_audio"] == pytest.approx(0 if spoken else 50, abs=2)
    assert parts["bus"] == pytest.approx(8, abs=TOLERANCE_MS)


LONG_FILLER = "One moment please, I am looking for that in all of my many books."


@pytest.mark.parametrize("filler_text", ["One moment.", LONG_FILLER])
@pytest.mark.parametrize("first_s", [2.4, 4.0, 9.0])
def test_a_filler_and_the_answer_after_it_have_each_their_own(filler_text: str, first_s: float) -> None:
    """The answer's, to where it can be heard: behind what is still to be heard of the filler."""
    tenant = Tenant(id="test", fillers=Fillers(phrases=(filler_text,), interval_s=30))
    cast = Cast(tenant=tenant, llm=ScriptedLlm({QUESTION: "Nothing much."}, first_s))
    outcome = converse([Say(1000, QUESTION)], 16_000, cast_=cast, lanes=lambda: DirectLanes(3, 5))
    filler, answer = outcome.wire.told("latency")
    assert filler.data["filler"]
    assert_is_what_the_wire_saw(outcome, filler)
    assert filler.data["total_ms"] < 3000
    assert not answer.data["filler"]
    assert answer.data["voice_to_voice"]
    [stopped] = outcome.wire.told("speech_stopped")
    begins_ms = len(filler_text.split()) * ScriptedTts.WORD_MS
    seen_ms = outcome.wire.heard_ms(answer.data["turn"], begins_ms) - stopped.data["media_ms"]
    assert answer.data["total_ms"] == pytest.approx(seen_ms, abs=TOLERANCE_MS)
    parts = parts_of(answer)
    assert sum(parts.values()) == answer.data["total_ms"]
    assert list(parts) == [*STEPS, "bus", "playout"]
    assert parts["bus"] == pytest.approx(8, abs=TOLERANCE_MS)


def test_an_answer_to_speech_that_could_not_be_understood_is_marked() -> None:
    cast = Cast(stt=ScriptedStt(failing=Failing(0)))
    outcome = converse([Say(1000, QUESTION)], 6000, cast_=cast)
    [told] = outcome.wire.told("latency")
    assert told.data["filler"]
    assert_is_what_the_wire_saw(outcome, told)
