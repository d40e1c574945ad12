"""Our Deepgram provider against the stand-in, which the official SDK holds to the protocol (test_deepgram_standin)."""

from __future__ import annotations

import asyncio

import pytest

from tests.contract.deepgram_caller import FLUX, NOVA, begun, both, finish, provider, push, silence, speech
from tests.standins import tones
from tests.standins.deepgram import Deepgram, Drop, Mute, Refuse, Stream, nova
from tests.waiting import until
from workers.cascade.hearing import Utterance
from workers.providers.base import SpeechToText
from workers.providers.deepgram import connection

# --- what is said


@both
async def test_a_phone_call(model: str) -> None:
    """As the cascade hears one: resampled, and told of every pause."""
    async with Deepgram() as standin, provider(standin, model=model) as made:
        stt: SpeechToText = made
        utterance = Utterance(stt, 8000, first_seq=0, start_ms=0)
        pcm = tones.speak("hello my name is ada", 8000) + bytes(480 * 16)
        for at in range(0, len(pcm), 320):
            utterance.push(pcm[at : at + 320])
            if at == 16_000:
                utterance.pause()
        assert tones.words_of((await utterance.finish()).text) == "hello my name is ada".split()


@both
@pytest.mark.parametrize("rate_hz", [8000, 24_000])
async def test_an_utterance(model: str, rate_hz: int) -> None:
    async with Deepgram(api_key="key") as standin, provider(standin, model=model, rate_hz=rate_hz) as stt:
        utterance = stt.utterance()
        push(utterance, tones.speak("hello my name is ada", rate_hz))
        transcript = await utterance.finish()
        await standin.wait_for(lambda it: it.streams[0].closed)
        assert (stt.rate_hz, model in stt.description) == (rate_hz, True)
    assert tones.words_of(transcript.text) == "hello my name is ada".split()
    assert transcript.confidence == pytest.approx(0.965, abs=0.016)
    assert len(standin.streams[0].audio) == rate_hz * 2, "all of it, once"


async def test_what_is_asked_of_nova() -> None:
    options = {"language": "multi", "keyterms": ["Acme", "Ada"], "smart_format": True, "mip_opt_out": True}
    async with Deepgram() as standin, provider(standin, **options) as stt:
        assert await finish(stt.utterance()) == ""
        await standin.wait_for(lambda it: it.streams)
        assert standin.streams[0].query == {
            "model": ["nova-3"],
            "encoding": ["linear16"],
            "sample_rate": ["16000"],
            "channels": ["1"],
            "interim_results": ["true"],
            "endpointing": ["false"],
            "punctuate": ["true"],
            "smart_format": ["true"],
            "mip_opt_out": ["true"],
            "language": ["multi"],
            "keyterm": ["Acme", "Ada"],
        }


async def test_what_is_asked_of_flux() -> None:
    options = {"model": "flux-general-multi", "language_hints": ["de", "en"], "eager_eot_threshold": 0.5}
    async with Deepgram() as standin, provider(standin, **options) as stt:
        assert await finish(stt.utterance()) == ""
        await standin.wait_for(lambda it: it.streams)
        assert standin.streams[0].query == {
            "model": ["flux-general-multi"],
            "encoding": ["linear16"],
            "sample_rate": ["16000"],
            "eot_threshold": ["0.7"],
            "eager_eot_threshold": ["0.5"],
            "eot_timeout_ms": ["5000"],
            "language_hint": ["de", "en"],
        }


@both
async def test_text_comes_while_it_is_said(model: str) -> None:
    async with Deepgram() as standin, provider(standin, model=model) as stt:
        utterance = stt.utterance()
        assert utterance.interim == ""
        push(utterance, speech("hello my name"))
        await until(lambda: "hello my" in utterance.interim.lower())
        push(utterance, speech("is ada"))
        assert await finish(utterance) == "hello my name is ada"
        assert utterance.interim


@both
async def test_silence_and_nothing_have_no_text(model: str) -> None:
    async with Deepgram() as standin, provider(standin, model=model) as stt:
        for pcm in (b"", silence(30), silence(1000)):
            utterance = stt.utterance()
            push(utterance, pcm)
            transcript = await utterance.finish()
            assert (transcript.text, transcript.confidence) == ("", None)


@both
async def test_several_at_once(model: str) -> None:
    said = ["hello my name is ada", "goodbye", "what is on tuesday", "stop"]
    async with Deepgram(answer_ms=20) as standin, provider(standin, model=model, ready=2) as stt:
        utterances = [stt.utterance() for _ in said]
        for utterance, text in zip(utterances, said, strict=True):
            push(utterance, speech(text))
        assert await asyncio.gather(*map(finish, utterances)) == said


# --- pauses


async def test_nova_has_the_final_text_ready_after_a_pause() -> None:
    async with Deepgram() as standin, provider(standin) as stt:
        utterance = stt.utterance()
        push(utterance, speech("hello my name is ada"))
        utterance.pause()
        push(utterance, silence(160))
        await until(lambda: utterance.interim.endswith("."))
        push(utterance, silence(320))
        standin.streams[0].fault = Mute()
        assert await finish(utterance) == "hello my name is ada"
        assert standin.streams[0].kinds.count("Finalize") == 1


@both
async def test_who_speaks_on_is_heard_to_the_end(model: str) -> None:
    async with Deepgram(answer_ms=30) as standin, provider(standin, model=model) as stt:
        utterance = stt.utterance()
        push(utterance, speech("hello"))
        utterance.pause()
        push(utterance, silence(200))
        await until(lambda: utterance.interim)
        push(utterance, speech("my name is ada"))
        assert await finish(utterance) == "hello my name is ada"


