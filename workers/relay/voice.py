"""The model's audio on its way to the session, which takes it no faster than the caller hears it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from trunkline.audio.frame import duration_ms
from trunkline.audio.resample import Resampler
from workers.backend import Session
from workers.relay.answering import Answering

UNKEPT_MS = 200
"""So much audio the edge may have of which another worker would not know the words: it would have them said again."""
MOST_WAITING_MS = 10 * 60 * 1000
"""An answer that is longer ends there: nobody listens that long."""

log = logging.getLogger(__name__)


class Voice:
    """One session's. The model speaks faster than real time; what the edge has no room for waits here, as it came."""

    def __init__(self, session: Session, commit: Callable[[], Awaitable[None]]) -> None:
        self._session = session
        self._commit = commit
        self.rate_hz = session.rate_hz
        """Of what the model says."""
        self._waiting: deque[tuple[Answering, bytes | None, int]] = deque()
        """Answer, audio (none: that was all), and where in the answer it ends, in ms."""
        self._waiting_ms = 0.0
        self._wake = asyncio.Event()
        self._resampler: Resampler | None = None
        self._speaking: Answering | None = None

    def ms(self, pcm: bytes) -> float:
        """How long audio of the model's lasts."""
        return duration_ms(len(pcm), self.rate_hz)

    def put(self, answering: Answering, pcm: bytes) -> None:
        """Say this next, as the model sent it."""
        if self._waiting_ms > MOST_WAITING_MS:
            log.error("session %s: an answer is longer than %d minutes", self._session.id, MOST_WAITING_MS // 60_000)
            return
        self._waiting_ms += self.ms(pcm)
        self._waiting.append((answering, pcm, answering.received_ms))
        self._wake.set()

    def end(self, answering: Answering) -> None:
        """Nothing more comes of this answer."""
        self._waiting.append((answering, None, answering.received_ms))
        self._wake.set()

    async def run(self) -> None:
        """Speak until cancelled."""
        while True:
            await self._wake.wait()
            while self._waiting:
                answering, pcm, end_ms = self._waiting.popleft()
                if pcm is not None:
                    self._waiting_ms -= self.ms(pcm)
                if not answering.cut and (pcm is None or self._outgrew(answering, end_ms)):
                    await self._keep(answering)
                if answering.cut:
                    continue
                if pcm is None:
                    await self._finish(answering)
                else:
                    answering.sent = True
                    await self._session.speak(answering.turn, self._resampled(answering, pcm))
            self._wake.clear()

    def _outgrew(self, answering: Answering, end_ms: int) -> bool:
        """Whether there is audio whose words may not be kept. Those that came long before are."""
        return not answering.character_ms and end_ms > answering.kept_ms + UNKEPT_MS

    async def _keep(self, answering: Answering) -> None:
        received_ms = answering.received_ms
        await self._commit()
        answering.kept_ms = received_ms

    def _resampled(self, answering: Answering, pcm: bytes) -> bytes:
        if self.rate_hz == self._session.rate_hz:
            return pcm
        if self._resampler is None or self._speaking is not answering:
            self._resampler = Resampler(self.rate_hz, self._session.rate_hz)
        self._speaking = answering
        return self._resampler.push(pcm)

    async def _finish(self, answering: Answering) -> None:
        rest = b""
        if self._resampler is not None and self._speaking is answering:
            rest = self._resampler.flush()
        self._resampler = self._speaking = None
        await self._session.speak(answering.turn, rest, sentence_end=True)
        if not answering.cut:
            self._session.end_turn(answering.turn)
