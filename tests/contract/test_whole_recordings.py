"""Our speech-to-text of vendors that take whole recordings, each against its stand-in: what all of them must do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from tests.contract import groq_caller, openai_caller
from tests.contract.recorded import TEXT, begun, heard
from tests.standins import groq, openai, tones
from tests.waiting import until
from trunkline.errors import ProviderError
from workers.providers.batch import BatchSpeech

Vendor = groq.Groq | openai.Speech
Hearing = Callable[..., AbstractAsyncContextManager[BatchSpeech]]
"""Our provider on a stand-in, with options of ours."""


@pytest.fixture(params=["groq", "openai"])
async def vendor(request: pytest.FixtureRequest) -> AsyncIterator[Vendor]:
    async with groq.serve() if request.param == "groq" else openai.serve() as standin:
        yield standin


@pytest.fixture
def hearing(vendor: Vendor) -> Hearing:
    return groq_caller.hearing if isinstance(vendor, groq.Groq) else openai_caller.hearing


async def test_the_text_is_asked_for_in_the_pause(vendor: Vendor, hearing: Hearing) -> None:
    async with hearing(vendor, language=None) as stt:
        utterance = begun(stt)
        utterance.pause()
        await until(lambda: utterance.interim)
        assert (await utterance.finish()).text == TEXT
    [asked] = vendor.transcriptions
    assert (asked.prompt, asked.language) == (None, None)


async def test_a_segment_is_told_what_came_before_it(vendor: Vendor, hearing: Hearing) -> None:
    async with hearing(vendor, prompt="A clinic.", segment_s=2, pause_ms=0) as stt:
        utterance = begun(stt, f"{TEXT} {TEXT}")
        utterance.pause()
        await until(lambda: utterance.interim)
        utterance.push(tones.speak("yes please", stt.rate_hz))
        assert (await utterance.finish()).text == f"{TEXT} {TEXT} yes please"
    assert [asked.prompt for asked in vendor.transcriptions] == ["A clinic.", f"A clinic. {TEXT} {TEXT}"]


async def test_giving_up_an_utterance_hangs_up(vendor: Vendor, hearing: Hearing) -> None:
    vendor.fault = "silent"
    async with hearing(vendor) as stt:
        utterance = begun(stt)
        utterance.pause()
        await until(lambda: vendor.transcriptions)
        utterance.cancel()
        await asyncio.wait_for(vendor.hung_up.wait(), 10)
        vendor.fault = None
        assert await heard(stt) == TEXT


async def test_a_slow_beginning_within_the_deadline_is_no_fault(vendor: Vendor, hearing: Hearing) -> None:
    vendor.latency_s = 0.4
    async with hearing(vendor, first_s=30) as stt:
        assert await heard(stt) == TEXT


@pytest.mark.parametrize(
    ("nowhere", "hearing"),
    [
        (groq.Groq(url="http://127.0.0.1:9"), groq_caller.hearing),
        (openai.Speech(url="http://127.0.0.1:9/v1"), openai_caller.hearing),
    ],
    ids=["groq", "openai"],
)
async def test_nobody_listens(nowhere: Vendor, hearing: Hearing) -> None:
    async with hearing(nowhere) as stt:
        with pytest.raises(ProviderError, match="APIConnectionError"):
            await heard(stt)
