"""Whole recordings, transcribed ahead. A word lasts 200 ms, a request 700 ms, all in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.standins.virtual_time import run
from tests.standins.voices import RATE_HZ, Failing, Recording, ScriptedBatch, speech
from trunkline.errors import ProviderError
from workers.providers.base import Transcript
from workers.providers.batch import LONGEST_UNHEARD_S, Batch, BatchOptions, BatchSpeech, BatchTranscriber

FRAME_MS = 20
FRAME_BYTES = RATE_HZ * FRAME_MS // 1000 * 2
NOISE = b"\x80\x00\x80\xff"
"""Samples of +-128: noise 18 dB below the words, and above what counts as silence everywhere."""


def now_ms() -> int:
    return round(asyncio.get_running_loop().time() * 1000)


async def live(utterance: BatchTranscriber, pcm: bytes) -> None:
    """Push it as it would come, in real time."""
    for at in range(0, len(pcm), FRAME_BYTES):
        utterance.push(pcm[at : at + FRAME_BYTES])
        await asyncio.sleep(FRAME_MS / 1000)


async def say(utterance: BatchTranscriber, text: str, silence_ms: int = 0) -> None:
    """Speak, fall silent, and stay so."""
    await live(utterance, speech(text, 200))
    utterance.pause()
    await live(utterance, silence(silence_ms))


def silence(length_ms: int, noise: bytes = bytes(4)) -> bytes:
    return noise * (RATE_HZ * length_ms // 2000)


def counted(first: int, last: int) -> str:
    return " ".join(f"n{number}" for number in range(first, last + 1))


def with_vendor(
    vendor: ScriptedBatch, script: Callable[[BatchSpeech], Coroutine[Any, Any, None]], **options: Any
) -> BatchSpeech:
    """Run `script` with the vendor made a speech-to-text, then close it: nothing may be left running."""

    async def whole() -> BatchSpeech:
        stt = BatchSpeech(vendor, BatchOptions(**options))
        try:
            await script(stt)
        finally:
            await stt.close()
        assert vendor.closed
        assert vendor.running == 0
        return stt

    return run(whole())


def test_the_text_is_there_when_the_pause_was_the_end() -> None:
    vendor = ScriptedBatch()

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        await say(utterance, "is tuesday free", silence_ms=800)
        assert utterance.interim == "is tuesday free"
        before_ms = now_ms()
        transcript = await utterance.finish()
        assert transcript.text == "is tuesday free"
        assert now_ms() == before_ms, "nothing was waited for"
        assert transcript.transcribed_s == pytest.approx(0.6)

    stt = with_vendor(vendor, script)
    assert len(vendor.asked) == 1
    assert stt.transcribed_s == pytest.approx(0.6)
    assert stt.spoken_s == pytest.approx(1.4)


def test_what_is_left_of_a_request_made_ahead_is_all_that_is_waited_for() -> None:
    vendor = ScriptedBatch()

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        await say(utterance, "is tuesday free", silence_ms=480)
        before_ms = now_ms()
        assert (await utterance.finish()).text == "is tuesday free"
        assert now_ms() - before_ms == 220

    with_vendor(vendor, script)
    assert len(vendor.asked) == 1


def test_speech_after_a_pause_takes_the_guess_back() -> None:
    vendor = ScriptedBatch()

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        await say(utterance, "is tuesday", silence_ms=300)
        await say(utterance, "free or not", silence_ms=800)
        assert (await utterance.finish()).text == "is tuesday free or not"

    with_vendor(vendor, script)
    assert [asked.text for asked in vendor.asked] == ["is tuesday", "is tuesday free or not"]
    assert vendor.given_up == 1, "the first request was of no use any more"


def test_the_last_guess_is_the_interim_text_until_there_is_a_better_one() -> None:
    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        assert utterance.interim == ""
        await say(utterance, "is tuesday", silence_ms=800)
        await live(utterance, speech("free", 200))
        assert utterance.interim == "is tuesday"
        utterance.pause()
        await live(utterance, silence(800))
        assert utterance.interim == "is tuesday free"
        await utterance.finish()

    with_vendor(ScriptedBatch(), script)


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


def test_without_any_pause_all_of_it_is_sent_at_the_end() -> None:
    vendor = ScriptedBatch()

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        await live(utterance, speech("is tuesday free", 200))
        assert vendor.asked == []
        assert (await utterance.finish()).text == "is tuesday free"

    with_vendor(vendor, script)
    assert len(vendor.asked) == 1


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


def test_short_pauses_cost_nothing_where_patience_was_asked_for() -> None:
    vendor = ScriptedBatch()

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        for word in ("is", "tuesday", "free"):
            await say(utterance, word, silence_ms=60)
        await live(utterance, silence(300))
        before_ms = now_ms()
        assert (await utterance.finish()).text == "is tuesday free"
        assert now_ms() - before_ms == 700 - 280, "asked when 100 ms of silence had come, at 80 ms"

    with_vendor(vendor, script, pause_ms=100)
    assert [asked.text for asked in vendor.asked] == ["is tuesday free"]


def test_speculation_can_be_left_out() -> None:
    vendor = ScriptedBatch()

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        await say(utterance, "is tuesday free", silence_ms=800)
        assert vendor.asked == []
        assert (await utterance.finish()).text == "is tuesday free"

    with_vendor(vendor, script, speculate=False)


def test_long_speech_is_transcribed_in_segments_cut_at_pauses() -> None:
    vendor = ScriptedBatch()
    whole = counted(1, 130)

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        for first in range(1, 131, 10):  # a pause after each ten words: 2 s of speech, 300 ms of silence
            await say(utterance, counted(first, first + 9), silence_ms=300)
        assert utterance.interim.startswith(counted(1, 100))
        await live(utterance, silence(500))
        before_ms = now_ms()
        transcript = await utterance.finish()
        assert transcript.text == whole
        assert now_ms() == before_ms

    stt = with_vendor(vendor, script)
    segments = [asked for asked in vendor.asked if asked.length_ms >= 10_000]
    assert [asked.context for asked in segments] == ["", counted(1, 50)]
    assert max(asked.length_ms for asked in vendor.asked) < 13_000
    assert vendor.most_running == 1
    # A guess at each pause, of 2 to 9 s, is what being early costs. Without segments they would be of up to 30 s.
    assert stt.transcribed_s < 3.5 * stt.spoken_s


def test_speech_without_a_pause_is_cut_where_it_is_quietest() -> None:
    vendor = ScriptedBatch()

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        await live(utterance, speech(counted(1, 70), 200) + silence(240) + speech(counted(71, 120), 200))
        utterance.pause()
        assert (await utterance.finish()).text == counted(1, 120)

    with_vendor(vendor, script)
    assert [asked.text for asked in vendor.asked] == [counted(1, 70), counted(71, 120)]
    assert vendor.asked[0].length_ms == pytest.approx(14_120, abs=40)


def test_a_failed_guess_is_made_again_at_the_end() -> None:
    vendor = ScriptedBatch(failing=Failing(0))

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        await say(utterance, "is tuesday free", silence_ms=800)
        assert utterance.interim == ""
        transcript = await utterance.finish()
        assert transcript.text == "is tuesday free"
        assert transcript.transcribed_s == pytest.approx(1.2)

    with_vendor(vendor, script)
    assert len(vendor.asked) == 2


def test_a_guess_that_fails_while_it_is_waited_for_is_made_again() -> None:
    vendor = ScriptedBatch(failing=Failing(0))

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        await say(utterance, "is tuesday free", silence_ms=480)
        assert (await utterance.finish()).text == "is tuesday free"
        assert now_ms() == 600 + 700 + 700

    with_vendor(vendor, script)


def test_failed_segments_are_made_again_side_by_side() -> None:
    vendor = ScriptedBatch(failing=Failing(0, 1, 2))

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        await say(utterance, counted(1, 60), silence_ms=1000)
        await say(utterance, counted(61, 120), silence_ms=1000)
        await say(utterance, "over", silence_ms=1000)
        before_ms = now_ms()
        assert (await utterance.finish()).text == f"{counted(1, 120)} over"
        assert now_ms() - before_ms == 700

    with_vendor(vendor, script)
    assert len(vendor.asked) == 6


def test_a_failed_segment_is_made_again_with_the_next() -> None:
    vendor = ScriptedBatch(failing=Failing(0))

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        await say(utterance, counted(1, 60), silence_ms=1000)
        assert utterance.interim == ""
        await say(utterance, counted(61, 120), silence_ms=1000)
        assert utterance.interim == counted(1, 120)
        assert len(utterance._audio) < 2 * RATE_HZ * 2
        assert (await utterance.finish()).text == counted(1, 120)

    with_vendor(vendor, script)
    assert len(vendor.asked) == 3


@pytest.mark.parametrize(
    ("failing", "asked"),
    [
        (Failing(0, 1), 2),
        (Failing(0, retryable=False), 1),
        (Failing(0, retry_after_s=20), 1),
    ],
)
def test_what_cannot_succeed_is_an_error_at_once(failing: Failing, asked: int) -> None:
    vendor = ScriptedBatch(failing=failing)

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        await say(utterance, "is tuesday free", silence_ms=800)
        with pytest.raises(ProviderError, match="scripted failure"):
            await utterance.finish()

    with_vendor(vendor, script)
    assert len(vendor.asked) == asked


def test_a_request_made_at_the_end_is_made_once() -> None:
    vendor = ScriptedBatch(failing=Failing(0))

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        utterance.push(speech("is tuesday free", 200))
        with pytest.raises(ProviderError):
            await utterance.finish()

    with_vendor(vendor, script)
    assert len(vendor.asked) == 1


def test_no_more_requests_than_allowed_and_guesses_stand_back() -> None:
    vendor = ScriptedBatch()

    async def script(stt: BatchSpeech) -> None:
        utterances = [stt.utterance() for _ in range(5)]
        for number, utterance in enumerate(utterances):
            utterance.push(speech(f"caller n{number}", 200))
            utterance.pause()
            await asyncio.sleep(0)
        assert len(vendor.asked) == 2
        found = await asyncio.gather(*(utterance.finish() for utterance in utterances))
        assert [transcript.text for transcript in found] == [f"caller n{number}" for number in range(5)]
        assert now_ms() == 3 * 700

    with_vendor(vendor, script, requests=2)
    assert vendor.most_running == 2
    assert len(vendor.asked) == 5, "a guess that stood back was no request"


def test_waiting_for_room_has_an_end() -> None:
    vendor = ScriptedBatch(takes_s=30)

    async def script(stt: BatchSpeech) -> None:
        first, second = stt.utterance(), stt.utterance()
        for utterance in (first, second):
            utterance.push(speech("hello", 200))
            utterance.pause()
        with pytest.raises(ProviderError, match="took all of 10 s") as caught:
            await second.finish()
        assert caught.value.retryable
        assert now_ms() == 10_000
        first.cancel()

    stt = with_vendor(vendor, script, requests=1)
    assert stt.transcribed_s == pytest.approx(0.2), "what was never sent is not counted"


def test_cancel_at_any_moment_ends_the_requests() -> None:
    vendor = ScriptedBatch()

    async def script(stt: BatchSpeech) -> None:
        for silence_ms in (0, 20, 400, 900):
            utterance = stt.utterance()
            await say(utterance, counted(1, 55), silence_ms)
            utterance.cancel()
            utterance.cancel()
        await asyncio.sleep(0.01)
        assert vendor.running == 0
        waiting = asyncio.ensure_future(stt.utterance().finish())
        await asyncio.sleep(0)
        utterance = stt.utterance()
        utterance.push(speech("hello", 200))
        finishing = asyncio.ensure_future(utterance.finish())
        await asyncio.sleep(0.1)
        finishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await finishing
        await asyncio.sleep(0.01)
        assert vendor.running == 0
        assert await waiting == Transcript("")

    with_vendor(vendor, script)


def test_closing_ends_what_is_waited_for() -> None:
    vendor = ScriptedBatch()

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        utterance.push(speech("hello", 200))
        finishing = asyncio.ensure_future(utterance.finish())
        await asyncio.sleep(0.1)
        await stt.close()
        with pytest.raises(ProviderError, match="closed"):
            await finishing

    with_vendor(vendor, script)


def test_a_vendor_that_hangs_does_not_make_memory_grow() -> None:
    vendor = ScriptedBatch(takes_s=1000)

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        second = speech("n1 n2 n3 n4 n5", 200)
        for _ in range(2 * LONGEST_UNHEARD_S):
            utterance.push(second)
        assert len(utterance._audio) == LONGEST_UNHEARD_S * RATE_HZ * 2
        utterance.cancel()
        assert len(utterance._audio) == 0

    with_vendor(vendor, script)


def test_audio_that_is_text_is_let_go() -> None:
    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        for _ in range(20):
            await say(utterance, counted(1, 30), silence_ms=1000)
            assert len(utterance._audio) < 20 * RATE_HZ * 2
        assert (await utterance.finish()).text == " ".join([counted(1, 30)] * 20)

    with_vendor(ScriptedBatch(), script)


def test_a_recording_is_what_it_says() -> None:
    vendor: Batch = ScriptedBatch()
    assert run(vendor.transcribe(speech("one two", 200), "before")).text == " one two"
    assert isinstance(vendor, ScriptedBatch)
    assert vendor.asked == [Recording("one two", "before", 400)]


@dataclass(frozen=True)
class Breath:
    """Some words, then silence; `known`: whether a detector says so at once."""

    words: int
    silence_ms: int
    known: bool


BREATHS = st.lists(
    st.builds(Breath, st.integers(1, 25), st.integers(0, 60).map(lambda tenths: tenths * 20), st.booleans()),
    min_size=1,
    max_size=8,
)


@given(
    BREATHS,
    st.floats(0.01, 5),
    st.sampled_from([0, 100, 300]),
    st.integers(1, 4),
    st.one_of(st.none(), st.integers(0, 5)),
)
@settings(max_examples=40, deadline=None)
def test_whatever_is_said_comes_out_once_and_in_order(
    breaths: list[Breath], takes_s: float, pause_ms: int, requests: int, fails: int | None
) -> None:
    vendor = ScriptedBatch(takes_s, Failing(*([] if fails is None else [fails])))
    said: list[str] = []

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        for number, breath in enumerate(breaths):
            for place in range(breath.words):
                said.append(f"b{number}w{place}")
                await live(utterance, speech(said[-1], 160) + silence(40))
            if breath.known:
                utterance.pause()
            await live(utterance, silence(breath.silence_ms))
        try:
            text = (await utterance.finish()).text
        except ProviderError:
            assert fails is not None, "nothing failed"
            return
        assert text.split() == said

    stt = with_vendor(vendor, script, pause_ms=pause_ms, requests=requests, segment_s=2, queue_s=60)
    assert vendor.most_running <= requests
    assert stt.transcribed_s == pytest.approx(sum(asked.length_ms for asked in vendor.asked) / 1000, abs=0.05)
