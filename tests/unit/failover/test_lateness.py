"""Whose fault it is that a deadline rings: a vendor's, or our own loop's."""

from __future__ import annotations

import asyncio

import pytest

from tests.standins.troubled import LOCKED_OUT, MUTE, Trouble, TroubledLlm, TroubledStt, too_many
from tests.standins.virtual_time import VirtualLoop, run
from tests.unit.failover.linked import linked
from trunkline.errors import ProviderError
from workers.breaker import FAILURES
from workers.failover.language_model import LanguageModelChain
from workers.failover.lateness import TICK_S, WATCHED_S, Lateness, Watch
from workers.failover.speech_to_text import SpeechToTextChain
from workers.providers.base import ChatMessage

HELLO = [ChatMessage("user", "hello")]


def test_late_is_what_passes_between_a_timer_s_time_and_its_ring() -> None:
    lateness = Lateness()
    assert lateness.share(0, 10) == 0
    lateness.rang(1.0, 1.0)
    lateness.rang(2.0, 3.0)
    lateness.rang(4.0, 6.0)
    assert lateness.share(0, 10) == pytest.approx(0.3)
    assert lateness.share(2.5, 5.0) == pytest.approx(0.6), "only what is in that time"
    assert lateness.share(6.0, 6.0) == 0


def test_a_loop_is_watched_for_as_long_as_somebody_wants_to_know() -> None:
    async def conversation() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        watch = Watch()
        loop.stall(5)
        assert watch.share(5) == 0, "nobody looked"
        watch.go_on()
        await asyncio.sleep(1)
        assert watch.share(1) == pytest.approx(0, abs=1e-6)
        loop.stall(0.5)
        assert watch.share(1) == pytest.approx(0.5, abs=TICK_S), "as soon as it has happened"
        await asyncio.sleep(1)
        assert watch.share(1) == pytest.approx(0, abs=0.01), "and once only"
        await asyncio.sleep(WATCHED_S)
        loop.stall(5)
        assert watch.share(5) == 0

    run(conversation())


async def stalling(for_s: float, every_s: float) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    while True:
        await asyncio.sleep(every_s)
        loop.stall(for_s)


def failures(trouble: Trouble, *, stalls_s: tuple[float, float] | None) -> tuple[int, bool]:
    """How many of some requests to a model in trouble are held against it, and whether it is left alone then, where the
    loop stalls for the first of `stalls_s` after each of the second."""

    async def conversation() -> tuple[int, bool]:
        [link] = links = linked(TroubledLlm({}, trouble), deadline_s=1.5)
        noise = asyncio.create_task(stalling(*stalls_s)) if stalls_s else None
        for _ in range(FAILURES + 1):
            with pytest.raises(ProviderError):
                [part async for part in LanguageModelChain(links).reply(HELLO)]
        if noise is not None:
            noise.cancel()
            await asyncio.wait([noise])
        return link.breaker.tally.failed, not link.breaker.closed

    return run(conversation())


FALLS_SILENT = Trouble(3600, after=1)


@pytest.mark.parametrize("trouble", [MUTE, FALLS_SILENT], ids=["mute", "falls silent"])
@pytest.mark.parametrize("stalls_s", [(0.06, 0.02), (0.5, 0.5)], ids=["slow turns", "stalls"])
def test_silence_is_not_a_vendor_s_while_our_loop_is_late(trouble: Trouble, stalls_s: tuple[float, float]) -> None:
    assert failures(trouble, stalls_s=stalls_s) == (0, False)
    assert failures(trouble, stalls_s=None) == (FAILURES, True)


@pytest.mark.parametrize("stalls", [False, True])
def test_who_spoke_for_long_before_the_text_was_waited_for_makes_no_difference(stalls: bool) -> None:
    async def conversation() -> int:
        [link] = links = linked(TroubledStt(MUTE), deadline_s=1.5)
        utterance = SpeechToTextChain(links).utterance()
        utterance.push(bytes(640))
        await asyncio.sleep(WATCHED_S + 1)
        noise = asyncio.create_task(stalling(0.5, 0.5 if stalls else 9))
        with pytest.raises(ProviderError):
            await utterance.finish()
        noise.cancel()
        await asyncio.wait([noise])
        return link.breaker.tally.failed

    assert run(conversation()) == (0 if stalls else 1)


def test_a_loop_that_is_a_little_late_is_no_excuse() -> None:
    assert failures(MUTE, stalls_s=(0.005, 0.05)) == (FAILURES, True)


@pytest.mark.parametrize("said", [LOCKED_OUT, too_many(20)], ids=["locked out", "too many"])
def test_what_a_vendor_says_of_itself_is_believed_all_the_same(said: ProviderError) -> None:
    failed, left_alone = failures(Trouble(0.4, said), stalls_s=(0.4, 0.3))
    assert (failed, left_alone) == (1, True)
