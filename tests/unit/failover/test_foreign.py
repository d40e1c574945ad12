"""A provider's faults on the way out, and cancellations: who is cancelled stays so, and who is not is not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from tests.standins.troubled import MUTE, NONE, Trouble, TroubledLlm, TroubledTts
from tests.standins.virtual_time import run
from tests.unit.failover.linked import linked
from trunkline.errors import ProviderError
from workers.failover import foreign
from workers.failover.language_model import LanguageModelChain
from workers.failover.text_to_speech import TextToSpeechChain
from workers.providers.base import ChatMessage, ToolCall, ToolSchema

ANSWER = "It is at ten, and it takes an hour."
QUESTION = [ChatMessage("user", "when")]
STALLED = Trouble(3600, after=2)
REFUSAL, FAULT = ProviderError("odd", "hung up badly"), KeyError("a field that the vendor has left out")

Parts = AsyncGenerator[Any, None]


async def cancelled_within() -> None:
    """As a library does that waits for a task of its own which it has stopped."""
    task = asyncio.create_task(asyncio.sleep(9))
    task.cancel()
    await task


class OddLlm(TroubledLlm):
    """`ends` says what happens whichever way its stream ends; `at` a part, what happens after that."""

    def __init__(self, trouble: Trouble, *, ends: Exception | None = None, at: int | None = None) -> None:
        super().__init__({"when": ANSWER}, trouble)
        self.ends = ends
        self.at = at

    def reply(self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema] = ()) -> Parts:
        return self._oddly(super().reply(messages, tools))

    async def _oddly(self, parts: AsyncGenerator[str | ToolCall, None]) -> Parts:
        try:
            async with aclosing(parts):
                number = 0
                async for part in parts:
                    if number == self.at:
                        await cancelled_within()
                    number += 1
                    yield part
        finally:
            if self.ends is not None:
                try:
                    raise ConnectionResetError
                except ConnectionResetError as error:
                    raise self.ends from error


async def said(chain: LanguageModelChain) -> str:
    async with aclosing(chain.reply(QUESTION)) as parts:
        return "".join([str(part) async for part in parts])


@pytest.mark.parametrize("error", [REFUSAL, FAULT], ids=repr)
def test_an_answer_that_is_cancelled_is_not_gone_on_with_for_its_vendor_fails_meanwhile(error: Exception) -> None:
    first, second = OddLlm(STALLED, ends=error), TroubledLlm({"when": ANSWER})

    async def conversation() -> None:
        asking = asyncio.create_task(said(LanguageModelChain(linked(first, second, deadline_s=9))))
        await asyncio.sleep(2)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()

    run(conversation())
    assert second.asked == []
    assert first.troubles.open == 0


@pytest.mark.parametrize("error", [REFUSAL, FAULT], ids=repr)
def test_silence_is_silence_whatever_a_vendor_raises_when_it_is_left(error: Exception) -> None:
    links = linked(OddLlm(STALLED, ends=error), TroubledLlm({"when": ANSWER}))
    assert run(said(LanguageModelChain(links))) == ANSWER
    assert links[0].breaker.tally.failed == 1


def test_a_provider_that_cancels_itself_has_failed_and_its_answer_is_gone_on_with(
    caplog: pytest.LogCaptureFixture,
) -> None:
    links = linked(OddLlm(NONE, at=2), TroubledLlm({"when": ANSWER}))
    assert run(said(LanguageModelChain(links))) == ANSWER
    assert links[0].breaker.tally.failed == 1
    assert "a has a fault of its own" in caplog.text


class SlowToClose(TroubledTts):
    """Its voices take half a second to close, and then it `raises`."""

    def __init__(self, trouble: Trouble = NONE, raises: Exception | None = None) -> None:
        super().__init__(trouble)
        self.raises = raises
        self.opened = self.told_to_close = 0

    def voice(self) -> Any:
        self.opened += 1
        voice: Any = super().voice()

        async def close() -> None:
            self.told_to_close += 1
            try:
                await asyncio.sleep(0.5)
            finally:
                if self.raises is not None:
                    raise self.raises

        voice.close = close
        return voice


@pytest.mark.parametrize("again_s", [0.0, 0.1, 0.6, 1.2])
def test_who_is_cancelled_twice_closes_every_voice_that_was_opened(again_s: float) -> None:
    """As an answer that is interrupted is: the second time, while the voices of the first are being closed."""
    voices = [SlowToClose(MUTE) for _ in range(3)]

    async def speak() -> None:
        voice = TextToSpeechChain(linked(*voices)).voice()
        try:
            async with aclosing(voice.speak("one two", last=True)) as parts:
                async for _ in parts:
                    pytest.fail("all of them are mute")
        finally:
            await voice.close()

    async def conversation() -> None:
        speaking = asyncio.create_task(speak())
        await asyncio.sleep(3.2)  # each has been asked
        assert [each.opened for each in voices] == [1, 1, 1]
        speaking.cancel()
        await asyncio.sleep(again_s)
        speaking.cancel()
        await asyncio.wait([speaking])
        assert speaking.cancelled()

    run(conversation())
    assert all(each.told_to_close for each in voices)
    assert [each.troubles.open for each in voices] == [0, 0, 0]


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_voice_that_cannot_be_closed_stops_nobody_but_who_is_cancelled(
    cancelled: bool, caplog: pytest.LogCaptureFixture
) -> None:
    [link] = linked(SlowToClose(raises=FAULT))

    async def conversation() -> None:
        closing = asyncio.create_task(foreign.voice(link).close())
        await asyncio.sleep(0.1)
        if cancelled:
            closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled() is cancelled

    run(conversation())
    assert "a has a fault of its own when it is given up" in caplog.text


def test_a_voice_that_cancels_itself_when_it_is_closed_does_not_cancel_us(caplog: pytest.LogCaptureFixture) -> None:
    tts = SlowToClose()
    [link] = linked(tts)

    async def conversation() -> str:
        its: Any = tts.voice()
        its.close = cancelled_within
        tts.voice = lambda: its  # type: ignore[method-assign]
        await foreign.voice(link).close()
        return "goes on"

    assert run(conversation()) == "goes on"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
