"""Token counts that add up, at about the vendor's rates: a word a token, user audio 10 a second, the model's 20."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .conversation import Item


@dataclass(frozen=True, slots=True)
class Tokens:
    text: int = 0
    audio: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.text + other.text, self.audio + other.audio)

    @property
    def total(self) -> int:
        return self.text + self.audio


def input_tokens(instructions: str, items: Iterable[Item]) -> Tokens:
    """What the model reads."""
    return sum((_tokens(item) for item in items), Tokens(text=len(instructions.split())))


def output_tokens(items: Iterable[Item]) -> Tokens:
    """What the model made."""
    return sum((_tokens(item) for item in items), Tokens())


def usage(read: Tokens, made: Tokens) -> dict[str, Any]:
    """The `usage` of response.done."""
    return {
        "total_tokens": read.total + made.total,
        "input_tokens": read.total,
        "output_tokens": made.total,
        "input_token_details": {
            "text_tokens": read.text,
            "audio_tokens": read.audio,
            "image_tokens": 0,
            "cached_tokens": 0,
            "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": made.text, "audio_tokens": made.audio},
    }


def transcription_usage(model: str | None, item: Item, transcript: str) -> dict[str, Any]:
    """Of an input transcription: Whisper is billed by duration, the others by tokens."""
    if model == "whisper-1":
        return {"type": "duration", "seconds": item.audio_ms / 1000}
    heard, written = _tokens(item).audio, len(transcript.split())
    return {
        "type": "tokens",
        "input_tokens": heard,
        "output_tokens": written,
        "total_tokens": heard + written,
        "input_token_details": {"audio_tokens": heard, "text_tokens": 0},
    }


def _tokens(item: Item) -> Tokens:
    by_ms = 50 if item.fields.get("role") == "assistant" else 100
    words = len(json.dumps(item.fields.get("content") or item.fields.get("output", "")).split())
    return Tokens(text=words, audio=-(-item.audio_ms // by_ms))
