"""Which response of the model is active, and which is to be asked for next. Pure.

Only one response at a time may write to the conversation, and the model begins some by itself (when its turn detection
says so). Whoever wants one says so here; it is asked for once none is active and the caller does not speak. Those that
we asked for carry a mark, which the model gives back: so each `response.created` is known as ours or the model's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

RESPOND_ID = "respond"
"""The event id with which a response is asked for: an error that names it is about that."""
OURS: Mapping[str, str] = {"asked_by": "trunkline"}
"""The metadata of a response that we asked for."""
SOME = "some"
"""The active response, when the model only said that there is one."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A response that is wanted."""

    instructions: str | None = None
    """For this one only."""
    says: str = ""
    """What it says, where that is known word for word."""


class Responses:
    """The responses of one session with the model."""

    def __init__(self) -> None:
        self.active: str | None = None
        """The id of the response in progress."""
        self.active_wish = Wish()
        """What that one is for."""
        self.wish: Wish | None = None
        self.asked: Wish | None = None
        """What was asked for, and has not begun."""
        self._expected = False
        """The model is about to begin one by itself."""
        self._unwanted_asked = self._unwanted_expected = False
        """What was asked for, or expected, is to be cancelled as soon as it begins."""
        self._covered = False
        """What is expected answers the wish, too: the model knew of it."""

    @property
    def idle(self) -> bool:
        return self.wish is None and not self.owed

    @property
    def owed(self) -> bool:
        """Whether the model should be doing something now."""
        return self.active is not None or self.asked is not None or self._expected

    def expect(self, *, knows_all: bool, wanted: bool = True) -> None:
        """The model is about to begin one by itself. `knows_all`: it knew all that it was told when it decided so."""
        self._expected, self._unwanted_expected = True, not wanted
        self._covered = knows_all and self.wish == Wish()

    def want(self, wish: Wish | None = None) -> None:
        """Have the model speak next. A wish with instructions is not replaced by one without."""
        wish = wish or Wish()
        if self.wish is None or wish.instructions is not None:
            self.wish = wish
            self._covered = False

    def unwant(self) -> None:
        """Nobody wants an answer any more to anything until now."""
        self.wish = None
        self._unwanted_asked = self.asked is not None
        self._unwanted_expected = self._expected

    def next(self) -> Wish | None:
        """The response to ask for now; the caller of this must do so."""
        if self.owed:
            return None
        self.asked, self.wish = self.wish, None
        self._unwanted_asked = False
        return self.asked

    def created(self, response_id: str, *, ours: bool) -> bool:
        """A response began. Returns whether anybody wants it; otherwise it must be cancelled."""
        self.active = response_id
        if ours:
            self.active_wish, self.asked = self.asked or Wish(), None
            return not self._unwanted_asked
        self.active_wish, wanted = Wish(), not (self._expected and self._unwanted_expected)
        if wanted and self._covered and self.wish == Wish():
            self.wish = None
        self._expected = self._covered = False
        return wanted

    def done(self, response_id: str) -> None:
        if self.active in (response_id, SOME):
            self.active = None

    def refused(self, *, ours: bool, busy: bool) -> Wish | None:
        """What was asked for (`ours`), or expected, was not begun. `busy`: another is active, and this is wanted after
        it; otherwise it is given back. None for what nobody wants."""
        back: Wish | None = None
        if ours:
            back, self.asked = None if self._unwanted_asked else self.asked, None
        elif self._expected:
            back, self._expected = None if self._unwanted_expected else Wish(), False
        if not busy:
            return back
        self.wish = self.wish or back
        self.active = self.active or SOME
        return None

    def forget(self) -> Wish | None:
        """The session with the model is over: what was asked for is to be asked again. Returns what was in progress."""
        if not self._unwanted_asked:
            self.wish = self.wish or self.asked
        lost = self.active_wish if self.active is not None else None
        self.active = self.asked = None
        self._expected = self._covered = False
        return lost
