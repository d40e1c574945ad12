"""A session's configuration: the vendor's defaults, and partial updates merged into them (PROTOCOLS 1.3)."""

from __future__ import annotations

import copy
from typing import Any

from openai.types.realtime import RealtimeSessionCreateRequest

from .refusal import Refused, invalid, missing
from .sdk import check_sent

Fields = dict[str, Any]

_SERVER_VAD: Fields = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 200,  # the API reference's example of session.created; the SDK's text says 500
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
_SEMANTIC_VAD: Fields = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}
_TURN_DETECTION = {"server_vad": _SERVER_VAD, "semantic_vad": _SEMANTIC_VAD}

VOICES = frozenset("alloy ash ballad coral echo sage shimmer verse marin cedar".split())
"""Beside those that an account made for itself, which are objects with an id."""

_NULLABLE = frozenset({"include", "noise_reduction", "prompt", "tracing", "transcription", "turn_detection"})

_PCM: Fields = {"type": "audio/pcm", "rate": 24_000}


def default(model: str) -> Fields:
    """What session.created holds, without `id` and `expires_at`."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "model": model,
        "output_modalities": ["audio"],
        "instructions": "You are a helpful voice assistant.",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "include": None,
        "audio": {
            "input": {
                "format": dict(_PCM),
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": dict(_SERVER_VAD),
            },
            "output": {"format": dict(_PCM), "voice": "marin", "speed": 1.0},
        },
    }


def updated(config: Fields, update: object, *, spoke: bool) -> Fields:
    """`config` with a `session.update` merged in; Refused if any of it is not allowed, and then all of it is not.

    `spoke`: whether the model has spoken, which fixes its voice.
    """
    if not isinstance(update, dict):
        raise missing("session")
    if "type" not in update:
        raise missing("session.type")
    if update["type"] != config["type"]:
        raise invalid("session.type", f"the session is of type '{config['type']}'.")
    check_sent(RealtimeSessionCreateRequest, update, "session")
    if update.get("model", config["model"]) != config["model"]:
        raise invalid("session.model", "the model cannot be changed in a session.")
    merged = _merged(config, update)
    if merged["output_modalities"] not in (["audio"], ["text"]):
        raise invalid("session.output_modalities", "expected ['audio'] or ['text'].")
    voice = merged["audio"]["output"]["voice"]
    if isinstance(voice, str) and voice not in VOICES:
        raise invalid("session.audio.output.voice", f"'{voice}' is none of {', '.join(sorted(VOICES))}.")
    if voice != config["audio"]["output"]["voice"] and spoke:
        message = "Cannot update a conversation's voice if assistant audio is present."
        raise Refused("cannot_update_voice", message, "session.audio.output.voice")
    return _completed(merged)


def _merged(old: Fields, new: Fields) -> Fields:
    """Objects are merged key by key unless their `type` changes; anything else is replaced."""
    merged = copy.copy(old)
    for key, value in new.items():
        before: Any = old.get(key)
        if value is None and before is not None and key not in _NULLABLE:
            raise invalid(f"session.*.{key}", "null is not allowed.")
        merged[key] = _merged(before, value) if _same_kind(before, value) else copy.deepcopy(value)
    return merged


def _same_kind(before: Any, value: Any) -> bool:
    if not isinstance(before, dict) or not isinstance(value, dict):
        return False
    return bool(value.get("type", before.get("type")) == before.get("type"))


def _completed(config: Fields) -> Fields:
    """Defaults for what an update began: a kind of turn detection, a format."""
    listening, speaking = config["audio"]["input"], config["audio"]["output"]
    if detection := listening["turn_detection"]:
        listening["turn_detection"] = _TURN_DETECTION[detection["type"]] | detection
    for side in (listening, speaking):
        if side["format"].get("type") == "audio/pcm":
            side["format"] = dict(_PCM)
    return config
