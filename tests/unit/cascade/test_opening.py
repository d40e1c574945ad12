"""What is spoken ahead: when it begins, whose it becomes, and that nothing is left of it otherwise."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from tests.standins.troubled import BROKEN, MUTE, Trouble, TroubledTts
from tests.standins.virtual_time import run
from tests.standins.voices import words
from tests.unit.failover.linked import linked
from trunkline.errors import ProvidersExhausted
from workers.cascade.opening import BegunVoice, Opening
from workers.cascade.speakable import Reader
from workers.failover.text_to_speech import TextToSpeechChain
from workers.providers.base import ToolCall, Voice, Word
from workers.providers.separate import Separate

FIRST, SECOND = "One two three.", "Four five."
CALL = ToolCall("id", "clock", "{}")


# --- when it begins


class Begun:
    """Notes what a voice is begun with."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []
        self.opening = Opening(self._begin, Reader().read)

    def _begin(self, text: str, last: bool) -> Any:
        self.asked.append((text, last))
        return self

    def hear(self, *parts: str | ToolCall | None) -> list[tuple[str, bool]]:
        for part in parts:
            self.opening.hear(part)
        return self.asked


@pytest.mark.parametrize(
    ("parts", "asked"),
    [
        (["One two ", "three. ", "Four"], [("One two three.", False)]),
        (["Certainly, I can do so, ", "if you"], [("Certainly, I can do so,", False)]),
        (["One two"], []),
        (["One two", None], [("One two", True)]),
        (["One two. ", None], [("One two.", False)]),
        (["One two", CALL], []),
        (["One two", CALL, None], [("One two", False)]),
        ([CALL, None], []),
        (["\n", "**One** two. ", "Three. "], [("One two.", False)]),
        (["😀", None], []),
    ],
)
def test_it_begins_with_the_first_sentence_that_sounds(
    parts: list[str | ToolCall | None], asked: list[tuple[str, bool]]
) -> None:
    assert Begun().hear(*parts) == asked


def test_what_is_not_wanted_or_wanted_by_now_is_not_begun() -> None:
    for end in ("drop", "take"):
        begun = Begun()
        begun.hear("One two")
        assert getattr(begun.opening, end)() is None
        assert begun.hear(" three. ", None) == []


def test_one_answer_has_it() -> None:
    begun = Begun()
    begun.hear("One two. ")
    taken: list[object] = [begun.opening.take(), begun.opening.take()]
    assert taken == [begun, None]


# --- whose it becomes


class Vendor(TroubledTts):
    """Speaks each sentence by itself, as most do."""

    def voice(self) -> Any:
        return Separate(self)


Tell = Callable[[Vendor, Callable[[str], BegunVoice]], Coroutine[Any, Any, None]]


def told(tell: Tell, *plan: Trouble, kind: type[Vendor] = Vendor) -> None:
    """Run `tell` with a vendor; nothing may be left open there."""
    vendor = kind(*plan)
    chain = TextToSpeechChain(linked(vendor))

    async def all_of_it() -> None:
        async with asyncio.TaskGroup() as group:
            await tell(vendor, lambda text: BegunVoice(group, chain, text, last=False))
            await asyncio.sleep(0.5)
        assert vendor.troubles.open == 0

    run(all_of_it())


async def heard(parts: AsyncGenerator[bytes | Word, None]) -> str:
    pcm = b""
    async for part in parts:
        pcm += part if isinstance(part, bytes) else b""
    return " ".join(words(pcm))


async def spoken(voice: Voice, *sentences: str) -> str:
    """What is heard of them, asked for at once."""
    asked = [voice.speak(sentence, last=sentence is sentences[-1]) for sentence in sentences]
    try:
        return " ".join([await heard(parts) for parts in asked])
    finally:
        await voice.close()


def test_whose_first_sentence_it_is_has_it_and_goes_on() -> None:
    async def tell(vendor: Vendor, begin: Callable[[str], BegunVoice]) -> None:
        for wait_s in (0.05, 0.2, 2.0):
            voice = begin(FIRST)
            await asyncio.sleep(wait_s)
            assert await spoken(voice, FIRST, SECOND) == f"{FIRST} {SECOND}"
        assert vendor.spoken == [FIRST, SECOND] * 3

    told(tell)


def test_any_other_answer_has_a_voice_of_its_own() -> None:
    async def tell(vendor: Vendor, begin: Callable[[str], BegunVoice]) -> None:
        for wait_s in (0.0, 0.05, 0.2, 2.0):
            voice = begin(FIRST)
            await asyncio.sleep(wait_s)
            assert await spoken(voice, SECOND, FIRST) == f"{SECOND} {FIRST}"

    told(tell)


