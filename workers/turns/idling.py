"""When a user who says nothing is spoken to, and when a call whose user is gone is ended. Times are ms of media time: a
link that is down is no silence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

_PROMPTS = "idle_prompts"
_SINCE = "idle_since_ms"


class Limits(Protocol):
    """What a tenant may choose: `trunkline.tenants.IdleSettings`, which imports too much for this module."""

    @property
    def after_s(self) -> float: ...
    @property
    def prompts(self) -> Sequence[str]: ...
    @property
    def hang_up(self) -> bool: ...
    @property
    def goodbye(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is said to a user who said nothing. `last`: the call ends when it was heard."""

    text: str
    last: bool


class Idling:
    """One session's. What it knows is in `flow`, the snapshot's part for the backend's own state."""

    def __init__(self, limits: Limits | None, flow: dict[str, Any]) -> None:
        """Without `limits`, nobody is ever spoken to."""
        self._limits = limits
        self._flow = flow

    def busy(self) -> None:
        """Somebody speaks, or something is to be said."""
        self._flow.pop(_SINCE, None)

    def heard_from(self) -> None:
        """The user said something."""
        self._flow.pop(_PROMPTS, None)

    def quiet(self, now_ms: int) -> Prompt | None:
        """Nothing goes on at `now_ms`. Returns what is to be said now, if anything: once."""
        if self._limits is None:
            return None
        since_ms = self._flow.setdefault(_SINCE, now_ms)
        told = self._flow.get(_PROMPTS, 0)
        if now_ms - since_ms < self._limits.after_s * 1000 or told > len(self._limits.prompts):
            return None
        self._flow |= {_PROMPTS: told + 1, _SINCE: now_ms}
        if told < len(self._limits.prompts):
            return Prompt(self._limits.prompts[told], last=False)
        return Prompt(self._limits.goodbye, last=True) if self._limits.hang_up else None
