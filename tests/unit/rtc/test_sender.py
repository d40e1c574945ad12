from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rtc.speech import likeness, tone
from trunkline.audio.frame import rms, samples_of
from trunkline.errors import AudioError
from trunkline.rtc import rtp
from trunkline.rtc.receiver import Receiver
from trunkline.rtc.sender import COMFORT_MS, FADE_MS, PATIENCE_MS, QUEUED_MS, TAIL_PACKETS, Sender

RATE_HZ = 24000
BYTES_PER_MS = 48
FRAME_BYTES = 960
BASE = 2**32 - 48 * 100
"""The timestamp wraps after 100 ms."""


@dataclass
class Left:
    at_ms: float
    packet: rtp.Packet

    @property
    def media_ms(self) -> float:
        return rtp.timestamp_delta(self.packet.timestamp, BASE) / 48


def new(rate_hz: int = RATE_HZ) -> Sender:
    return Sender(rate_hz, 111, 7, sequence=65530, timestamp=BASE)


def run(sender: Sender, from_ms: float, to_ms: float, do: Callable[[float], None] | None = None) -> list[Left]:
    """Ask for packets whenever they are due, as a loop without delay would; `do` once a ms, before."""
    left = []
    for now_ms in np.arange(from_ms, to_ms):
        if do is not None:
            do(float(now_ms))
        left += taken(sender, float(now_ms))
    return left


def taken(sender: Sender, now_ms: float) -> list[Left]:
    left = []
    while (data := sender.take(now_ms)) is not None:
        left.append(Left(now_ms, rtp.parse(data)))
    assert sender.next_due_ms(now_ms) > now_ms
    return left


def heard(left: list[Left], rate_hz: int = RATE_HZ) -> bytes:
    """What an ideal receiver has, on the sender's own time line."""
    receiver = Receiver(rate_hz, {111: "opus"})
    return b"".join(receiver.take(rtp.compose(each.packet), each.at_ms) for each in left)


def idle(sender: Sender, until_ms: float = 1000.0) -> None:
    """Past the first packets of silence, one of which leaves at 800 ms."""
    run(sender, 0, until_ms)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 48000])
def test_speech_leaves_at_once_and_then_every_20_ms(rate_hz: int) -> None:
    sender = new(rate_hz)
    idle(sender)
    sender.put(1, 0, tone(400, rate_hz))
    assert sender.next_due_ms(1000.3) == 1000.3
    left = run(sender, 1000.25, 1400)
    assert [each.at_ms for each in left] == [1000.25 + 20 * number for number in range(20)]
    assert [each.media_ms for each in left] == pytest.approx([1000.25 + 20 * number for number in range(20)], abs=0.02)
    assert [each.packet.marker for each in left] == [True] + [False] * 19
    assert likeness(heard(left, rate_hz), tone(400, rate_hz), rate_hz) > 0.97
    assert sender.sent == (1, 400)


def test_numbers_go_on_over_wraps_and_pauses_and_all_is_of_one_source() -> None:
    sender = new()
    left = run(sender, 0, 900)
    sender.put(1, 0, tone(200, RATE_HZ))
    left += run(sender, 900, 2000)
    assert [each.packet.sequence for each in left] == [65530 + number & 0xFFFF for number in range(len(left))]
    assert {(each.packet.ssrc, each.packet.payload_type) for each in left} == {(7, 111)}


def test_in_silence_a_small_packet_each_400_ms_with_the_time_it_is() -> None:
    sender = new()
    left = run(sender, 0, 2001)
    assert [each.at_ms for each in left] == [COMFORT_MS * number for number in range(6)]
    assert [each.media_ms for each in left] == [each.at_ms for each in left]
    assert not any(each.packet.marker for each in left)
    assert max(len(each.packet.payload) for each in left) <= 10
    assert rms(heard(left)) < 1


