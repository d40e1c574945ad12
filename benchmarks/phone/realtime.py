"""What an OpenAI Realtime session says (GA interface), with all the fields that the real one sends. Pure.

Only what a spoken turn needs: the shapes are those of the openai SDK's types, the order is that of its guide.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

from benchmarks.phone import audio

Event = dict[str, Any]

PHONE_SESSION: Event = {
    "type": "realtime",
    "output_modalities": ["audio"],
    "instructions": "You are a helpful assistant.",
    "audio": {
        "input": {"format": {"type": "audio/pcmu"}, "turn_detection": {"type": "server_vad"}},
        "output": {"format": {"type": "audio/pcmu"}, "voice": "marin"},
    },
}
"""What the yardsticks ask for."""

_WORDS = b"Yes, ", b"ten ", b"is ", b"free ", b"on ", b"Tuesday. "
_TURN_DETECTION = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
_PCM = {"type": "audio/pcm", "rate": 24000}
_LIMITS = [{"name": "tokens", "limit": 50000, "remaining": 49500, "reset_seconds": 0.6}]
_USAGE = {"total_tokens": 210, "input_tokens": 150, "output_tokens": 60}


def new_session(number: int, model: str) -> Event:
    """The session as it is before any session.update."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": f"sess_{number}",
        "model": model,
        "output_modalities": ["audio"],
        "instructions": "You are helpful.",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "expires_at": 1795240000,
        "audio": {
            "input": {
                "format": _PCM,
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": _TURN_DETECTION,
            },
            "output": {"format": _PCM, "voice": "marin", "speed": 1.0},
        },
        "include": None,
    }


def updated(session: Event, change: Event) -> Event:
    """The session after a partial update. Another type of format or turn detection replaces the old as a whole."""
    merged = dict(session)
    for name, value in change.items():
        old = merged.get(name)
        if isinstance(old, dict) and isinstance(value, dict) and value.get("type") in (None, old.get("type")):
            value = updated(old, value)
        merged[name] = value
    return merged


class Ear:
    """Turn detection by energy. It decides on 20 ms, the least that any model could need."""

    def __init__(self) -> None:
        self.heard_ms = 0
        self.speaking = False
        self._silent_ms = 0

    def feed(self, mulaw: bytes, silence_duration_ms: int) -> list[bool]:
        """Edges in this audio: True where an utterance begins, False where one has ended."""
        edges = []
        for start in range(0, len(mulaw), audio.FRAME_BYTES):
            frame = mulaw[start : start + audio.FRAME_BYTES]
            loud = audio.is_loud(frame)
            self.heard_ms += len(frame) // audio.RATE_PER_MS
            self._silent_ms = 0 if loud else self._silent_ms + len(frame) // audio.RATE_PER_MS
            if loud if not self.speaking else self._silent_ms >= silence_duration_ms:
                self.speaking = not self.speaking
                edges.append(self.speaking)
        return edges


