"""One utterance on its way through Deepgram, on a connection of its own.

Of its own, for then the end is certain: CLOSE_STREAM is always obeyed, while Nova need not answer a Finalize and Flux
no ForceEndTurn, and what was late would come as the beginning of the next utterance. Nobody waits for its handshake:
a connection is ready before the utterance begins (`DeepgramSpeech`), or opens while the speaker speaks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from websockets.exceptions import ConnectionClosed

from trunkline.audio.loudness import Loudness
from trunkline.errors import ProviderError
from workers.providers.base import Transcript
from workers.providers.deepgram.connection import Connection, close_code, lost
from workers.providers.deepgram.protocol import CLOSE_STREAM, NAME, Understanding, parse

PAUSE_MS = 100
"""Silence after which Nova is asked for the final text. Inside words there is less (before a `t` or a `p`), and what is
made final there is neither half of the word."""

UNTOLD_S = 1.0
"""Seconds of audio without a word on them before Deepgram owes one: Nova speaks about once a second, Flux four times.
On less than that, nothing need come before there is more."""

LONGEST_UNHEARD_S = 60
"""Seconds of audio that may wait for a connection, or for Deepgram's first word about it."""


class Lines(Protocol):
    """Where connections come from."""

    rate_hz: int
    result_s: float
    final_s: float

    def ready(self) -> Connection | None:
        """A connection that waits to be used, if there is one."""

    async def dial(self) -> Connection:
        """A new one. Raises ProviderError."""

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` until it ends, or all is closed."""


class DeepgramUtterance:
    """A `Transcriber`."""

    def __init__(self, lines: Lines, understanding: Understanding) -> None:
        self._lines = lines
        self._understanding = understanding
        self._bytes_per_s = lines.rate_hz * 2
        self._chunk_bytes = self._bytes_per_s * understanding.chunk_ms // 1000
        self._chunk = bytearray()
        self._unheard: list[str | bytes] = []
        """All messages until Deepgram says something of them: a connection that waited may turn out to be dead."""
        self._heard = False
        """Whether it has."""
        self._pushed = 0
        """Bytes of audio."""
        self._said = 0
        """How many of them were there when the speaker last fell silent."""
        self._paused = False
        self._ask_at: int | None = None
        """How many bytes must have been pushed, all silent since the pause, for Nova to be asked."""
        self._loudness = Loudness(lines.rate_hz)
        self._quiet_rms = 0.0
        self._connection: Connection | None = None
        self._patience: asyncio.Timeout | None = None
        self._untold = 0
        """Bytes of audio that were sent after the last word about it."""
        self._finishing = False
        self._over = False
        self._error: ProviderError | None = None
        self._news = asyncio.Event()
        self._task = lines.start(self._run())

    # --- Transcriber

    @property
    def interim(self) -> str:
        return self._understanding.text

    @property
    def ended(self) -> bool:
        """Flux believes that the turn is over, by what was said and how. Nova never does."""
        return self._understanding.ended

    @property
    def failure(self) -> ProviderError | None:
        return self._error

    def push(self, pcm: bytes) -> None:
        """Take the next audio. After a failure it is dropped: `finish` tells."""
        if self._over:
            return
        self._pushed += len(pcm)
        self._chunk += pcm
        asking = self._ask_at is not None and self._pushed >= self._ask_at
        if asking or len(self._chunk) >= self._chunk_bytes:
            self._flush()
        if asking and self._paused and self._understanding.at_pause:
            self._send(self._understanding.at_pause)
            self._ask_at = None

    def pause(self) -> None:
        """Ask Nova for the final text of what was said, once this proves to be a pause. Flux finds by itself."""
        if self._over:
            return
        self._flush()
        if self._understanding.at_pause and self._pushed > self._said:
            self._ask_at = self._pushed + self._bytes_per_s * PAUSE_MS // 1000
        self._paused, self._said = True, self._pushed
        self._quiet_rms = self._loudness.quiet_rms()

    async def finish(self) -> Transcript:
        """At once when all that was said is final already; else when Deepgram has said so, in `final_s` at most."""
        self._flush()
        if not self._paused:
            self._said = self._pushed
        self._finishing = True
        self._send(CLOSE_STREAM)  # whether waited for or not: nothing more comes
        try:
            while not self._settled and not self._over:
                self._news.clear()
                await self._news.wait()
        except asyncio.CancelledError:
            self.cancel()
            raise
        if not self._settled:
            if self._error is not None:
                raise self._error
            await self._task  # it is over: raises what nobody expected, if that was its end
        return Transcript(self._understanding.text, self._understanding.confidence)

    def cancel(self) -> None:
        """Hangs up at once."""
        self._over = True
        self._task.cancel()

    # --- the connection

    @property
    def _said_s(self) -> float:
        return self._said / self._bytes_per_s

    @property
    def _settled(self) -> bool:
        return self._understanding.settled(self._said_s)

    def _flush(self) -> None:
        if not self._chunk:
            return
        chunk = bytes(self._chunk)
        self._chunk.clear()
        if any(rms > self._quiet_rms for rms in self._loudness.push(chunk)):
            self._paused, self._ask_at = False, None
        if not self._heard and self._pushed > LONGEST_UNHEARD_S * self._bytes_per_s:
            self._fail(ProviderError(NAME, f"took {LONGEST_UNHEARD_S} s without a word"))
            return
        self._send(chunk)

    def _send(self, message: str | bytes) -> None:
        if self._over:
            return
        if not self._heard:
            self._unheard.append(message)
        if self._connection is not None:
            self._put(self._connection, message)

    def _put(self, connection: Connection, message: str | bytes) -> None:
        """Send it, and wait from now on for the word that is owed."""
        connection.send(message)
        if self._patience is None or self._patience.expired():
            return
        if isinstance(message, bytes):
            self._untold += len(message)
        now_s, owed = asyncio.get_running_loop().time(), self._untold >= UNTOLD_S * self._bytes_per_s
        if message == CLOSE_STREAM:
            self._patience.reschedule(now_s + self._lines.final_s)
        elif owed and self._patience.when() is None:
            self._patience.reschedule(now_s + self._lines.result_s)

    async def _run(self) -> None:
        """Carry the utterance to Deepgram until it is over."""
        try:
            await self._converse()
        except ProviderError as error:
            self._error = error
        except asyncio.CancelledError:
            self._error = self._error or ProviderError(NAME, "given up")  # for whom waits in `finish`
            raise
        finally:
            self._end()

    async def _converse(self) -> None:
        """Raises ProviderError."""
        ready = self._lines.ready()
        if ready is not None:
            try:
                await self._over_connection(ready)
            except ProviderError as error:
                if self._heard or (self._finishing and isinstance(error.__cause__, TimeoutError)):
                    raise
                # It had died while it waited, and that is nobody's fault: all is said again to a new one.
            else:
                return
        await self._over_connection(await self._lines.dial())

    async def _over_connection(self, connection: Connection) -> None:
        """Raises ProviderError when it ends before the utterance does."""
        self._connection, self._untold = connection, 0
        try:
            async with asyncio.timeout(None) as self._patience:
                for message in self._unheard:
                    self._put(connection, message)
                while True:  # the end is that it hangs up
                    self._take(await connection.receive())
        except TimeoutError as error:
            raise self._mute() from error
        except ConnectionClosed as closed:
            if not (self._finishing and self._understanding.complete(self._said_s, close_code(closed))):
                raise lost(closed) from closed
        finally:
            self._connection = self._patience = None
            connection.abort()

    def _take(self, received: bytes) -> None:
        message = parse(received)
        try:
            about_audio = self._understanding.take(message)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            raise ProviderError(NAME, f"sent what cannot be read: {received[:60]!r}") from error
        if about_audio:
            self._heard = True
            self._unheard.clear()
            self._untold = 0
            if not self._finishing and self._patience is not None:
                self._patience.reschedule(None)
        self._news.set()

    def _mute(self) -> ProviderError:
        if self._finishing:
            return ProviderError(NAME, f"no final text within {self._lines.final_s:g} s")
        return ProviderError(NAME, f"silent for {self._lines.result_s:g} s while it was sent audio")

    def _fail(self, error: ProviderError) -> None:
        self._error = error
        self._end()
        self._task.cancel()

    def _end(self) -> None:
        self._over = True
        self._unheard.clear()
        self._chunk.clear()
        self._news.set()
