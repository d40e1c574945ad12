"""Cartesia's Ink models as speech-to-text: text comes while the speaker speaks, and is final soon after a pause.

Where an utterance ends is ours to say, so this is the vendor's socket without turns of its own. Each utterance has a
socket, dialled at its beginning: it is open long before the speaker is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Literal
from urllib.parse import urlencode

from pydantic import Field
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.connection import broadcast
from websockets.exceptions import ConnectionClosed

from trunkline.audio.loudness import Loudness
from trunkline.errors import ProviderError
from workers.providers.base import Transcript
from workers.providers.cartesia.account import Account, AccountOptions, hang_up
from workers.providers.cartesia.transcript import CLOSE, FINALIZE, PATH, InkText

log = logging.getLogger(__name__)

CHUNK_MS = 100
"""Audio is sent in pieces of this, as the vendor advises, and at once at a pause."""

PAUSE_MS = 100
"""Silence after which what was said is made final. Inside words there is less (before a `t` or a `p`), and what is made
final there is neither half of the word."""

LONGEST_S = 120
"""Audio of one utterance that is taken; what follows is not listened to."""


class InkOptions(AccountOptions):
    """A tenant's options for Cartesia's speech-to-text."""

    model: str = Field(default="ink-2", pattern=r"^ink-[a-z0-9.-]+$")
    language: str = Field(default="en", min_length=2)
    rate_hz: Literal[8000, 16000, 24000, 48000] = Field(default=16000, description="of what is sent, in Hz")
    keyterms: tuple[str, ...] = Field(default=(), max_length=100, description="names and terms to expect")
    final_s: float = Field(default=3.0, gt=0, le=30, description="longest wait for the final text")


class InkSpeech:
    """Ink as a `SpeechToText`."""

    def __init__(self, options: InkOptions) -> None:
        """Raises SettingsError for a key or an address that is missing or wrong."""
        self.options = options
        self.rate_hz: int = options.rate_hz
        self._account = Account(options, "speech-to-text 'cartesia'")
        query = {
            "encoding": "pcm_s16le",
            "model": options.model,
            "sample_rate": options.rate_hz,
            "language": options.language,
            "keyterm": options.keyterms,
        }
        self._path = f"{PATH}?{urlencode(query, doseq=True)}"
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def description(self) -> str:
        return f"Cartesia: {self.options.model}, as it is spoken"

    def utterance(self) -> InkUtterance:
        return InkUtterance(self)

    async def dial(self) -> ClientConnection:
        """A socket for an utterance. Raises ProviderError."""
        return await self._account.connect(self._path)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` until it ends, somebody cancels it, or this is closed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Hang up on every utterance."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


class InkUtterance:
    """A `Transcriber`. A socket that breaks is replaced once, and told everything again."""

    def __init__(self, speech: InkSpeech) -> None:
        self._speech = speech
        self._text = InkText()
        self._messages: list[bytes | str] = []
        """All that was sent, or will be once there is a socket."""
        self._finalized = 0
        """How many of them are FINALIZE."""
        self._chunk = bytearray()
        self._left_bytes = LONGEST_S * speech.rate_hz * 2
        self._loudness = Loudness(speech.rate_hz)
        self._quiet_rms = 0.0
        self._paused = False
        """Nothing but silence was pushed since the last `pause`."""
        self._silent_bytes: int | None = None
        """Silence since the last pause, of which the vendor was not told yet; None when there is no such pause."""
        self._socket: ClientConnection | None = None
        self._news = asyncio.Event()
        self._error: ProviderError | None = None
        self._task = speech.start(self._run())

    @property
    def interim(self) -> str:
        return self._text.text

    @property
    def ended(self) -> bool:
        """It is not asked: all of an utterance is one turn to it."""
        return False

    @property
    def failure(self) -> ProviderError | None:
        return self._error

    def push(self, pcm: bytes) -> None:
        """Take the next audio, up to LONGEST_S of it."""
        if len(pcm) > self._left_bytes or self._task.done():
            return
        self._left_bytes -= len(pcm)
        levels = self._loudness.push(pcm)
        self._paused = self._paused and all(rms < self._quiet_rms for rms in levels)
        self._chunk += pcm
        if len(self._chunk) >= self._speech.rate_hz * CHUNK_MS // 1000 * 2:
            self._flush()
        if self._silent_bytes is not None:
            self._silent_bytes += len(pcm)
            if not self._paused:
                self._silent_bytes = None
            elif self._silent_bytes >= self._speech.rate_hz * PAUSE_MS // 1000 * 2:
                self._finalize()

    def pause(self) -> None:
        """Have what was said so far made final, once it proves to be a pause."""
        self._flush()
        self._quiet_rms = self._loudness.quiet_rms()
        self._paused = True
        self._silent_bytes = 0

    def _finalize(self) -> None:
        self._silent_bytes = None
        self._flush()
        self._finalized += 1
        self._send(FINALIZE)

    async def finish(self) -> Transcript:
        """At once when the vendor has made all of it final since the pause; else when it has, in `final_s` at most."""
        if not self._paused or self._silent_bytes is not None:
            self._finalize()
        final_s = self._speech.options.final_s
        try:
            async with asyncio.timeout(final_s):
                while self._text.flushed < self._finalized:
                    if self._error is not None:
                        raise self._error
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError as error:
            raise ProviderError("cartesia", f"no final text within {final_s:g} s") from error
        finally:
            self.cancel()
        return Transcript(self._text.text)

    def cancel(self) -> None:
        self._task.cancel()

    def _flush(self) -> None:
        if self._chunk:
            self._send(bytes(self._chunk))
            self._chunk.clear()

    def _send(self, message: bytes | str) -> None:
        """By websockets' call for many receivers, which does not wait; LONGEST_S bounds what nobody takes."""
        self._messages.append(message)
        if self._socket is not None:
            broadcast((self._socket,), message)

    async def _run(self) -> None:
        """Listen to the vendor until `finish` or `cancel` ends it."""
        try:
            lost = await self._converse()
            log.info("an utterance is said again: %s", lost)
            self._text = InkText()
            self._error = await self._converse()
        except ProviderError as error:
            self._error = error
        except asyncio.CancelledError:
            self._error = ProviderError("cartesia", "given up", retryable=False)
            raise
        finally:
            self._news.set()

    async def _converse(self) -> ProviderError:
        """Carry everything over a new socket. Returns why it broke. Raises ProviderError when another would, too."""
        socket = await self._speech.dial()
        try:
            for message in self._messages:
                broadcast((socket,), message)
            self._socket = socket
            while True:
                self._text.take(await socket.recv(decode=False))
                self._news.set()
        except ConnectionClosed as error:
            frame = error.rcvd or error.sent
            return ProviderError("cartesia", f"hung up: {frame.code} {frame.reason}" if frame else "hung up")
        finally:
            self._socket = None
            broadcast((socket,), CLOSE)
            await hang_up(socket)
