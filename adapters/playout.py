"""Playout: what is due on the wire now, and what the caller has heard.

Audio is fed to a wire at most `lead_ms` ahead of what was heard, so that pause, clear and a lost wire stay exact. What
was heard comes from the client's acknowledgements, or, for a client that sends none, from the clock. Pure: `now_ms`
is an argument; all offsets are ms from a turn's start and multiples of a frame.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from trunkline.audio.frame import FRAME_MS

LEAD_MS = 400
CUT_MS = 100
"""A piece too long for the lead is cut to a multiple of this, to keep what goes out from becoming crumbs."""
KEEP_MS = 10_000
"""Audio is kept this long after it was heard: so long may a dead wire go unnoticed. (160 KB at 8 kHz.)"""
ACK_AGE_MS = 250
"""A client is taken to have played on for this long after its last word: that came late, and the next is on its way."""
ACK_PATIENCE_MS = 2000
"""A client that acknowledged and then stops for this long is taken to play in real time again."""
DOUBT_MS = 4000
"""A client that came back and says nothing at all for this long has its wire all the same; ours would have given it up
and come by another."""


class Chunk(NamedTuple):
    """A piece of an answer's audio."""

    turn: int
    offset_ms: int
    pcm: bytes
    sentence_end: bool


class Heard(NamedTuple):
    """Where the playout stands in a turn."""

    turn: int
    received_ms: int
    played_ms: int
    done: bool


@dataclass(slots=True)
class _Turn:
    number: int
    received_ms: int
    fed_ms: int
    played_ms: float
    begun_ms: float
    """When the first of it was fed, or could have been."""
    acked_ms: float = 0.0
    """What the client said of it. The clock may be ahead of that, by the way there and back, until the first word."""
    ended: bool = False


