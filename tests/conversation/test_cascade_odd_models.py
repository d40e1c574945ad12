"""Language models that say nothing, nothing but blanks, or do not stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from tests.conversation.talk import ANSWER, QUESTION, Cast, Outcome, talk
from tests.standins.session import Action, Say, Type
from tests.standins.voices import ScriptedLlm
from trunkline.tenants import SORRY, Fillers, Tenant, TurnSettings
from workers.cascade.thinking import LONGEST_ANSWER, LONGEST_CALLS, MOST_CALLS
from workers.providers.base import ChatMessage, ToolCall, ToolSchema
from workers.snapshot import MAX_SNAPSHOT_BYTES, pack

FILLER = "One moment please."


class OddLlm(ScriptedLlm):
    """Answers the question with `parts`, a hundred a second."""

    def __init__(self, parts: Sequence[str | ToolCall]) -> None:
        super().__init__({"hello": ANSWER})
        self.parts = parts
        self.taken = 0

    async def reply(
        self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema] = ()
    ) -> AsyncGenerator[str | ToolCall, None]:
        if messages[-1].content != QUESTION:
            async for part in super().reply(messages, tools):
                yield part
            return
        for part in self.parts:
            await asyncio.sleep(0.01)
            self.taken += 1
            yield part


def asked(parts: Sequence[str | ToolCall], *more: Action, end_ms: int = 12_000) -> tuple[OddLlm, Outcome]:
    tenant = Tenant(id="test", turn=TurnSettings(preemptive=False), fillers=Fillers(phrases=(FILLER,)))
    llm = OddLlm(parts)
    return llm, talk([Say(1000, QUESTION), *more], Cast(tenant=tenant, llm=llm), end_ms=end_ms)


@pytest.mark.parametrize("parts", [[], [""], [" "], ["\n", "\n"], ["😀 ", "👍"], ["```", "\n```"], ["**", "**"]])
def test_a_model_that_says_nothing_is_apologised_for(parts: list[str]) -> None:
    _, outcome = asked(parts, Type(6000, "hello"))
    assert outcome.edge.heard == f"{SORRY} {ANSWER}"
    assert outcome.told("error", "message") == ["llm: cascade failed"]
    assert outcome.items[-1] == ("assistant", ANSWER)


@pytest.mark.parametrize("blank", [" ", "\n", "\t", " \n"])
def test_blanks_without_end_are_no_answer(blank: str) -> None:
    llm, outcome = asked([blank] * 100_000, end_ms=14_000)
    assert outcome.edge.heard == f"{FILLER} {SORRY}"
    assert llm.taken < 500


def test_blanks_after_an_answer_do_not_hold_the_floor() -> None:
    llm, outcome = asked([*(f"{word} " for word in ANSWER.split()), *["\n"] * 100_000], end_ms=15_000)
    assert outcome.edge.heard.startswith(ANSWER)
    assert outcome.told("state", "state")[-1] == "listening"
    assert llm.taken < 500


@pytest.mark.parametrize("part", ["never ending ", "x" * 1000, "无休止"])
def test_a_model_that_does_not_stop_is_stopped(part: str) -> None:
    llm, outcome = asked([part] * 100_000, Type(9000, "hello"), end_ms=15_000)
    assert llm.taken * len(part) < LONGEST_ANSWER + 1000
    assert outcome.edge.heard.endswith(ANSWER)
    assert len(pack(outcome.last.committed)) < MAX_SNAPSHOT_BYTES / 4


@pytest.mark.parametrize(
    "calls",
    [
        [ToolCall("1", "none", "x" * (LONGEST_CALLS + 1))],
        [ToolCall(str(number), "none", "{}") for number in range(MOST_CALLS + 1)],
    ],
    ids=["long", "many"],
)
def test_calls_that_nobody_could_remember_are_a_failure(calls: list[ToolCall]) -> None:
    _, outcome = asked(calls)
    assert outcome.edge.heard == SORRY
    assert [role for role, _ in outcome.items] == ["user", "assistant"]
