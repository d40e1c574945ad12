"""A chain of speech-to-text, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tests.standins.troubled import BROKEN, LOCKED_OUT, MUTE, NONE, REFUSED, Trouble, TroubledStt, too_many
from tests.standins.virtual_time import run
from tests.standins.voices import RATE_HZ, ScriptedBatch, speech
from tests.unit.failover.linked import linked
from trunkline.audio.frame import bytes_in
from trunkline.errors import ProviderError, ProvidersExhausted
from workers.failover.chain import Link
from workers.failover.speech_to_text import LONGEST_S, SpeechToTextChain
from workers.providers.base import SpeechToText, Transcriber
from workers.providers.batch import BatchOptions, BatchSpeech

QUESTION = "is there a table for two"
SILENCE = bytes(bytes_in(500, RATE_HZ))
FRAME = bytes_in(20, RATE_HZ)


def say(transcriber: Transcriber, text: str = QUESTION) -> None:
    pcm = speech(text, 200)
    for at in range(0, len(pcm), FRAME):
        transcriber.push(pcm[at : at + FRAME])


async def wait_s(links: Sequence[Link[SpeechToText]]) -> float:
    """How long after the end of an utterance its text is there (s)."""
    transcriber = SpeechToTextChain(links).utterance()
    say(transcriber)
    transcriber.pause()
    transcriber.push(SILENCE)
    begun_s = asyncio.get_running_loop().time()
    assert (await transcriber.finish()).text == QUESTION
    return asyncio.get_running_loop().time() - begun_s


def nothing_is_open(*vendors: TroubledStt) -> bool:
    return all(vendor.open == 0 and vendor.troubles.open == 0 for vendor in vendors)


def test_where_nothing_is_wrong_nobody_else_hears_it() -> None:
    first, second = TroubledStt(), TroubledStt()
    assert run(wait_s(linked(first, second))) == pytest.approx(0.2)
    assert (second.troubles.requests, second.pushed_ms) == (0, 0)


@pytest.mark.parametrize(
    ("trouble", "after_s"),
    [
        (Trouble(error=BROKEN), 0.2),
        (Trouble(error=REFUSED), 0.2),
        (Trouble(error=LOCKED_OUT), 0.2),
        (Trouble(error=too_many(3)), 0.2),
        (Trouble(0.5, BROKEN), 0.7),
        (MUTE, 1.7),
    ],
)
def test_who_fails_at_the_end_is_replaced_by_one_who_hears_all_of_it(trouble: Trouble, after_s: float) -> None:
    first, second = TroubledStt(trouble), TroubledStt()
    assert run(wait_s(linked(first, second))) == pytest.approx(after_s)
    assert second.paused == [QUESTION], "the pause is told as well"
    assert nothing_is_open(first, second)


def test_who_is_slow_races_the_next_and_may_win() -> None:
    first, second = TroubledStt(Trouble(1.35)), TroubledStt()
    links = linked(first, second)
    assert run(wait_s(links)) == pytest.approx(1.55)
    assert second.troubles.requests == 1
    assert second.heard == []
    assert nothing_is_open(first, second)
    assert [link.breaker.tally.failed for link in links] == [1, 0]


def test_who_breaks_while_the_caller_speaks_is_replaced_then_and_costs_no_time() -> None:
    first, second = TroubledStt(dies_ms=500), TroubledStt()
    assert run(wait_s(linked(first, second))) == pytest.approx(0.2)
    assert first.pushed_ms == 500
    assert nothing_is_open(first, second)


def test_what_is_understood_so_far_is_the_replacement_s() -> None:
    async def conversation() -> None:
        first, second = TroubledStt(dies_ms=500), TroubledStt()
        transcriber = SpeechToTextChain(linked(first, second)).utterance()
        say(transcriber)
        assert transcriber.interim == QUESTION
        assert transcriber.failure is None
        second.ended_ms = 300
        assert not transcriber.ended
        transcriber.push(SILENCE)
        assert transcriber.ended
        transcriber.cancel()
        transcriber.cancel()
        assert nothing_is_open(first, second)

    run(conversation())


def test_when_nobody_is_left_the_caller_s_worker_knows_at_once_and_each_is_named() -> None:
    async def conversation() -> None:
        first, second = TroubledStt(dies_ms=500), TroubledStt(dies_ms=800)
        transcriber = SpeechToTextChain(linked(first, second)).utterance()
        say(transcriber)
        assert isinstance(transcriber.failure, ProvidersExhausted)
        assert transcriber.interim == ""
        with pytest.raises(ProvidersExhausted, match="troubled: broke down; troubled: broke down"):
            await transcriber.finish()
        assert nothing_is_open(first, second)

    run(conversation())


def test_two_mute_ones_fail_by_their_deadlines() -> None:
    async def conversation() -> float:
        begun_s = asyncio.get_running_loop().time()
        first, second = TroubledStt(MUTE), TroubledStt(MUTE)
        with pytest.raises(ProvidersExhausted, match=r"a: nothing came within 1\.5 s; b: nothing came"):
            await wait_s(linked(first, second))
        assert nothing_is_open(first, second)
        return asyncio.get_running_loop().time() - begun_s

    assert run(conversation()) == pytest.approx(3.0)


def test_who_failed_a_few_times_is_not_asked_until_it_is_back() -> None:
    first, second = TroubledStt(MUTE, MUTE, MUTE, NONE), TroubledStt()
    links = linked(first, second)

    async def conversation() -> list[float]:
        waits = [await wait_s(links) for _ in range(4)]
        await asyncio.sleep(15)
        return waits + [await wait_s(links) for _ in range(2)]

    assert run(conversation()) == pytest.approx([1.7, 1.7, 1.7, 0.2, 0.2, 0.2])
    assert first.troubles.requests == 5
    assert links[0].breaker.closed


def test_an_utterance_that_began_before_is_not_waited_for_once_others_know_better() -> None:
    first, second = TroubledStt(MUTE), TroubledStt()
    links = linked(first, second)

    async def conversation() -> float:
        transcriber = SpeechToTextChain(links).utterance()
        say(transcriber)
        for _ in range(3):
            await wait_s(links)
        begun_s = asyncio.get_running_loop().time()
        assert (await transcriber.finish()).text == QUESTION
        return asyncio.get_running_loop().time() - begun_s

    assert run(conversation()) == pytest.approx(0.2)
    assert nothing_is_open(first, second)


def test_a_cancelled_end_leaves_nothing_open_and_blames_nobody() -> None:
    first, second = TroubledStt(MUTE), TroubledStt(MUTE)
    links = linked(first, second)

    async def conversation() -> None:
        for patience_s in (1.0, 2.0):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await wait_s(links)
            assert nothing_is_open(first, second)

    run(conversation())
    assert [link.breaker.tally.failed for link in links] == [1, 0], "the first was beyond its deadline once"


def test_recordings_are_transcribed_once_where_nothing_is_wrong() -> None:
    first, second = ScriptedBatch(0.3), ScriptedBatch(0.3)

    async def conversation() -> float:
        vendors = [BatchSpeech(each, BatchOptions()) for each in (first, second)]
        transcriber = SpeechToTextChain(linked(*vendors)).utterance()
        say(transcriber)
        transcriber.pause()
        await asyncio.sleep(0.5)
        begun_s = asyncio.get_running_loop().time()
        assert (await transcriber.finish()).text == QUESTION
        waited_s = asyncio.get_running_loop().time() - begun_s
        for vendor in vendors:
            await vendor.close()
        return waited_s

    assert run(conversation()) == pytest.approx(0), "the guess at the pause was right"
    assert len(first.asked) == 1
    assert second.asked == []


def test_a_fallback_of_recordings_hears_what_a_stream_of_another_rate_did_not_understand() -> None:
    fallback = ScriptedBatch(0.3)
    fallback.rate_hz = 16_000

    async def conversation() -> int:
        batch = BatchSpeech(fallback, BatchOptions())
        transcriber = SpeechToTextChain(linked(TroubledStt(Trouble(error=BROKEN)), batch)).utterance()
        say(transcriber)
        await transcriber.finish()
        await batch.close()
        [asked] = fallback.asked
        return asked.length_ms

    # The stand-in counts at 8 kHz, so that twice the rate is twice as long.
    assert run(conversation()) == 2 * 200 * len(QUESTION.split())


def test_audio_is_kept_only_for_a_fallback_and_only_so_long() -> None:
    async def conversation() -> None:
        alone, kept = TroubledStt(), TroubledStt()
        for chain, heard_s in ((linked(alone), 0), (linked(TroubledStt(dies_ms=10**6), kept), LONGEST_S)):
            transcriber = SpeechToTextChain(chain).utterance()
            for _ in range(LONGEST_S + 5):
                transcriber.push(bytes(2 * RATE_HZ))
            assert len(transcriber._audio) == heard_s * 2 * RATE_HZ
            transcriber.cancel()
            assert len(transcriber._audio) == 0

    run(conversation())


class Unopenable(TroubledStt):
    def utterance(self) -> Transcriber:  # type: ignore[override]
        raise ProviderError("unopenable", "it was closed")


def test_who_takes_no_utterance_is_passed_over() -> None:
    assert run(wait_s(linked(Unopenable(), TroubledStt()))) == pytest.approx(0.2)
