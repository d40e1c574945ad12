"""A worker that lets a call go hears no more of it; one whose detector of voices fails, lets it go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

import pytest

from tests.conversation import bridged
from tests.conversation.talk import QUESTION, Cast, talk
from tests.standins.session import Say
from tests.standins.voices import LoudnessVad, ScriptedLlm
from workers.cascade.runner import Cascade
from workers.cascade.stages import Stages
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


class Mortal(LoudnessVad):
    """Fails at the first sound, after a while."""

    def judge(self, chunk: bytes, found: Callable[[float | Exception], None], *, patient: bool) -> float | None:  # type: ignore[override]
        if not super().judge(chunk, found, patient=patient):
            return 0.0
        asyncio.get_running_loop().call_later(0.01, found, MemoryError("no room for a model"))
        return None


@dataclass
class MortalCast(Cast):
    @property
    def cascade(self) -> Cascade:
        return Cascade(Stages(self.stt, self.llm, self.tts), Mortal)


def test_a_detector_that_fails_ends_what_its_worker_does_for_the_session() -> None:
    cast = MortalCast()
    with pytest.raises(ExceptionGroup) as failed:
        bridged.converse([Say(1000, QUESTION)], 9000, [], cast)
    assert failed.group_contains(MemoryError, match="no room for a model")
    assert (cast.stt.open, cast.llm.open, cast.tts.open) == (0, 0, 0)
