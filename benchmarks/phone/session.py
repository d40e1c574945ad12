"""A session of an OpenAI Realtime server for benchmarks: it answers every utterance, and stops when it is spoken over.

What it hears and says is a Sound's, so that one session serves a telephone's mu-law and everyone else's PCM.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from benchmarks.phone import realtime
from benchmarks.phone.wire import Socket, accept, between

THINK_S = 0.1
"""From the end of an utterance to the answer's first audio."""


class Sound(Protocol):
    """The ear and the voice of one session."""

    format: realtime.Event
    """What the client must have asked for, both ways: `{"type": "audio/pcmu"}`."""

    @property
    def heard_ms(self) -> int: ...

    def hear(self, audio: bytes, now_s: float, silence_ms: int) -> list[bool]:
        """Edges in audio that has arrived: True where an utterance begins, False where `silence_ms` have ended it."""
        ...

    def say(self, answer: int, piece: int, now_s: float) -> tuple[str, float | None]:
        """A piece of an answer, both counted from 0, which is sent now: base64, and in how many seconds after the
        answer's begin the next one is due; None: it was the last."""
        ...


class Model:
    """What all sessions share."""

    def __init__(self, sound: Callable[[], Sound]) -> None:
        self.sound = sound
        self.counts: Counter[str] = Counter()

    def report(self) -> dict[str, Any]:
        return {"counts": dict(self.counts)}


class Session(Socket):
    """One client."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._model = model
        self._sound = model.sound()
        self._script = realtime.Script(self._sound.format)
        self._utterances = 0
        self._answer = -1
        self._pieces = 0
        self._began_s = 0.0
        self._next: asyncio.TimerHandle | None = None
        """The answer's next piece; None while the model listens."""
        self._handlers: dict[str, Callable[[realtime.Event], None]] = {
            "session.update": self._update,
            "conversation.item.create": self._create_item,
            "conversation.item.truncate": self._truncate,
            "response.create": self._create_response,
            "response.cancel": self._cancel_response,
        }

    def opened(self, first_line: str, headers: dict[str, str]) -> None:
        url = urlsplit(first_line.split(" ")[1])
        if not headers.get("authorization", "").startswith("Bearer "):
            self._refuse("401 Unauthorized", "missing bearer")
        elif url.path != "/v1/realtime":
            self._refuse("404 Not Found", f"no {url.path}")
        else:
            self._model.counts["sessions"] += 1
            self.transport.write(accept(headers))
            name = parse_qs(url.query).get("model", ["gpt-realtime-2.1"])[0]
            self._session = realtime.new_session(self._model.counts["sessions"], name)
            self.send(self._script.event("session.created", session=self._session))

    def _refuse(self, status: str, why: str) -> None:
        self._model.counts["refused"] += 1
        body = json.dumps({"error": {"message": why, "type": "invalid_request_error", "code": None}})
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self.transport.write(f"{head}Connection: close\r\n\r\n{body}".encode())
        self.transport.close()

    def text(self, payload: bytes) -> None:
        if b'"input_audio_buffer.append"' in payload:
            self._append(base64.b64decode(between(payload, b'"audio"')))
            return
        event = json.loads(payload)
        kind = event.get("type")
        self._model.counts[str(kind)] += 1
        handle = self._handlers.get(kind)
        if handle is None:
            self._error("invalid_value", f"Invalid value: '{kind}'.", event)
        else:
            handle(event)

    # --- what the client says

    def _update(self, event: realtime.Event) -> None:
        self._session = realtime.updated(self._session, event["session"])
        self.send(self._script.event("session.updated", session=self._session))

    def _create_item(self, event: realtime.Event) -> None:
        item = {"id": f"item_C{self._model.counts['items']}", "object": "realtime.item", "status": "completed"}
        self._model.counts["items"] += 1
        for kind in ("conversation.item.added", "conversation.item.done"):
            self.send(self._script.event(kind, item=item | event["item"], previous_item_id=None))

    def _truncate(self, event: realtime.Event) -> None:
        told = {name: event[name] for name in ("item_id", "content_index", "audio_end_ms")}
        self.send(self._script.event("conversation.item.truncated", **told))

    def _create_response(self, event: realtime.Event) -> None:
        if self._next is None:
            self._speak()
        else:
            self._error("conversation_already_has_active_response", "a response is in progress", event)

    def _cancel_response(self, event: realtime.Event) -> None:
        if self._next is None:
            self._error("response_cancel_not_active", "Cancellation failed: no active response found", event)
        else:
            self._cancel("client_cancelled")

    def _error(self, code: str, message: str, event: realtime.Event) -> None:
        self._model.counts[f"error {code}"] += 1
        self.send(self._script.error(code, message, event.get("event_id")))

    # --- turns

    def _append(self, audio: bytes) -> None:
        if self._session["audio"]["input"]["format"] != self._sound.format:
            self._error("invalid_value", f"this server hears {self._sound.format['type']} only", {})
            self.close()
            return
        detection = self._session["audio"]["input"]["turn_detection"] or {}
        for begins in self._sound.hear(audio, self.received_s, detection.get("silence_duration_ms", 500)):
            if begins:
                self._speech_started(interrupts=detection.get("interrupt_response", True))
            else:
                self._speech_stopped(answers=detection.get("create_response", True))

    def _speech_started(self, *, interrupts: bool) -> None:
        self._utterances += 1
        item_id = f"item_U{self._utterances}"
        start_ms = max(0, self._sound.heard_ms - 320)  # the frame, and 300 ms of padding
        self.send(self._script.event("input_audio_buffer.speech_started", item_id=item_id, audio_start_ms=start_ms))
        if interrupts and self._next is not None:
            self._cancel("turn_detected")

    def _speech_stopped(self, *, answers: bool) -> None:
        self._send_all(self._script.utterance_taken(self._utterances, self._sound.heard_ms))
        if self._session["audio"]["input"]["transcription"]:
            self.send(self._script.transcribed(self._utterances))
        if answers and self._next is None:
            self._speak()

    def _speak(self) -> None:
        self._answer += 1
        self._pieces = 0
        self._model.counts["answers"] += 1
        self._send_all(self._script.answer_begins(self._answer))
        loop = asyncio.get_running_loop()
        self._began_s = loop.time() + THINK_S
        self._next = loop.call_at(self._began_s, self._piece)

    def _piece(self) -> None:
        self.send(self._script.words(self._answer, self._pieces))
        audio, next_s = self._sound.say(self._answer, self._pieces, time.monotonic())
        self.send(self._script.sound(self._answer, audio))
        self._pieces += 1
        if next_s is not None:
            self._next = asyncio.get_running_loop().call_at(self._began_s + next_s, self._piece)
        else:
            self._next = None
            self._send_all(self._script.answer_ends(self._answer, realtime.transcript(self._pieces)))

    def _cancel(self, reason: str) -> None:
        assert self._next is not None
        self._next.cancel()
        self._next = None
        self._model.counts["cancelled"] += 1
        self._send_all(self._script.answer_cancelled(self._answer, reason, realtime.transcript(self._pieces)))

    def _send_all(self, events: Iterable[bytes]) -> None:
        for event in events:
            self.send(event)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
