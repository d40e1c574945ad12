from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rtc.speech import PACKET_TICKS, likeness, packets_of, stream, tone
from trunkline.audio.frame import rms
from trunkline.rtc import rtp
from trunkline.rtc.jitter import START_MS
from trunkline.rtc.receiver import Receiver

RATE_HZ = 24000
FRAME_BYTES = 960
CODECS = {111: "opus", 110: "telephone-event", 13: "CN"}


def deliver(receiver: Receiver, packets: list[bytes], *, start_ms: float = 0.0) -> bytes:
    """One each 20 ms, and a poll between them."""
    heard = b""
    for number, packet in enumerate(packets):
        now_ms = start_ms + number * 20
        heard += receiver.take(packet, now_ms)
        due_ms = receiver.due_ms()
        if due_ms is not None and due_ms <= now_ms + 20:
            heard += receiver.poll(due_ms)
    return heard


def without(packets: list[bytes], *gone: int) -> list[bytes]:
    return [packet for number, packet in enumerate(packets) if number not in gone]


def test_what_is_said_is_heard_at_once_at_the_sessions_rate() -> None:
    """The sender's encoder ran at 48 kHz."""
    receiver = Receiver(RATE_HZ, CODECS)
    packets = stream(packets_of(tone(1000, 48000), 48000))
    for number, packet in enumerate(packets):
        pcm = receiver.take(packet, number * 20.0)
        assert len(pcm) == FRAME_BYTES
    heard = deliver(Receiver(RATE_HZ, CODECS), packets)
    assert likeness(heard, tone(1000, RATE_HZ), RATE_HZ) > 0.98
    stats = receiver.stats
    assert (stats.packets_received, stats.packets_lost, stats.concealed_ms) == (50, 0, 0)
    assert (stats.buffer_ms, receiver.due_ms()) == (0, None)
    assert stats.jitter_ms < 0.1


def test_a_lost_packet_is_concealed_in_its_place() -> None:
    receiver = Receiver(RATE_HZ, CODECS)
    packets = stream(packets_of(tone(1000, RATE_HZ), RATE_HZ))
    heard = deliver(receiver, without(packets, 20, 21, 30))
    assert len(heard) == 50 * FRAME_BYTES
    assert likeness(heard, tone(1000, RATE_HZ), RATE_HZ) > 0.95
    assert min(rms(heard[at : at + FRAME_BYTES]) for at in range(FRAME_BYTES, len(heard), FRAME_BYTES)) > 2000
    assert (receiver.stats.packets_lost, receiver.stats.concealed_ms) == (3, 60)


def test_what_waits_behind_a_hole_is_counted_until_it_is_given_up() -> None:
    receiver = Receiver(RATE_HZ, CODECS)
    packets = stream(packets_of(tone(200, RATE_HZ), RATE_HZ))
    receiver.take(packets[0], 0)
    assert receiver.take(packets[2], 40) == b""
    assert (receiver.due_ms(), receiver.stats.buffer_ms) == (40 + START_MS, 20)
    assert receiver.poll(40 + START_MS - 1) == b""
    assert len(receiver.poll(40 + START_MS)) == 2 * FRAME_BYTES
    assert (receiver.due_ms(), receiver.stats.buffer_ms) == (None, 0)
    assert receiver.take(packets[1], 70) == b"", "too late"
    assert (receiver.stats.packets_lost, receiver.stats.discarded_late) == (0, 1)


def test_a_pause_is_silence_and_odd_pauses_keep_the_time() -> None:
    """A pause may end between two samples of ours; over many the time is still right."""
    receiver = Receiver(8000, CODECS)
    payload = packets_of(tone(20, 8000), 8000)[0]
    heard = b""
    step = PACKET_TICKS + 1001
    for number in range(60):
        packet = rtp.Packet(111, True, number, number * step, 7, payload)
        heard += receiver.take(rtp.compose(packet), number * step / 48)
    assert len(heard) // 2 == (59 * step + PACKET_TICKS) * 8000 // 48000
    assert receiver.stats.silence_ms == 59 * 1001 // 48


def test_other_payload_types_are_ignored_and_counted() -> None:
    receiver = Receiver(RATE_HZ, CODECS)
    for payload_type in (110, 13, 126, 0):
        for packet in stream([b"\x01\x8a\x03\xc0"], payload_type=payload_type):
            assert receiver.take(packet, 0) == b""
    assert receiver.stats.ignored == 4
    assert receiver.report(0) is None, "they are no part of the stream we report on"


