"""Cartesia's Sonic as a vendor of the benchmark: contexts on a WebSocket, spoken as marked noise (phone/audio.py)."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from benchmarks.cascade import words
from benchmarks.cascade.book import Book
from benchmarks.phone import audio
from benchmarks.phone.wire import Socket, accept
from trunkline.audio.g711 import ulaw_to_pcm

FIRST_AUDIO_S = 0.09
SPEED = 4.0
"""Audio is sent so many times faster than it is played."""
RATE_HZ = 8000

_PIECE_S = audio.PIECE_BYTES / RATE_HZ
_NOISE = base64.b64encode(ulaw_to_pcm(base64.b64decode(audio.after_marker(audio.PIECE_BYTES, loud=True)))).decode()
_UNMARKED_PIECES = 8
"""Of a text that is no part of an answer."""


@dataclass
class _Context:
    """One speech: its texts, each with whether it is the last."""

    name: str
    texts: deque[tuple[str, bool]] = field(default_factory=deque)
    next: asyncio.TimerHandle | None = None
    """While a text is being spoken."""


class Sonic(Socket):
    """One client's socket."""

    def __init__(self, book: Book) -> None:
        super().__init__()
        self._book = book
        self._contexts: dict[str, _Context] = {}

    def opened(self, first_line: str, headers: dict[str, str]) -> None:
        self.transport.write(accept(headers))

    def text(self, payload: bytes) -> None:
        request = json.loads(payload)
        name = request["context_id"]
        if request.get("cancel"):
            self._book.counts["tts cancelled"] += 1
            self._forget(name)
            return
        if request["output_format"] != {"container": "raw", "encoding": "pcm_s16le", "sample_rate": RATE_HZ}:
            self._event(name, "error", done=True, status_code=400, message="8 kHz pcm_s16le only")
            return
        context = self._contexts.setdefault(name, _Context(name))
        context.texts.append((request["transcript"], not request.get("continue", False)))
        spoken = words.pieces(request["transcript"])
        if spoken is not None:
            self._book.spoken.setdefault(spoken[0], {"asked_s": time.monotonic()})
        if context.next is None:
            context.next = asyncio.get_running_loop().call_later(FIRST_AUDIO_S, self._begin, context)

    def _begin(self, context: _Context) -> None:
        """Speak the text that waits longest."""
        text, last = context.texts.popleft()
        spoken = words.pieces(text)
        if spoken is None:
            self._book.counts["tts other texts"] += 1
            keys: list[int | None] = [None] * _UNMARKED_PIECES
        else:
            number, pieces = spoken
            self._book.spoken[number].setdefault("first_s", time.monotonic())
            keys = [piece_key(number, piece) for piece in pieces]
        told = text.split()
        each_s = len(keys) * _PIECE_S / max(1, len(told))
        starts = [round(place * each_s, 3) for place in range(len(told))]
        self._piece(context, keys, 0, asyncio.get_running_loop().time(), last)
        times = {"words": told, "start": starts, "end": [round(start + each_s, 3) for start in starts]}
        self._event(context.name, "timestamps", word_timestamps=times)

    def _piece(self, context: _Context, keys: list[int | None], place: int, began_s: float, last: bool) -> None:
        key = keys[place]
        mark = audio.marker(key) if key is not None else bytes([0xFF]) * audio.MARKER_BYTES
        data = base64.b64encode(ulaw_to_pcm(mark)).decode() + _NOISE
        self._event(context.name, "chunk", data=data, step_time=1.5)
        place += 1
        act = (self._piece, context, keys, place, began_s, last) if place < len(keys) else (self._end, context, last)
        due_s = began_s + place * _PIECE_S / SPEED
        context.next = asyncio.get_running_loop().call_at(due_s, *act)

    def _end(self, context: _Context, last: bool) -> None:
        context.next = None
        if last:
            self._event(context.name, "done", done=True, status_code=200)
            self._forget(context.name)
            return
        self._event(context.name, "flush_done", flush_done=True, flush_id=1)
        if context.texts:
            self._begin(context)

    def _event(self, name: str, kind: str, **fields: Any) -> None:
        event = {"type": kind, "context_id": name, "done": False, "status_code": 206, **fields}
        self.send(json.dumps(event).encode())

    def _forget(self, name: str) -> None:
        context = self._contexts.pop(name, None)
        if context is not None and context.next is not None:
            context.next.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        for name in list(self._contexts):
            self._forget(name)


def piece_key(number: int, piece: int) -> int:
    """A piece of the answer to a question, as `audio.answer_key` would have it: who hears it finds the answer's end."""
    return number << 6 | piece
