"""Our Groq providers against the stand-in, which the official SDK holds to the protocol (test_groq_standin)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from tests.contract.groq_caller import HELLO, SLOTS, hearing, said, thinking
from tests.contract.recorded import TEXT, begun, heard
from tests.standins import tones
from tests.standins.groq import KEY, Fault, Groq, serve
from tests.standins.groq.hearing import Ghost
from tests.waiting import until
from trunkline.errors import ProviderError, SettingsError
from workers.providers.base import ChatMessage, ToolCall
from workers.providers.batch import BatchSpeech
from workers.providers.groq import access, language_model, speech_to_text
from workers.providers.groq.access import RETIRED
from workers.providers.groq.hearing import PROMPT_BYTES, RATE_HZ
from workers.providers.groq.thinking import Thinking


@pytest.fixture
async def standin() -> AsyncIterator[Groq]:
    async with serve() as groq:
        yield groq


# --- speech-to-text


async def test_hears(standin: Groq) -> None:
    async with hearing(standin, model="whisper-large-v3", prompt="A clinic.") as stt:
        transcript = await begun(stt).finish()
        assert stt.description == "Groq: whisper-large-v3 at 127.0.0.1"
    assert transcript.text == TEXT
    assert transcript.confidence == pytest.approx(math.exp(standin.hears.avg_logprob))
    [asked] = standin.transcriptions
    assert (asked.model, asked.prompt, asked.language) == ("whisper-large-v3", "A clinic.", "en")


@pytest.mark.parametrize("word", ["tuesday", "\N{CYRILLIC SMALL LETTER YA}\N{CYRILLIC SMALL LETTER YA}"])
async def test_of_a_long_context_the_end_is_told(standin: Groq, word: str) -> None:
    async with hearing(standin, prompt="A clinic.") as stt, stt.request(1) as vendor:
        await vendor.transcribe(tones.speak("yes", RATE_HZ), f"{word} " * 500 + "last")
    prompt = standin.transcriptions[0].prompt
    assert prompt is not None
    words = prompt.split(" ")
    assert words[:2] + words[-1:] == ["A", "clinic.", "last"]
    assert set(words[2:-1]) == {word}, "whole words only"
    assert PROMPT_BYTES - 2 * len(word.encode()) < len(prompt.encode()) <= PROMPT_BYTES


@pytest.mark.parametrize(
    ("ghost", "believed"),
    [
        (Ghost("Thank you.", 0.9, -1.2), False),
        (Ghost("Thank you.", 0.9, -0.3), True),
        (Ghost("Thank you.", 0.1, -1.2), True),
    ],
)
async def test_what_is_made_up_about_silence_is_left_out(standin: Groq, ghost: Ghost, believed: bool) -> None:
    standin.hears.ghosts = [ghost]
    async with hearing(standin) as stt:
        transcript = await begun(stt).finish()
        assert transcript.text == (f"{TEXT} Thank you." if believed else TEXT)
        standin.hears.ghosts = [Ghost("Thank you.", 0.9, -1.2)]
        async with stt.request(1) as vendor:
            nothing = await vendor.transcribe(bytes(RATE_HZ), "")
    assert (nothing.text, nothing.confidence) == ("", None)


async def test_a_sound_shorter_than_groq_takes_is_filled_up(standin: Groq) -> None:
    async with hearing(standin) as stt, stt.request(0) as vendor:
        await vendor.transcribe(bytes(100), "")
    assert standin.transcriptions[0].duration_ms == 10


# --- language model


async def test_answers(standin: Groq) -> None:
    async with thinking(standin, temperature=0.5, max_tokens=200, service_tier="auto") as model:
        deltas = [delta async for delta in model.reply(HELLO)]
        assert model.description == "Groq: openai/gpt-oss-20b at 127.0.0.1"
    assert len(deltas) > 3
    assert "".join(map(str, deltas)) == standin.says.answer
    assert standin.completions[0].body == {
        "model": "openai/gpt-oss-20b",
        "messages": [{"role": message.role, "content": message.content} for message in HELLO],
        "stream": True,
        "temperature": 0.5,
        "max_completion_tokens": 200,
        "service_tier": "auto",
        "reasoning_effort": "low",
        "include_reasoning": False,
    }


async def test_what_answers_cost_is_counted(standin: Groq, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "workers.providers.groq"):
        async with thinking(standin) as model:
            await said(model)
            await said(model)
    assert (model.prompt_tokens, model.completion_tokens) == (240, 2 * len(standin.says.answer.split()))
    assert "20 ms queued" in caplog.text


@pytest.mark.parametrize("torn", [False, True])
async def test_tools_are_offered_and_calls_come_whole_after_the_text(standin: Groq, torn: bool) -> None:
    standin.says.answer, standin.says.torn_calls = "Let me see.", torn
    standin.says.calls = [("find_slot", '{"day": "Tue"}'), ("hang_up", "")]
    async with thinking(standin) as model:
        text, calls = await said(model, tools=[SLOTS])
        assert text == "Let me see."
        assert calls == [ToolCall("call_a0", "find_slot", '{"day": "Tue"}'), ToolCall("call_a1", "hang_up", "{}")]
        standin.says.answer, standin.says.calls = "At ten.", []
        told = [*HELLO, ChatMessage("assistant", text, tool_calls=(calls[0],))]
        told += [ChatMessage("tool", '{"slots": [10]}', call_id="call_a0"), ChatMessage("tool", "another's")]
        assert await said(model, told, [SLOTS]) == ("At ten.", [])
    function = {"name": SLOTS.name, "description": SLOTS.description, "parameters": SLOTS.parameters}
    assert standin.completions[0].body["tools"] == [{"type": "function", "function": function}]
    call = {"id": "call_a0", "type": "function", "function": {"name": "find_slot", "arguments": '{"day": "Tue"}'}}
    assert standin.completions[1].body["messages"][2:] == [
        {"role": "assistant", "content": "Let me see.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_a0", "content": '{"slots": [10]}'},
        {"role": "system", "content": "another's"},
    ]


async def test_a_cut_off_answer_is_to_be_continued(standin: Groq) -> None:
    standin.says.answer = " and the rest"
    async with thinking(standin) as model:
        assert await said(model, [*HELLO, ChatMessage("assistant", "The beginning")]) == (" and the rest", [])
    sent = standin.completions[0].body["messages"]
    assert sent[-2] == {"role": "assistant", "content": "The beginning"}
    assert "exactly where it ends" in sent[-1]["content"]


@pytest.mark.parametrize("effort", [None, "low", "high"])
@pytest.mark.parametrize("model_name", ["openai/gpt-oss-20b", "openai/gpt-oss-120b", "qwen/qwen3.8-27b"])
async def test_thoughts_are_not_asked_for(standin: Groq, model_name: str, effort: str | None) -> None:
    standin.says.thoughts = "the user greets me"
    async with thinking(standin, model=model_name, reasoning_effort=effort) as model:
        assert await said(model) == (standin.says.answer, [])
    quick = "none" if model_name.startswith("qwen") else "low"
    assert standin.completions[0].body["reasoning_effort"] == (effort or quick)


async def test_thoughts_are_not_spoken_by_a_model_that_thinks_aloud(standin: Groq) -> None:
    standin.says.thoughts = "the user greets me"
    async with thinking(standin, model="acme/thinks-aloud") as model:
        assert await said(model) == (standin.says.answer, [])
    assert "reasoning_effort" not in standin.completions[0].body


async def test_a_model_that_only_thought_is_an_error(standin: Groq) -> None:
    standin.says.thoughts = "the user greets me, and so"
    async with thinking(standin, max_tokens=4) as model:
        with pytest.raises(ProviderError, match="raise it, or lower reasoning_effort") as caught:
            await said(model)
        assert not caught.value.retryable
        standin.says.thoughts = ""
        assert await said(model) == ("Hello there, this is", []), "cut short, but said"


async def test_one_answer_after_another_on_one_connection(standin: Groq) -> None:
    async with thinking(standin) as model:
        for _ in range(3):
            await said(model)
    assert len({asked.connection for asked in standin.completions}) == 1


async def test_an_answer_is_over_when_it_says_so(standin: Groq) -> None:
    standin.fault = "lingering"
    async with thinking(standin, next_token_s=60) as model:
        assert await asyncio.wait_for(said(model), 30) == (standin.says.answer, [])
        await asyncio.wait_for(standin.hung_up.wait(), 10)


async def test_closing_the_generator_hangs_up(standin: Groq) -> None:
    standin.says.answer = "word " * 5000
    async with thinking(standin) as model:
        async with contextlib.aclosing(model.reply(HELLO)) as deltas:
            assert await anext(deltas) == "word"
        await asyncio.wait_for(standin.hung_up.wait(), 10)
        standin.says.answer = "done"
        assert await said(model) == ("done", [])


@pytest.mark.parametrize("fault", ["silent", "stalled"])
async def test_cancelling_hangs_up_at_once(standin: Groq, fault: Fault) -> None:
    standin.fault = fault
    async with thinking(standin) as model:
        asking = asyncio.ensure_future(said(model))
        await until(lambda: standin.completions)
        await asyncio.sleep(0.05)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.wait_for(standin.hung_up.wait(), 10)
        standin.fault = None
        assert await said(model) == (standin.says.answer, [])


async def test_answers_that_are_given_up_at_any_moment_cost_no_connection(
    standin: Groq, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "CONNECTIONS", 2)
    async with thinking(standin, first_token_s=30) as model:
        for moment in range(300):
            asking = asyncio.ensure_future(said(model))
            for _ in range(moment % 50):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait([asking])
        assert await asyncio.wait_for(said(model), 20) == (standin.says.answer, [])


# --- whatever goes wrong, with either

Use = Callable[..., Coroutine[Any, Any, None]]


async def _hear(standin: Groq, **options: Any) -> None:
    async with hearing(standin, **options) as stt:
        await heard(stt)


async def _think(standin: Groq, **options: Any) -> None:
    async with thinking(standin, **options) as model:
        await said(model)


@pytest.mark.parametrize(("use", "impatient"), [(_hear, {"first_s": 1}), (_think, {"first_token_s": 1})])
@pytest.mark.parametrize(
    ("fault", "retryable", "retry_after_s", "text"),
    [
        ("unauthorized", False, None, "HTTP 401: Invalid API Key"),
        ("rate_limited", True, 8.0, "HTTP 429: Rate limit reached"),
        ("at_capacity", True, None, "HTTP 498"),
        ("broken", True, None, "HTTP 500"),
        ("bad_call", True, None, "HTTP 400: Failed to call a function"),
        ("silent", True, None, "within the deadline"),
        ("page", True, None, None),
        ("empty", True, None, None),
    ],
)
async def test_a_fault_from_the_beginning_is_told_as_what_it_is(
    standin: Groq,
    use: Use,
    impatient: dict[str, int],
    fault: Fault,
    retryable: bool,
    retry_after_s: float | None,
    text: str | None,
) -> None:
    standin.fault = fault
    with pytest.raises(ProviderError, match=text) as caught:
        await use(standin, **(impatient if fault == "silent" else {}))
    assert caught.value.provider == "groq"
    assert (caught.value.retryable, caught.value.retry_after_s) == (retryable, retry_after_s)
    assert standin.requests <= 1, "no retries in silence"


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("stalled", "within the deadline"),
        ("cut", "in the middle of an answer"),
        ("torn", None),
        ("garbage", "JSONDecodeError"),
        ("nonsense", "no part of an answer"),
        ("numberless", "no part of an answer"),
        ("told", "HTTP 500: .* is over capacity"),
        ("told_bad_call", "HTTP 400: Failed to call"),
        ("told_in_words", "HTTP 500"),
        ("short", "cut short: over_capacity"),
    ],
)
async def test_a_fault_in_the_middle_is_an_error_after_what_was_said(
    standin: Groq, fault: Fault, text: str | None
) -> None:
    standin.fault = fault
    async with thinking(standin, next_token_s=1 if fault == "stalled" else 60) as model:
        deltas = model.reply(HELLO)
        assert [await anext(deltas), await anext(deltas)] == ["Hello", " there,"]
        with pytest.raises(ProviderError, match=text) as caught:
            await anext(deltas)
        assert caught.value.retryable
        assert "secret" not in str(caught.value), "what the model said is for the caller alone"
        standin.fault = None
        assert await said(model) == (standin.says.answer, [])


async def test_thinking_without_end_is_no_beginning(standin: Groq) -> None:
    standin.says.thoughts = "and so " * 20_000
    async with thinking(standin, model="acme/thinks-aloud", first_token_s=1) as model:
        with pytest.raises(ProviderError, match="no token came within the deadline"):
            await said(model)
        await asyncio.wait_for(standin.hung_up.wait(), 10)


async def test_a_slow_beginning_within_the_deadline_is_no_fault(standin: Groq) -> None:
    standin.latency_s = 0.4
    async with thinking(standin, first_token_s=30, next_token_s=30) as model:
        assert await said(model) == (standin.says.answer, [])


async def test_nobody_listens() -> None:
    nowhere = Groq(url="http://127.0.0.1:9")
    async with thinking(nowhere) as model:
        with pytest.raises(ProviderError, match="APIConnectionError"):
            await said(model)


# --- settings

Make = Callable[[dict[str, Any]], BatchSpeech | Thinking]


@pytest.mark.parametrize("make", [speech_to_text, language_model])
async def test_settings(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="GROQ_API_KEY"):
        make({})
    with pytest.raises(SettingsError, match=r"voice: Extra.*connect_s"):
        make({"voice": "Fern"})
    with pytest.raises(SettingsError, match=r"base_url: .*without /openai/v1"):
        make({"api_key": KEY, "base_url": "https://api.groq.com/openai/v1/"})
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    made = make({})
    assert made.description.endswith("at api.groq.com")
    await made.close()
    monkeypatch.setenv("GROQ_BASE_URL", "http://127.0.0.1:9")
    made = make({})
    assert made.description.endswith("at 127.0.0.1")
    await made.close()


@pytest.mark.parametrize(("model", "instead"), RETIRED.items())
def test_a_model_that_was_shut_down_is_refused_by_the_name_of_its_successor(model: str, instead: str) -> None:
    make: Make = speech_to_text if "whisper" in model else language_model
    with pytest.raises(SettingsError, match=f"use {instead}"):
        make({"api_key": KEY, "model": model})
    assert instead not in RETIRED


async def test_a_contract_keeps_what_it_keeps(standin: Groq) -> None:
    async with thinking(standin, model="llama-3.1-8b-instant", enterprise=True) as model:
        assert await said(model) == (standin.says.answer, [])
    with pytest.raises(SettingsError, match="no more; use"):
        language_model({"api_key": KEY, "model": "gemma2-9b-it", "enterprise": True})


def test_a_model_that_always_thinks_cannot_be_told_not_to() -> None:
    with pytest.raises(SettingsError, match="low, medium or high"):
        language_model({"api_key": KEY, "model": "openai/gpt-oss-20b", "reasoning_effort": "none"})


def test_a_prompt_leaves_room_for_what_was_said_before() -> None:
    with pytest.raises(SettingsError, match=r"prompt: .*more than 448 bytes"):
        speech_to_text({"api_key": KEY, "prompt": "a" * 449})
