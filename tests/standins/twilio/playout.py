"""The caller's end of the line: Twilio's playout buffer, and what came out of it. No I/O; time is an argument."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from trunkline.audio.frame import FRAME_MS
from trunkline.audio.g711 import ULAW_SILENCE, ulaw_to_pcm

FRAME_S = FRAME_MS / 1000
FRAME_BYTES = 160
"""20 ms of mu-law at 8 kHz, one byte a sample."""

SILENT_FRAME = bytes([ULAW_SILENCE]) * FRAME_BYTES

MAX_BUFFERED = 10 * 60 * 8000
"""Bytes; Twilio holds about ten minutes and discards what comes beyond (warning 31931)."""


class Playout:
    """Audio that waits to be played, and the marks between it. The position of both is counted in bytes."""

    def __init__(self) -> None:
        self.discarded_bytes = 0
        self._buffer = bytearray()
        self._taken = 0
        self._playing = False
        self._marks: deque[tuple[int, str]] = deque()

    @property
    def buffered_ms(self) -> float:
        return len(self._buffer) * FRAME_MS / FRAME_BYTES

    def push(self, ulaw: bytes) -> bool:
        """Add audio of any length; False when some had to be discarded, because ten minutes are buffered."""
        room = MAX_BUFFERED - len(self._buffer)
        self._buffer += ulaw[:room]
        self.discarded_bytes += max(0, len(ulaw) - room)
        return len(ulaw) <= room

    def mark(self, name: str) -> bool:
        """Put a mark behind what is buffered; True if there is nothing to wait for, so that it is echoed at once."""
        if not self._buffer and not self._playing and not self._marks:
            return True
        self._marks.append((self._taken + len(self._buffer), name))
        return False

    def clear(self) -> list[str]:
        """Drop all audio that does not play yet; gives the marks that waited, which Twilio echoes now."""
        self._buffer.clear()
        self._playing = False
        names = [name for _, name in self._marks]
        self._marks.clear()
        return names

    def advance(self) -> tuple[list[str], bytes, int]:
        """The next 20 ms: marks whose audio has now been played, the frame that plays from now, its bytes of audio.

        A frame is always FRAME_BYTES long: silence follows where the buffer ran out.
        """
        reached = []
        while self._marks and self._marks[0][0] <= self._taken:
            reached.append(self._marks.popleft()[1])
        frame = bytes(self._buffer[:FRAME_BYTES])
        del self._buffer[:FRAME_BYTES]
        self._taken += len(frame)
        self._playing = bool(frame)
        return reached, frame.ljust(FRAME_BYTES, SILENT_FRAME[:1]), len(frame)


@dataclass(frozen=True, slots=True)
class HeardFrame:
    """20 ms of what the caller heard, in the event loop's seconds. `queued` bytes of it came from the gateway."""

    began_s: float
    ended_s: float
    ulaw: bytes
    queued: int


class Heard:
    """All that a caller heard since `began_s`, without a hole: mu-law, 0xFF where nothing was queued.

    Times are those of the caller's own clock, which ticks every 20 ms by the event loop's time whether or not the
    process came round to it in time.
    """

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.ulaw = bytearray()
        self._queued: list[int] = []

    def __len__(self) -> int:
        return len(self._queued)

    @property
    def ended_s(self) -> float:
        return self.began_s + len(self._queued) * FRAME_S

    def append(self, frame: bytes, queued: int) -> None:
        self.ulaw += frame
        self._queued.append(queued)

    def pcm(self, from_s: float | None = None, to_s: float | None = None) -> bytes:
        """s16le at 8 kHz of what was heard between two times of the event loop, to the frame."""
        first, last = self._place(from_s, 0), self._place(to_s, len(self._queued))
        return ulaw_to_pcm(bytes(self.ulaw[first * FRAME_BYTES : last * FRAME_BYTES]))

    def frames(self, from_s: float | None = None, to_s: float | None = None) -> Iterator[HeardFrame]:
        for place in range(self._place(from_s, 0), self._place(to_s, len(self._queued))):
            began_s = self.began_s + place * FRAME_S
            ulaw = bytes(self.ulaw[place * FRAME_BYTES : (place + 1) * FRAME_BYTES])
            yield HeardFrame(began_s, began_s + FRAME_S, ulaw, self._queued[place])

    def gaps(self, from_s: float | None = None, to_s: float | None = None) -> list[tuple[float, float]]:
        """Where nothing was queued (begin, end), between two frames that had audio."""
        found = []
        last_end: float | None = None
        for frame in self.frames(from_s, to_s):
            if not frame.queued:
                continue
            silence_s = 0.0 if last_end is None else frame.began_s - last_end
            if last_end is not None and silence_s > FRAME_S / 2:
                found.append((last_end, frame.began_s))
            last_end = frame.ended_s
        return found

    def _place(self, at_s: float | None, otherwise: int) -> int:
        if at_s is None:
            return otherwise
        return min(max(0, round((at_s - self.began_s) / FRAME_S)), len(self._queued))


class Mouth:
    """What the caller is going to say, 20 ms at a time; time passes over it whether anyone listens or not."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    @property
    def waiting_ms(self) -> float:
        return len(self._waiting) * FRAME_MS / FRAME_BYTES

    def say(self, ulaw: bytes) -> None:
        """ValueError when more than ten minutes would wait: a test that does that has lost its way."""
        if len(self._waiting) + len(ulaw) > MAX_BUFFERED:
            raise ValueError("a caller has at most ten minutes to say")
        self._waiting += ulaw

    def advance(self) -> bytes:
        frame = bytes(self._waiting[:FRAME_BYTES])
        del self._waiting[:FRAME_BYTES]
        return frame.ljust(FRAME_BYTES, SILENT_FRAME[:1])
