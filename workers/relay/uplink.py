"""The caller's audio on its way to the model, kept until it cannot be needed again. Pure.

The model counts ms of the audio it was sent since its session began; that clock is frames here. What was said and is
not in the conversation as text yet is kept, so that a new session with the model, or another worker, can hear it again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from trunkline.audio.frame import FRAME_MS
from trunkline.bus.messages import UplinkAudio

SILENCE_KEPT_MS = 1000
"""How much is kept of what the model heard while nobody spoke: it notices speech late, and wants what came before it.
What it was sent after its last sign of life is kept, too: it may be deaf already."""
MOST_KEPT_MS = 30_000
"""Beyond this the oldest goes, needed or not."""


@dataclass(slots=True)
class _Utterance:
    """Frames `begin` to `end` of this session with the model; `end` is None while it goes on."""

    begin: int
    end: int | None = None


class Uplink:
    """One session's uplink. Frame numbers count from the model's first.

    Without turn detection the client says when an utterance is over: that is a mark between two frames, which is kept
    with them, and told to the model (again) where it belongs.
    """

    def __init__(self, first_seq: int) -> None:
        self.model_hears_edges = True
        """Whether the model says when speech begins. Otherwise all is kept until it is committed."""
        self.dropped = 0
        """Frames that may have been needed, and are gone."""
        self._kept: deque[UplinkAudio] = deque()
        self._first = 0
        """Number of the oldest frame that is kept."""
        self._next = 0
        """Number of the frame that is sent next."""
        self._alive_at = 0
        """What came next when the model last said something."""
        self._seq = first_seq
        self._marks: deque[int] = deque()
        """Where the client ended an utterance, before the frame of this number, and the model was not told."""
        self._told_marks: deque[int] = deque()
        """Those that the model was told of, and are not settled."""
        self._unanswered = 0
        """How many of these, the last ones, the model did not acknowledge."""
        self._open_from = 0
        """Without edges: where what is not committed yet begins."""
        self._settled_to = 0
        """Where the last utterance ends that is known as text: nobody is to hear it twice."""
        self._utterances: dict[str, _Utterance] = {}

    @property
    def needed_seq(self) -> int:
        """The oldest uplink that a next worker must hear."""
        return self._kept[0].seq if self._kept else self._seq

    @property
    def unsettled(self) -> bool:
        """Whether something was said that the conversation does not hold as text."""
        return bool(self._utterances) or bool(self._marks) or self._unanswered > 0

    @property
    def speaking(self) -> bool:
        """Whether the model hears an utterance now."""
        return any(utterance.end is None for utterance in self._utterances.values())

    def media_ms(self, model_ms: int) -> int:
        """The session's media time at `model_ms` of this session with the model."""
        if not self._kept:
            return 0
        return self._kept[0].media_ms + model_ms - self._first * FRAME_MS

    # --- the caller's

    def push(self, frame: UplinkAudio) -> None:
        """Take the caller's next frame."""
        self._kept.append(frame)
        self._seq = frame.seq + 1
        if len(self._kept) > MOST_KEPT_MS // FRAME_MS:
            self._drop_one()
            self.dropped += 1
            self._give_up_on_dropped()
        self._trim()

    def mark(self, seq: int) -> None:
        """The client says, by the uplink message `seq`, that the utterance is over here."""
        self._seq = max(self._seq, seq + 1)
        at = len(self._kept)
        while at and self._kept[at - 1].seq > seq:  # audio comes by another way, and may be ahead
            at -= 1
        self._marks.append(self._first + at)

    # --- to the model

    @property
    def marked(self) -> bool:
        """Whether the model is to be told of a mark."""
        return bool(self._marks)

    def take_mark(self) -> bool:
        """Whether the model is to be told now, before the next frame, that the utterance is over."""
        if not self._marks or self._marks[0] > self._next:
            return False
        self._told_marks.append(self._marks.popleft())
        self._unanswered += 1
        return True

    def take(self) -> bytes | None:
        """The next frame to send; None when there is none. To be asked after `take_mark`."""
        at = self._next - self._first
        if at >= len(self._kept):
            return None
        self._next += 1
        return self._kept[at].pcm

    def rewind(self) -> None:
        """A new session with the model: it must hear again all that is kept, and its clock begins there."""
        marks = (*self._told_marks, *self._marks)
        self._marks = deque(mark - self._first for mark in marks if mark > self._first)
        self._told_marks.clear()
        self._first = self._next = self._alive_at = self._open_from = self._settled_to = self._unanswered = 0
        self._utterances.clear()

    # --- what the model says

    def alive(self) -> None:
        """It says anything at all."""
        self._alive_at = self._next

    def speech_started(self, item_id: str, audio_start_ms: int) -> None:
        self._utterances[item_id] = _Utterance(max(self._first, audio_start_ms // FRAME_MS))

    def speech_stopped(self, item_id: str, audio_end_ms: int) -> None:
        utterance = self._utterances.get(item_id)
        if utterance is not None:
            utterance.end = min(self._next, -(-audio_end_ms // FRAME_MS))

    def committed(self, item_id: str) -> bool:
        """The utterance is an item of the model's conversation. Returns whether the client said that it is over: the
        model found that out by itself otherwise, and answers by itself."""
        utterance = self._utterances.setdefault(item_id, _Utterance(self._open_from))
        by_client = utterance.end is None and self._unanswered > 0
        if by_client:
            utterance.end = self._told_marks[-self._unanswered]
            self._unanswered -= 1
        elif utterance.end is None:  # the model took a silence for a turn
            utterance.end = self._next
        self._open_from = max(self._open_from, utterance.end)
        return by_client

    def ended_before(self, item_id: str, seq: int) -> bool:
        """Whether all of this utterance came before the uplink message `seq`."""
        utterance = self._utterances.get(item_id)
        if utterance is None or utterance.end is None:
            return False
        last = utterance.end - 1 - self._first
        if last < 0:  # it is not kept any more
            return self.needed_seq <= seq
        return last < len(self._kept) and self._kept[last].seq < seq

    def nothing_heard(self) -> None:
        """The model heard nothing before the mark: it is as if the client had not said so."""
        if self._unanswered:
            del self._told_marks[-self._unanswered]
            self._unanswered -= 1

    def settled(self, item_id: str) -> None:
        """What was said is known as text, or never will be."""
        utterance = self._utterances.pop(item_id, None)
        if utterance is not None and utterance.end is not None:
            self._settled_to = max(self._settled_to, utterance.end)
        self._trim()

    def _trim(self) -> None:
        """Let go of what nothing can need."""
        keep_from = self._open_from
        if self.model_hears_edges:
            keep_from = max(self._alive_at - SILENCE_KEPT_MS // FRAME_MS, self._settled_to)
        for utterance in self._utterances.values():
            keep_from = min(keep_from, utterance.begin)
        while self._first < keep_from and self._kept:
            self._drop_one()
        while len(self._told_marks) > self._unanswered and self._told_marks[0] <= self._first:
            self._told_marks.popleft()

    def _give_up_on_dropped(self) -> None:
        """An utterance of which nothing is left cannot be heard again. Should the model never write it down, the
        session would otherwise never be at rest any more, and keep and replay all that was said after it."""
        gone = [name for name, of in self._utterances.items() if of.end is not None and of.end <= self._first]
        for item_id in gone:
            del self._utterances[item_id]

    def _drop_one(self) -> None:
        self._kept.popleft()
        self._first += 1
        self._next = max(self._next, self._first)
