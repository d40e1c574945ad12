"""How many requests, how much memory, how long: what transcribing ahead may take, and that it ends."""

from __future__ import annotations

import asyncio

import pytest

from tests.standins.voices import RATE_HZ, Failing, ScriptedBatch, speech
from tests.unit.providers.batched import counted, now_ms, say, with_vendor
from trunkline.errors import ProviderError
from workers.providers.base import Transcript
from workers.providers.batch import LONGEST_UNHEARD_S, BatchSpeech


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


def test_what_is_counted_is_what_the_vendor_bills() -> None:
    vendor = ScriptedBatch()

    async def script(stt: BatchSpeech) -> None:
        stt.least_billed_s = 10.0
        utterance = stt.utterance()
        await say(utterance, "one two", 1000)
        assert (await utterance.finish()).transcribed_s == 10.0

    assert with_vendor(vendor, script).transcribed_s == 10.0
    assert len(vendor.asked) == 1
