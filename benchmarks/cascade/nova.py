"""Deepgram's Nova as a vendor of the benchmark: a WebSocket for each utterance, which hears linear16.

It understands after a fixed time, and what it understood is a number (words.py).
"""

from __future__ import annotations

import asyncio
import json
import time
from urllib.parse import parse_qs, urlsplit

from benchmarks.cascade import words
from benchmarks.cascade.book import Book
from benchmarks.cascade.levels import levels
from benchmarks.phone.wire import Socket, accept

INTERIM_S = 1.0
"""Nova says so often what it has understood so far."""
FINAL_S = 0.12
"""From audio, or a Finalize, to the text."""


class Nova(Socket):
    """One utterance."""

    def __init__(self, book: Book) -> None:
        super().__init__()
        self._book = book
        self._audio = bytearray()
        self._final = 0
        """Bytes of which the text is final."""
        self._interim = 0
        """Bytes at the last interim result."""
        self._number: int | None = None

    def opened(self, first_line: str, headers: dict[str, str]) -> None:
        if not headers.get("authorization", "").startswith("Token "):
            self.transport.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            self.transport.close()
            return
        self._rate_hz = int(parse_qs(urlsplit(first_line.split(" ")[1]).query)["sample_rate"][0])
        self.transport.write(accept(headers))

    def binary(self, payload: bytes) -> None:
        self._audio += payload
        if len(self._audio) - self._interim >= INTERIM_S * self._rate_hz * 2:
            self._interim = until = len(self._audio)
            asyncio.get_running_loop().call_later(FINAL_S, self._results, until, "Please tell me about")

    def text(self, payload: bytes) -> None:
        kind = json.loads(payload)["type"]
        self._book.counts[f"stt {kind}"] += 1
        if kind == "Finalize":
            asyncio.get_running_loop().call_later(FINAL_S, self._finalize, len(self._audio))
        elif kind == "CloseStream":
            asyncio.get_running_loop().call_later(FINAL_S, self._end)

    def _finalize(self, until: int) -> None:
        """Of the first part the text is the question; whatever is said after it is small talk."""
        text = "Thank you."
        if self._number is None:
            self._number = self._book.new_number()
            text = words.question(self._number)
        self._results(until, text, final=True)
        self._final = until
        heard = levels(bytes(self._audio[:until]), self._rate_hz)
        self._book.heard[self._number] = {"told_s": time.monotonic(), "levels": heard}

    def _end(self) -> None:
        if self._number is None:
            self._finalize(len(self._audio))
        self.send(
            json.dumps({"type": "Metadata", "request_id": "r1", "duration": self._seconds(len(self._audio))}).encode()
        )
        self.close()

    def _results(self, until: int, text: str, *, final: bool = False) -> None:
        if self.transport.is_closing():
            return
        start_s = self._seconds(self._final)
        alternative = {"transcript": text, "confidence": 0.99, "words": []}
        result = {
            "type": "Results",
            "channel_index": [0, 1],
            "duration": self._seconds(until) - start_s,
            "start": start_s,
            "is_final": final,
            "speech_final": False,
            "channel": {"alternatives": [alternative]},
            "metadata": {"request_id": "r1", "model_info": {"name": "general-nova-3"}},
            "from_finalize": final,
        }
        self.send(json.dumps(result).encode())

    def _seconds(self, size: int) -> float:
        return size / 2 / self._rate_hz
