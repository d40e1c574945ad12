"""Cartesia's text-to-speech asked for sentences ahead of what was taken: our provider against the stand-in."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from websockets.asyncio.client import ClientConnection

from tests.contract.cartesia.caller import LONG, failure, heard, provider, said, spoken
from tests.standins.cartesia import Cartesia
from tests.standins.session import Edge, StandInSession
from trunkline.errors import ProviderError
from trunkline.tenants import Tenant
from workers.backend import Answer, Spoken
from workers.cascade.speaking import Speaking
from workers.providers.base import Word
from workers.providers.cartesia import CartesiaSpeech, line

SENTENCES = ["Good day.", "Here is one.", "Thank you!"]
HEARD = ["good day", "here is one", "thank you"]


@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("told_last", [False, True])
async def test_one_speech_in_order(vendor: Cartesia, speech: CartesiaSpeech, connected: bool, told_last: bool) -> None:
    voice = speech.voice()
    if connected:
        await speech.line()
    asked = [voice.speak(text, last=told_last and text == SENTENCES[-1]) for text in SENTENCES]
    results = [await said(parts) for parts in asked]
    await voice.close()
    assert [heard(pcm) for pcm, _ in results] == HEARD
    assert [words[:2] for _, words in results] == [
        [Word("good", 0, 100), Word("day", 100, 200)],
        [Word("here", 0, 100), Word("is", 100, 200)],
        [Word("thank", 0, 100), Word("you", 100, 200)],
    ], "from the beginning of each sentence"
    [context] = vendor.contexts
    assert context.texts == ["Good day. ", "Here is one. ", "Thank you!" if told_last else "Thank you! "]


async def test_a_listener_slower_than_the_contexts_life_hears_one_speech(
    vendor: Cartesia, speech: CartesiaSpeech
) -> None:
    """Asked for one by one, each would need a context of its own (`test_an_answer_that_paused_...`)."""
    vendor.behaviour.expire_s = 0.05
    voice = speech.voice()
    asked = [voice.speak(text, last=False) for text in SENTENCES]
    results = []
    for parts in asked:
        results.append(heard((await said(parts))[0]))
        await asyncio.sleep(0.1)
    assert results == HEARD
    assert len(vendor.contexts) == 1
    await voice.close()


async def test_what_is_asked_for_after_a_pause_is_made_ahead_too(
    vendor: Cartesia, speech: CartesiaSpeech, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.providers.cartesia.speech.CONTINUE_S", 0.0)
    voice = speech.voice()
    first = voice.speak(SENTENCES[0], last=False)
    assert heard((await said(first))[0]) == HEARD[0]
    rest = [voice.speak(text, last=False) for text in SENTENCES[1:]]
    assert heard((await said(rest[0]))[0]) == HEARD[1]
    assert vendor.contexts[1].texts == ["Here is one. ", "Thank you! "]
    assert heard((await said(rest[1]))[0]) == HEARD[2]
    assert len(vendor.contexts) == 2
    await voice.close()


async def test_a_sentence_without_sound_takes_none_of_the_next(vendor: Cartesia) -> None:
    vendor.behaviour.speed = 2.0  # the first is being made while the second is to fail
    speech = provider(vendor, first_audio_s=0.5)
    voice = speech.voice()
    asked = [voice.speak(text, last=False) for text in (LONG, "Hm.", "Thank you!", "Good day.")]
    begun = await anext(asked[0])
    assert isinstance(begun, bytes)
    vendor.behaviour.fault, vendor.behaviour.fault_times = "silent", 1
    assert heard(begun + (await said(asked[0]))[0]) == LONG
    assert [heard((await said(parts))[0]) for parts in asked[1:]] == ["", "thank you", "good day"]
    assert len(vendor.contexts) == 1
    await voice.close()
    await speech.close()


async def test_the_end_of_a_sentence_told_twice_ends_no_other(vendor: Cartesia, speech: CartesiaSpeech) -> None:
    vendor.behaviour.fault = "flushes_twice"
    voice = speech.voice()
    asked = [voice.speak(text, last=False) for text in SENTENCES]
    assert [heard((await said(parts))[0]) for parts in asked] == HEARD
    await voice.close()


async def test_those_behind_one_that_fails_are_said_elsewhere(vendor: Cartesia, speech: CartesiaSpeech) -> None:
    vendor.behaviour.fault, vendor.behaviour.fault_times = "stalled", 1
    speech = provider(vendor, next_audio_s=1)
    voice = speech.voice()
    asked = [voice.speak(text, last=False) for text in (LONG, *SENTENCES)]
    pcm, error = await failure(asked[0])
    assert heard(pcm) == "one"
    assert "no audio within" in str(error)
    assert [heard((await said(parts))[0]) for parts in asked[1:]] == HEARD
    await voice.close()
    await speech.close()


async def test_a_lost_socket_loses_nothing_that_has_not_sounded(vendor: Cartesia, speech: CartesiaSpeech) -> None:
    voice = speech.voice()
    first = voice.speak(SENTENCES[0], last=False)
    assert heard((await said(first))[0]) == HEARD[0]
    vendor.behaviour.fault, vendor.behaviour.fault_times = "hung_up", 1
    rest = [voice.speak(text, last=text == SENTENCES[-1]) for text in SENTENCES[1:]]
    assert [heard((await said(parts))[0]) for parts in rest] == HEARD[1:]
    await voice.close()


async def test_one_that_is_closed_early_leaves_those_behind_it(vendor: Cartesia, speech: CartesiaSpeech) -> None:
    vendor.behaviour.speed = 1.0
    voice = speech.voice()
    asked = [voice.speak(text, last=False) for text in (LONG, "Good day.")]
    async with contextlib.aclosing(asked[0]) as parts:
        await anext(parts)
    assert heard((await said(asked[1]))[0]) == "good day"
    await voice.close()


async def test_one_that_nobody_takes_is_passed_over(vendor: Cartesia, speech: CartesiaSpeech) -> None:
    voice = speech.voice()
    asked = [voice.speak(text, last=False) for text in SENTENCES]
    await asked[0].aclose()
    assert [heard((await said(parts))[0]) for parts in asked[1:]] == HEARD[1:]
    await voice.close()


@pytest.mark.parametrize("connected", [False, True])
async def test_an_answer_that_is_over_makes_nothing_that_was_asked_for(
    vendor: Cartesia, speech: CartesiaSpeech, connected: bool
) -> None:
    vendor.behaviour.speed = 5.0
    voice = speech.voice()
    if connected:
        await speech.line()
    asked = [voice.speak(LONG, last=False) for _ in range(3)]
    if connected:
        await anext(asked[0])
    await voice.close()
    for parts in asked:
        with contextlib.suppress(ProviderError):
            await said(parts)
    await vendor.wait_for_sockets(1)
    if connected:
        async with asyncio.timeout(10):
            await vendor.contexts[0].over.wait()
    assert [context.sent_ms for context in vendor.contexts] == [1000] * connected, "the one that was being made"


async def test_what_is_far_ahead_of_what_can_be_heard_is_read_seldom(
    vendor: Cartesia, speech: CartesiaSpeech, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that wakes up for each message of each answer does little else."""
    reads = 0
    read = ClientConnection.data_received

    def counted(connection: ClientConnection, data: bytes) -> None:
        nonlocal reads
        reads += 1
        read(connection, data)

    await speech.line()
    monkeypatch.setattr(ClientConnection, "data_received", counted)
    vendor.behaviour.speed = 10
    text = " ".join([LONG] * 5)
    assert await spoken(speech, text) == text
    assert reads < 25, "of 50 messages, 10 ms apart"


