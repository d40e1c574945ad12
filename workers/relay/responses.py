"""Which response of the model is active, and which is to be asked for next. Pure.

Only one response at a time may write to the conversation, and the model begins some by itself (when its turn detection
says so). Whoever wants one says so here; it is asked for once none is active and the caller does not speak.
"""

from __future__ import annotations

from dataclasses import dataclass

RESPOND_ID = "respond"
"""The event id with which a response is asked for: an error that names it is about that."""
SOME = "some"
"""The active response, when the model only said that there is one."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A response that is wanted; `instructions` for this one only."""

    instructions: str | None = None


class Responses:
    """The responses of one session with the model."""

    def __init__(self) -> None:
        self.active: str | None = None
        """The id of the response in progress."""
        self.wish: Wish | None = None
        self.asked: Wish | None = None
        """What was asked for, and has not begun."""
        self._expected = False

    @property
    def idle(self) -> bool:
        return self.wish is None and not self.owed

    @property
    def owed(self) -> bool:
        """Whether the model should be doing something now."""
        return self.active is not None or self.asked is not None or self._expected

    def expect(self) -> None:
        """The model is about to begin one by itself."""
        self._expected = True

    def want(self, instructions: str | None = None) -> None:
        """Have the model speak next. A wish with instructions is not replaced by one without."""
        if self.wish is None or instructions is not None:
            self.wish = Wish(instructions)

    def unwant(self) -> None:
        """Nobody wants an answer any more."""
        self.wish = None

    def next(self) -> Wish | None:
        """The response to ask for now; the caller of this must do so."""
        if self.owed:
            return None
        self.asked, self.wish = self.wish, None
        return self.asked

    def created(self, response_id: str) -> None:
        """A response began: ours, or the model's own. That answers what ours would have, unless with instructions."""
        self.active = response_id
        if self.asked is None and self.wish == Wish():
            self.wish = None
        self.asked = None
        self._expected = False

    def done(self, response_id: str) -> None:
        if self.active in (response_id, SOME):
            self.active = None

    def refused(self, *, busy: bool) -> None:
        """What was asked for, or expected, was not begun. `busy`: another is active, and this is wanted after it."""
        asked, self.asked = self.asked, None
        if self._expected:
            asked, self._expected = asked or Wish(), False
        if busy:
            self.wish = self.wish or asked
            self.active = self.active or SOME

    def forget(self) -> None:
        """The session with the model is over: what was asked for is to be asked again."""
        self.wish = self.wish or self.asked
        self.active = self.asked = None
        self._expected = False