@both
async def test_pauses_change_nothing(model: str) -> None:
    async with Deepgram() as standin, provider(standin, model=model) as stt:
        utterance = stt.utterance()
        for word in ("hello", "my", "name"):
            push(utterance, speech(word))
            utterance.pause()
            utterance.pause()
        push(utterance, silence(1000))
        assert await finish(utterance) == "hello my name"


async def test_nova_need_not_answer_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nova, "NOTICEABLE_MS", 60_000)
    async with Deepgram() as standin, provider(standin) as stt:
        utterance = stt.utterance()
        push(utterance, speech("hello my name"))
        utterance.pause()
        push(utterance, silence(160))
        assert await finish(utterance) == "hello my name"
        assert standin.streams[0].kinds == ["Finalize", "CloseStream"]


async def test_nova_is_not_asked_inside_a_word() -> None:
    """A detector of speech that is in doubt for a moment."""
    name = speech("name")
    async with Deepgram() as standin, provider(standin) as stt:
        utterance = stt.utterance()
        push(utterance, speech("hello my") + name[: len(name) // 2])
        utterance.pause()
        push(utterance, name[len(name) // 2 :])
        assert await finish(utterance) == "hello my name"
        assert standin.streams[0].kinds == ["CloseStream"]


# --- what Flux believes


async def test_flux_tells_the_end_of_a_turn() -> None:
    async with Deepgram() as standin, provider(standin, model=FLUX) as stt:
        utterance = stt.utterance()
        push(utterance, speech("hello my name"))
        utterance.pause()
        await until(lambda: utterance.interim)
        assert not utterance.ended
        push(utterance, silence(480))
        await until(lambda: utterance.ended)
        standin.streams[0].fault = Mute()
        assert await finish(utterance) == "hello my name"


async def test_who_goes_on_after_the_end_of_a_turn_takes_it_back() -> None:
    async with Deepgram() as standin, provider(standin, model=FLUX) as stt:
        utterance = stt.utterance()
        push(utterance, speech("hello my name", 480))
        await until(lambda: utterance.ended)
        push(utterance, speech("is ada", 80))
        await until(lambda: not utterance.ended)
        assert await finish(utterance) == "hello my name is ada"


async def test_an_announced_end_is_enough() -> None:
    options = {"model": FLUX, "eager_eot_threshold": 0.4, "eot_threshold": 1.0}
    async with Deepgram() as standin, provider(standin, **options) as stt:
        utterance = stt.utterance()
        push(utterance, speech("hello my name"))
        utterance.pause()
        push(utterance, silence(480))
        await until(lambda: utterance._settled)
        standin.streams[0].fault = Mute()
        assert await finish(utterance) == "hello my name"
        assert not utterance.ended, "it was only announced"


async def test_flux_may_hang_up_without_a_close_frame() -> None:
    async with Deepgram(close_frame=False) as standin, provider(standin, model=FLUX) as stt:
        utterance = stt.utterance()
        push(utterance, speech("hello my name is ada"))
        assert await finish(utterance) == "hello my name is ada"


# --- connections


async def in_reserve(standin: Deepgram) -> Stream:
    """The connection that waits, when the first utterance is over and its own is closed."""
    await standin.wait_for(
        lambda it: [stream.closed is None for stream in it.streams].count(True) == 1 < len(it.streams)
    )
    return next(stream for stream in standin.streams if stream.closed is None)


@both
async def test_the_next_utterance_has_its_connection_already(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "KEEP_ALIVE_S", 0.02)
    async with Deepgram() as standin, provider(standin, model=model, ready=1) as stt:
        assert await finish(stt.utterance()) == ""
        waiting = await in_reserve(standin)
        if model == NOVA:
            await standin.wait_for(lambda _: waiting.kinds.count("KeepAlive") >= 3)
        assert await finish(begun(stt)) == "hello"
        assert bytes(waiting.audio) == speech("hello")
        await standin.wait_for(lambda it: len(it.streams) == 3)  # the next one waits


async def test_a_reserve_that_is_refused_is_not_asked_for_again() -> None:
    async with Deepgram() as standin, provider(standin, ready=1) as stt:
        assert await finish(stt.utterance()) == ""
        await in_reserve(standin)
        standin.inject(Refuse(429))
        assert await finish(begun(stt)) == "hello"
        await standin.wait_for(lambda it: it.refused == [429])
        await until(lambda: stt._no_reserve_until_s)
        assert await finish(begun(stt)) == "hello"
        await standin.wait_for(lambda it: all(stream.closed for stream in it.streams))
        assert len(standin.streams) == 3


async def test_a_connection_that_died_while_it_waited_is_replaced() -> None:
    async with Deepgram() as standin, provider(standin, ready=1) as stt:
        assert await finish(stt.utterance()) == ""
        waiting = await in_reserve(standin)
        waiting.fault = Drop()
        utterance = stt.utterance()
        push(utterance, speech("hello my"))
        await standin.wait_for(lambda _: waiting.closed)
        push(utterance, speech("name"))
        assert await finish(utterance) == "hello my name"


async def test_a_connection_that_was_hung_up_on_is_not_used() -> None:
    async with Deepgram() as standin, provider(standin, ready=1) as stt:
        assert await finish(stt.utterance()) == ""
        waiting = await in_reserve(standin)
        await until(lambda: len(stt._ready) == 1)
        await stt._ready[0].close()
        utterance = stt.utterance()
        push(utterance, speech("hello"))
        assert await finish(utterance) == "hello"
        assert waiting.audio == b""


async def test_nobody_speaks_any_more() -> None:
    async with Deepgram() as standin, provider(standin, ready=2, ready_s=0.05) as stt:
        assert await finish(stt.utterance()) == ""
        await standin.wait_for(lambda it: len(it.streams) == 3 and all(stream.closed for stream in it.streams))
