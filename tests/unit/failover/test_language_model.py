"""A chain of language models, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import cast

import pytest

from tests.standins.troubled import BROKEN, LOCKED_OUT, MUTE, NONE, REFUSED, Trouble, TroubledLlm, too_many
from tests.standins.virtual_time import run
from tests.unit.failover.linked import linked
from trunkline.errors import ProvidersExhausted
from workers.failover.language_model import LanguageModelChain
from workers.providers.base import ChatMessage, LanguageModel, ToolCall, ToolSchema

ANSWER = "It is at ten, and it takes an hour."
ANSWERS = {"when": ANSWER}
QUESTION = [ChatMessage("user", "when")]

Stream = AsyncGenerator[str | ToolCall, None]
Parts = list[tuple[float, str | ToolCall]]


def broken(after: int = 0) -> Trouble:
    return Trouble(error=BROKEN, after=after)


async def heard(chain: LanguageModelChain, messages: Sequence[ChatMessage] = QUESTION) -> Parts:
    """The answer's parts, and when each came (s)."""
    begun_s = asyncio.get_running_loop().time()
    parts: Parts = []
    async with aclosing(chain.reply(messages)) as stream:
        async for part in stream:
            parts.append((asyncio.get_running_loop().time() - begun_s, part))
    return parts


def text(parts: Parts) -> str:
    return "".join(part for _, part in parts if isinstance(part, str))


def nothing_is_open(*models: TroubledLlm) -> bool:
    return all(model.troubles.open == 0 for model in models)


def test_where_nothing_is_wrong_nobody_else_is_asked() -> None:
    first, second = TroubledLlm(ANSWERS), TroubledLlm(ANSWERS)
    parts = run(heard(LanguageModelChain(linked(first, second))))
    assert text(parts) == ANSWER
    assert second.asked == []


@pytest.mark.parametrize(
    ("trouble", "first_s"),
    [
        (broken(), 0.6),
        (Trouble(error=REFUSED), 0.6),
        (Trouble(error=LOCKED_OUT), 0.6),
        (Trouble(error=too_many(2)), 0.6),
        (MUTE, 1.8),
    ],
)
def test_who_cannot_begin_is_replaced(trouble: Trouble, first_s: float) -> None:
    first, second = TroubledLlm(ANSWERS, trouble), TroubledLlm(ANSWERS)
    parts = run(heard(LanguageModelChain(linked(first, second))))
    assert text(parts) == ANSWER
    assert parts[0][0] == pytest.approx(first_s)
    assert nothing_is_open(first, second)


@pytest.mark.parametrize("trouble", [broken(4), Trouble(3600, after=4)])
def test_an_answer_that_breaks_off_is_gone_on_with_and_nothing_is_said_twice(trouble: Trouble) -> None:
    first, second = TroubledLlm(ANSWERS, trouble), TroubledLlm(ANSWERS)
    parts = run(heard(LanguageModelChain(linked(first, second))))
    assert text(parts) == ANSWER
    assert second.asked[0][-1] == ChatMessage("assistant", "It is at ten, ")
    assert nothing_is_open(first, second)


class Forgetful(TroubledLlm):
    """Goes on with an answer as models do: without the space before it, or all over again."""

    more = "at ten."

    async def reply(
        self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema] = ()
    ) -> AsyncGenerator[str, None]:
        for character in self.more:
            yield character


@pytest.mark.parametrize("more", ["at ten.", " at ten.", "It begins in the morning at ten."])
def test_what_another_worker_began_is_gone_on_with_as_if_it_had_been_this_one(more: str) -> None:
    model = Forgetful(ANSWERS)
    model.more = more
    begun = [*QUESTION, ChatMessage("assistant", "It begins in the morning")]
    assert text(run(heard(LanguageModelChain(linked(model)), begun))) == " at ten."


