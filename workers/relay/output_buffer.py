"""A model's audio over RTP, and its events beside it, as one order of events: as a socket would bring them. Pure.

The model's side makes an answer faster than it is heard, and keeps it in an output buffer, which it plays out in real
time. Words, and `response.done`, come as they are made; `output_audio_buffer.started`, `.stopped` and `.cleared` say
which response the audio is of. Neither keeps step with the other: an event that was lost is sent again, a packet of
audio is not, and waits in a jitter buffer.

The wire does not say where one item of a response ends and the next begins: all audio is the first one's.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from trunkline.audio.frame import duration_ms, peak
from workers.relay.protocol import AUDIO_FOLLOWS

Event = dict[str, Any]

EARLY_MS = 1000
"""Audio that came before the event that says whose it is: so late that event is if it was lost once."""
QUIET_PEAK = 200
"""Below -44 dBFS nobody speaks."""
TAIL_MS = 60
"""After `stopped` the answer goes on until so much silence: its rest is in the jitter buffer, which is no longer."""
TAIL_S = 0.4
"""And no longer than this, where no silence is sent."""
START_S = 3.0
"""A response that is done, and of whose audio nothing was heard for so long, has none."""
SILENT_MS = 3000.0
"""One that is done, and silent for so long, is over: whoever does not say `stopped` must not keep a call waiting."""
KEPT_PLACES = 16
"""Responses whose audio may still come, or be cut."""


class OutputBuffer:
    """One call's."""

    def __init__(self, rate_hz: int) -> None:
        self.wait_s: float | None = None
        """How long to wait for what comes next, from the last event that was taken: then `waited` is to be called."""
        self._rate_hz = rate_hz
        self._places: dict[str, tuple[str, int]] = {}
        """By response: the item whose audio it speaks, and the index of its content."""
        self._playing: str | None = None
        """The response that is heard."""
        self._stopping = False
        """Its last audio was sent, and may not all be here."""
        self._done: dict[str, Event] = {}
        """What ends responses, until they were heard."""
        self._early: deque[bytes] = deque()
        self._early_ms = 0.0
        self._silent_ms = 0.0
        self._leftover = False
        """What is heard may be the end of an answer that is over."""
        self._cut_by_model: set[str] = set()
        """Items that the model cuts by itself."""

    # --- what the model says

    def audio(self, pcm: bytes) -> list[Event]:
        """Take what was heard next. Returns events for the conversation."""
        if self._playing is None:
            self._wait_for_owner(pcm)
            return []
        events = [self._delta(pcm)]
        if self._stopping or self._playing in self._done:
            self._silent_ms = 0.0 if _loud(pcm) else self._silent_ms + duration_ms(len(pcm), self._rate_hz)
            if self._silent_ms >= (TAIL_MS if self._stopping else SILENT_MS):
                events += self._over()
        return events

    def event(self, event: Event) -> list[Event]:
        """Take an event of the model's. Returns what the conversation is to be told, in order."""
        match event:
            case {"type": "response.content_part.added", "part": {"type": "audio"}}:
                self._place(event)
            case {"type": "response.output_audio_transcript.delta"}:
                self._place(event)
            case {"type": "output_audio_buffer.started", "response_id": str(response_id)}:
                return [event, *self._started(response_id)]
            case {"type": "output_audio_buffer.stopped"} if self._playing is not None:
                self._stopping, self._silent_ms, self.wait_s = True, 0.0, TAIL_S
            case {"type": "output_audio_buffer.cleared", "response_id": str(response_id)}:
                return [event, *self._silenced(response_id)]
            case {"type": "input_audio_buffer.speech_started"} if self._playing is not None:
                self._cut_by_model.add(self._item_of(self._playing))
            case {"type": "response.done", "response": {"id": str(response_id), "status": status}}:
                return self._made(response_id, status, event)
        return [event]

    def waited(self) -> list[Event]:
        """Nothing came for `wait_s`."""
        self.wait_s = None
        if self._playing is not None:
            return self._over() if self._stopping else []
        done, self._done = self._done, {}
        return list(done.values())

    # --- what we say

    def cancel(self) -> list[Event]:
        """We end what is heard, and what is about to be: nothing more of it is handed on."""
        if self._playing is not None:
            self._cut_by_model.discard(self._item_of(self._playing))
            self._leftover = True
        done = self._over()
        return done + self.waited()

    def truncates(self, item_id: str) -> bool:
        """Whether it is ours to tell the model that an item was not heard to its end: it knows where it interrupted
        itself."""
        return item_id not in self._cut_by_model

    # --- within

    def _place(self, event: Event) -> None:
        response_id, item_id, index = event.get("response_id"), event.get("item_id"), event.get("content_index")
        if isinstance(response_id, str) and isinstance(item_id, str) and isinstance(index, int):
            self._places.setdefault(response_id, (item_id, index))
            if len(self._places) > KEPT_PLACES:
                oldest = next(iter(self._places))
                self._cut_by_model.discard(self._places.pop(oldest)[0])

    def _item_of(self, response_id: str) -> str:
        return self._places.get(response_id, ("", 0))[0]

    def _delta(self, pcm: bytes) -> Event:
        assert self._playing is not None
        item_id, index = self._places.get(self._playing, ("", 0))
        return {
            "type": "response.output_audio.delta",
            "response_id": self._playing,
            "item_id": item_id,
            "content_index": index,
            "delta": pcm,
        }

    def _wait_for_owner(self, pcm: bytes) -> None:
        """Keep what may be the beginning of an answer; what is left of the last one ends with a silence."""
        if self._leftover and _loud(pcm):
            return
        self._leftover = False
        self._early.append(pcm)
        self._early_ms += duration_ms(len(pcm), self._rate_hz)
        while self._early_ms > EARLY_MS:
            self._early_ms -= duration_ms(len(self._early.popleft()), self._rate_hz)

    def _started(self, response_id: str) -> list[Event]:
        events = self._over() if self._playing not in (None, response_id) else []
        self._playing, self.wait_s, self._leftover = response_id, None, False
        while self._early and not _loud(self._early[0]):
            self._early.popleft()
        events += [self._delta(pcm) for pcm in self._early]
        self._forget_early()
        return events

    def _made(self, response_id: str, status: object, event: Event) -> list[Event]:
        """It is all made: whether it is over depends on what is to be heard of it."""
        if status == "cancelled":
            return [*self._silenced(response_id), event]
        if response_id != self._playing and response_id not in self._places:
            return [event]
        self._done[response_id], self._silent_ms = event, 0.0
        if self._playing is None:
            self.wait_s = START_S
        return [{**event, AUDIO_FOLLOWS: True}]

    def _silenced(self, response_id: str) -> list[Event]:
        """Nothing more of this response is heard."""
        if response_id == self._playing:
            self._leftover = True
            return self._over()
        return [self._done.pop(response_id)] if response_id in self._done else []

    def _over(self) -> list[Event]:
        """What was heard is over."""
        done = [self._done.pop(self._playing)] if self._playing in self._done else []
        self._playing, self._stopping = None, False
        self.wait_s = START_S if self._done else None
        self._forget_early()
        return done

    def _forget_early(self) -> None:
        self._early.clear()
        self._early_ms = self._silent_ms = 0.0


def _loud(pcm: bytes) -> bool:
    return peak(pcm) >= QUIET_PEAK
