from __future__ import annotations

import numpy as np
import pytest

from benchmarks.webrtc import marks
from benchmarks.webrtc.speech import FRAMES_PER_MARK, OPUS_HZ, Decoder, encode, speech
from benchmarks.webrtc.stream import Stream

QUIET = b"\0" * 9600


def pcm(data: bytes) -> marks.Pcm:
    return np.frombuffer(data, "<i2")


def test_every_tone_is_found_where_it_begins() -> None:
    found = marks.find(pcm(QUIET + b"".join(marks.mark(tone) for tone in range(marks.TONES)) + QUIET))
    assert [mark.tone for mark in found] == list(range(marks.TONES))
    for number, mark in enumerate(found):
        begins = 4800 + number * marks.MARK_MS * marks.RATE_PER_MS
        assert begins <= mark.sample < begins + marks.RATE_PER_MS


def test_what_is_no_tone_is_no_mark() -> None:
    noise = np.random.default_rng(1).integers(-20_000, 20_000, 4800).astype("<i2")
    assert marks.find(pcm(QUIET + noise.tobytes() + QUIET)) == []
    assert marks.find(pcm(QUIET)) == []
    assert marks.find(pcm(marks.mark(3)[:1600])) == []  # too little of it to know


def test_a_mark_is_audible_to_its_end() -> None:
    sound = pcm(marks.mark(0))
    for start in range(0, sound.size, 480):
        assert marks.audible(sound[start : start + 480])
    assert not marks.audible(pcm(QUIET))


@pytest.mark.parametrize("caller", [0, 7])
def test_what_a_caller_says_is_found_in_the_packets_it_should_begin_in(caller: int) -> None:
    said = speech(caller)
    decoder, heard = Decoder(), Stream()
    for number, packet in enumerate(said.packets):
        heard.add(decoder.decode(packet).tobytes(), at_s=number)
    assert heard.marks() == [(number * FRAMES_PER_MARK, tone) for number, tone in enumerate(said.tones)]


def test_speech_dies_away_to_silence() -> None:
    said, decoder = speech(2), Decoder()
    for packet in said.packets:
        decoder.decode(packet)
    assert not any(marks.audible(decoder.decode(said.silence)) for _ in range(100))


def test_callers_say_different_things() -> None:
    assert len({tuple(speech(caller).tones) for caller in range(8)}) == 8


def test_an_encoder_gives_a_packet_for_each_20_ms() -> None:
    assert len(encode(np.zeros(OPUS_HZ // 10, np.int16))) == 5
