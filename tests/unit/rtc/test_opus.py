from __future__ import annotations

import ctypes
import ctypes.util
import gc
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rtc.speech import likeness, packets_of, tone
from trunkline.audio.frame import rms, samples_of
from trunkline.errors import AudioError
from trunkline.rtc import opus
from trunkline.rtc.opus import RATES_HZ, Decoder, Encoder, packet_ticks


@pytest.fixture
def no_library_yet() -> Iterator[None]:
    opus.library.cache_clear()
    yield
    opus.library.cache_clear()


@pytest.mark.parametrize("rate_hz", sorted(RATES_HZ))
def test_what_is_encoded_is_decoded(rate_hz: int) -> None:
    pcm = tone(1000, rate_hz)
    decoder = Decoder(rate_hz)
    heard = b"".join(map(decoder.decode, packets_of(pcm, rate_hz)))
    assert len(heard) == len(pcm)
    assert likeness(heard, pcm, rate_hz) > 0.98


@pytest.mark.parametrize("rate_hz", [8000, 24000])
def test_a_stereo_packet_of_another_encoder_is_heard_in_mono(rate_hz: int) -> None:
    """FFmpeg's, as aiortc sends: 48 kHz, two channels, 96 kb/s."""
    encoder = av.CodecContext.create("libopus", "w")
    encoder.bit_rate, encoder.format, encoder.layout, encoder.sample_rate = 96000, "s16", "stereo", 48000
    said = np.repeat(samples_of(tone(1000, 48000)), 2)
    payloads = []
    for start in range(0, said.size, 1920):
        frame = av.AudioFrame.from_ndarray(said[start : start + 1920].reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate = 48000
        frame.pts = start // 2
        payloads += [bytes(packet) for packet in encoder.encode(frame)]
    assert payloads
    assert all(payload[0] & 4 for payload in payloads), "the bit of stereo (RFC 6716, 3.1)"
    decoder = Decoder(rate_hz)
    heard = b"".join(map(decoder.decode, payloads))
    assert len(heard) == sum(map(packet_ticks, payloads)) * rate_hz // 48000 * 2
    assert likeness(heard, tone(1000, rate_hz), rate_hz, up_to_ms=40) > 0.98


@pytest.mark.parametrize(
    ("first", "second", "ms"),
    [
        (0 << 3, 0, 10),  # SILK, narrow band
        (3 << 3, 0, 60),
        (13 << 3, 0, 20),  # hybrid
        (16 << 3, 0, 2.5),  # CELT
        (31 << 3, 0, 20),
        (31 << 3 | 1, 0, 40),
        (31 << 3 | 2, 0, 40),
        (31 << 3 | 3, 6, 120),
        (3 << 3 | 3, 2, 120),
        (16 << 3 | 3, 48, 120),
    ],
)
def test_a_packet_says_how_long_it_is(first: int, second: int, ms: float) -> None:
    assert packet_ticks(bytes((first, second, 0))) == ms * 48


@pytest.mark.parametrize("payload", [b"", b"\x03", b"\x03\x00", bytes((3 << 3 | 3, 3)), bytes((31 << 3 | 3, 7))])
def test_a_packet_that_says_nothing_sensible_of_its_length_is_refused(payload: bytes) -> None:
    with pytest.raises(AudioError, match="Opus packet"):
        packet_ticks(payload)


@given(payload=st.binary(min_size=1, max_size=200), rate_hz=st.sampled_from(sorted(RATES_HZ)))
def test_whatever_comes_is_as_long_as_it_says_or_an_error(payload: bytes, rate_hz: int) -> None:
    decoder = Decoder(rate_hz)
    try:
        pcm = decoder.decode(payload)
    except AudioError:
        return
    assert len(pcm) == packet_ticks(payload) * rate_hz // 48000 * 2


def test_what_is_malformed_is_said_and_harms_nothing() -> None:
    decoder = Decoder(24000)
    with pytest.raises(AudioError, match="corrupted stream"):
        decoder.decode(b"\xff\x41")
    with pytest.raises(AudioError, match="at least one byte"):
        decoder.decode(b"")
    pcm = tone(200, 24000)
    heard = b"".join(map(decoder.decode, packets_of(pcm, 24000)))
    assert likeness(heard, pcm, 24000) > 0.98


def test_a_lost_packet_is_concealed() -> None:
    payloads = packets_of(tone(400, 24000), 24000)
    decoder = Decoder(24000)
    before = b"".join(map(decoder.decode, payloads[:10]))
    concealed = decoder.conceal(20)
    assert len(concealed) == 960
    assert rms(concealed) > rms(before) / 2, "the tone goes on"
    assert len(decoder.conceal(2.5)) == 120
    assert rms(b"".join(decoder.conceal(100) for _ in range(3))[-960:]) < rms(before) / 4, "for a while only"


def test_fec_brings_a_lost_packet_back() -> None:
    """A tone that changes its pitch in the packet that is lost: concealment cannot know."""
    rate_hz = 16000
    said = tone(200, rate_hz, 300) + tone(20, rate_hz, 700) + tone(200, rate_hz, 300)
    payloads = packets_of(said, rate_hz, loss_percent=20)

    def heard(fec: bool) -> bytes:
        decoder = Decoder(rate_hz)
        parts = [decoder.decode(payload) for payload in payloads[:10]]
        parts.append(decoder.decode_fec(payloads[11], 20) if fec else decoder.conceal(20))
        return b"".join(parts + [decoder.decode(payload) for payload in payloads[11:]])[10 * 640 :]

    lost = said[10 * 640 : 11 * 640]
    assert likeness(heard(fec=True), lost, rate_hz) > likeness(heard(fec=False), lost, rate_hz) + 0.2


def test_fec_of_a_packet_that_has_none_is_concealment() -> None:
    payloads = packets_of(tone(400, 24000), 24000)
    assert len(Decoder(24000).decode_fec(payloads[3], 40)) == 1920


@pytest.mark.parametrize("ms", [0, -20, 1, 2.6, 122.5])
def test_only_what_libopus_can_conceal_is_asked_of_it(ms: float) -> None:
    with pytest.raises(AudioError, match=r"multiples of 2\.5 ms"):
        Decoder(24000).conceal(ms)


def test_only_what_libopus_can_encode_is_asked_of_it() -> None:
    with pytest.raises(AudioError, match="960 bytes"):
        Encoder(24000).encode(bytes(640))
    with pytest.raises(AudioError, match="22050"):
        Encoder(22050)
    with pytest.raises(AudioError, match="44100"):
        Decoder(44100)
    with pytest.raises(AudioError, match="invalid argument"):
        Encoder(24000).expect_loss(101)


def test_silence_costs_next_to_nothing() -> None:
    assert len(packets_of(bytes(48000), 24000)[-1]) <= 8


class _Counted:
    """libopus, with its births and deaths counted."""

    def __init__(self, real: ctypes.CDLL) -> None:
        self._real = real
        self.alive = 0

    def __getattr__(self, name: str) -> object:
        function = getattr(self._real, name)
        change = 1 if name.endswith("_create") else -1 if name.endswith("_destroy") else 0
        if not change:
            return function

        def counted(*arguments: object) -> object:
            self.alive += change
            return function(*arguments)

        return counted


def test_codecs_are_freed_when_nobody_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = _Counted(opus.library())
    monkeypatch.setattr(opus, "library", lambda: counted)
    codecs = [Encoder(24000), Decoder(24000), Decoder(8000)]
    assert counted.alive == 3
    del codecs
    gc.collect()
    assert counted.alive == 0


def test_the_library_is_pyavs() -> None:
    assert opus.version().startswith("libopus 1.")
    assert Path(opus.library()._name).is_relative_to(Path(av.__file__).parent.parent)


def test_without_pyav_the_systems_library_serves(no_library_yet: None, monkeypatch: pytest.MonkeyPatch) -> None:
    carried = opus.library()._name
    opus.library.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: carried if name == "opus" else None)
    assert opus.version().startswith("libopus")


def test_without_any_library_it_is_said_where_one_was_looked_for(
    no_library_yet: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "libopus.so.0"
    broken.write_bytes(b"no library")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: str(broken))
    with pytest.raises(AudioError, match=r"av\.libs/libopus.*libopus0.*libopus\.so\.0"):
        opus.library()