class Playout:
    """The answers of one session on their way to one wire."""

    def __init__(
        self, rate_hz: int, lead_ms: int = LEAD_MS, whole_sentences: bool = False, keep_ms: int = KEEP_MS
    ) -> None:
        """`whole_sentences` feeds a sentence at once when its start is due: for clients that take files. `keep_ms` of
        what the clock or the client says was heard can be fed again: 0 for clients that do not say what they received.
        """
        self._bytes_per_ms = rate_hz * 2 // 1000
        self._lead_ms = lead_ms
        self._whole_sentences = whole_sentences
        self._keep_ms = keep_ms
        self._waiting: deque[Chunk] = deque()
        self._fed: deque[Chunk] = deque()
        self._turns: deque[_Turn] = deque()
        self._over = 0
        self._finished: list[Heard] = []
        self._last = Heard(0, 0, 0, True)
        self._at_ms = 0.0
        self._held = False
        self._acks = False
        self._ack_at_ms = 0.0
        self._doubted_until_ms = -math.inf
        """Until then nobody may hear what is fed."""

    @property
    def active(self) -> bool:
        """Whether any turn is not heard to its end, or `due` has not said so yet."""
        return bool(self._turns or self._finished)

    @property
    def heard(self) -> Heard:
        """Where the current turn stands, or how the last one ended."""
        if not self._turns:
            return self._last
        head = self._turns[0]
        return Heard(head.number, head.received_ms, int(head.played_ms), False)

    @property
    def newest(self) -> int:
        """The last turn it knows of."""
        return self._turns[-1].number if self._turns else self._over

    def receive(self, chunk: Chunk, now_ms: float) -> None:
        """Take audio. Of a turn that is over or cleared, or had already, it is dropped; a gap becomes silence."""
        if chunk.turn <= self._over or not chunk.pcm:
            return
        turn = self._turn(chunk.turn, chunk.offset_ms, now_ms)
        if turn is None:
            return
        pcm, offset_ms = chunk.pcm, chunk.offset_ms
        if offset_ms < turn.received_ms:
            pcm = pcm[(turn.received_ms - offset_ms) * self._bytes_per_ms :]
        elif offset_ms > turn.received_ms:
            pcm = bytes((offset_ms - turn.received_ms) * self._bytes_per_ms) + pcm
        if not pcm:
            return
        self._waiting.append(Chunk(chunk.turn, turn.received_ms, pcm, chunk.sentence_end))
        turn.received_ms += len(pcm) // self._bytes_per_ms

    def _turn(self, number: int, offset_ms: int, now_ms: float) -> _Turn | None:
        if self._turns and self._turns[-1].number >= number:
            return next((turn for turn in self._turns if turn.number == number), None)
        if self._turns:
            self._turns[-1].ended = True
        else:
            self._at_ms = now_ms
        turn = _Turn(number, received_ms=offset_ms, fed_ms=offset_ms, played_ms=offset_ms, begun_ms=now_ms)
        self._turns.append(turn)
        return turn

    def end(self, number: int) -> Heard | None:
        """Nothing more comes in this turn. Returns how it stands if it never had any audio to play here."""
        for turn in self._turns:
            if turn.number == number:
                turn.ended = True
                return None
        if self._turns and number > self._turns[-1].number:
            self._turns[-1].ended = True
            self._turns.append(_Turn(number, received_ms=0, fed_ms=0, played_ms=0, begun_ms=0, ended=True))
            return None
        if not self._turns and number > self._over:
            self._over = number
            self._last = Heard(number, 0, 0, True)
        return self._last if self._last.turn == number else Heard(number, 0, 0, True)

    def due(self, now_ms: float) -> tuple[list[Chunk], list[Heard]]:
        """What to put on the wire now, and the turns heard to their end since the last call."""
        self._advance(now_ms)
        finished, self._finished = self._finished, []
        chunks: list[Chunk] = []
        if not self._held:
            ahead = self.ahead_ms(now_ms)
            while piece := self._next_piece(self._lead_ms - ahead):
                ahead += sum(self._feed(chunk) for chunk in piece)
                chunks += piece
        return chunks, finished

    def ahead_ms(self, now_ms: float) -> float:
        """How much of what was fed is still to be heard, by what was known at the last call of `due`."""
        return sum(turn.fed_ms - turn.played_ms for turn in self._turns) - self._since_acked(now_ms)

    def _next_piece(self, room_ms: float) -> list[Chunk]:
        """Take what may be fed next, when so much more may be on the wire; nothing while that is too little."""
        if not self._waiting or room_ms <= 0 or not self._may_feed(self._waiting[0].turn):
            return []
        if self._whole_sentences:
            return [self._waiting.popleft() for _ in range(self._sentence())]
        chunk = self._waiting[0]
        if len(chunk.pcm) > room_ms * self._bytes_per_ms:
            return self._cut(chunk, int(room_ms) // CUT_MS * CUT_MS)
        return [self._waiting.popleft()]

    def _cut(self, chunk: Chunk, ms: int) -> list[Chunk]:
        """Take the first `ms` of the chunk that waits longest."""
        if not ms:
            return []
        size = ms * self._bytes_per_ms
        self._waiting[0] = chunk._replace(offset_ms=chunk.offset_ms + ms, pcm=chunk.pcm[size:])
        return [chunk._replace(pcm=chunk.pcm[:size], sentence_end=False)]

    def _feed(self, chunk: Chunk) -> int:
        """It goes out now. Returns its length in ms."""
        self._fed.append(chunk)
        length_ms = len(chunk.pcm) // self._bytes_per_ms
        turn = next(turn for turn in self._turns if turn.number == chunk.turn)
        turn.fed_ms = chunk.offset_ms + length_ms
        return length_ms

    def _sentence(self) -> int:
        """How many waiting chunks make a sentence; 0 when its end has not come yet."""
        number = self._waiting[0].turn
        for count, chunk in enumerate(self._waiting, start=1):
            if chunk.turn != number:
                return count - 1
            if chunk.sentence_end:
                return count
        ended = any(turn.number == number and turn.ended for turn in self._turns)
        return len(self._waiting) if ended else 0

    def _may_feed(self, number: int) -> bool:
        """A turn is fed once all earlier ones were."""
        for turn in self._turns:
            if turn.number == number:
                return True
            if not turn.ended or turn.fed_ms < turn.received_ms:
                return False
        return False

    def _advance(self, now_ms: float) -> None:
        elapsed, self._at_ms = max(0.0, now_ms - self._at_ms), now_ms
        if now_ms < self._doubted_until_ms or (self._acks and now_ms - self._ack_at_ms < ACK_PATIENCE_MS):
            elapsed = 0.0
        while self._turns:
            head = self._turns[0]
            if not self._held:
                step = min(elapsed, head.fed_ms - head.played_ms)
                head.played_ms += step
                elapsed -= step
            if not (head.ended and head.played_ms >= head.received_ms):
                break
            self._turns.popleft()
            self._over = head.number
            self._last = Heard(head.number, head.received_ms, int(head.played_ms), True)
            self._finished.append(self._last)
            self._ack_at_ms = now_ms
        self._forget_heard()

    def _forget_heard(self) -> None:
        while self._fed:
            chunk = self._fed[0]
            if chunk.turn > self._over:
                head = self._turns[0]
                end_ms = chunk.offset_ms + len(chunk.pcm) // self._bytes_per_ms
                if head.number != chunk.turn or end_ms > head.played_ms - self._keep_ms:
                    return
            self._fed.popleft()

    def acknowledge(self, number: int, ms: int, now_ms: float) -> None:
        """The client has heard `ms` of a turn. From now on its word counts, not the clock."""
        self._acks = True
        for turn in self._turns:
            if turn.number == number:
                if ms > turn.acked_ms:
                    self._ack_at_ms = now_ms
                    turn.acked_ms = min(ms, turn.fed_ms)
                    turn.played_ms = max(turn.played_ms, turn.acked_ms)
                return

    def hold(self, now_ms: float) -> None:
        """Feed nothing for now: the caller may be interrupting, or the wire is gone."""
        self._advance(now_ms)
        self._estimate(now_ms)
        self._held = True

    def _estimate(self, now_ms: float) -> None:
        """Take what the client has played since it last said so for heard."""
        if self._turns:
            self._turns[0].played_ms += self._since_acked(now_ms)

    def _since_acked(self, now_ms: float) -> float:
        """How much the client has probably played since its last word, in ms; without such words the clock counts."""
        if not self._acks or self._held or not self._turns or now_ms < self._doubted_until_ms:
            return 0.0
        head = self._turns[0]
        since_ms = min(ACK_AGE_MS, max(0.0, now_ms - max(self._ack_at_ms, head.begun_ms)))
        return max(0.0, min(head.fed_ms, head.acked_ms + since_ms) - head.played_ms)

    def release(self, now_ms: float) -> None:
        """Go on feeding."""
        self._at_ms = now_ms
        self._ack_at_ms = now_ms
        self._held = False

    def doubt(self, now_ms: float) -> None:
        """Whether the new wire's client knows of it remains to be seen: what it is fed, up to the lead, is not taken
        for heard until `trust`."""
        self._doubted_until_ms = now_ms + DOUBT_MS

    def trust(self, now_ms: float) -> None:
        """It does."""
        if now_ms < self._doubted_until_ms:
            self._at_ms = self._ack_at_ms = now_ms
        self._doubted_until_ms = -math.inf

    def rewind(self, number: int, received_ms: int) -> None:
        """A new wire: the client has `received_ms` of this turn and nothing after. Feed it the rest again.

        That may be audio that the clock took to be heard when the old wire was dead already.
        """
        for turn in self._turns:
            if turn.number == number:
                kept_ms = next((chunk.offset_ms for chunk in self._fed if chunk.turn == number), turn.fed_ms)
                turn.fed_ms = max(min(received_ms, turn.fed_ms), kept_ms)
                turn.played_ms = min(turn.played_ms, turn.fed_ms)
            elif turn.number > number:
                turn.fed_ms = int(turn.played_ms)
        fed_to = {turn.number: turn.fed_ms for turn in self._turns}
        had: list[Chunk] = []
        again: list[Chunk] = []
        for chunk in self._fed:
            had_ms = max(0, fed_to.get(chunk.turn, 0) - chunk.offset_ms)
            size = had_ms * self._bytes_per_ms
            if size >= len(chunk.pcm):
                had.append(chunk)
            elif chunk.turn in fed_to:
                if size:
                    had.append(chunk._replace(pcm=chunk.pcm[:size], sentence_end=False))
                again.append(chunk._replace(offset_ms=chunk.offset_ms + had_ms, pcm=chunk.pcm[size:]))
        self._fed = deque(had)
        self._waiting.extendleft(reversed(again))

    def rewind_to_heard(self) -> None:
        """The wire lost what it had and was not heard yet: feed it again."""
        if self._turns:
            self.rewind(self._turns[0].number, int(self._turns[0].played_ms) // FRAME_MS * FRAME_MS)

    def clear(self, number: int, now_ms: float) -> Heard:
        """Throw away a turn and all before it. Returns how much of it was heard."""
        self._advance(now_ms)
        self._estimate(now_ms)
        heard = Heard(number, 0, 0, True)
        while self._turns and self._turns[0].number <= number:
            turn = self._turns.popleft()
            if turn.number == number:
                heard = Heard(number, turn.received_ms, int(turn.played_ms), True)
        if self._last.turn == number:
            heard = self._last
        self._waiting = deque(chunk for chunk in self._waiting if chunk.turn > number)
        self._fed = deque(chunk for chunk in self._fed if chunk.turn > number)
        self._finished = [done for done in self._finished if done.turn != number]
        self._over = max(self._over, number)
        self._last = max(self._last, heard)
        self._held = False
        return heard
