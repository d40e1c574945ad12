"""What one caller does, on its way to the worker: numbered, and kept in a ring until the worker commits it. Audio on
which nothing hangs may come together, as the worker says. Pure: `now_ms` is an argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trunkline.audio.frame import FRAME_MS, FULL_SCALE, Framer, rms
from trunkline.bus.messages import Attached, Ease, UplinkAudio
from trunkline.bus.messages import Uplink as Numbered
from trunkline.bus.patience import LEISURE_S, PATIENCE_S
from trunkline.bus.sequence import Ring

RING_MS = 15_000
ANY = (0, FULL_SCALE)
"""However loud it is."""


class Uplink:
    """One session's. `send(message, within_s)` sends to its worker, if it has one."""

    def __init__(self, session: str, rate_hz: int, send: Callable[[Numbered, float], None]) -> None:
        self._session = session
        self._rate_hz = rate_hz
        self._send = send
        self._framer = Framer(rate_hz)
        self._ring: Ring[Numbered] = Ring(maxlen=RING_MS // FRAME_MS + 50)
        self._next_seq = 0
        self._next_ms = 0
        """The media time of what is sent next."""
        self._together: list[bytes] = []
        """Frames that wait to be one message."""
        self._came_ms = 0.0
        """When the caller's last audio came."""
        self._ease: Ease | None = None
        self._unhurried = False
        """Whether the worker can wait for audio."""
        self._hurried = False
        """Whether nothing may wait any more, whatever the worker says."""

    # --- what the caller does

    @property
    def media_ms(self) -> int:
        """The media time at which the audio that comes next belongs."""
        return self._next_ms + len(self._together) * FRAME_MS

    def audio(self, pcm: bytes, now_ms: float) -> bool:
        """Take s16le mono, any even number of bytes. Returns whether that made a frame."""
        frames = self._framer.push(pcm)
        for frame in frames:
            self._together.append(frame)
            at_ease = self._is_at_ease(frame)
            if not at_ease or self._is_time(now_ms):
                self.flush(LEISURE_S if at_ease else PATIENCE_S)
        if frames:
            self._came_ms = now_ms
        return bool(frames)

    def put(self, kind: type[Numbered], *fields: Any) -> None:
        """Send a message of this kind; nothing that came before it waits any longer."""
        self.flush()
        self._put(kind(self._session, self._next_seq, *fields))

    def begin_anew(self) -> None:
        """A new wire: its audio has nothing to do with the part of a frame that came by the last."""
        self._framer = Framer(self._rate_hz)

    def _is_at_ease(self, frame: bytes) -> bool:
        """Whether nobody waits for this frame."""
        ease = self._ease
        if ease is None or (ease.least_rms, ease.most_rms) == ANY:
            return ease is not None
        return ease.least_rms <= rms(frame) <= ease.most_rms

    def _is_time(self, now_ms: float) -> bool:
        """Whether what is `_together` is to be sent: at each multiple of `audio_ms` by the clock, to share an entry
        with what waits of other sessions."""
        assert self._ease is not None
        ease_ms = self._ease.audio_ms
        return len(self._together) * FRAME_MS >= ease_ms or now_ms // ease_ms != self._came_ms // ease_ms

    def hasten(self, now_ms: float) -> None:
        """What waits to be sent together waits no longer, if nothing has come after it for a while."""
        if self._together and now_ms - self._came_ms >= 2 * FRAME_MS:
            self.flush()

    def flush(self, within_s: float = 0.0) -> None:
        """Send what is `_together`, if anything is; `within_s` if the worker can wait at all."""
        if not self._together:
            return
        pcm, length_ms = b"".join(self._together), len(self._together) * FRAME_MS
        self._together.clear()
        message = UplinkAudio(self._session, self._next_seq, self._next_ms, pcm)
        self._put(message, within_s if self._unhurried else 0.0)
        self._next_ms += length_ms
        while (oldest := self._oldest_audio).media_ms < self._next_ms - RING_MS:  # or it would hold 3 times as much
            self._ring.forget_before(oldest.seq + 1)

    @property
    def _oldest_audio(self) -> UplinkAudio:
        return next(kept for kept in self._ring if isinstance(kept, UplinkAudio))

    def _put(self, message: Numbered, within_s: float = 0.0) -> None:
        self._next_seq += 1
        self._ring.append(message)
        self._send(message, within_s)

    # --- what the worker says

    def ease(self, ease: Ease | None) -> None:
        """What may wait from now on; None, or one of 0 ms: nothing."""
        self._ease = ease if ease is not None and ease.audio_ms and not self._hurried else None
        if self._ease is None:
            self.flush()

    def hurry(self) -> None:
        """Nothing waits any more."""
        self._hurried = True
        self.ease(None)

    def attached(self, worker: Attached) -> None:
        """This worker goes on from where the last one was, maybe behind another gateway."""
        self._unhurried = worker.unhurried
        if self._next_seq < worker.resume_from_seq:
            self._next_seq, self._next_ms = worker.resume_from_seq, worker.resume_media_ms

    def forget_before(self, seq: int) -> None:
        """No worker will ask for what is before that again."""
        self._ring.forget_before(seq)

    @property
    def first_seq(self) -> int:
        """The oldest that is kept; the next, if none is."""
        return self._ring[0].seq if self._ring else self._next_seq

    def since(self, seq: int) -> list[Numbered]:
        """What is kept, from that on."""
        return self._ring.since(seq)