def test_after_speech_comes_a_short_tail_of_silence() -> None:
    sender = new()
    idle(sender)
    sender.put(1, 0, tone(110, RATE_HZ))
    left = run(sender, 1000, 1700)
    assert [each.at_ms for each in left] == [*range(1000, 1120 + 20 * TAIL_PACKETS, 20), 1600]
    assert [each.media_ms for each in left] == [each.at_ms for each in left]
    pcm = heard(left)
    assert rms(pcm[-2 * FRAME_BYTES :]) < 20
    assert sender.sent == (1, 110), "what pads a packet is nobody's"


def test_speech_that_is_a_little_late_goes_on_as_if_it_were_not() -> None:
    """A microphone's frames: each is there when it is due, or up to 20 ms later."""
    sender = new()
    idle(sender)
    late_ms = {number: number * 7 % 20 for number in range(50)}

    def speak(now_ms: float) -> None:
        number, _ = divmod(now_ms - 1000, 20)
        for behind in (number, number - 1):
            if behind >= 0 and 1000 + behind * 20 + late_ms.get(int(behind), 99) == now_ms:
                sender.put(1, int(behind) * 20, tone(20, RATE_HZ))

    left = run(sender, 1000, 1990, speak)
    assert [each.media_ms for each in left] == [1000 + 20 * number for number in range(len(left))]
    assert len(left) >= 49
    assert sum(each.packet.marker for each in left) == 1
    assert all(0 <= each.at_ms - each.media_ms < PATIENCE_MS for each in left)


def test_speech_that_does_not_come_is_silence_after_20_ms() -> None:
    sender = new()
    idle(sender)
    sender.put(1, 0, tone(40, RATE_HZ))
    left = run(sender, 1000, 1070)
    assert [each.at_ms for each in left] == [1000, 1020, 1060, 1060]
    assert [each.media_ms for each in left] == [1000, 1020, 1040, 1060]
    sender.put(1, 40, tone(20, RATE_HZ))
    (late,) = run(sender, 1070, 1090)
    assert (late.at_ms, late.media_ms, late.packet.marker) == (1080, 1080, False)


def test_a_late_loop_catches_up_by_three_packets_and_no_more() -> None:
    sender = new()
    idle(sender)
    sender.put(1, 0, tone(2000, RATE_HZ))
    run(sender, 1000, 1101)
    short = taken(sender, 1155)
    assert [each.media_ms for each in short] == [1120, 1140], "in time again, and nothing is missing"
    run(sender, 1156, 1201)
    long = taken(sender, 1633)
    assert [each.media_ms for each in long] == [1593, 1613, 1633]
    assert [each.packet.marker for each in long] == [True, False, False]
    after = run(sender, 1634, 1700)
    assert [each.at_ms for each in after] == [1653, 1673, 1693]
    assert sender.sent == (1, 340), "what was to be said meanwhile is later, not lost"


def test_pacing_does_not_drift_however_late_each_packet_is() -> None:
    sender = new()
    idle(sender)
    sender.put(1, 0, tone(20_000, RATE_HZ))
    now_ms, count = 1000.0, 0
    while now_ms < 20_000:
        count += len(taken(sender, now_ms))
        now_ms = sender.next_due_ms(now_ms) + 1.7
    assert count == 950


def test_hold_keeps_what_is_queued_and_goes_on_where_it_was() -> None:
    sender = new()
    idle(sender)
    sender.put(1, 0, tone(1000, RATE_HZ))
    before = run(sender, 1000, 1200)
    sender.hold()
    held = run(sender, 1200, 2000)
    assert sender.sent == (1, 200)
    assert sender.queued_ms == 800
    assert len(held) == 1 + TAIL_PACKETS + 1, "a slope, the tail, and one packet of silence"
    sender.resume()
    after = run(sender, 2000, 2800)
    assert [each.at_ms for each in after] == list(range(2000, 2800, 20))
    assert after[0].packet.marker
    assert sender.sent == (1, 1000)
    assert rms(heard(before + held)[-3 * FRAME_BYTES :]) < 20


