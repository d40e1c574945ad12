"""A worker that lets a call go hears no more of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from tests.conversation.talk import QUESTION, Cast, talk
from tests.standins.session import Say
from tests.standins.voices import ScriptedLlm
from workers.providers.base import ChatMessage

SECOND = "and what else"


class Reluctant(ScriptedLlm):
    """Takes 2 s to be given up."""

    async def _parts(self, messages: Sequence[ChatMessage]) -> AsyncGenerator[str, None]:
        try:
            async for part in super()._parts(messages):
                yield part
        finally:
            await asyncio.sleep(2)


def test_who_speaks_while_a_worker_gives_up_its_providers_is_heard_by_the_next() -> None:
    cast = Cast(llm=Reluctant({}, first_s=5))
    outcome = talk([Say(1000, QUESTION), Say(3700, SECOND, word_ms=300)], cast, end_ms=16_000, kills_ms=[4000])
    assert [told for told in outcome.sessions[0].events if told.at_ms > 4000] == []
    assert [text for role, text in outcome.items if role == "user"] == [QUESTION, SECOND]
