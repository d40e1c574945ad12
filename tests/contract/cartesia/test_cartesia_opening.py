"""What a cascade has Cartesia say before it is known whether it will be wanted: our provider against the stand-in."""

from __future__ import annotations

import asyncio

from tests.contract.cartesia.caller import LONG, heard, said
from tests.standins.cartesia import Cartesia
from workers.cascade.opening import BegunVoice
from workers.providers.base import Word
from workers.providers.cartesia import CartesiaSpeech

SENTENCES = ["Good day.", "Here is one.", "Thank you!"]
HEARD = ["good day", "here is one", "thank you"]


async def test_an_opening_that_is_dropped_is_cancelled(vendor: Cartesia, speech: CartesiaSpeech) -> None:
    """It was spoken to nobody, and the vendor makes no more of it, nor counts it as one of the account's."""
    async with asyncio.TaskGroup() as group, asyncio.timeout(10):
        voice = BegunVoice(group, speech, LONG, last=False)
        context = await vendor.wait_for_context()
        voice.drop()
        await context.cancelled.wait()
        assert heard((await said(voice.speak(SENTENCES[0], last=True)))[0]) == HEARD[0]
        await voice.close()
    assert [context.texts for context in vendor.contexts] == [[f"{LONG} "], ["Good day."]]


async def test_an_answer_goes_on_in_the_context_of_its_opening(vendor: Cartesia, speech: CartesiaSpeech) -> None:
    async with asyncio.TaskGroup() as group, asyncio.timeout(10):
        voice = BegunVoice(group, speech, SENTENCES[0], last=False)
        await vendor.wait_for_context()
        asked = [voice.speak(text, last=text == SENTENCES[-1]) for text in SENTENCES]
        results = [await said(parts) for parts in asked]
        await voice.close()
    assert [heard(pcm) for pcm, _ in results] == HEARD
    assert results[0][1][:2] == [Word("good", 0, 100), Word("day", 100, 200)]
    [context] = vendor.contexts
    assert context.texts == ["Good day. ", "Here is one. ", "Thank you!"]
    assert not context.cancelled.is_set()


async def test_an_answer_goes_on_elsewhere_when_the_context_of_its_opening_has_expired(
    vendor: Cartesia, speech: CartesiaSpeech
) -> None:
    """The opening is not lost with it, nor said again."""
    vendor.behaviour.expire_s = 0.05
    async with asyncio.TaskGroup() as group, asyncio.timeout(20):
        voice = BegunVoice(group, speech, SENTENCES[0], last=False)
        context = await vendor.wait_for_context()
        await context.over.wait()
        asked = [voice.speak(text, last=text == SENTENCES[-1]) for text in SENTENCES]
        results = [await said(parts) for parts in asked]
        await voice.close()
    assert [heard(pcm) for pcm, _ in results] == HEARD
    first, *others = vendor.contexts
    assert first.texts == ["Good day. "]
    assert [text for other in others for text in other.texts] == ["Here is one. ", "Thank you!"]