def test_a_packet_of_nothing_is_a_number_only() -> None:
    receiver = Receiver(RATE_HZ, CODECS)
    payloads = packets_of(tone(100, RATE_HZ), RATE_HZ)
    packets = stream([*payloads[:2], b"", *payloads[2:]])
    after = [rtp.parse(packet) for packet in packets[3:]]
    packets[3:] = [rtp.compose(packet._replace(timestamp=packet.timestamp - PACKET_TICKS)) for packet in after]
    assert len(deliver(receiver, packets)) == 5 * FRAME_BYTES
    assert receiver.stats.silence_ms == receiver.stats.concealed_ms == 0


def test_what_is_malformed_is_counted_and_the_time_stays_right() -> None:
    receiver = Receiver(RATE_HZ, CODECS)
    payloads = packets_of(tone(200, RATE_HZ), RATE_HZ)
    code_2_but_cut = bytes((payloads[4][0] & ~3 | 2, 255))  # says 40 ms, and has no second frame
    payloads[4] = code_2_but_cut
    packets = stream(payloads)
    packets[5:] = [
        rtp.compose((packet := rtp.parse(data))._replace(timestamp=packet.timestamp + PACKET_TICKS))
        for data in packets[5:]
    ]
    assert len(deliver(receiver, packets)) == 11 * FRAME_BYTES
    assert (receiver.stats.malformed, receiver.stats.concealed_ms) == (1, 40)
    assert receiver.take(b"", 500) == receiver.take(b"\x80" * 11, 500) == b""
    assert receiver.take(stream([b"\x03"])[0], 500) == b""
    assert receiver.stats.malformed == 4


def test_a_loss_before_a_malformed_packet_is_concealed_too() -> None:
    receiver = Receiver(RATE_HZ, CODECS)
    payloads = packets_of(tone(200, RATE_HZ), RATE_HZ)
    payloads[4] = bytes((payloads[4][0] & ~3 | 2, 255))
    heard = deliver(receiver, without(stream(payloads[:5]), 3))
    assert len(heard) == 6 * FRAME_BYTES
    assert (receiver.stats.malformed, receiver.stats.concealed_ms) == (1, 60)


def test_another_source_is_another_stream() -> None:
    """As after a renegotiation, or when the other side is a mixer: nothing is filled, and what waited is not lost."""
    receiver = Receiver(RATE_HZ, CODECS)
    first = stream(packets_of(tone(200, RATE_HZ), RATE_HZ), ssrc=1)
    second = stream(packets_of(tone(200, RATE_HZ), RATE_HZ), ssrc=2, sequence=9999, timestamp=123456789)
    heard = deliver(receiver, without(first, 8))
    heard += deliver(receiver, second, start_ms=200)
    assert len(heard) == 20 * FRAME_BYTES
    report = receiver.report(400)
    assert report is not None
    assert (report.ssrc, report.packets_lost, report.highest_sequence) == (2, 0, 9999 + 9)
    stats = receiver.stats
    assert (stats.packets_received, stats.packets_lost) == (19, 1)


def test_a_report_says_when_the_others_came() -> None:
    receiver = Receiver(RATE_HZ, CODECS)
    packets = stream(packets_of(tone(200, RATE_HZ), RATE_HZ))
    deliver(receiver, packets)
    report = receiver.report(200)
    assert report is not None
    assert (report.lsr, report.dlsr, report.highest_sequence) == (0, 0, 9)
    receiver.sender_reported(rtp.RtcpSenderInfo(0x1111_2222_3333_4444, 0, 0, 0), 250)
    report = receiver.report(750)
    assert report is not None
    assert (report.lsr, report.dlsr) == (0x2222_3333, 32768)


@given(st.lists(st.tuples(st.binary(max_size=40), st.floats(0, 100), st.booleans()), max_size=40))
def test_nothing_that_comes_breaks_it(packets: list[tuple[bytes, float, bool]]) -> None:
    receiver = Receiver(8000, CODECS)
    now_ms = 0.0
    for number, (data, later_ms, framed) in enumerate(packets):
        now_ms += later_ms
        whole = rtp.compose(rtp.Packet(111, False, number, number * PACKET_TICKS, 7, data)) if framed else data
        assert len(receiver.take(whole, now_ms)) % 2 == len(receiver.poll(now_ms)) % 2 == 0
    stats = receiver.stats
    assert stats.packets_received + stats.malformed + stats.ignored >= len(packets)
