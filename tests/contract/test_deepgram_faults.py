"""What our Deepgram provider makes of what goes wrong: refusals, silence, garbage, hang-ups, and of being cancelled."""

from __future__ import annotations

import asyncio

import pytest

from tests.contract.deepgram_caller import PATIENCE_S, begun, both, finish, provider, push, speech
from tests.standins.deepgram import Close, Deepgram, Drop, Garbage, Mute, NeverAnswer, Refuse
from tests.standins.deepgram.faults import SessionFault
from tests.waiting import until
from trunkline.errors import ProviderError
from workers.providers.deepgram.utterance import DeepgramUtterance


async def speak_on(utterance: DeepgramUtterance) -> None:
    """Until it is noticed that this is of no use."""
    async with asyncio.timeout(PATIENCE_S):
        while not utterance._over:
            push(utterance, speech("hello"))
            await asyncio.sleep(0.02)


@both
@pytest.mark.parametrize(
    ("status", "retryable", "wait_s"),
    [(401, False, None), (400, False, None), (429, True, 7), (500, True, None), (503, True, None)],
)
async def test_refusals(model: str, status: int, retryable: bool, wait_s: float | None) -> None:
    async with Deepgram() as standin, provider(standin, model=model) as stt:
        standin.inject(Refuse(status, retry_after_s=7))
        utterance = stt.utterance()
        push(utterance, speech("hello"))
        with pytest.raises(ProviderError, match=f"deepgram: HTTP {status}: .*[.]") as caught:
            await finish(utterance)
        assert (caught.value.retryable, caught.value.retry_after_s) == (retryable, wait_s)
        assert standin.refused == [status], "and it was not asked again"


async def test_a_wrong_key() -> None:
    async with Deepgram(api_key="another") as standin, provider(standin) as stt:
        with pytest.raises(ProviderError, match="Invalid credentials"):
            await finish(begun(stt))


async def test_nobody_answers() -> None:
    async with Deepgram() as standin, provider(standin, connect_s=0.2) as stt:
        standin.inject(NeverAnswer())
        with pytest.raises(ProviderError, match=r"no connection within 0\.2 s") as caught:
            await finish(begun(stt))
        assert caught.value.retryable
    async with provider(standin) as stt:
        with pytest.raises(ProviderError, match="cannot be reached"):
            await finish(begun(stt))


@both
async def test_it_falls_mute_in_the_middle(model: str) -> None:
    async with Deepgram() as standin, provider(standin, model=model, result_s=0.3) as stt:
        standin.inject(Mute(after_ms=500))
        utterance = stt.utterance()
        await speak_on(utterance)
        with pytest.raises(ProviderError, match=r"silent for 0\.3 s") as caught:
            await finish(utterance)
        assert caught.value.retryable


@both
async def test_a_caller_who_sends_nothing_is_no_fault_of_deepgrams(model: str) -> None:
    async with Deepgram() as standin, provider(standin, model=model, result_s=0.1) as stt:
        utterance = begun(stt, "hello my name")
        await until(lambda: utterance.interim)
        push(utterance, speech("is"))
        await asyncio.sleep(0.3)
        push(utterance, speech("ada"))
        assert await finish(utterance) == "hello my name is ada"


@both
async def test_it_is_mute_at_the_end(model: str) -> None:
    async with Deepgram() as standin, provider(standin, model=model, final_s=0.3) as stt:
        standin.inject(Mute(after_ms=1000))
        utterance = stt.utterance()
        push(utterance, speech("hello my name is ada"))
        with pytest.raises(ProviderError, match=r"no final text within 0\.3 s"):
            await finish(utterance)


@both
@pytest.mark.parametrize(
    ("fault", "text", "retryable"),
    [
        (Drop(500), "without a close frame", True),
        (Close(500, 1011, "NET-0000"), r"1011\): NET-0000", True),
        (Close(500, 1008, "DATA-0000"), r"1008\): DATA-0000", False),
        (Close(500, 1000), "1000", True),
        (Garbage(500), "no JSON", True),
        (Garbage(500, b"\x80\x81\x82"), "no JSON", True),
        (Garbage(500, "[" * 100_000), "no JSON", True),
        (Garbage(500, "[1, 2]"), "no object", True),
        (Garbage(500, '{"type": "Results", "channel": {"alternatives": []}}'), "cannot be read|silent", True),
        (Garbage(500, '{"type": "TurnInfo", "turn_index": "many"}'), "cannot be read|silent", True),
        (Garbage(500, '{"type": "TurnInfo", "transcript": "", "turn_index": 1e999}'), "cannot be read|silent", True),
        (Garbage(500, '{"type": "Error", "code": "INVALID_AUDIO", "variant": "SchemaError"}'), "INVALID|Schema", False),
    ],
)
async def test_it_fails_in_the_middle(model: str, fault: SessionFault, text: str, retryable: bool) -> None:
    patience_s = 0.5 if "silent" in text else PATIENCE_S
    async with Deepgram() as standin, provider(standin, model=model, result_s=patience_s) as stt:
        standin.inject(fault)
        utterance = stt.utterance()
        await speak_on(utterance)
        with pytest.raises(ProviderError, match=text) as caught:
            await finish(utterance)
        assert caught.value.retryable is retryable


@both
async def test_messages_that_nobody_knows_do_no_harm(model: str) -> None:
    async with Deepgram() as standin, provider(standin, model=model) as stt:
        utterance = stt.utterance()
        push(utterance, speech("hello"))
        await until(lambda: utterance.interim or standin.streams)
        standin.streams[0].fault = Garbage(0, '{"type": "Daydream", "of": [{"sheep": 1e999}]}')
        push(utterance, speech("my"))
        await until(lambda: any("Daydream" in str(sent) for sent in standin.streams[0].sent))
        standin.streams[0].fault = None
        push(utterance, speech("name"))
        assert await finish(utterance) == "hello my name"


@both
async def test_cancel_at_any_moment(model: str) -> None:
    async with Deepgram(answer_ms=50) as standin, provider(standin, model=model) as stt:
        utterance = stt.utterance()
        utterance.cancel()
        utterance.cancel()
        utterance.push(speech("hello"))
        utterance.pause()
        utterance = begun(stt)
        await standin.wait_for(lambda it: it.streams and it.streams[-1].chunks)
        utterance.cancel()
        await standin.wait_for(lambda it: it.streams[-1].closed)
        for after_s in (0, 0.01, 0.04):
            finishing = asyncio.ensure_future(begun(stt).finish())
            await asyncio.sleep(after_s)
            finishing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await finishing
        await standin.wait_for(lambda it: all(stream.closed for stream in it.streams))
        utterance = begun(stt)
        assert await finish(utterance) == "hello"
        utterance.cancel()


async def test_closing_tells_those_who_wait() -> None:
    async with Deepgram() as standin, provider(standin) as stt:
        standin.inject(Mute())
        finishing = asyncio.ensure_future(finish(begun(stt)))
        await standin.wait_for(lambda it: it.streams and it.streams[0].chunks)
        await stt.close()
        with pytest.raises(ProviderError, match="given up"):
            await finishing
