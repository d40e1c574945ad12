import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from tests.standins.chat import Chat, Fault, serve
from trunkline.errors import ProviderError, SettingsError
from workers.providers import openai_compatible
from workers.providers.base import ChatMessage, ToolCall, ToolSchema
from workers.providers.openai_compatible import ChatModel, language_model

HELLO = [ChatMessage("system", "Be brief."), ChatMessage("user", "hello")]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENAI_BASE_URL", "OPENAI_API_KEY", openai_compatible.MODEL_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


@contextlib.asynccontextmanager
async def model(chat: Chat, **options: float) -> AsyncIterator[ChatModel]:
    async with serve(chat):
        made = language_model({"base_url": f"{chat.url}/v1", "model": "m", "api_key": "key", **options})
        try:
            yield made
        finally:
            await made.close()


async def text(made: ChatModel, messages: Sequence[ChatMessage] = HELLO) -> str:
    return "".join([delta async for delta in made.reply(messages) if isinstance(delta, str)])


async def test_streams_the_answer() -> None:
    chat = Chat()
    async with model(chat, temperature=0.5, max_tokens=20) as made:
        assert await text(made) == chat.answer
        assert made.description == "m at 127.0.0.1 (chat completions)"
    request = chat.requests[0]
    assert request["messages"] == [{"role": m.role, "content": m.content} for m in HELLO]
    assert request["authorization"] == "Bearer key"
    assert (request["stream"], request["temperature"], request["max_tokens"]) == (True, 0.5, 20)


async def test_thoughts_are_not_spoken() -> None:
    async with model(Chat(answer="<think>\nThey greet me. </think>\n\nHello there.")) as made:
        assert await text(made) == "Hello there."


async def test_a_cut_off_answer_is_to_be_continued() -> None:
    chat = Chat(answer=" and the rest")
    async with model(chat) as made:
        assert await text(made, [*HELLO, ChatMessage("assistant", "The beginning")]) == " and the rest"
    sent = chat.requests[0]["messages"]
    assert sent[-2] == {"role": "assistant", "content": "The beginning"}
    assert sent[-1]["role"] == "system"
    assert "exactly where it ends" in sent[-1]["content"]


SLOTS = ToolSchema("find_slot", "Free times of a day.", {"type": "object", "properties": {"day": {"type": "string"}}})


async def test_tools_are_offered_and_calls_come_whole_after_the_text() -> None:
    chat = Chat(answer="Let me see.", calls=[("find_slot", '{"day": "Tue"}'), ("hang_up", "")])
    async with model(chat) as made:
        parts = [part async for part in made.reply(HELLO, [SLOTS])]
    assert "".join(part for part in parts if isinstance(part, str)) == "Let me see."
    assert parts[-2:] == [ToolCall("call_0", "find_slot", '{"day": "Tue"}'), ToolCall("call_1", "hang_up", "{}")]
    function = {"name": SLOTS.name, "description": SLOTS.description, "parameters": SLOTS.parameters}
    assert chat.requests[0]["tools"] == [{"type": "function", "function": function}]


async def test_without_tools_none_are_spoken_of() -> None:
    chat = Chat()
    async with model(chat) as made:
        await text(made)
    assert "tools" not in chat.requests[0]


async def test_calls_and_their_answers_are_told_in_the_interface_s_own_words() -> None:
    chat = Chat()
    call = ToolCall("call_0", "find_slot", '{"day": "Tue"}')
    async with model(chat) as made:
        told = [
            *HELLO,
            ChatMessage("assistant", "", tool_calls=(call,)),
            ChatMessage("tool", '{"slots": [10]}', call_id="call_0"),
            ChatMessage("tool", "another backend's: 10 is free"),
        ]
        await text(made, told)
        await text(made, told[:3])
    function = {"name": "find_slot", "arguments": '{"day": "Tue"}'}
    assistant = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_0", "type": "function", "function": function}],
    }
    assert chat.requests[0]["messages"][2:] == [
        assistant,
        {"role": "tool", "tool_call_id": "call_0", "content": '{"slots": [10]}'},
        {"role": "system", "content": "another backend's: 10 is free"},
    ]
    assert chat.requests[1]["messages"][-1] == assistant, "a call is no answer that was cut off"


