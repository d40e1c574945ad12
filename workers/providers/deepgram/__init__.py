"""Speech-to-text by Deepgram, as it is spoken: Nova (`nova-3` and its kin), or Flux, which also tells ends of turns.

Text comes while the speaker speaks, so hardly anything is left to wait for at the end: Nova is asked for the final text
when the speaker falls silent, and has answered before the silence is long enough to count; Flux says by itself when it
believes that the turn is over (`DeepgramUtterance.ended`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections import deque
from collections.abc import Coroutine
from typing import Any, Literal
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trunkline.errors import ProviderError, SettingsError
from workers.providers.deepgram.connection import Connection, dial
from workers.providers.deepgram.protocol import KEEP_ALIVE, FluxText, NovaText
from workers.providers.deepgram.utterance import DeepgramUtterance
from workers.providers.options import read_options

KEY_VARIABLE = "DEEPGRAM_API_KEY"
URL = "wss://api.deepgram.com"

NO_RESERVE_S = 10.0
"""After a refusal, connections in reserve are not asked for again for so long: they may be what is one too many."""

_FLUX_ONLY = ("eot_threshold", "eager_eot_threshold", "eot_timeout_ms", "language_hints")
_NOVA_ONLY = ("language", "punctuate", "smart_format")

_log = logging.getLogger(__name__)


class DeepgramOptions(BaseModel):
    """A tenant's options for Deepgram."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(default="nova-3", pattern=r"^[a-z0-9][a-z0-9.-]*$", description="flux-...: turns, else Nova")
    api_key: str | None = Field(default=None, description=f"none: {KEY_VARIABLE}")
    url: str = Field(default=URL, pattern=r"^wss?://[^/?#]+$", description="another region's, or your own servers")
    rate_hz: Literal[8000, 16000, 24000, 48000] = Field(default=16000, description="of what is sent, in Hz")
    keyterms: tuple[str, ...] = Field(default=(), max_length=100, description="names and terms to expect")
    numerals: bool = Field(default=False, description="numbers in digits")
    profanity_filter: bool = False
    mip_opt_out: bool = Field(default=False, description="no use of the audio to improve models; may cost more")
    tag: str | None = Field(default=None, description="what usage reports name these requests")

    language: str | None = Field(default=None, pattern=r"^[A-Za-z-]+$", description="Nova: none is English; multi")
    punctuate: bool = Field(default=True, description="Nova")
    smart_format: bool = Field(default=False, description="Nova: dates, amounts and addresses as they are written")

    eot_threshold: float = Field(default=0.7, ge=0.5, le=1, description="Flux: confidence that ends a turn; 1: never")
    eager_eot_threshold: float | None = Field(default=None, ge=0.3, le=0.9, description="Flux: one that announces it")
    eot_timeout_ms: int = Field(default=5000, ge=500, le=60_000, description="Flux: silence that ends any turn")
    language_hints: tuple[str, ...] = Field(default=(), max_length=10, description="Flux (flux-general-multi)")

    connect_s: float = Field(default=3.0, gt=0, le=30, description="longest wait for a connection")
    result_s: float = Field(default=4.0, gt=0, le=60, description="longest silence of Deepgram's while sent audio")
    final_s: float = Field(default=2.0, gt=0, le=30, description="longest wait for the final text")
    ready: int = Field(default=1, ge=0, le=64, description="connections of a worker that wait for utterances")
    ready_s: float = Field(default=60.0, gt=0, le=3600, description="how long they do after the last utterance")

    @property
    def flux(self) -> bool:
        return self.model.startswith("flux")

    @model_validator(mode="after")
    def _no_options_of_the_other(self) -> DeepgramOptions:
        others = self.model_fields_set & set(_NOVA_ONLY if self.flux else _FLUX_ONLY)
        if others:
            raise ValueError(f"{self.model} knows no {', '.join(sorted(others))}")
        return self

    def address(self) -> str:
        """Where to listen, with all that was chosen."""
        shared: dict[str, Any] = {
            "model": self.model,
            "encoding": "linear16",
            "sample_rate": self.rate_hz,
            "keyterm": self.keyterms,
            "numerals": self.numerals or None,
            "profanity_filter": self.profanity_filter or None,
            "mip_opt_out": self.mip_opt_out or None,
            "tag": self.tag,
        }
        version, chosen = ("v2", self._flux()) if self.flux else ("v1", self._nova())
        query = {name: _wire(value) for name, value in (shared | chosen).items() if value is not None}
        return f"{self.url}/{version}/listen?{urlencode(query, doseq=True)}"

    def _nova(self) -> dict[str, Any]:
        return {
            "channels": 1,
            "interim_results": True,
            "endpointing": False,  # where an utterance ends is ours to say
            "language": self.language,
            "punctuate": self.punctuate or None,
            "smart_format": self.smart_format or None,
        }

    def _flux(self) -> dict[str, Any]:
        return {
            "eot_threshold": self.eot_threshold,
            "eager_eot_threshold": self.eager_eot_threshold,
            "eot_timeout_ms": self.eot_timeout_ms,
            "language_hint": self.language_hints,
        }


