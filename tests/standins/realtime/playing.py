"""The output audio buffer of a call over WebRTC: what the model has made, and how much of it has been sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from .conversation import Item
from .formats import FORMATS
from .wire import Wire

_PCM = FORMATS["audio/pcm"]


@dataclass(frozen=True, slots=True)
class Cut:
    """An item whose audio was not sent to its end."""

    item: Item
    sent_ms: int


@dataclass(slots=True)
class _Waiting:
    """What one response has to say."""

    pieces: deque[tuple[Item, bytes]] = field(default_factory=deque)
    sent: dict[str, int] = field(default_factory=dict)
    """Bytes of each item."""

    total: int = 0
    begun: bool = False
    made: bool = False
    """The response is done."""

    silenced: bool = False
    """It was cleared: what the model makes after that goes nowhere."""


class Playing:
    """Responses are heard one after the other, as they began; where nothing is made in time there is silence."""

    def __init__(self, wire: Wire, sent_ms: Callable[[str, float], None]) -> None:
        self._wire, self._sent_ms = wire, sent_ms
        self._waiting: dict[str, _Waiting] = {}

    @property
    def held_ms(self) -> float:
        """How long what is there still lasts."""
        held = sum(len(audio) for each in self._waiting.values() for _, audio in each.pieces)
        return held / _PCM.bytes_per_ms

    def put(self, response_id: str, item: Item, audio: bytes) -> None:
        waiting = self._waiting.setdefault(response_id, _Waiting())
        if not waiting.silenced:
            waiting.pieces.append((item, audio))

    def made(self, response_id: str) -> None:
        """The response is done (after response.done)."""
        if waiting := self._waiting.get(response_id):
            waiting.made = True
            self._settle()

    def take(self, size: int) -> bytes:
        """The next `size` bytes for the listener."""
        audio = bytearray()
        while len(audio) < size and not self._wire.mute and (pieces := self._next()):
            audio += self._piece(*pieces, size - len(audio))
            self._settle()
        return bytes(audio.ljust(size, b"\0"))

    def clear(self) -> list[Cut]:
        """Drop all that is not sent; gives what that cuts short."""
        cuts = []
        for response_id, waiting in list(self._waiting.items()):
            if waiting.silenced:
                continue
            items = {item.id: item for item, _ in waiting.pieces}
            cuts += [Cut(item, waiting.sent.get(item.id, 0) // _PCM.bytes_per_ms) for item in items.values()]
            waiting.pieces.clear()
            waiting.silenced = True
            self._wire.emit("output_audio_buffer.cleared", response_id=response_id)
            if waiting.made:
                del self._waiting[response_id]
        return cuts

    def _next(self) -> tuple[str, _Waiting] | None:
        response_id, waiting = next(iter(self._waiting.items()), ("", None))
        return (response_id, waiting) if waiting and waiting.pieces else None

    def _piece(self, response_id: str, waiting: _Waiting, size: int) -> bytes:
        item, audio = waiting.pieces.popleft()
        if not waiting.begun:
            waiting.begun = True
            self._wire.emit("output_audio_buffer.started", response_id=response_id)
        if len(audio) > size:
            waiting.pieces.appendleft((item, audio[size:]))
        piece = audio[:size]
        waiting.sent[item.id] = waiting.sent.get(item.id, 0) + len(piece)
        waiting.total += len(piece)
        self._sent_ms(response_id, waiting.total / _PCM.bytes_per_ms)
        return piece

    def _settle(self) -> None:
        """Whatever is done and sent is over."""
        while first := next(iter(self._waiting.items()), None):
            response_id, waiting = first
            if waiting.pieces or not waiting.made:
                return
            del self._waiting[response_id]
            if waiting.begun and not waiting.silenced:
                self._wire.emit("output_audio_buffer.stopped", response_id=response_id)
