"""Groq as a vendor of the benchmark: HTTP/1.1 by hand; chat completions as they are thought, and Whisper."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, cast

from benchmarks.cascade import words
from benchmarks.cascade.book import Book
from benchmarks.cascade.levels import levels

FIRST_TOKEN_S = 0.2
TOKEN_S = 0.002
"""500 tokens a second."""
WHISPER_S = 0.35

_WAV_HEAD_BYTES = 44
_WHISPER_RATE_HZ = 16_000


class Groq(asyncio.Protocol):
    """One connection. Its requests come one after the other."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._data = b""
        self._next: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        if not end:
            return
        line, *fields = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        if len(body) < int(headers["content-length"]):
            return
        self._data = b""
        if not headers.get("authorization", "").startswith("Bearer "):
            self._answer("401 Unauthorized", {"error": {"message": "Invalid API Key"}})
        elif "/chat/" in line:
            self._asked(json.loads(body))
        else:
            self._hear(body)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._next is not None:
            self._next.cancel()

    def _later(self, after_s: float, act: Any, *arguments: Any) -> None:
        self._next = asyncio.get_running_loop().call_later(after_s, act, *arguments)

    def _answer(self, status: str, body: dict[str, Any]) -> None:
        text = json.dumps(body)
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
        self._transport.write((head + text).encode())

    # --- chat completions

    def _asked(self, body: dict[str, Any]) -> None:
        self._book.counts["llm asked"] += 1
        said = [message["content"] for message in body["messages"] if message["role"] == "user"]
        number = words.last_number(said[-1]) if said else None
        if number is None:
            self._book.counts["llm asked about nothing"] += 1
        else:
            self._book.thought[number] = {"asked_s": time.monotonic()}
        tokens = words.answer(number) if number is not None else ["Pardon", "?"]
        began_s = asyncio.get_running_loop().time() + FIRST_TOKEN_S
        self._later(FIRST_TOKEN_S, self._token, number, tokens, 0, began_s)

    def _token(self, number: int | None, tokens: list[str], place: int, began_s: float) -> None:
        parts = []
        if place == 0:
            parts.append(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                + _event({"role": "assistant", "content": ""})
            )
        parts.append(_event({"content": tokens[place]}))
        place += 1
        if place == len(tokens):
            parts.append(_event({}, "stop") + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        self._transport.write(b"".join(parts))
        if number is not None and place == words.CLAUSE_TOKENS:
            self._book.thought[number]["clause_s"] = time.monotonic()
        if place < len(tokens):
            due_s = began_s + place * TOKEN_S
            self._next = asyncio.get_running_loop().call_at(due_s, self._token, number, tokens, place, began_s)

    # --- Whisper

    def _hear(self, body: bytes) -> None:
        self._book.counts["stt asked"] += 1
        begin = body.index(b"RIFF")
        size = int.from_bytes(body[begin + 4 : begin + 8], "little") + 8
        heard = levels(body[begin + _WAV_HEAD_BYTES : begin + size], _WHISPER_RATE_HZ)
        self._later(WHISPER_S, self._heard, heard)

    def _heard(self, heard: list[int]) -> None:
        number = self._book.new_number()
        text = words.question(number)
        segment = {"text": text, "avg_logprob": -0.1, "no_speech_prob": 0.01}
        self._answer("200 OK", {"text": text, "segments": [segment]})
        self._book.heard[number] = {"told_s": time.monotonic(), "levels": heard}


def _event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    chunk: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1795239000,
        "model": "openai/gpt-oss-20b",
        "system_fingerprint": "fp_1",
        "choices": [choice],
    }
    return _chunk(f"data: {json.dumps(chunk)}\n\n".encode())


def _chunk(data: bytes) -> bytes:
    """RFC 9112, 7.1."""
    return b"%x\r\n%s\r\n" % (len(data), data)
