"""Telephone keys, gathered into what they say together: a number, a choice from a menu. For every backend."""

from __future__ import annotations

from collections.abc import Callable

from trunkline.bus.messages import Dtmf
from workers.alarm import Alarm
from workers.backend import Session, Snapshot

_PRESSED = "digits"
_SEQ = "digits_seq"


def told(keys: str) -> str:
    """What a model reads when the caller presses `keys`."""
    return f"(The caller pressed these telephone keys: {keys})"


def pressed(snapshot: Snapshot) -> str:
    """The keys that are not in the conversation yet."""
    return str(snapshot.flow.get(_PRESSED, ""))


class Keys:
    """Those of one session that are not in its conversation yet. `whole(keys)` is called with such as belong together:
    the tenant's `keys.end` was pressed, or as many as `keys.longest`, or none for `keys.wait_s`.

    They stay in the snapshot until `known` says that the conversation has them, so that no takeover loses one; nor does
    it take one twice, for the snapshot knows which was the last.
    """

    def __init__(self, session: Session, whole: Callable[[str], None]) -> None:
        self._snapshot = session.snapshot
        self._settings = session.tenant.keys
        self._whole = whole
        self._handed_over = 0
        """How many of those in the snapshot."""
        self._alarm = Alarm(self._hand_over)

    def begin(self) -> None:
        """Go on with those that an earlier worker left. Not before `whole` can do something about them."""
        keys = pressed(self._snapshot)
        for count in range(1, len(keys) + 1):
            self._gather(keys[:count])

    def is_new(self, key: Dtmf) -> bool:
        """Whether it was not pressed before. Others are sent again for the audio around them."""
        return key.seq >= int(self._snapshot.flow.get(_SEQ, 0))

    def press(self, key: Dtmf) -> None:
        """Take the next key, if it is new."""
        if not self.is_new(key):
            return
        keys = pressed(self._snapshot) + key.digit
        self._snapshot.flow |= {_SEQ: key.seq + 1, _PRESSED: keys}
        self._gather(keys)

    @property
    def entering(self) -> bool:
        """Whether more may belong to the last of them."""
        return len(pressed(self._snapshot)) > self._handed_over

    def known(self, keys: str) -> None:
        """The conversation has these, which were `whole`."""
        self._handed_over -= len(keys)
        self._snapshot.flow[_PRESSED] = pressed(self._snapshot)[len(keys) :]

    def stop(self) -> None:
        """The session is over: `whole` is not called any more."""
        self._alarm.stop()

    def _gather(self, keys: str) -> None:
        if keys[-1] == self._settings.end or len(keys) - self._handed_over >= self._settings.longest:
            self._alarm.stop()
            self._hand_over(len(keys))
        else:
            self._alarm.set(self._settings.wait_s)

    def _hand_over(self, count: int | None = None) -> None:
        keys = pressed(self._snapshot)[self._handed_over : count]
        self._handed_over += len(keys)
        self._whole(keys)
