"""The cascade's vendors, all at one port: `python -m benchmarks.cascade.vendors --port P --report FILE`.

As lean as can be, for they share the machine with what is measured; their latencies are fixed, each in its own file.
When told to end (SIGTERM) they write to FILE when each question was understood, asked, answered and spoken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import cast

from benchmarks import world
from benchmarks.cascade.book import Book
from benchmarks.cascade.groq import Groq
from benchmarks.cascade.nova import Nova
from benchmarks.cascade.sonic import Sonic

Vendors = Mapping[bytes, Callable[[], asyncio.Protocol]]


def vendors(book: Book) -> Vendors:
    """Who serves a connection, by the path of its first request."""
    return {
        b"/v1/listen": lambda: Nova(book),
        b"/tts/websocket": lambda: Sonic(book),
        b"/openai/v1/chat/completions": lambda: Groq(book),
        b"/openai/v1/audio/transcriptions": lambda: Groq(book),
    }


class Door(asyncio.Protocol):
    """Reads the first line of a connection, and gives the connection to whom it is for."""

    def __init__(self, vendors: Vendors) -> None:
        self._vendors = vendors
        self._begun = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        self._begun += data
        line, end, _ = self._begun.partition(b"\r\n")
        if end:
            vendor = self._vendors[line.split(b" ")[1].partition(b"?")[0]]()
            self._transport.set_protocol(vendor)
            vendor.connection_made(self._transport)
            vendor.data_received(self._begun)


def main() -> None:
    book = Book()
    served = vendors(book)
    world.main("benchmarks.cascade.vendors", lambda: Door(served), book.report)


if __name__ == "__main__":
    main()
