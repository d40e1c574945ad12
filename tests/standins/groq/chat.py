"""A request for a chat completion, as Groq understands it, and the chunks of its answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from groq.types.chat.completion_create_params import CompletionCreateParams
from tests.standins.groq.faults import Fault
from tests.standins.groq.refusal import Refused

GPT_OSS = ("openai/gpt-oss-20b", "openai/gpt-oss-120b")
QWEN = ("qwen/qwen3.8-27b",)
OTHERS = ("groq/compound", "acme/thinks-aloud", "llama-3.1-8b-instant")
"""Take no settings of reasoning."""

_FIELDS = {*CompletionCreateParams.__annotations__, "stream_options"}
_EFFORTS = {**dict.fromkeys(GPT_OSS, "low medium high"), **dict.fromkeys(QWEN, "none default low medium high")}
_MOST_TOOLS = 128


@dataclass(slots=True)
class Manner:
    """How it answers."""

    answer: str = "Hello there, this is the stand-in."
    thoughts: str = ""
    """What a model thinks first, if it is let. Who hears it is a matter of the request."""
    calls: list[tuple[str, str]] = field(default_factory=list)
    """Tools that it calls after the answer, by name with their arguments, each call in one chunk as Groq sends it."""
    torn_calls: bool = False
    """Send calls in fragments, as the interface allows."""
    fault: Fault | None = None
    fault_after: int = 2
    """Words that come before a fault in the middle."""
    latency_s: float = 0.0
    """How much longer than `Groq.latency_s` it takes to begin."""
    word_s: float = 0.001
    """From a word to the next."""


def understood(body: dict[str, Any]) -> dict[str, Any]:
    """`body`, if Groq would take it."""
    unknown = sorted(set(body) - _FIELDS)
    if unknown:
        raise Refused(f"property '{unknown[0]}' is unsupported")
    model = body.get("model")
    if model not in (*GPT_OSS, *QWEN, *OTHERS):
        raise Refused(f"The model `{model}` does not exist or you do not have access to it.", "model_not_found", 404)
    if len(body.get("tools") or ()) > _MOST_TOOLS:
        raise Refused(f"tools: at most {_MOST_TOOLS}")
    if not body.get("stream"):
        raise Refused("This stand-in streams only.")
    _check_reasoning(body)
    for place, message in enumerate(body["messages"]):
        _check_message(f"messages.{place}", message)
    return body


def _check_reasoning(body: dict[str, Any]) -> None:
    model, effort = body["model"], body.get("reasoning_effort")
    if body.get("include_reasoning") is not None and body.get("reasoning_format") is not None:
        raise Refused("`include_reasoning` and `reasoning_format` are mutually exclusive")
    if effort is not None and model not in _EFFORTS:
        raise Refused("`reasoning_effort` is not supported with this model")
    if effort is not None and effort not in _EFFORTS[model].split():
        raise Refused(f"`reasoning_effort` must be one of {_EFFORTS[model]}")
    if body.get("reasoning_format") is not None and model not in QWEN:
        raise Refused("`reasoning_format` is not supported with this model")
    if body.get("include_reasoning") is not None and model not in GPT_OSS:
        raise Refused("`include_reasoning` is not supported with this model")


def _check_message(where: str, message: dict[str, Any]) -> None:
    role = message.get("role")
    if role not in ("system", "user", "assistant", "tool"):
        raise Refused(f"'{where}' : discriminator property 'role' has invalid value")
    if role == "tool" and not message.get("tool_call_id"):
        raise Refused(f"'{where}' : property 'tool_call_id' is missing")
    if message.get("content") is None and not message.get("tool_calls"):
        raise Refused(f"'{where}.content' : value must be a string")


def chunks(body: dict[str, Any], manner: Manner) -> Iterator[dict[str, Any]]:
    """The chunks of an answer, in order."""
    yield _chunk(body, {"role": "assistant", "content": ""}, x_groq={"id": "req_01"})
    thinks = bool(manner.thoughts) and body.get("reasoning_effort") != "none"
    if thinks:
        yield from _thoughts(body, manner.thoughts)
    words = manner.answer.split(" ") if manner.answer else []
    for place, word in enumerate(words[: _room(body, manner if thinks else None)]):
        yield _chunk(body, {"content": word if place == 0 else f" {word}"})
    for fragment in _calls(manner):
        yield _chunk(body, {"tool_calls": [fragment]})
    reason = "tool_calls" if manner.calls else "length" if _room(body, None) is not None else "stop"
    spent = len(words) + len(manner.thoughts.split() if thinks else ())
    usage = {"queue_time": 0.02, "prompt_tokens": 120, "prompt_time": 0.004, "completion_tokens": spent}
    usage |= {"completion_time": 0.02, "total_tokens": 120 + spent, "total_time": 0.024}
    yield _chunk(body, {}, reason, x_groq={"id": "req_01", "seed": 7, "usage": usage})


def _room(body: dict[str, Any], thinking: Manner | None) -> int | None:
    """How many words it may say; None: as many as it likes. A word is a token here."""
    most: int | None = body.get("max_completion_tokens")
    return None if most is None else max(0, most - (len(thinking.thoughts.split()) if thinking else 0))


def _thoughts(body: dict[str, Any], thoughts: str) -> Iterator[dict[str, Any]]:
    """In a field of their own, in the text, or not at all: as the request wants it, or the model is used to."""
    shown = "reasoning" if body["model"] in GPT_OSS else "raw"
    if body.get("include_reasoning") is False or body.get("reasoning_format") == "hidden":
        return
    if body.get("reasoning_format") == "parsed":
        shown = "reasoning"
    if shown == "reasoning":
        for word in thoughts.split(" "):
            yield _chunk(body, {"reasoning": f"{word} "})
        return
    for part in ("<thi", "nk>\n", *(f"{word} " for word in thoughts.split(" ")), "</thi", "nk>", "\n\n"):
        yield _chunk(body, {"content": part})


def _calls(manner: Manner) -> Iterator[dict[str, Any]]:
    for index, (name, arguments) in enumerate(manner.calls):
        whole = {"index": index, "id": f"call_a{index}", "type": "function"}
        if not manner.torn_calls:
            yield {**whole, "function": {"name": name, "arguments": arguments}}
            continue
        middle = len(arguments) // 2
        yield {**whole, "function": {"name": name, "arguments": ""}}
        yield {"index": index, "function": {"arguments": arguments[:middle]}}
        yield {"index": index, "function": {"arguments": arguments[middle:]}}


def _chunk(
    body: dict[str, Any], delta: dict[str, Any], finish_reason: str | None = None, **more: Any
) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {
        "id": "chatcmpl-9",
        "object": "chat.completion.chunk",
        "created": 1795239000,
        "model": body["model"],
        "system_fingerprint": "fp_1",
        "choices": [choice],
        **more,
    }