def test_one_that_has_not_come_to_ask_or_was_dropped_is_not_waited_for() -> None:
    async def tell(vendor: Vendor, begin: Callable[[str], BegunVoice]) -> None:
        assert await spoken(begin(FIRST), FIRST) == FIRST
        assert vendor.spoken == [FIRST]
        voice = begin(FIRST)
        await asyncio.sleep(0.2)
        voice.drop()
        assert await spoken(voice, FIRST, SECOND) == f"{FIRST} {SECOND}"
        assert vendor.spoken == [FIRST, FIRST, FIRST, SECOND]

    told(tell)


@pytest.mark.parametrize("trouble", [Trouble(error=BROKEN), Trouble(error=BROKEN, after=2)])
def test_one_that_failed_is_asked_again(trouble: Trouble) -> None:
    async def tell(vendor: Vendor, begin: Callable[[str], BegunVoice]) -> None:
        voice = begin(FIRST)
        await asyncio.sleep(1.0)
        vendor.troubles.__init__()  # type: ignore[misc]
        assert await spoken(voice, FIRST, SECOND) == f"{FIRST} {SECOND}"

    told(tell, trouble)


def test_what_came_before_it_fails_is_heard_by_who_has_it() -> None:
    async def tell(vendor: Vendor, begin: Callable[[str], BegunVoice]) -> None:
        voice = begin(FIRST)
        await asyncio.sleep(0.05)
        pcm = bytearray()

        async def listen() -> None:
            async for part in voice.speak(FIRST, last=False):
                assert isinstance(part, bytes)
                pcm.extend(part)

        with pytest.raises(ProvidersExhausted, match="broke down"):
            await listen()
        assert words(bytes(pcm)) == ["One", "two"]
        await voice.close()

    told(tell, Trouble(error=BROKEN, after=6))


def test_a_first_sentence_that_is_closed_early_leaves_the_next_to_be_said() -> None:
    async def tell(vendor: Vendor, begin: Callable[[str], BegunVoice]) -> None:
        for wait_s in (0.05, 0.11, 2.0):
            voice = begin(FIRST)
            await asyncio.sleep(wait_s)
            first, second = voice.speak(FIRST, last=False), voice.speak(SECOND, last=True)
            assert isinstance(await anext(first), bytes)
            await first.aclose()
            assert await heard(second) == SECOND
            await voice.close()

    told(tell)


# --- nothing is left of it


@pytest.fixture
def no_faults(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nobody closes what somebody else takes from: that would be taken for the vendor's own fault."""
    yield
    told = caplog.get_records("call")
    assert [record.getMessage() for record in told if record.levelno >= logging.ERROR] == []


class Reluctant(Vendor):
    """Takes a while to be given up."""

    def speak(self, text: str) -> AsyncGenerator[bytes | Word, None]:
        return self._reluctantly(super().speak(text))

    async def _reluctantly(self, parts: AsyncGenerator[bytes | Word, None]) -> AsyncGenerator[bytes | Word, None]:
        async with aclosing(parts):
            try:
                async for part in parts:
                    yield part
            finally:
                await asyncio.sleep(0.2)


@pytest.mark.usefixtures("no_faults")
@pytest.mark.parametrize("wait_s", [0.05, 0.15, 1.0])
def test_one_that_is_asked_for_and_never_taken_is_closed(wait_s: float) -> None:
    async def tell(vendor: Vendor, begin: Callable[[str], BegunVoice]) -> None:
        voice = begin(FIRST)
        await asyncio.sleep(wait_s)
        _ = voice.speak(FIRST, last=False)
        await voice.close()
        assert vendor.troubles.open == 0
        await voice.close()

    told(tell)


@pytest.mark.usefixtures("no_faults")
@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.105, 0.15, 1.0])
@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("plan", [[], [MUTE]])
@pytest.mark.parametrize("kind", [Vendor, Reluctant])
def test_who_is_cancelled_twice_leaves_nothing(
    after_s: float, taken: bool, plan: list[Trouble], kind: type[Vendor]
) -> None:
    """As who interrupts an answer does."""

    async def tell(vendor: Vendor, begin: Callable[[str], BegunVoice]) -> None:
        voice = begin(FIRST)
        await asyncio.sleep(0.05 if taken else 0)
        answer = asyncio.create_task(spoken(voice, FIRST if taken else SECOND, SECOND))
        await asyncio.sleep(after_s)
        answer.cancel()
        await asyncio.sleep(0)
        answer.cancel()
        await asyncio.wait([answer])

    told(tell, *plan, kind=kind)


def test_a_session_that_ends_closes_what_nobody_has_taken() -> None:
    vendor = Vendor()

    async def session() -> None:
        async with asyncio.TaskGroup() as group:
            voices = [BegunVoice(group, TextToSpeechChain(linked(vendor)), FIRST, last=False) for _ in range(2)]
            await asyncio.sleep(0.15)
            asked = voices[0].speak(FIRST, last=False)
            assert isinstance(await anext(asked), bytes)
            try:
                raise MemoryError("no room")
            finally:
                await asked.aclose()
                await voices[0].close()

    with pytest.raises(ExceptionGroup):
        run(session())
    assert vendor.troubles.open == 0
