"""What one session's edge tells of when its answers were heard, and fell silent: told on to the client and the log.
Pure but for the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from trunkline.bus.messages import UNKNOWN_MS, Left, Played, Silenced
from workers.latency import Wait

log = logging.getLogger(__name__)

Tell = Callable[..., None]
"""`Session.event`."""


class _Timed(NamedTuple):
    """Audio that the edge was asked to time, and the wait that it ends."""

    turn: int
    offset_ms: int
    wait: Wait
    held_ms: int
    """How long it was there and could not be sent: the edge had enough that was not heard yet."""


class Timing:
    """Waits for the edge's word on what was sent. Its events are `latency` and `barge_in` (docs/websocket.md)."""

    def __init__(self, session: str, tenant: str, tell: Tell, clock: Callable[[], float]) -> None:
        """`clock` gives the time in s."""
        self._since_ms: int | None = None
        """Media time since which this worker has the call; None until the edge has said so."""
        self._about = {"session": session, "tenant": tenant}
        self._tell = tell
        self._clock = clock
        self._ready: tuple[int, Wait, float] | None = None
        """The wait that the next audio of this turn ends, and since when there is such audio."""
        self._sent: list[_Timed] = []
        self._spoken_over: tuple[int, int] | None = None
        """The turn that was cleared, and the media time at which the caller began to speak over it."""

    def joined(self, media_ms: int) -> None:
        """The edge sends the call here, and has heard the caller up to `media_ms`."""
        if self._since_ms is None:
            self._since_ms = media_ms

    def receive(self, message: Played | Left | Silenced) -> None:
        match message:
            case Played():
                self._played(message)
            case Left():
                self._left(message)
            case Silenced():
                self._silenced(message)

    def wait(self, turn: int, wait: Wait) -> None:
        """The next audio of `turn` ends this wait."""
        self._ready = turn, wait, self._clock()

    def sending(self, turn: int, offset_ms: int) -> bool:
        """Audio goes to the edge now. Whether the edge should say when it leaves for the wire."""
        if self._ready is None or self._ready[0] != turn:
            return False
        (_, wait, ready_s), self._ready = self._ready, None
        self._sent.append(_Timed(turn, offset_ms, wait, round((self._clock() - ready_s) * 1000)))
        return True

    def _left(self, left: Left) -> None:
        for timed in self._sent:
            if (timed.turn, timed.offset_ms) == (left.turn, left.offset_ms):
                self._sent.remove(timed)
                self._told(timed, left)
                return

    def _played(self, played: Played) -> None:
        """So much was heard: what was to be timed before it never will be, by a gateway that could not, or is gone."""
        for timed in self._sent:
            if timed.turn == played.turn and played.ms > timed.offset_ms:
                self._told(timed, None)
        self._sent = [
            timed
            for timed in self._sent
            if timed.turn > played.turn
            or (timed.turn == played.turn and timed.offset_ms >= played.ms and not played.done)
        ]

    def _told(self, timed: _Timed, left: Left | None) -> None:
        turn, wait, held_ms = timed.turn, timed.wait, timed.held_ms
        data = {"turn": turn, **wait.told(left, self._since_ms or 0, held_ms)}
        if left is not None and not wait.is_plausible(left, held_ms):
            log.warning(
                "session %s: turn %d: the edge saw %s ms from voice to voice, of which the worker alone took %d",
                *(self._about["session"], turn, wait.voice_to_voice_ms(left), wait.total_ms),
            )
        parts = ", ".join(f"{name} {ms}" for name, ms in data["parts"])
        what = "voice to voice" if data["voice_to_voice"] else "waited"
        who = " (filler)" if wait.filler else ""
        by = "".join(f", {stage} {name}" for stage, name in wait.providers).replace(",", "; by", 1)
        line = (self._about["session"], turn, what, data["total_ms"], who, parts, by)
        fields = {"event": "latency", **self._about, **data, "parts": dict(data["parts"])}
        if wait.speech_end_ms is not None:
            fields["speech_end_ms"] = wait.speech_end_ms
        log.info("session %s: turn %d: %s %d ms%s: %s%s", *line, extra={"fields": fields})
        self._tell("latency", **data)

    # --- the caller speaks over an answer

    def clear(self, turn: int, spoken_over_ms: int | None) -> None:
        """The edge is told to clear `turn`; if that is why, because the caller speaks since this media time."""
        self._spoken_over = None if spoken_over_ms is None else (turn, spoken_over_ms)

    def _silenced(self, silenced: Silenced) -> None:
        if self._spoken_over is None or self._spoken_over[0] != silenced.turn:
            return
        (turn, start_ms), self._spoken_over = self._spoken_over, None
        if silenced.silent_ms == UNKNOWN_MS or silenced.silent_ms < start_ms:
            return
        data: dict[str, Any] = {
            "turn": turn,
            "silent_ms": silenced.silent_ms - start_ms,
            "clear_ms": silenced.cleared_ms - start_ms,
        }
        line = (self._about["session"], turn, data["silent_ms"], data["clear_ms"])
        fields = {"event": "barge_in", **self._about, **data}
        log.info(
            "session %s: turn %d: spoken over: silent after %d ms, cleared after %d ms", *line, extra={"fields": fields}
        )
        self._tell("barge_in", **data)
