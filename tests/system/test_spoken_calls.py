"""Speech on the telephone, and nothing that needs a key: eSpeak speaks, PocketSphinx hears it through mu-law."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from benchmarks.stack import Stack
from tests.standins.twilio import AUTH_TOKEN
from tests.system.callers import LISTEN_S, PATIENCE_S, PUBLIC, Phone
from tests.system.cascade import conversation, recorded
from trunkline.audio.resample import Resampler
from workers.providers import espeak

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

NUMBER = "+15550108"
LOCAL = f"""
id: local
phone_numbers: ["{NUMBER}"]
backend: cascade
greeting: Hello there.
"""
GREETED = ("assistant", "hello there")
ASKED = [("user", "how are you today"), ("assistant", "i am fine thank you how can i help")]
COUNTED = [("user", "count to ten"), ("assistant", "one two three four five six seven eight nine ten")]
STORY = "once upon a time there was a small lighthouse at the end of a very long pier every night it sent its light"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stack() -> AsyncIterator[Stack]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWILIO_AUTH_TOKEN", AUTH_TOKEN)
        async with Stack(tenants={"local.yaml": LOCAL}, public_url=PUBLIC) as stack:
            yield stack


class Speaker(Phone):
    """Speaks with eSpeak's voice."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack, "local", NUMBER)

    async def speak(self, text: str) -> None:
        """Returns when it is said."""
        voice = espeak.text_to_speech({})
        resampler = Resampler(voice.rate_hz, self.rate_hz)
        parts = [resampler.push(part) async for part in voice.speak(text) if isinstance(part, bytes)]
        await voice.close()
        await self._speak(b"".join(parts) + resampler.flush())

    async def listen(self, seconds: float) -> None:
        """Hear so much of what is said, from its first sound on."""
        before_s = self.now_s
        async with asyncio.timeout(PATIENCE_S):
            while self.heard_s(before_s) < seconds:  # noqa: ASYNC110 - only the audio knows
                await asyncio.sleep(LISTEN_S)

    def heard_s(self, from_s: float) -> float:
        """Seconds with a sound in them since then."""
        return self.now_s - from_s - sum(self.silences(from_s))


async def test_questions_are_heard_and_an_answer_is_interrupted(stack: Stack) -> None:
    async with Speaker(stack) as caller:
        await caller.listen(0.5)
        await caller.until_silent()
        await caller.speak("how are you today")
        await caller.listen(1.5)
        await caller.until_silent()
        await recorded(caller, [GREETED, *ASKED])
        await caller.speak("tell me a story")
        await caller.listen(3.0)
        await caller.speak("count to ten")
        async with asyncio.timeout(PATIENCE_S):
            while (said := await conversation(caller))[-2:] != COUNTED:  # noqa: ASYNC110 - only Redis knows
                await asyncio.sleep(LISTEN_S)
    assert said[:3] == [GREETED, *ASKED]
    asked, (role, told) = said[3:-2]
    assert (asked, role) == (("user", "tell me a story"), "assistant")
    assert STORY.startswith(told[: len(STORY)])
    assert 3 <= len(told.split()) < 40, "the lighthouse went out, the ship came home: none of that was heard"
