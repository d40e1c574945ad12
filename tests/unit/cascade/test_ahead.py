"""A request that is made ahead: whom it answers, and that it ends when nobody wants it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from tests.standins.virtual_time import run
from trunkline.errors import ProviderError
from workers.cascade.ahead import PARTS_AHEAD, Request, same_words
from workers.providers.base import ChatMessage, ToolCall, ToolSchema

ASKED = [ChatMessage("system", "Be kind."), ChatMessage("user", "what is new")]
CLOCK = (ToolSchema("clock", "The day.", {"type": "object"}),)


class Model:
    description = "counts"

    def __init__(self, parts: int, fails: bool = False) -> None:
        self.given = 0
        self.open = 0
        self._parts = parts
        self._fails = fails

    async def reply(
        self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema] = ()
    ) -> AsyncGenerator[str | ToolCall, None]:
        self.open += 1
        try:
            for number in range(self._parts):
                self.given += 1
                yield f"{number} "
            if self._fails:
                raise ProviderError("model", "it failed")
        finally:
            self.open -= 1

    async def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("what is new", " What is new? ", True),
        ("it's 10 o'clock", "It's 10 o'clock.", True),
        ("what is new", "what is new today", False),
        ("Straße", "STRASSE", True),
        ("", "...", True),
        ("ten", "tent", False),
    ],
)
def test_the_same_words(one: str, other: str, same: bool) -> None:
    assert same_words(one, other) is same
    assert same_words(other, one) is same


def test_it_answers_the_same_words_to_the_same_history_with_the_same_tools() -> None:
    async def ask() -> None:
        async with asyncio.TaskGroup() as group:
            request = Request(group, Model(1), ASKED, CLOCK)
            assert request.answers([ASKED[0], ChatMessage("user", "What is new?")], CLOCK)
            assert not request.answers([ASKED[0], ChatMessage("user", "what is old")], CLOCK)
            assert not request.answers([ChatMessage("system", "Be brief."), ASKED[1]], CLOCK)
            assert not request.answers([*ASKED, ChatMessage("assistant", "I")], CLOCK)
            assert not request.answers(ASKED, ())
            assert not request.answers([], CLOCK)
            request.drop()

    run(ask())


def test_a_model_is_read_no_further_than_its_parts_have_room_and_then_to_its_end() -> None:
    async def ask() -> list[str | ToolCall]:
        model = Model(3 * PARTS_AHEAD)
        async with asyncio.TaskGroup() as group:
            request = Request(group, model, ASKED, ())
            await asyncio.sleep(1)
            assert model.given == PARTS_AHEAD + 1
            parts = [part async for part in request.parts()]
        assert model.open == 0
        return parts

    assert run(ask()) == [f"{number} " for number in range(3 * PARTS_AHEAD)]


@pytest.mark.parametrize("parts", [1, 3 * PARTS_AHEAD])
def test_one_that_is_dropped_is_closed_at_the_model(parts: int) -> None:
    async def ask() -> None:
        model = Model(parts)
        async with asyncio.TaskGroup() as group:
            request = Request(group, model, ASKED, ())
            await asyncio.sleep(1)
            request.drop()
        assert model.open == 0

    run(ask())


def test_who_stops_listening_ends_it() -> None:
    async def ask() -> None:
        model = Model(3 * PARTS_AHEAD)
        async with asyncio.TaskGroup() as group:
            parts = Request(group, model, ASKED, ()).parts()
            assert await anext(parts) == "0 "
            await parts.aclose()
        assert model.open == 0

    run(ask())


def test_one_that_failed_answers_nothing_and_says_so_to_who_listens() -> None:
    async def ask() -> None:
        async with asyncio.TaskGroup() as group:
            request = Request(group, Model(1, fails=True), ASKED, ())
            assert request.answers(ASKED, ())
            parts = request.parts()
            assert await anext(parts) == "0 "
            with pytest.raises(ProviderError, match="it failed"):
                await anext(parts)
            assert not request.answers(ASKED, ())

    run(ask())