async def test_nobody_waits_for_a_socket_at_rest(
    vendor: Cartesia, speech: CartesiaSpeech, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "REST_S", 600)
    first = asyncio.ensure_future(spoken(speech, " ".join([LONG] * 2)))
    context = await vendor.wait_for_context()
    async with asyncio.timeout(10):
        await context.over.wait()  # so nothing more will come of it
        await asyncio.sleep(0.1)
        assert not first.done(), "its rest is not read"
        assert await spoken(speech, "Good day.") == "good day"
        assert await first == " ".join([LONG] * 2)


async def test_a_socket_at_rest_closes_at_once_and_loses_nothing(
    vendor: Cartesia, speech: CartesiaSpeech, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "REST_S", 600)
    listener = asyncio.ensure_future(spoken(speech, " ".join([LONG] * 2)))
    context = await vendor.wait_for_context()
    async with asyncio.timeout(10):
        await context.over.wait()
        await speech.close()
        assert await listener == " ".join([LONG] * 2)
    await vendor.wait_for_sockets(0)


async def test_an_answer_as_the_cascade_speaks_it(vendor: Cartesia) -> None:
    """Asked for as it comes, heard at the pace of speech, in one context; with the times of its words."""
    vendor.behaviour.expire_s = 0.05
    speech = provider(vendor, rate_hz=8000)
    session = StandInSession(Edge([], 20), Tenant(id="test"))
    answer = Answer(2, " ".join(SENTENCES))
    known = asyncio.get_running_loop().create_future()
    known.set_result(None)
    speaking = Speaking(session, speech, answer, 0, 0, 0, lambda: known)
    sentences: asyncio.Queue[str | None] = asyncio.Queue()
    for sentence in ["Good day. ", "Here is one. ", "Thank you!", None]:
        sentences.put_nowait(sentence)
    voice = speech.voice()
    script = speaking.script(voice, sentences, lambda: True)
    pcm = b""
    async with asyncio.TaskGroup() as group:
        group.create_task(script.run())
        run = group.create_task(speaking.run(script))
        while not (run.done() and speaking.pieces.empty()):
            try:
                async with asyncio.timeout(0.2):
                    piece = await speaking.pieces.get()
            except TimeoutError:
                continue
            assert piece is not None
            pcm += piece.pcm
            if piece.sentence_end:
                await asyncio.sleep(0.1)  # twice as long as a context lives
    await voice.close()
    await speech.close()
    assert heard(pcm, 8000) == " ".join(HEARD)
    assert answer.spoken == [
        Spoken("Good day. ", 0, 200, ((4, 100), (9, 200))),
        Spoken("Here is one. ", 200, 500, ((4, 100), (7, 200), (12, 300))),
        Spoken("Thank you!", 500, 700, ((5, 100), (10, 200))),
    ]
    assert len(vendor.contexts) == 1