def test_what_an_earlier_worker_said_is_not_said_again_either() -> None:
    class Anew(TroubledLlm):
        """Begins each answer anew, whatever it is told."""

        def reply(self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema] = ()) -> Stream:
            return super().reply([message for message in messages if message.role == "user"], tools)

    async def conversation() -> str:
        chain = LanguageModelChain(linked(Anew(ANSWERS, broken(6)), Anew(ANSWERS)))
        asked = [*QUESTION, ChatMessage("assistant", "It is at ten, ")]
        return "".join([str(part) async for part in chain.reply(asked)])

    assert run(conversation()) == "and it takes an hour."


def test_an_answer_may_break_off_twice() -> None:
    models = [TroubledLlm(ANSWERS, broken(2)), TroubledLlm(ANSWERS, broken(3)), TroubledLlm(ANSWERS)]
    assert text(run(heard(LanguageModelChain(linked(*models))))) == ANSWER


def test_who_is_late_may_still_win() -> None:
    first, second = TroubledLlm(ANSWERS, Trouble(1.3)), TroubledLlm({"when": "Never."})
    links = linked(first, second)
    parts = run(heard(LanguageModelChain(links)))
    assert text(parts) == ANSWER
    assert parts[0][0] == pytest.approx(1.6)
    assert nothing_is_open(first, second)
    assert (links[0].breaker.tally.failed, links[0].breaker.tally.succeeded) == (1, 0), "its caller waited too long"
    assert links[1].breaker.tally.failed == 0, "to come second is no failure"


def test_when_nobody_is_left_each_is_named() -> None:
    first, second = TroubledLlm(ANSWERS, broken()), TroubledLlm(ANSWERS, MUTE)
    with pytest.raises(ProvidersExhausted) as raised:
        run(heard(LanguageModelChain(linked(first, second))))
    assert str(raised.value) == ("language model: nobody is left: troubled: broke down; b: nothing came within 1.5 s")
    assert len(raised.value.failures) == 2
    assert nothing_is_open(first, second)


def test_what_was_said_before_nobody_was_left_stands() -> None:
    async def conversation() -> None:
        async with aclosing(LanguageModelChain(linked(TroubledLlm(ANSWERS, broken(2)))).reply(QUESTION)) as stream:
            assert [await anext(stream), await anext(stream)] == ["It ", "is "]
            with pytest.raises(ProvidersExhausted):
                await anext(stream)

    run(conversation())


def test_who_failed_a_few_times_is_not_waited_for_until_it_is_back() -> None:
    first, second = TroubledLlm(ANSWERS, MUTE, MUTE, MUTE, NONE), TroubledLlm(ANSWERS)
    chain = LanguageModelChain(linked(first, second))

    async def conversation() -> list[float]:
        waits = [(await heard(chain))[0][0] for _ in range(4)]
        await asyncio.sleep(15)
        return waits + [(await heard(chain))[0][0] for _ in range(2)]

    assert run(conversation()) == pytest.approx([1.8, 1.8, 1.8, 0.3, 0.3, 0.3])
    assert first.troubles.requests == 5, "the last two were its own again"


def test_a_mute_model_alone_fails_by_its_deadline_and_then_at_once() -> None:
    chain = LanguageModelChain(linked(TroubledLlm(ANSWERS, MUTE)))

    async def conversation() -> list[float]:
        loop, waits = asyncio.get_running_loop(), []
        for _ in range(4):
            begun_s = loop.time()
            with pytest.raises(ProvidersExhausted):
                await heard(chain)
            waits.append(loop.time() - begun_s)
        return waits

    assert run(conversation()) == pytest.approx([1.5, 1.5, 1.5, 0])


def test_a_caller_who_interrupts_leaves_nothing_open_and_blames_nobody() -> None:
    first, second = TroubledLlm(ANSWERS, MUTE), TroubledLlm(ANSWERS, MUTE)
    links = linked(first, second)

    async def conversation() -> None:
        for wait_s in (1.0, 1.6):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await heard(LanguageModelChain(links))
            assert nothing_is_open(first, second)

    run(conversation())
    assert links[0].breaker.tally.failed == 1, "once it was beyond its deadline"
    assert links[1].breaker.tally.failed == 0


