"""Whole recordings, transcribed ahead. A word lasts 200 ms, a request 700 ms, all in virtual time."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.standins.voices import Failing, ScriptedBatch, speech
from tests.unit.providers.batched import counted, live, now_ms, say, silence, with_vendor
from trunkline.errors import ProviderError
from workers.providers.batch import BatchSpeech


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


def test_without_any_pause_all_of_it_is_sent_at_the_end() -> None:
    vendor = ScriptedBatch()

    async def script(stt: BatchSpeech) -> None:
        utterance = stt.utterance()
        await live(utterance, speech("is tuesday free", 200))
        assert vendor.asked == []
        assert (await utterance.finish()).text == "is tuesday free"

    with_vendor(vendor, script)
    assert len(vendor.asked) == 1


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
