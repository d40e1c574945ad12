"""What counts as speech in a pause, to who transcribes ahead: soft speech, clicks, breaths, noise."""

from __future__ import annotations

import pytest

from tests.standins.virtual_time import run
from tests.standins.voices import Recording, ScriptedBatch, speech
from tests.unit.providers.batched import NOISE, live, now_ms, say, silence, with_vendor
from workers.providers.base import Transcript
from workers.providers.batch import Batch, BatchSpeech


@pytest.mark.parametrize("softly", [b"\x10\x00\x10\x00", NOISE])
def test_speech_too_soft_to_be_noticed_counts_when_a_second_pause_says_so(softly: bytes) -> None:
    vendor = ScriptedBatch(takes_s=0.1)

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        await live(utterance, silence(300, softly))
        await say(utterance, "is tuesday free", silence_ms=200)
        await live(utterance, silence(200, softly))
        utterance.pause()
        await utterance.finish()

    with_vendor(vendor, script)
    assert [asked.length_ms for asked in vendor.asked] == [900, 1300]


def test_noise_is_silence() -> None:
    vendor = ScriptedBatch()

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        await live(utterance, silence(300, NOISE))
        await live(utterance, speech("is tuesday free", 200))
        utterance.pause()
        await live(utterance, silence(800, NOISE))
        before_ms = now_ms()
        assert (await utterance.finish()).text == "is tuesday free"
        assert now_ms() == before_ms

    with_vendor(vendor, script)
    assert len(vendor.asked) == 1


SLAM = speech("slam", 20)
"""A sound as loud as a word."""


@pytest.mark.parametrize("clicks", [1, 2])
def test_a_click_in_a_pause_is_no_speech(clicks: int) -> None:
    vendor = ScriptedBatch()

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        await say(utterance, "is tuesday free", silence_ms=200)
        await live(utterance, SLAM * clicks + silence(600))
        before_ms = now_ms()
        assert (await utterance.finish()).text == "is tuesday free"
        assert now_ms() == before_ms

    with_vendor(vendor, script)
    assert len(vendor.asked) == 1


def test_a_sound_soon_after_the_pause_is_the_end_of_the_last_word() -> None:
    vendor = ScriptedBatch()

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        await say(utterance, "is tuesday free", silence_ms=60)
        await live(utterance, SLAM + silence(860))
        before_ms = now_ms()
        await utterance.finish()
        assert now_ms() == before_ms

    with_vendor(vendor, script)
    assert [asked.length_ms for asked in vendor.asked] == [600, 780], "with it, and 100 ms after it"


def test_after_a_noise_that_nobody_calls_speech_it_is_guessed_again() -> None:
    vendor = ScriptedBatch()

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        await say(utterance, "is tuesday free", silence_ms=300)
        await live(utterance, SLAM * 10 + silence(900))
        before_ms = now_ms()
        await utterance.finish()
        assert now_ms() == before_ms

    with_vendor(vendor, script)
    assert [asked.length_ms for asked in vendor.asked] == [600, 1200]


@pytest.mark.parametrize("pcm", [b"", silence(2000), silence(2000, b"\x10\x00\xf0\xff")])
def test_silence_is_not_sent(pcm: bytes) -> None:
    vendor = ScriptedBatch()

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        await live(utterance, pcm)
        utterance.pause()
        assert await utterance.finish() == Transcript("")

    assert with_vendor(vendor, script).transcribed_s == 0
    assert vendor.asked == []


def test_a_recording_is_what_it_says() -> None:
    vendor: Batch = ScriptedBatch()
    assert run(vendor.transcribe(speech("one two", 200), "before")).text == " one two"
    assert isinstance(vendor, ScriptedBatch)
    assert vendor.asked == [Recording("one two", "before", 400)]