def test_clear_ends_in_a_slope_and_what_follows_is_another_turns() -> None:
    sender = new()
    idle(sender)
    sender.put(1, 0, tone(1000, RATE_HZ))
    run(sender, 1000, 1205)
    sender.clear()
    assert (sender.sent, sender.queued_ms) == ((1, 220), 0)
    left = run(sender, 1205, 1600)
    assert len(left) == 1 + TAIL_PACKETS
    assert sender.sent == (1, 220), "a slope is not said"
    sender.put(2, 0, tone(40, RATE_HZ))
    run(sender, 1600, 1700)
    assert sender.sent == (2, 40)


def test_a_cut_is_no_click() -> None:
    """Sample to sample, the end of a loud tone that is cut off moves no faster than the tone itself."""
    sender = new()
    idle(sender)
    sender.put(1, 0, tone(1000, RATE_HZ, hz=210))  # at its peak 225 ms later
    left = run(sender, 1000, 1205)
    sender.clear()
    left += run(sender, 1205, 1400)
    samples = samples_of(heard(left)).astype(np.int32)
    assert np.abs(np.diff(samples)).max() < 1.5 * 8000 * 2 * np.pi * 210 / RATE_HZ
    loud = np.flatnonzero(np.abs(samples) > 200)
    assert loud[-1] / RATE_HZ * 1000 < 220 + FADE_MS + 20, "and it is over soon: the codec is 6.5 ms late, and rings"


def test_the_next_turn_follows_a_slope_in_the_same_packet() -> None:
    sender = new()
    idle(sender)
    sender.put(1, 0, tone(1000, RATE_HZ))
    run(sender, 1000, 1201)
    sender.clear()
    sender.put(2, 0, tone(15, RATE_HZ))
    (packet,) = run(sender, 1201, 1221)
    assert packet.media_ms == 1220
    assert sender.sent == (2, 15)
    assert sender.heard(packet.packet.timestamp) == (1, 220), "5 ms of slope first"
    assert sender.heard(packet.packet.timestamp + 48 * 6) == (2, 1)


def test_what_was_not_begun_is_cleared_without_a_sound() -> None:
    sender = new()
    idle(sender)
    sender.put(1, 0, tone(1000, RATE_HZ))
    sender.clear()
    assert run(sender, 1000, 1199) == []
    sender.put(2, 0, tone(1000, RATE_HZ))
    sender.hold()
    sender.clear()
    assert [each.at_ms for each in run(sender, 1199, 1300)] == [1200]
    sender.put(3, 0, tone(20, RATE_HZ))
    assert len(run(sender, 1300, 1301)) == 1, "what was held is gone, and so is that it was"
    assert sender.sent == (3, 20)


def test_a_timestamp_tells_what_was_heard() -> None:
    sender = new()
    assert sender.heard(BASE) is None
    idle(sender)
    sender.put(1, 100, tone(200, RATE_HZ))
    sender.put(1, 300, tone(100, RATE_HZ))
    sender.put(2, 0, tone(60, RATE_HZ))
    run(sender, 1000, 2000)

    def at(media_ms: float) -> tuple[int, int] | None:
        return sender.heard(BASE + round(media_ms * 48) & 0xFFFF_FFFF)

    assert at(999) is None, "nothing had been said"
    assert at(1000) == (1, 100)
    assert at(1007.5) == (1, 107), "in the middle of a packet"
    assert at(1299) == (1, 399)
    assert at(1300) == (2, 0)
    assert at(1359) == (2, 59)
    assert at(1360) == at(1900) == (2, 60), "in silence, all before it"
    assert at(60_000) is None, "we sent no such thing"