def _wire(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


class DeepgramSpeech:
    """Deepgram as a `SpeechToText`: its connections, and what runs on them.

    While there are utterances, `ready` connections wait for the next ones, of whatever call. Each carries one
    utterance only, so no request of Deepgram's has the voices of two callers in it; and as many connections are open
    as callers speak at once, not as there are calls (Deepgram limits connections).
    """

    def __init__(self, options: DeepgramOptions) -> None:
        """Raises SettingsError without a key."""
        key = options.api_key or os.environ.get(KEY_VARIABLE)
        if not key:
            raise SettingsError(f"speech-to-text 'deepgram' needs {KEY_VARIABLE}, or its option api_key")
        self._options = options
        self._key = key
        self._address = options.address()
        # Made here, once: it reads all certificates of the machine, which takes some 20 ms.
        self._tls = ssl.create_default_context() if options.url.startswith("wss:") else None
        self.rate_hz: int = options.rate_hz
        self.result_s = options.result_s
        self.final_s = options.final_s
        self._ready: deque[Connection] = deque()
        self._getting_ready = 0
        self._no_reserve_until_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._retiring: asyncio.TimerHandle | None = None

    @property
    def description(self) -> str:
        return f"Deepgram: model {self._options.model}, as it is spoken"

    def utterance(self) -> DeepgramUtterance:
        return DeepgramUtterance(self, FluxText() if self._options.flux else NovaText())

    # --- utterance.Lines

    def ready(self) -> Connection | None:
        """One that waited, if there is one; the next is made ready meanwhile."""
        taken = None
        while self._ready and taken is None:
            oldest = self._ready.popleft()
            if oldest.usable:
                taken = oldest
            else:
                oldest.abort()
        self._reserve()
        return taken

    def _reserve(self) -> None:
        """Get ready what will be wanted next."""
        loop = asyncio.get_running_loop()
        while len(self._ready) + self._getting_ready < self._options.ready and loop.time() >= self._no_reserve_until_s:
            self._getting_ready += 1
            _ = self.start(self._get_ready())
        if self._retiring is not None:
            self._retiring.cancel()
        self._retiring = loop.call_later(self._options.ready_s, self._retire)

    async def dial(self) -> Connection:
        options = self._options
        keep_alive = "" if options.flux else KEEP_ALIVE
        return await dial(self._address, self._key, self._tls, keep_alive, options.connect_s)

    async def _get_ready(self) -> None:
        try:
            self._ready.append(await self.dial())
        except ProviderError as error:
            # Whoever needs one dials, and is told.
            wait_s = max(error.retry_after_s or 0.0, NO_RESERVE_S)
            self._no_reserve_until_s = asyncio.get_running_loop().time() + wait_s
            _log.info("no connection in reserve for %.0f s: %s", wait_s, error)
        finally:
            self._getting_ready -= 1

    def _retire(self) -> None:
        """Nobody has spoken for long: hold no connections."""
        while self._ready:
            self._ready.popleft().abort()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Hang up on every utterance."""
        if self._retiring is not None:
            self._retiring.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.gather(*(waiting.close() for waiting in self._ready))
        self._ready.clear()


def speech_to_text(options: dict[str, Any]) -> DeepgramSpeech:
    """Raises SettingsError for wrong options, or without a key."""
    return DeepgramSpeech(read_options(DeepgramOptions, options, "speech-to-text 'deepgram'"))