def test_an_interruption_while_it_streams_blames_nobody() -> None:
    first = TroubledLlm(ANSWERS)
    links = linked(first)

    async def conversation() -> None:
        async with aclosing(LanguageModelChain(links).reply(QUESTION)) as stream:
            await anext(stream)

    run(conversation())
    assert nothing_is_open(first)
    assert (links[0].breaker.tally.failed, links[0].breaker.tally.succeeded) == (0, 0)


# --- hedges


def test_a_hedge_asks_the_next_early_and_the_first_to_say_something_wins() -> None:
    first, second = TroubledLlm(ANSWERS, Trouble(1.0)), TroubledLlm(ANSWERS)
    links = linked(first, second, hedge_s=0.5)
    parts = run(heard(LanguageModelChain(links)))
    assert text(parts) == ANSWER
    assert parts[0][0] == pytest.approx(0.8)
    assert nothing_is_open(first, second)
    assert links[0].breaker.tally.failed == 0, "it was slow, but in time"


def test_a_hedge_without_a_fallback_asks_the_same_again() -> None:
    first = TroubledLlm(ANSWERS, MUTE, NONE)
    parts = run(heard(LanguageModelChain(linked(first, hedge_s=0.5))))
    assert text(parts) == ANSWER
    assert parts[0][0] == pytest.approx(0.8)
    assert nothing_is_open(first)


def test_a_model_that_fails_is_not_asked_the_same_again() -> None:
    first = TroubledLlm(ANSWERS, broken())
    with pytest.raises(ProvidersExhausted):
        run(heard(LanguageModelChain(linked(first, hedge_s=0.5))))
    assert first.troubles.requests == 1


def test_a_probe_has_no_hedge_by_the_same_and_closes_the_breaker() -> None:
    first = TroubledLlm(ANSWERS, Trouble(error=too_many(5)), Trouble(0.7), NONE)
    links = linked(first, hedge_s=0.5)

    async def conversation() -> str:
        with pytest.raises(ProvidersExhausted):
            await heard(LanguageModelChain(links))
        await asyncio.sleep(5.001)
        return text(await heard(LanguageModelChain(links)))

    assert run(conversation()) == ANSWER
    assert first.troubles.requests == 2
    assert links[0].breaker.closed


# --- tools


class Calling:
    """Says something, calls, and then fails."""

    description = "calling"

    async def reply(self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema] = ()) -> Stream:
        yield "Let me look. "
        yield ToolCall("1", "look", "{}")
        raise BROKEN

    async def close(self) -> None:
        """Nothing to close."""


def test_a_call_that_was_yielded_is_not_asked_for_again() -> None:
    second = TroubledLlm(ANSWERS)
    links = linked(cast(LanguageModel, Calling()), second)
    parts = run(heard(LanguageModelChain(links)))
    assert [part for _, part in parts] == ["Let me look. ", ToolCall("1", "look", "{}")]
    assert second.asked == []
    assert links[0].breaker.tally.failed == 1


class CallingAfterAll(Calling):
    async def reply(self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema] = ()) -> Stream:
        assert messages[-1] == ChatMessage("assistant", "It is ")
        assert [tool.name for tool in tools] == ["look"]
        yield ToolCall("2", "look", "{}")


def test_a_call_that_never_came_is_asked_of_the_next() -> None:
    async def conversation() -> list[str | ToolCall]:
        chain = LanguageModelChain(linked(TroubledLlm(ANSWERS, broken(2)), CallingAfterAll()))
        return [part async for part in chain.reply(QUESTION, [ToolSchema("look", "", {})])]

    assert run(conversation()) == ["It ", "is ", ToolCall("2", "look", "{}")]
