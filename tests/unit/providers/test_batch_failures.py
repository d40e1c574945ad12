"""Requests that fail: which are made again, when, and when there is no use in it."""

from __future__ import annotations

import pytest

from tests.standins.voices import RATE_HZ, Failing, ScriptedBatch
from tests.unit.providers.batched import counted, now_ms, say, with_vendor
from trunkline.errors import ProviderError
from workers.providers.batch import BatchSpeech


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
