"""A stage's provider and its fallbacks, in order, and what becomes of each in one turn."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from trunkline.errors import ProviderError, ProvidersExhausted
from workers.breaker import Breaker, Permit
from workers.failover.lateness import watch

LATE = 0.15
"""Where our own loop was late for this part of a deadline, nobody else is blamed for what came of it: its turns took 40
ms each or more, and what a vendor sends passes some ten until it is heard; or it stood still for so long."""

LONGEST_LABEL = 80

_log = logging.getLogger(__name__)

Told = Callable[[str], None]
"""Is told the label of whoever serves, as soon as that is known: in the step in which its first part, or its text, is
given."""


def unasked(label: str) -> None:
    """Nobody wants to know."""


class Described(Protocol):
    @property
    def description(self) -> str: ...


P = TypeVar("P", bound=Described, covariant=True)
Part = TypeVar("Part")


@dataclass(frozen=True, slots=True, eq=False)
class Link(Generic[P]):
    """One of them."""

    provider: P
    breaker: Breaker
    deadline_s: float
    """Silence after which it has failed, and the next is asked."""
    hedge_s: float | None = None
    """Silence after which the next is asked as well, while this one is still believed in."""

    @property
    def name(self) -> str:
        return self.breaker.name

    @property
    def label(self) -> str:
        """Its name for figures that are kept by it: the vendor and the model as its stage has them, but for where that
        is on this machine, or in which."""
        vendor, _, model = self.name.partition(" ")
        _, is_url, rest = model.partition("://")
        if is_url:  # whose path it is: neither a host, nor who asks there, nor with which key
            model = "/" + re.split("[?#]", rest)[0].partition("/")[2]
        if model.startswith(("/", ".", "~")) or "\\" in model:
            model = re.split(r"[/\\]", model.rstrip("/\\"))[-1]
        return f"{vendor} {model}".strip()[:LONGEST_LABEL]

    @property
    def patience_s(self) -> float:
        """Silence after which the next is asked, for whichever of the two reasons."""
        return self.deadline_s if self.hedge_s is None else min(self.hedge_s, self.deadline_s)

    def silent(self) -> ProviderError:
        """What its silence is."""
        return ProviderError(self.name, f"nothing came within {self.deadline_s:g} s")

    async def next(self, parts: AsyncGenerator[Part, None]) -> Part | None:
        """The next of what it streams; None at the end. Raises ProviderError, also for silence."""
        try:
            async with asyncio.timeout(self.deadline_s):
                return await anext(parts, None)
        except TimeoutError as error:
            raise self.silent() from error


class Course(Generic[P]):
    """One turn's way along a chain."""

    def __init__(self, stage: str, links: Sequence[Link[P]]) -> None:
        """`stage` in words."""
        self.failures: dict[Link[P], ProviderError] = {}
        """Who failed or was left alone, and why."""
        self._stage = stage
        self._links = links
        self._clock = asyncio.get_running_loop().time
        self._watch = watch()

    def left(self, links: Iterable[Link[P]] | None = None) -> Iterator[tuple[Link[P], Permit]]:
        """Whom to ask, in order, each with leave to: not those who failed in this turn, nor those whom their breakers
        spare. `links`: all of the chain, unless they are named."""
        asked = set[Link[P]]()
        self.waits()
        for link in self._links if links is None else links:
            if link in self.failures:
                continue
            try:
                permit = link.breaker.permit(self._clock())
            except ProviderError as error:
                if link not in asked:
                    self.failures[link] = error
            else:
                asked.add(link)
                yield link, permit

    def waits(self) -> None:
        """Something is expected of a vendor from now on: should it not come, it matters whether we were late."""
        self._watch.go_on()

    def failed(self, link: Link[P], permit: Permit, error: ProviderError) -> None:
        """`link` is not asked again in this turn. Two failures in one turn are one: who is late may break, too. While
        we are late ourselves, only what a vendor says of itself is held against it."""
        if link not in self.failures:
            late = 0.0 if error.locked_out or error.retry_after_s else self._watch.share(link.deadline_s)
            if late >= LATE:
                _log.info("%s, but our own loop was late for %d %% of that time", error, round(100 * late))
                permit.dropped()
            else:
                permit.failed(error, self._clock())
        self.failures[link] = error

    def succeeded(self, link: Link[P], permit: Permit) -> None:
        """`link` did all that it was asked for; in vain, as far as others are concerned, if it was late."""
        if link not in self.failures:
            permit.succeeded()

    def exhausted(self) -> ProvidersExhausted:
        return ProvidersExhausted(self._stage, list(self.failures.values()))


def described(links: Sequence[Link[P]]) -> str:
    """A chain in words, in the form of its parts (`SpeechToText.description`): the first one's short name; after `: `
    the rest of it and the others; in brackets at the end, why each was chosen."""
    words, reasons = [], []
    for link in links:
        what, _, why = link.provider.description.partition(" [")
        words.append(what)
        if why:
            reasons.append(why.removesuffix("]"))
    name, _, more = words[0].partition(": ")
    rest = "; ".join([*([more] if more else []), *(f"else {what}" for what in words[1:])])
    return (f"{name}: {rest}" if rest else name) + (f" [{'; '.join(reasons)}]" if reasons else "")
