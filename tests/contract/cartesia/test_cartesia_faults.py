"""Cartesia's text-to-speech given up in the middle, and failing: our provider against the stand-in."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.contract.cartesia.caller import LONG, RATE_HZ, failure, heard, provider, said, spoken
from tests.standins.cartesia import Cartesia, Fault
from trunkline.errors import ProviderError
from workers.providers.cartesia import CartesiaSpeech, line

BYTES_PER_MS = RATE_HZ // 1000 * 2


# --- giving up


async def test_an_answer_that_is_given_up_is_not_made(vendor: Cartesia, speech: CartesiaSpeech) -> None:
    vendor.behaviour.speed = 1.0
    voice = speech.voice()
    async with contextlib.aclosing(voice.speak(LONG, last=False)) as parts:
        await anext(parts)
    [context] = vendor.contexts
    async with asyncio.timeout(10):
        await context.cancelled.wait()
    # The vendor makes that sentence to its end: none of it may come in the next.
    assert heard((await said(voice.speak("Good day.", last=True)))[0]) == "good day"
    await voice.close()
    assert vendor.sockets == 1


@pytest.mark.parametrize("begun", [False, True])
async def test_a_listener_that_is_cancelled_leaves_nothing(vendor: Cartesia, begun: bool) -> None:
    vendor.behaviour.fault = None if begun else "mute"
    vendor.behaviour.speed = 1.0
    speech = provider(vendor)
    listener = asyncio.ensure_future(said(speech.speak(LONG)))
    context = await vendor.wait_for_context()
    await asyncio.sleep(0.15 if begun else 0)
    listener.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listener
    async with asyncio.timeout(10):
        await context.cancelled.wait()
    await speech.close()


async def test_a_listener_that_is_cancelled_while_it_dials_leaves_the_line_to_others(vendor: Cartesia) -> None:
    speech = provider(vendor)
    first, second = (asyncio.ensure_future(spoken(speech, "Good day.")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == "good day"
    assert vendor.sockets == 1
    await speech.close()


async def test_closing_an_answer_frees_its_context(vendor: Cartesia, speech: CartesiaSpeech) -> None:
    vendor.behaviour.concurrency = 1
    for _ in range(2):
        voice = speech.voice()
        await said(voice.speak("Good day.", last=False))
        await voice.close()
        await voice.close()
        async with asyncio.timeout(10):
            await vendor.contexts[-1].over.wait()
    assert len(vendor.contexts) == 2


async def test_what_nobody_hears_is_bounded(
    vendor: Cartesia, speech: CartesiaSpeech, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "UNHEARD_S", 1)
    voice = speech.voice()
    parts = voice.speak(" ".join([LONG] * 3), last=True)
    begun = await anext(parts)
    async with asyncio.timeout(10):
        await vendor.contexts[0].cancelled.wait()
    pcm, error = await failure(parts)
    assert "nobody has heard" in str(error)
    assert isinstance(begun, bytes)
    assert 1000 <= len(begun + pcm) / BYTES_PER_MS <= 1400
    await voice.close()


async def test_closing_the_provider_ends_what_is_said(vendor: Cartesia) -> None:
    vendor.behaviour.speed = 1.0
    speech = provider(vendor)
    listener = asyncio.ensure_future(failure(speech.speak(LONG)))
    await vendor.wait_for_context()
    await speech.close()
    await listener
    await vendor.wait_for_sockets(0)
    _, error = await failure(speech.speak("Good day."))
    assert not error.retryable


async def test_closing_the_provider_ends_a_dial(vendor: Cartesia) -> None:
    vendor.behaviour.fault = "no_answer"
    speech = provider(vendor, connect_s=60)
    listener = asyncio.ensure_future(failure(speech.speak("Good day.")))
    await asyncio.sleep(0.05)
    await speech.close()
    _, error = await listener
    assert "closed" in str(error)


# --- what goes wrong at the vendor


@pytest.mark.parametrize(
    ("fault", "text", "retryable", "retry_after_s"),
    [
        ("unauthorized", "HTTP 401: unauthorized: .*The API key is wrong", False, None),
        ("rate_limited", "HTTP 429: concurrency_limited", True, 7),
        ("broken", "HTTP 500: .*Something went wrong", True, None),
        ("no_answer", "no connection within 0.2 s", True, None),
    ],
)
async def test_a_refused_connection(
    vendor: Cartesia, fault: Fault, text: str, retryable: bool, retry_after_s: float | None
) -> None:
    speech = provider(vendor, connect_s=0.2 if fault == "no_answer" else 10)
    vendor.behaviour.fault = fault
    _, error = await failure(speech.speak("Good day."))
    assert pytest.raises(ProviderError, match=text).matches(error)
    assert (error.retryable, error.retry_after_s) == (retryable, retry_after_s)
    vendor.behaviour.fault = None
    speech = await replaced(speech, vendor)
    assert await spoken(speech, "Good day.") == "good day"
    await speech.close()


async def replaced(speech: CartesiaSpeech, vendor: Cartesia) -> CartesiaSpeech:
    """The same with time to connect on a busy machine."""
    await speech.close()
    return provider(vendor)


async def test_nobody_there() -> None:
    async with Cartesia() as vendor:
        speech = provider(vendor)
    _, error = await failure(speech.speak("Good day."))
    assert error.retryable
    assert "cannot be reached" in str(error)
    await speech.close()


@pytest.mark.parametrize(
    ("fault", "text", "retryable"),
    [
        ("failed", "HTTP 500: internal_error: .*Something went wrong", True),
        ("quota", "HTTP 429: quota_exceeded", False),
        ("nameless", "HTTP 503: .*not available", True),
        ("complaint", "no audio within 0.5 s; it had said: .*The transcript is wrong", True),
        ("mute", "no audio within 0.5 s", True),
        ("hung_up", "hung up: 1012 restarting", True),
        ("ended", "ended before it said all", True),
    ],
)
async def test_a_sentence_of_which_nothing_comes(vendor: Cartesia, fault: Fault, text: str, retryable: bool) -> None:
    speech = provider(vendor, first_audio_s=0.5)
    vendor.behaviour.fault = fault
    voice = speech.voice()
    pcm, error = await failure(voice.speak("Good day.", last=False))
    await voice.close()
    assert pcm == b""
    assert pytest.raises(ProviderError, match=text).matches(error)
    assert error.retryable is retryable
    vendor.behaviour.fault = None
    assert await spoken(speech, "Good day.") == "good day"
    await vendor.wait_for_sockets(1)
    assert vendor.sockets == {"failed": 1, "quota": 1, "ended": 1, "hung_up": 3}.get(fault, 2), (
        "dialled again when the socket was"
    )
    await speech.close()


@pytest.mark.parametrize(
    ("fault", "text", "sockets"),
    [
        ("stalled", "no audio within 0.5 s", 2),
        ("dropped", "hung up: without a word", 2),
        ("garbage", "cannot be read", 2),
        ("bad_audio", "wrong 'chunk' event", 1),
    ],
)
async def test_a_sentence_that_breaks_off(vendor: Cartesia, fault: Fault, text: str, sockets: int) -> None:
    speech = provider(vendor, next_audio_s=0.5)
    vendor.behaviour.fault = fault
    voice = speech.voice()
    pcm, error = await failure(voice.speak(LONG, last=False))
    assert heard(pcm) == "one", "what came is heard"
    assert error.retryable
    assert text in str(error)
    vendor.behaviour.fault = None
    assert heard((await said(voice.speak("Good day.", last=True)))[0]) == "good day"
    assert vendor.sockets == sockets
    await voice.close()
    await speech.close()


async def test_a_mute_sentence_leaves_the_others_on_its_socket(vendor: Cartesia) -> None:
    speech = provider(vendor, first_audio_s=0.3)
    vendor.behaviour.speed = 1.0
    other = asyncio.ensure_future(spoken(speech, LONG))
    await vendor.wait_for_context()
    await asyncio.sleep(0.1)
    vendor.behaviour.fault = "mute"
    await failure(speech.speak("Good day."))
    assert not other.done()
    assert await other == LONG
    await vendor.wait_for_sockets(0)
    await speech.close()


@pytest.mark.parametrize(("fault", "sockets"), [("hung_up", 2), ("ended", 1)])
async def test_what_ends_before_a_sentence_sounds_is_no_error(
    vendor: Cartesia, speech: CartesiaSpeech, fault: Fault, sockets: int
) -> None:
    voice = speech.voice()
    await said(voice.speak("Here is one.", last=False))
    vendor.behaviour.fault, vendor.behaviour.fault_times = fault, 1
    pcm, words = await said(voice.speak("Good day.", last=True))
    await voice.close()
    assert heard(pcm) == "good day"
    assert [word.start_ms for word in words] == [0, 100]
    assert vendor.sockets == sockets


async def test_a_socket_that_the_vendor_found_idle_is_dialled_again(vendor: Cartesia, speech: CartesiaSpeech) -> None:
    vendor.behaviour.idle_s = 0.05
    assert await spoken(speech, "Good day.") == "good day"
    await vendor.wait_for_sockets(0)
    vendor.behaviour.idle_s = 60
    assert await spoken(speech, "Good day.") == "good day"
    assert vendor.sockets == 2


async def test_too_many_at_once(vendor: Cartesia, speech: CartesiaSpeech) -> None:
    vendor.behaviour.concurrency, vendor.behaviour.speed = 1, 1.0
    first = asyncio.ensure_future(spoken(speech, LONG))
    await vendor.wait_for_context()
    _, error = await failure(speech.speak("Good day."))
    assert "concurrency_limited" in str(error)
    assert error.retryable
    assert await first == LONG