async def test_a_call_that_breaks_off_is_an_error_and_no_call() -> None:
    chat = Chat(answer="", calls=[("find_slot", '{"day": "Tue"}')], fault="torn")
    async with model(chat) as made:
        with pytest.raises(ProviderError):
            await anext(made.reply(HELLO, [SLOTS]))


@pytest.mark.parametrize(("fault", "retryable"), [("unauthorized", False), ("rate_limited", True), ("broken", True)])
async def test_refusals_are_told_apart_and_never_retried_in_silence(fault: Fault, retryable: bool) -> None:
    chat = Chat(fault=fault)
    async with model(chat) as made:
        with pytest.raises(ProviderError) as caught:
            await text(made)
    assert caught.value.retryable is retryable
    assert caught.value.retry_after_s == (20.0 if fault == "rate_limited" else None)
    assert len(chat.requests) == 1


@pytest.mark.parametrize("fault", ["silent", "stalled"])
async def test_silence_beyond_the_deadline_is_an_error_and_hangs_up(fault: Fault) -> None:
    chat = Chat(fault=fault)
    # Long enough for a request to arrive; a stream that has begun needs no such patience.
    async with model(chat, first_token_s=0.5, next_token_s=0.1) as made:
        with pytest.raises(ProviderError, match="deadline"):
            await text(made)
        await asyncio.wait_for(chat.hung_up.wait(), 10)


async def test_thinking_however_long_does_not_put_off_the_first_word() -> None:
    chat = Chat(answer="<think> " + "hm " * 5000)
    async with model(chat, first_token_s=0.5, next_token_s=10) as made:
        with pytest.raises(ProviderError, match="deadline"):
            await text(made)


async def test_a_connection_is_kept_for_the_callers_next_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    chat, clock = Chat(), time.monotonic
    async with model(chat) as made:
        await text(made)
        monkeypatch.setattr("time.monotonic", lambda: clock() + 30)  # the caller listens, thinks, and speaks
        await text(made)
    first, second = chat.clients
    assert first == second


async def test_a_stream_that_ends_early_is_an_error() -> None:
    async with model(Chat(fault="cut")) as made:
        with pytest.raises(ProviderError, match="middle of an answer"):
            await text(made)


async def test_a_torn_connection_is_an_error() -> None:
    async with model(Chat(fault="torn")) as made:
        with pytest.raises(ProviderError):
            await text(made)


async def test_nobody_listens() -> None:
    made = language_model({"base_url": "http://127.0.0.1:9/v1", "model": "m"})
    with pytest.raises(ProviderError):
        await text(made)
    await made.close()


async def test_closing_the_generator_hangs_up() -> None:
    chat = Chat(answer="word " * 5000)
    async with model(chat) as made:
        deltas = made.reply(HELLO)
        assert await anext(deltas) == "word"
        await deltas.aclose()
        await asyncio.wait_for(chat.hung_up.wait(), 10)


async def test_a_running_ollama_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [
        {"name": "nomic-embed-text:latest", "details": {"families": ["nomic-bert"]}},
        {"name": "llama3.2:latest", "details": {"families": ["llama"]}},
    ]
    async with serve(Chat(ollama_models=listed)) as chat:
        monkeypatch.setattr(openai_compatible, "OLLAMA_URL", chat.url)
        assert await asyncio.to_thread(openai_compatible.ollama_models, chat.url) == ["llama3.2:latest"]
        made = await asyncio.to_thread(language_model, {"model": "llama3.2:latest"})
        assert await text(made) == chat.answer
        await made.close()


def test_nothing_set_and_nothing_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_compatible, "ollama_models", lambda: None)
    with pytest.raises(SettingsError, match="OPENAI_BASE_URL"):
        language_model({})


def test_an_address_without_a_model() -> None:
    with pytest.raises(SettingsError, match="model"):
        language_model({"base_url": "http://127.0.0.1:9/v1"})


def test_a_model_that_openai_has_ended_is_refused_there_and_nowhere_else() -> None:
    with pytest.raises(SettingsError, match=r"gpt-5\.4-mini"):
        language_model({"api_key": "key", "model": "gpt-4"})
    assert language_model({"base_url": "http://127.0.0.1:9/v1", "model": "gpt-4"}).description.startswith("gpt-4 at")