class Script:
    """Writes the events of one session; those of one answer carry its number, from 0."""

    def __init__(self, audio_format: Event) -> None:
        self._format = audio_format
        self._events = itertools.count(1)

    def event(self, kind: str, **fields: Any) -> bytes:
        """Any event."""
        return json.dumps({"type": kind, "event_id": f"event_{next(self._events)}", **fields}).encode()

    def error(self, code: str, message: str, cause: str | None) -> bytes:
        told = {"type": "invalid_request_error", "code": code, "message": message, "param": None, "event_id": cause}
        return self.event("error", error=told)

    def utterance_taken(self, utterance: int, audio_end_ms: int) -> list[bytes]:
        """From the end of speech to the item it became."""
        item_id = f"item_U{utterance}"
        item = _message(item_id, "user", "completed", [{"type": "input_audio", "transcript": None}])
        return [
            self.event("input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=audio_end_ms),
            self.event("input_audio_buffer.committed", item_id=item_id, previous_item_id=None),
            self.event("conversation.item.added", item=item, previous_item_id=None),
            self.event("conversation.item.done", item=item, previous_item_id=None),
        ]

    def transcribed(self, utterance: int) -> bytes:
        return self.event(
            "conversation.item.input_audio_transcription.completed",
            item_id=f"item_U{utterance}",
            content_index=0,
            transcript="Is Tuesday free?",
            usage={"type": "duration", "seconds": 3.0},
        )

    def answer_begins(self, answer: int) -> list[bytes]:
        item = _message(f"item_A{answer}", "assistant", "in_progress", [])
        part = {"type": "audio", "transcript": ""}
        return [
            self.event("response.created", response=self._response(answer, "in_progress", [])),
            self.event("rate_limits.updated", rate_limits=_LIMITS),
            self.event("response.output_item.added", response_id=f"resp_{answer}", output_index=0, item=item),
            self.event("conversation.item.added", item=item, previous_item_id=None),
            self.event("response.content_part.added", **_place(answer), part=part),
        ]

    def words(self, answer: int, piece: int) -> bytes:
        """What is said in a piece."""
        return self._delta("response.output_audio_transcript.delta", answer, _WORDS[piece % len(_WORDS)])

    def sound(self, answer: int, base64_audio: str) -> bytes:
        """A piece's audio."""
        return self._delta("response.output_audio.delta", answer, base64_audio.encode())

    def _delta(self, kind: str, answer: int, text: bytes) -> bytes:
        return (
            b'{"type":"%s","event_id":"event_%d","response_id":"resp_%d","item_id":"item_A%d","output_index":0,'
            b'"content_index":0,"delta":"%s"}'
        ) % (kind.encode(), next(self._events), answer, answer, text)

    def answer_ends(self, answer: int, transcript: str) -> list[bytes]:
        part = {"type": "audio", "transcript": transcript}
        item = _spoken(answer, "completed", transcript)
        return [
            self.event("response.output_audio.done", **_place(answer)),
            self.event("response.output_audio_transcript.done", **_place(answer), transcript=transcript),
            self.event("response.content_part.done", **_place(answer), part=part),
            self.event("response.output_item.done", response_id=f"resp_{answer}", output_index=0, item=item),
            self.event("conversation.item.done", item=item, previous_item_id=None),
            self.event("response.done", response=self._response(answer, "completed", [item])),
        ]

    def answer_cancelled(self, answer: int, reason: str, transcript: str) -> list[bytes]:
        """`reason`: turn_detected or client_cancelled."""
        item = _spoken(answer, "incomplete", transcript)
        response = self._response(answer, "cancelled", [item])
        response["status_details"] = {"type": "cancelled", "reason": reason}
        return [
            self.event("response.output_audio.done", **_place(answer)),
            self.event("response.output_audio_transcript.done", **_place(answer), transcript=transcript),
            self.event("response.output_item.done", response_id=f"resp_{answer}", output_index=0, item=item),
            self.event("conversation.item.done", item=item, previous_item_id=None),
            self.event("response.done", response=response),
        ]

    def _response(self, answer: int, status: str, output: list[Event]) -> Event:
        return {
            "id": f"resp_{answer}",
            "object": "realtime.response",
            "status": status,
            "status_details": None,
            "output": output,
            "conversation_id": "conv_1",
            "output_modalities": ["audio"],
            "max_output_tokens": "inf",
            "audio": {"output": {"format": self._format, "voice": "marin"}},
            "usage": None if status == "in_progress" else _USAGE,
            "metadata": None,
        }


def transcript(pieces: int) -> str:
    """What was said in so many pieces."""
    return b"".join(_WORDS[piece % len(_WORDS)] for piece in range(pieces)).decode()


def _message(item_id: str, role: str, status: str, content: list[Event]) -> Event:
    kind = {"id": item_id, "object": "realtime.item", "type": "message"}
    return kind | {"status": status, "role": role, "content": content}


def _spoken(answer: int, status: str, text: str) -> Event:
    return _message(f"item_A{answer}", "assistant", status, [{"type": "output_audio", "transcript": text}])


def _place(answer: int) -> Event:
    return {"response_id": f"resp_{answer}", "item_id": f"item_A{answer}", "output_index": 0, "content_index": 0}
