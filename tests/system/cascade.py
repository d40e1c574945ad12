"""What the system tests of the cascade share: vendors that answer by a script, and a deployment that uses them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.stack import Stack
from tests.standins import groq, openai, tones
from tests.standins.cartesia import Behaviour, Cartesia
from tests.standins.deepgram import Deepgram
from tests.standins.groq import Groq, Manner
from tests.standins.twilio import AUTH_TOKEN
from tests.system.callers import PUBLIC, WORD_MS, Caller
from workers.snapshot import unpack

GREETING = "Hello, welcome."
STORY = (
    "One two three four five. Six seven eight nine ten. Eleven twelve thirteen fourteen fifteen. "
    "Sixteen seventeen eighteen nineteen twenty. Twentyone twentytwo twentythree twentyfour twentyfive."
)
KEYS = "(The caller pressed these telephone keys: 12#)"
STORY_WORDS = tones.words_of(STORY)
"""No word of it comes twice: what was heard tells what was lost, and what was said again."""
SORRY = tones.respelled("Sorry, something went wrong. Could you say that again?")

RECORDED_S = 5.0

STT_S, LLM_S, TTS_MS = 0.1, 0.15, 80
"""The vendors' own time."""


def script(body: dict[str, Any]) -> Manner:
    """Tells a story, or says what it was told; goes on where it was cut off."""
    messages = [message for message in body["messages"] if message["role"] != "system"]
    asked = next(message["content"] for message in reversed(messages) if message["role"] == "user")
    answer = STORY if "story" in asked.lower() else f"You said {' '.join(tones.words_of(asked))}."
    if asked == KEYS:
        answer = "Thank you."
    if messages[-1]["role"] == "assistant":
        answer = " ".join(answer.split()[len(messages[-1]["content"].split()) :])
    return Manner(answer=answer, latency_s=LLM_S, word_s=0.02)


@dataclass
class Vendors:
    """One stand-in of each, for as many tenants as there are: each tells its conversations by their prompts."""

    groq: Groq = field(default_factory=lambda: Groq(answers=script, latency_s=0))
    cartesia: Cartesia = field(
        default_factory=lambda: Cartesia(Behaviour(word_ms=WORD_MS, first_audio_ms=TTS_MS, speed=5, expire_s=5))
    )
    deepgram: Deepgram = field(default_factory=lambda: Deepgram(answer_ms=STT_S * 1000))
    openai: openai.Speech = field(default_factory=lambda: openai.Speech(latency_s=STT_S))

    def __post_init__(self) -> None:
        self.groq.hears.latency_s = STT_S

    def asked(self, tenant: str) -> list[list[dict[str, Any]]]:
        """The messages of each request that a tenant's conversations made of the language model."""
        bodies = (asked.body["messages"] for asked in self.groq.completions)
        return [messages for messages in bodies if messages[0]["content"].startswith(prompt_of(tenant))]

    def environment(self) -> dict[str, str]:
        return {
            "GROQ_API_KEY": groq.KEY,
            "GROQ_BASE_URL": self.groq.url,
            "CARTESIA_API_KEY": self.cartesia.behaviour.api_key,
            "TRUNKLINE_CARTESIA_WS_URL": self.cartesia.url,
            "DEEPGRAM_API_KEY": "the key of a stand-in",
            "OPENAI_API_KEY": openai.KEY,
            "OPENAI_BASE_URL": self.openai.url,
            "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
            "TWILIO_ACCOUNT_SID": "",
        }


@asynccontextmanager
async def vendors() -> AsyncIterator[Vendors]:
    all_of_them = Vendors()
    async with (
        groq.serve(all_of_them.groq),
        openai.serve(all_of_them.openai),
        all_of_them.cartesia,
        all_of_them.deepgram,
    ):
        yield all_of_them


def prompt_of(tenant: str) -> str:
    return f"You are asked by {tenant}."


def tenant_of(name: str, number: int, providers: str, more: str = "") -> str:
    """A tenant whose telephone number is the `number`-th; `providers` is the YAML of its stages."""
    return f"""
id: {name}
phone_numbers: ["{number_of(number)}"]
backend: cascade
prompt: {prompt_of(name)}
greeting: {GREETING}
providers:
{providers}
{more}
"""


def number_of(number: int) -> str:
    return f"+1555{number:04d}"


@asynccontextmanager
async def deployed(
    used: Vendors, tenants: Mapping[str, str], workers: int = 2, **settings: str
) -> AsyncIterator[Stack]:
    """A gateway and two workers, which are supervised; `tenants` by their names."""
    async with Stack(
        workers=workers,
        tenants={f"{name}.yaml": text for name, text in tenants.items()},
        vendors=used.environment(),
        public_url=PUBLIC,
        **settings,  # type: ignore[arg-type]  # mypy takes them for Stack's own
    ) as stack:
        try:
            yield stack
        except BaseException as error:
            error.add_note(troubles(stack))
            raise


def troubles(stack: Stack) -> str:
    """What its processes have complained of lately."""
    lines = [line for line in stack.log_text().splitlines() if " INFO " not in line and " DEBUG " not in line]
    return "\n".join(lines[-60:])


Said = list[tuple[str, str]]


async def conversation(caller: Caller) -> Said:
    """What another worker would go on with: who said what, without case and punctuation."""
    record = await caller.stack.record(await caller.session())
    items = unpack(record.snapshot).items
    return [(item.role, " ".join(tones.words_of(item.text))) for item in items if item.role != "tool"]


async def recorded(caller: Caller, expected: Said) -> Said:
    """Wait until this is the `conversation`."""
    said: Said = []
    try:
        async with asyncio.timeout(RECORDED_S):
            while said != expected:
                said = await conversation(caller)
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{caller.tenant}: recorded is {said}, and not {expected}") from None
    return said


def told(messages: list[dict[str, Any]]) -> Said:
    """The same of a request to the language model, without its prompt."""
    spoken = (each for each in messages if each["role"] in ("user", "assistant") and each["content"])
    return [(message["role"], " ".join(tones.words_of(message["content"]))) for message in spoken]
