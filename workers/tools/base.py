"""What a tool must offer, and what it may do with the call it is used in."""

from __future__ import annotations

from typing import Any, Protocol

from trunkline.errors import TrunklineError


class ToolError(TrunklineError):
    """A tool could not do what was asked; the model reads the text, and may say it to the caller."""

    code = "tool"


class Caller(Protocol):
    """The call that a tool is used in."""

    @property
    def session_id(self) -> str: ...

    @property
    def tenant_id(self) -> str: ...

    def end(self, reason: str) -> None:
        """End the call once what the assistant says next, its goodbye, was heard. `reason` is for logs and clients."""

    def transfer(self, number: str) -> None:
        """Put a telephone call through to `number` (E.164) once what the assistant says next was heard. Any other call
        just ends then."""

    def event(self, name: str, /, **data: Any) -> None:
        """Tell the client, in plain values; names and fields as in docs/websocket.md."""


class Tool(Protocol):
    """Something a model may do. One instance serves one call at a time or several: it keeps no state of a call."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str:
        """When to use it, for the model."""

    @property
    def parameters(self) -> dict[str, Any]:
        """JSON Schema of its arguments, an object. They were checked against it before `call`."""

    # Also, if it takes long: `filler`, what is said to a caller who waits for it, a phrase or a function of the
    # arguments that gives one. A tenant's own phrase comes before it.

    async def call(self, arguments: dict[str, Any], caller: Caller) -> Any:
        """Do it. Returns what the model is told: anything that JSON can say, in at most 32,768 characters.

        Raises ToolError with words for the model. It is cancelled after 30 s, and when the session ends.
        """
