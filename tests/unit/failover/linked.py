"""Chains of scripted providers, each with a breaker of its own."""

from __future__ import annotations

from typing import TypeVar

from workers.breaker import Breaker
from workers.failover.chain import Described, Link

P = TypeVar("P", bound=Described)


def linked(*providers: P, deadline_s: float = 1.5, hedge_s: float | None = None) -> list[Link[P]]:
    """In their order; the first is called `a`, the next `b`."""
    names = "abcdef"
    return [
        Link(provider, Breaker(name), deadline_s, hedge_s) for name, provider in zip(names, providers, strict=False)
    ]
