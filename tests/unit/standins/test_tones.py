"""The voice of tests is understood whatever carried it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.standins.tones import VOCABULARY, frequency_of, hear, known, speak
from trunkline.audio import g711
from trunkline.audio.resample import Resampler

RATES_HZ = [8000, 16_000, 24_000, 48_000]
texts = st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=6).map(" ".join)
rates_hz = st.sampled_from(RATES_HZ)
words_ms = st.sampled_from([80, 100, 200])


def ulaw(pcm: bytes) -> bytes:
    return g711.ulaw_to_pcm(g711.pcm_to_ulaw(pcm))


def alaw(pcm: bytes) -> bytes:
    return g711.alaw_to_pcm(g711.pcm_to_alaw(pcm))


@settings(deadline=None)
@given(texts, rates_hz, words_ms)
def test_what_is_spoken_is_heard(text: str, rate_hz: int, word_ms: int) -> None:
    pcm = speak(text, rate_hz, word_ms)
    assert len(pcm) == len(text.split()) * rate_hz * word_ms // 1000 * 2
    assert hear(pcm, rate_hz, word_ms) == text


@settings(deadline=None)
@given(texts, rates_hz, words_ms, st.sampled_from([ulaw, alaw]))
def test_a_telephone_line_changes_no_word(
    text: str, rate_hz: int, word_ms: int, line: Callable[[bytes], bytes]
) -> None:
    on_the_line = line(Resampler(rate_hz, 8000).push(speak(text, rate_hz, word_ms)))
    assert hear(on_the_line, 8000, word_ms) == text
    assert hear(Resampler(8000, rate_hz).push(on_the_line), rate_hz, word_ms) == text


@settings(deadline=None)
@given(texts, st.sampled_from([0.2, 0.5, 2.0, 4.0]))
def test_a_change_of_level_changes_no_word(text: str, gain: float) -> None:
    samples = np.frombuffer(speak(text, 16_000), "<i2") * gain
    assert hear(np.clip(samples, -32768, 32767).astype("<i2").tobytes(), 16_000) == text


@settings(deadline=None)
@given(texts, st.integers(0, 100), st.integers(0, 19))
def test_audio_around_it_changes_no_word(text: str, before_ms: int, into_ms: int) -> None:
    noise = np.random.default_rng(1).normal(0, 30, 16 * before_ms).astype("<i2").tobytes()
    # A cut that falls between two frames: the first milliseconds are missing.
    assert hear(noise + speak(text, 16_000)[32 * into_ms :] + noise, 16_000) == text


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize(("share", "heard"), [(0.4, ""), (0.5, ""), (0.7, "yes"), (0.8, "yes")])
def test_a_word_counts_when_most_of_it_is_there(rate_hz: int, share: float, heard: str) -> None:
    word = speak("yes", rate_hz)
    tone = rate_hz * 180 // 1000
    first, last = word[: 2 * int(tone * share)], word[2 * int(tone * (1 - share)) :]
    no = speak("no", rate_hz)
    assert hear(first + no, rate_hz) == f"{heard} no".strip()
    assert hear(no + last, rate_hz) == f"no {heard}".strip()


def test_a_word_with_a_gap_in_it_is_one_word() -> None:
    word = speak("yes", 8000)
    half = len(word) // 4 * 2
    for gap_ms in (0, 20, 60):
        assert hear(word[:half] + bytes(16 * gap_ms) + word[half:], 8000) == "yes"
    lost_a_packet = word[: 16 * 80] + word[16 * 100 :]
    assert hear(lost_a_packet, 8000) == "yes"


def test_a_word_said_twice_is_two_words() -> None:
    assert hear(speak("no no no", 8000), 8000) == "no no no"


@pytest.mark.parametrize("pcm", [b"", b"\0", bytes(3200), bytes(2)])
def test_silence_has_no_words(pcm: bytes) -> None:
    assert hear(pcm, 8000) == ""


def test_noise_and_foreign_tones_are_no_words() -> None:
    noise = np.random.default_rng(1).normal(0, 3000, 16_000).astype("<i2").tobytes()
    assert hear(noise, 16_000) == ""
    times_s = np.arange(16_000) / 16_000
    for hz in (150.0, 3900.0, (frequency_of("a") + frequency_of("acme")) / 2):
        assert hear((8000 * np.sin(2 * np.pi * hz * times_s)).astype("<i2").tobytes(), 16_000) == ""


def test_text_is_taken_without_case_and_punctuation() -> None:
    assert speak("Hello, ADA!", 8000) == speak("hello ada", 8000)
    assert known("Well, it's the Xylophone: hello.") == "well the hello"


def test_an_unknown_word_is_named() -> None:
    with pytest.raises(ValueError, match="xylophone"):
        speak("hello xylophone", 8000)


def test_the_vocabulary_leaves_room_between_its_tones() -> None:
    assert len(VOCABULARY) == len(set(VOCABULARY)) >= 100
    tones = sorted(frequency_of(word) for word in VOCABULARY)
    assert (tones[0], tones[-1]) == (300.0, 3300.0)
    assert min(np.diff(tones)) > 15
