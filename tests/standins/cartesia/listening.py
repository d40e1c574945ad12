"""One socket of speech-to-text at the stand-in: it hears words in tones, and makes them final when it is told to."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection

from tests.standins import tones

from . import sdk
from .behaviour import Behaviour
from .speaking import Cut, refusal

QUERY = {"encoding", "model", "sample_rate", "language", "keyterm", "min_volume", "max_silence_duration_secs"}
GUESS_MS = 300
"""After so much more audio it says what it has understood."""


@dataclass(slots=True)
class Listened:
    """What an utterance's socket was asked and sent: for tests."""

    query: dict[str, list[str]]
    pcm: bytearray = field(default_factory=bytearray)
    commands: list[str] = field(default_factory=list)
    answered: int = 0
    """How many of them."""


class Listening:
    def __init__(self, socket: ServerConnection, behaviour: Behaviour) -> None:
        assert socket.request is not None
        self.listened = Listened(parse_qs(urlsplit(socket.request.path).query))
        self._socket = socket
        self._behaviour = behaviour
        self._begun = 0
        """Where in the audio what is not final begins."""
        self._guessed = 0

    async def run(self) -> None:
        """Raises ConnectionClosed when the client leaves, and Cut where the socket is to be cut."""
        query = self.listened.query
        if (query.get("encoding") != ["pcm_s16le"]) or "model" not in query or set(query) - QUERY:
            await self._send(refusal(400, "invalid_request", f"wrong query: {query}"))
            return
        while True:
            message = await self._socket.recv()
            if isinstance(message, bytes):
                self.listened.pcm += message
                await self._guess()
                continue
            self.listened.commands.append(message)
            if message not in ("finalize", "close"):
                await self._send(refusal(400, "invalid_request", f"no command is called {message!r}"))
                return
            await self._finalize()
            if message == "close":
                await self._send({"type": "done", "request_id": "req-1"})
                return
            await self._send({"type": "flush_done", "request_id": "req-1"})
            self.listened.answered += 1

    @property
    def _rate_hz(self) -> int:
        return int(self.listened.query["sample_rate"][0])

    def _heard(self) -> str:
        """With a space before each word, as texts are joined as they are."""
        heard = tones.hear(bytes(self.listened.pcm[self._begun :]), self._rate_hz, self._behaviour.word_ms)
        return f" {heard}" if heard else ""

    async def _guess(self) -> None:
        if len(self.listened.pcm) - self._guessed < self._rate_hz * 2 * GUESS_MS // 1000:
            return
        self._guessed = len(self.listened.pcm)
        await self._transcript(self._heard(), final=False)

    async def _finalize(self) -> None:
        match self._behaviour.fails("deaf", "cut_off", "misheard", "gibberish"):
            case "deaf":
                await self._socket.wait_closed()
            case "cut_off":
                raise Cut
            case "misheard":
                await self._send(refusal(500, "internal_error", "Something went wrong"))
            case "gibberish":
                await self._socket.send("<html>502 Bad Gateway</html>")
        await asyncio.sleep(self._behaviour.transcribe_ms / 1000)
        if text := self._heard():
            await self._transcript(text, final=True)
        self._begun = self._guessed = len(self.listened.pcm)

    async def _transcript(self, text: str, *, final: bool) -> None:
        seconds = (len(self.listened.pcm) - self._begun) / 2 / self._rate_hz
        event = {"type": "transcript", "request_id": "req-1", "text": text, "is_final": final, "duration": seconds}
        await self._send({**event, "language": "en"})

    async def _send(self, event: dict[str, Any]) -> None:
        event = {name: value for name, value in event.items() if name != "done" and value is not None}
        sdk.check_heard(event)
        await self._socket.send(json.dumps(event))
