"""The name of every Redis key, in one place. Pure."""

from __future__ import annotations

GROUP = "workers"
"""The consumer group of every dispatch stream."""

PROCESSES = "processes"
"""Hash: process id -> kind, of processes that said hello; whoever beats is in `lane(id)`."""

DEAD_LETTERS = "dispatch-dead"
"""Stream of sessions that were given up, with why."""

TENANTS = "tenants"
"""Hash: tenant id -> its settings as JSON."""


NUMBERS = "numbers"
"""Hash: telephone number (E.164) -> id of the tenant whose number it is."""


def lane(process_id: str) -> str:
    """The inbox stream of a process."""
    return f"lane:{process_id}"


def dispatch(backend: str) -> str:
    """The stream on which sessions wait for a worker of `backend`, and stay while they live."""
    return f"dispatch:{backend}"


def room(backend: str) -> str:
    """Is there while a worker with room asks for sessions of `backend`."""
    return f"room:{backend}"


def session(session_id: str) -> str:
    """The hash of what must outlive a session's processes."""
    return f"session:{session_id}"


def call(call_sid: str) -> str:
    """The hash of a telephone call: its session, and what becomes of it when its stream ends."""
    return f"call:{call_sid}"


def stream_token(token: str) -> str:
    """The call that a media stream's token was given for; it goes with its first use."""
    return f"stream-token:{token}"
