"""The voice of a vendor that speaks each sentence by itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import pytest

from tests.conversation.talk import QUESTION, Cast, talk
from tests.standins.session import Say
from tests.standins.virtual_time import run
from tests.standins.voices import Failing, ScriptedLlm, ScriptedTts, words
from trunkline.errors import ProviderError
from workers.providers.base import Voice, Word
from workers.providers.separate import Separate


class SeparateTts(ScriptedTts):
    """Counts what is at work."""

    def __init__(self, first_s: float = 0.6, failing: Failing | None = None) -> None:
        super().__init__(first_s=first_s, failing=failing)
        self.at_work: list[str] = []

    async def speak(self, text: str) -> AsyncGenerator[bytes | Word, None]:
        self.at_work.append(text)
        try:
            async with contextlib.aclosing(super().speak(text)) as parts:
                async for part in parts:
                    yield part
        finally:
            self.at_work.remove(text)

    def voice(self) -> Voice:  # type: ignore[override]
        return Separate(self)


async def heard(parts: AsyncGenerator[bytes | Word, None]) -> list[str]:
    return words(b"".join([part async for part in parts if isinstance(part, bytes)]))


def test_short_sentences_follow_each_other_without_the_vendor_s_delay() -> None:
    """600 ms to first audio, and a sentence of 200 ms before another: one delay, not one for each."""
    cast = Cast(llm=ScriptedLlm({QUESTION: "Sure! Here is what you asked for."}), tts=SeparateTts())
    outcome = talk([Say(1000, QUESTION)], cast)
    assert outcome.edge.heard == "Sure! Here is what you asked for."
    (first_ms, _, _), (second_ms, _, _), *_ = outcome.edge.heard_at
    assert second_ms - first_ms <= 240, "the first takes 200"


def test_one_is_made_ahead_and_no_more() -> None:
    async def speak() -> None:
        tts = SeparateTts()
        voice = tts.voice()
        asked = [voice.speak(text, last=False) for text in ("one", "two", "three")]
        await asyncio.sleep(1)
        assert tts.at_work == []
        first = await anext(asked[0])
        assert isinstance(first, bytes)
        await asyncio.sleep(10)
        assert tts.at_work == ["one", "two"]
        assert await heard(asked[0]) == ["one"]
        assert [await heard(parts) for parts in asked[1:]] == [["two"], ["three"]]
        await voice.close()
        assert tts.at_work == []

    run(speak())


@pytest.mark.parametrize("after_s", [0.0, 0.7, 5.0])
def test_closing_it_stops_what_was_made_ahead(after_s: float) -> None:
    async def speak() -> None:
        tts = SeparateTts()
        voice = tts.voice()
        asked = [voice.speak(text, last=False) for text in ("one", "two")]
        await anext(asked[0])
        await asyncio.sleep(after_s)
        await asked[0].aclose()
        await voice.close()
        await voice.close()
        assert tts.at_work == []

    run(speak())


def test_who_is_cancelled_leaves_nothing_at_work() -> None:
    async def speak() -> None:
        tts = SeparateTts()
        voice = tts.voice()
        asked = [voice.speak(text, last=False) for text in ("one", "two")]
        await heard(asked[0])
        taking = asyncio.ensure_future(heard(asked[1]))
        await asyncio.sleep(0.01)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        assert tts.at_work == []
        await voice.close()

    run(speak())


@pytest.mark.parametrize("after_s", [0.3, 0.7, 5.0])
@pytest.mark.parametrize("taken", [True, False])
def test_nor_who_is_cancelled_again_while_it_is_closed(after_s: float, taken: bool) -> None:
    """As who interrupts an answer does. Nothing is left for somebody else to close later."""

    async def speak() -> None:
        tts = SeparateTts()
        voice = tts.voice()
        asked = [voice.speak(text, last=False) for text in ("one", "two", "three")]
        await heard(asked[0])

        async def take() -> None:
            try:
                if taken:
                    await anext(asked[1])
                await asyncio.sleep(10)
            finally:
                await voice.close()

        taking = asyncio.ensure_future(take())
        await asyncio.sleep(after_s)
        for _ in range(2):
            taking.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await taking
        assert tts.at_work == []
        await asked[1].aclose()

    run(speak())


def test_one_that_nobody_takes_is_passed_over() -> None:
    async def speak() -> None:
        tts = SeparateTts()
        voice = tts.voice()
        asked = [voice.speak(text, last=False) for text in ("one", "two", "three")]
        await heard(asked[0])
        assert await heard(asked[2]) == ["three"]
        assert tts.at_work == []
        await voice.close()

    run(speak())


@pytest.mark.parametrize("taken", [True, False])
def test_one_that_fails_ahead_fails_when_it_is_taken(taken: bool) -> None:
    async def speak() -> None:
        voice = SeparateTts(failing=Failing(1)).voice()
        asked = [voice.speak(text, last=False) for text in ("one", "two", "three")]
        await anext(asked[0])
        await asyncio.sleep(5)
        assert await heard(asked[0]) == ["one"]
        if taken:
            with pytest.raises(ProviderError):
                await heard(asked[1])
        assert await heard(asked[2]) == ["three"]
        await voice.close()

    run(speak())