def test_what_was_said_long_ago_is_forgotten() -> None:
    sender = new()
    sender.put(1, 0, tone(20_000, RATE_HZ))
    run(sender, 0, 20_000)
    sender.put(2, 0, tone(20_000, RATE_HZ))
    run(sender, 20_000, 40_000)
    sender.put(3, 0, tone(20_000, RATE_HZ))
    run(sender, 40_000, 60_000)
    assert sender.heard(BASE + 48 * 5_000 & 0xFFFF_FFFF) is None
    assert sender.heard(BASE + 48 * 35_000 & 0xFFFF_FFFF) == (2, 15_000)
    run(sender, 60_000, 120_000)
    assert sender.heard(BASE + 48 * 119_000 & 0xFFFF_FFFF) == (3, 20_000), "the last is always known"


def test_more_than_half_a_minute_is_not_queued() -> None:
    sender = new()
    sender.put(1, 0, bytes(BYTES_PER_MS * (QUEUED_MS - 100)))
    sender.put(1, QUEUED_MS - 100, bytes(BYTES_PER_MS * 250))
    assert (sender.queued_ms, sender.dropped_ms) == (QUEUED_MS, 150)
    sender.put(1, QUEUED_MS, bytes(BYTES_PER_MS * 20))
    assert (sender.queued_ms, sender.dropped_ms) == (QUEUED_MS, 170)


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(AudioError, match="whole 16-bit samples"):
        new().put(1, 0, b"abc")


def test_a_sender_report_says_what_left_and_what_time_it_is() -> None:
    sender = new()
    assert sender.report(0.0) is None
    left = run(sender, 0, 1000)
    report = sender.report(1250.0)
    assert report is not None
    assert report.packet_count == len(left) == 3
    assert report.octet_count == sum(len(each.packet.payload) for each in left)
    assert report.ntp_timestamp == rtp.ntp_of(1250.0)
    assert rtp.timestamp_delta(report.rtp_timestamp, BASE) == 1250 * 48


def test_beginnings_are_random() -> None:
    first = [rtp.parse(Sender(RATE_HZ, 111, 7).take(0.0) or b"") for _ in range(8)]
    assert len({packet.timestamp for packet in first}) > 1
    assert len({packet.sequence for packet in first}) > 1


def test_reported_loss_brings_fec() -> None:
    """The first byte says whether the layer has FEC: configurations below 16 are SILK or hybrid (RFC 6716, table 2)."""
    sender = new()
    sender.put(1, 0, tone(4000, RATE_HZ))
    assert all(each.packet.payload[0] >> 3 >= 16 for each in run(sender, 0, 1000))
    sender.expect_loss(10)
    assert all(each.packet.payload[0] >> 3 < 16 for each in run(sender, 1100, 2000))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "put", "put", "hold", "resume", "clear", "wait"]),
            st.integers(1, 200),
            st.floats(0, 900),
        ),
        max_size=30,
    )
)
def test_whatever_is_asked_time_and_numbers_only_go_forward(steps: list[tuple[str, int, float]]) -> None:
    sender = Sender(8000, 111, 7, sequence=0, timestamp=0)
    now_ms, said = 0.0, 0
    left: list[Left] = []
    for what, length_ms, later_ms in steps:
        if what == "put":
            sender.put(1, said, bytes(16 * length_ms))
            said += length_ms
        elif what != "wait":
            {"hold": sender.hold, "resume": sender.resume, "clear": sender.clear}[what]()
        until_ms = now_ms + later_ms
        while now_ms < until_ms:
            burst = taken(sender, now_ms)
            assert len(burst) <= 3
            left += burst
            now_ms = min(until_ms, sender.next_due_ms(now_ms))
    for earlier, later in pairwise(left):
        assert later.packet.sequence == earlier.packet.sequence + 1
        assert later.packet.timestamp >= earlier.packet.timestamp + 960
    for each in left:
        assert -20.1 <= each.at_ms - each.packet.timestamp / 48 <= 40.1
    assert sender.sent[1] <= said
