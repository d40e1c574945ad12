"""What the model says, on its way to the caller, until it is known what of it was heard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from trunkline.audio.frame import FRAME_MS
from trunkline.bus.messages import Played
from workers import context
from workers.backend import Answer, Item, Session
from workers.relay.answering import Answering, Retelling, Truncation, going_on
from workers.relay.voice import Voice


class Told(Protocol):
    """Who is told what became of an answer."""

    def cut(self, truncations: list[Truncation], retellings: list[Retelling]) -> None:
        """These items of the model's conversation were not heard to their ends."""

    def over(self, answering: Answering, *, interrupted: bool) -> None:
        """What was heard of it is in the snapshot."""


class Answers:
    """A session's answers, oldest first; usually one, and none while the caller has the floor."""

    def __init__(self, session: Session, voice: Voice, told: Told, remember: Callable[[Item], None]) -> None:
        self._session = session
        self._voice = voice
        self._told = told
        self._remember = remember
        self._list: list[Answering] = []
        self._character_ms = 0.0

    def __bool__(self) -> bool:
        return bool(self._list)

    @property
    def audible(self) -> bool:
        """Whether an answer is being spoken, or about to be."""
        return self.spoken is not None

    @property
    def spoken(self) -> Answering | None:
        """The answer that the caller hears, or is about to."""
        return next((answering for answering in self._list if not answering.cut), None)

    @property
    def going_on(self) -> Answering | None:
        """The answer that the model has begun and not ended."""
        newest = self._list[-1] if self._list else None
        return newest if newest is not None and newest.responding and not newest.cut else None

    def open(self) -> Answering:
        """The model speaks up: it goes on with its answer, or begins another."""
        if (answering := self.going_on) is not None and not answering.answer.complete:
            return answering
        return self._add(Answering(Answer(context.new_turn(self._session.snapshot))))

    def take_over(self, answer: Answer, received_ms: int) -> tuple[Answering, str]:
        """Another worker began this one, and the edge has `received_ms` of it. Returns it, and the text that was said
        and is not there."""
        answering, rest = going_on(answer, received_ms)
        return self._add(answering), rest

    def _add(self, answering: Answering) -> Answering:
        answering.character_ms = self._character_ms
        self._list.append(answering)
        self._session.snapshot.answer = answering.answer
        return answering

    def finish(self, answering: Answering) -> None:
        """The model has no more of it."""
        if answering.cut:
            return
        answering.complete()
        self._character_ms = answering.character_ms
        if answering.received_ms:
            self._voice.end(answering)
        else:
            self._forget(answering)
            self._told.over(answering, interrupted=False)

    def interrupt(self, spoken_over_ms: int | None = None) -> bool:
        """Nothing more of any answer may be heard; if that is why, because the caller speaks since this media time.
        Returns whether there was one."""
        cut = [answering for answering in self._list if not answering.cut]
        for answering in cut:
            answering.cut = True
            if answering.sent:
                context.mark_cut(self._session.snapshot, answering.answer)
            else:
                self._forget(answering)
                self._told.cut(answering.truncations(0), answering.retellings(0))
        sent = [answering.turn for answering in cut if answering.sent]
        if sent:
            self._session.clear(max(sent), spoken_over_ms=spoken_over_ms)
        return bool(cut)

    def played(self, message: Played) -> None:
        """The edge says what was heard."""
        for answering in list(self._list):
            if answering.turn == message.turn:
                answering.played_ms = max(answering.played_ms, message.ms)
            if answering.turn < message.turn and answering.sent:
                self._close(answering, self._known_ms(answering))
            elif answering.turn == message.turn and message.done:
                self._close(answering, message.ms)

    def settle(self) -> None:
        """What was cut is as heard as we know: something else is about to be said."""
        for answering in list(self._list):
            if answering.cut:
                self._close(answering, self._known_ms(answering))

    def leave(self) -> None:
        """The caller is gone."""
        for answering in list(self._list):
            self._close(answering, self._known_ms(answering))

    def new_session(self) -> None:
        """A new session with the model: it knows none of its items."""
        self.settle()
        for answering in self._list:
            answering.new_session()

    def words_come_ahead(self, character_ms: float) -> None:
        """The model's words come long before their audio, in which one character takes about so long."""
        self._character_ms = self._character_ms or character_ms
        for answering in self._list:
            answering.character_ms = self._character_ms

    def unremembered(self) -> list[Answering]:
        """What the caller hears, or is about to, and the conversation does not hold yet."""
        return [answering for answering in self._list if not answering.cut and answering.answer.text.strip()]

    def _known_ms(self, answering: Answering) -> int:
        playhead = self._session.playhead
        if playhead.turn > answering.turn:  # the edge is beyond it; of what was cleared it only knows how far it was
            return answering.played_ms if answering.cut else answering.received_ms
        return playhead.played_ms if playhead.turn == answering.turn else 0

    def _close(self, answering: Answering, played_ms: int) -> None:
        self._forget(answering)
        text = answering.heard(played_ms)
        interrupted = answering.responding or played_ms + FRAME_MS < answering.received_ms
        if interrupted:
            answering.cut = True
            self._told.cut(answering.truncations(played_ms), answering.retellings(played_ms))
        if text:
            self._remember(Item("assistant", text, answering.turn))
            cut = {"interrupted": True} if interrupted else {}
            self._session.event("transcript", role="assistant", turn=answering.turn, text=text, **cut)
        self._told.over(answering, interrupted=interrupted)

    def _forget(self, answering: Answering) -> None:
        self._list.remove(answering)
        snapshot = self._session.snapshot
        if snapshot.answer is answering.answer:
            snapshot.answer = None
