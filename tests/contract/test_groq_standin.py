"""The official SDK holds the stand-in of Groq to the protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import groq as sdk
import pytest
from groq.types.audio import Transcription
from groq.types.chat import ChatCompletionChunk, ChatCompletionToolParam

from tests.contract.recorded import TEXT
from tests.standins import tones
from tests.standins.groq import KEY, Fault, Groq, Manner, serve
from trunkline.audio.wav import wav_bytes

WAV = ("speech.wav", wav_bytes(tones.speak(TEXT, 16_000), 16_000), "audio/wav")
TOOL: ChatCompletionToolParam = {"type": "function", "function": {"name": "find_slot", "parameters": {}}}


@pytest.fixture
async def standin() -> AsyncIterator[Groq]:
    async with serve() as groq:
        yield groq


@pytest.fixture
async def official(standin: Groq) -> AsyncIterator[sdk.AsyncGroq]:
    async with sdk.AsyncGroq(base_url=standin.url, api_key=KEY, max_retries=0) as client:
        yield client


async def answered(official: sdk.AsyncGroq, **more: Any) -> list[ChatCompletionChunk]:
    """The chunks of an answer, each of them valid: the SDK itself takes anything."""
    arguments = {"model": "openai/gpt-oss-20b", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    create: Callable[..., Awaitable[AsyncIterator[ChatCompletionChunk]]] = official.chat.completions.create
    stream = await create(**(arguments | more))
    return [ChatCompletionChunk.model_validate(chunk.to_dict(), strict=True) async for chunk in stream]


def contents(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def reasoning(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(chunk.choices[0].delta.reasoning or "" for chunk in chunks)


async def test_transcribes(official: sdk.AsyncGroq) -> None:
    model = "whisper-large-v3-turbo"
    short = await official.audio.transcriptions.create(file=WAV, model=model, language="en")
    assert isinstance(short, Transcription)
    assert short.text == f" {TEXT}"
    plain: object = await official.audio.transcriptions.create(file=WAV, model=model, response_format="text")
    assert plain == f" {TEXT}"
    verbose = await official.audio.transcriptions.create(
        file=WAV, model=model, response_format="verbose_json", timestamp_granularities=["segment"]
    )
    extra = verbose.model_extra
    assert extra is not None
    assert extra["segments"][0]["text"] == f" {TEXT}"
    assert extra["duration"] == pytest.approx(len(tones.words_of(TEXT)) * tones.WORD_MS / 1000)


async def test_answers_in_chunks_and_says_what_they_cost(standin: Groq, official: sdk.AsyncGroq) -> None:
    chunks = await answered(official)
    assert contents(chunks) == standin.says.answer
    last = chunks[-1]
    assert last.choices[0].finish_reason == "stop"
    assert last.x_groq is not None
    assert last.x_groq.usage is not None
    assert last.x_groq.usage.completion_tokens == len(standin.says.answer.split())


async def test_calls_tools(standin: Groq, official: sdk.AsyncGroq) -> None:
    standin.says.calls = [("find_slot", '{"day": "Tue"}')]
    chunks = await answered(official, tools=[TOOL])
    [call] = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert call.function is not None
    assert (call.id, call.function.name, call.function.arguments) == ("call_a0", "find_slot", '{"day": "Tue"}')
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("arguments", "aloud", "apart"),
    [
        ({"model": "openai/gpt-oss-20b"}, False, True),
        ({"model": "openai/gpt-oss-20b", "include_reasoning": False}, False, False),
        ({"model": "qwen/qwen3.8-27b"}, True, False),
        ({"model": "qwen/qwen3.8-27b", "reasoning_format": "parsed"}, False, True),
        ({"model": "qwen/qwen3.8-27b", "reasoning_format": "hidden"}, False, False),
        ({"model": "qwen/qwen3.8-27b", "reasoning_effort": "none"}, False, False),
        ({"model": "acme/thinks-aloud"}, True, False),
    ],
)
async def test_thinks_where_it_is_let(
    standin: Groq, official: sdk.AsyncGroq, arguments: dict[str, Any], aloud: bool, apart: bool
) -> None:
    standin.says.thoughts = "the user greets me"
    chunks = await answered(official, **arguments)
    assert ("<think>\nthe user greets me" in contents(chunks)) is aloud
    assert ("the user greets me" in reasoning(chunks)) is apart
    assert contents(chunks).endswith(standin.says.answer)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("unauthorized", sdk.AuthenticationError),
        ("rate_limited", sdk.RateLimitError),
        ("at_capacity", sdk.APIStatusError),
        ("broken", sdk.InternalServerError),
        ("bad_call", sdk.BadRequestError),
    ],
)
async def test_the_sdk_knows_the_refusals(
    standin: Groq, official: sdk.AsyncGroq, fault: Fault, error: type[sdk.APIStatusError]
) -> None:
    standin.fault = fault
    with pytest.raises(error) as caught:
        await answered(official)
    assert caught.value.response.headers.get("retry-after") == ("8" if fault == "rate_limited" else None)
    assert caught.value.response.headers["x-ratelimit-reset-requests"] == "2m59.56s"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("told", "over capacity"),
        ("told_bad_call", "Failed to call a function"),
        ("told_in_words", "An error occurred during streaming"),
    ],
)
async def test_the_sdk_knows_errors_in_a_stream(
    standin: Groq, official: sdk.AsyncGroq, fault: Fault, message: str
) -> None:
    standin.fault = fault
    with pytest.raises(sdk.APIError, match=message) as caught:
        await answered(official)
    assert not isinstance(caught.value, sdk.APIStatusError)


async def test_what_groq_would_refuse_is_refused(official: sdk.AsyncGroq) -> None:
    create, model = official.audio.transcriptions.create, "whisper-large-v3"
    many = [TOOL] * 129
    refused: list[Callable[[], Awaitable[object]]] = [
        lambda: create(file=("a.wav", b"no audio", "audio/wav"), model=model),
        lambda: create(file=("a.wav", wav_bytes(bytes(100), 16_000), "audio/wav"), model=model),
        lambda: create(file=("a.pcm", bytes(3200), "audio/pcm"), model=model),
        lambda: create(file=WAV, model=model, prompt="a" * 897),
        lambda: create(file=WAV, model=model, language="tlh"),
        lambda: create(file=WAV, model=model, timestamp_granularities=["word"]),
        lambda: create(file=WAV, model=model, extra_body={"mood": "good"}),
        lambda: answered(official, extra_body={"mood": "good"}),
        lambda: answered(official, tools=many),
        lambda: answered(official, reasoning_effort="none"),
        lambda: answered(official, reasoning_format="hidden"),
        lambda: answered(official, include_reasoning=False, reasoning_format="hidden"),
        lambda: answered(official, model="qwen/qwen3.8-27b", include_reasoning=False),
        lambda: answered(official, model="groq/compound", reasoning_effort="low"),
        lambda: answered(official, messages=[{"role": "tool", "content": "10"}]),
    ]
    for request in refused:
        with pytest.raises(sdk.BadRequestError):
            await request()
    for request in (lambda: create(file=WAV, model="whisper-1"), lambda: answered(official, model="gemma2-9b-it")):
        with pytest.raises(sdk.NotFoundError, match="does not exist or you do not have access"):
            await request()
    with pytest.raises(sdk.AuthenticationError):
        await answered(official.with_options(api_key="wrong"))


async def test_answers_each_request_as_it_is_told_to(standin: Groq, official: sdk.AsyncGroq) -> None:
    """One conversation goes wrong, the other does not; and who waits for a request is told of it."""

    def answers(body: dict[str, Any]) -> Manner:
        said = body["messages"][-1]["content"]
        return Manner(answer=f"you said {said}", fault="broken" if said == "hello" else None)

    standin.answers = answers
    with pytest.raises(sdk.InternalServerError):
        await answered(official, messages=[{"role": "user", "content": "hello"}])
    assert contents(await answered(official, messages=[{"role": "user", "content": "bye"}])) == "you said bye"
    await standin.watch.until(lambda: len(standin.completions) == 2, 0)


async def test_may_be_deaf_and_not_mute(standin: Groq, official: sdk.AsyncGroq) -> None:
    standin.hears.fault, standin.retry_after_s = "rate_limited", 3
    with pytest.raises(sdk.RateLimitError) as caught:
        await official.audio.transcriptions.create(file=WAV, model="whisper-large-v3")
    assert caught.value.response.headers["retry-after"] == "3"
    assert contents(await answered(official)) == standin.says.answer
