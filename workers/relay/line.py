"""The line to the model: called again when it breaks, and renewed in a pause before the model ends it."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from workers.alarm import Alarm
from workers.relay.link import ModelLink, ModelLost
from workers.relay.trouble import Kind

WAITS_S = (0.0, 0.1, 0.3, 0.7, 1.4, 2.0)
"""Before each attempt to reach the model; after the last, the caller is told that nobody can answer."""
OPEN_S = 8.0
"""A caller hears nothing meanwhile: after this no further attempt is made, if each takes long."""
FALL_BACK_S = 1.5
"""After so long without a line another backend is asked to go on, where there is one. A line that is lost sooner was
none."""
LONGEST_WAIT_S = 5.0
"""However long the model asks us to wait."""
STEADY_S = 10.0
"""A link that lived this long was a good one: what comes after is counted anew."""
LAST_CALL_S = 20.0
"""So long before the model would end it, a link is given up without a pause."""
RENEW_RETRY_S = 30.0

log = logging.getLogger(__name__)

Dial = Callable[[], Awaitable[ModelLink]]


class Line:
    """One session's line. `begin` brings a new session with the model to where the conversation is, and hands the link
    over by `use`; `receive` takes the model's events; `may_switch` says whether nobody would notice; `fall_back` is for
    when there has been no line for long: it may find somebody else."""

    def __init__(
        self,
        dial: Dial,
        begin: Callable[[ModelLink], Awaitable[None]],
        receive: Callable[[dict[str, Any]], Awaitable[None]],
        may_switch: Callable[[], bool],
        fall_back: Callable[[], Coroutine[Any, Any, None]],
        renew_after_s: float,
        name: str,
    ) -> None:
        self._dial = dial
        self._begin = begin
        self._receive = receive
        self._may_switch = may_switch
        self._fall_back = Alarm(lambda: self._spawn(fall_back()))
        self._patient_until_s = 0.0
        """When a lost line has been waited for long enough."""
        self._renew_after_s = renew_after_s
        self._name = name
        self.generation = 0
        """Which session with the model this is; the first is 1."""
        self._link: ModelLink | None = None
        self._spare: ModelLink | None = None
        self._open_links: set[ModelLink] = set()
        """All that were dialled and not hung up; `run` leaves none."""
        self._dropped = asyncio.Event()
        self._why = ModelLost("it was silent", Kind.UNAVAILABLE)
        """Of the last drop."""
        self._failures = 0
        self._group = asyncio.TaskGroup()
        self._clock = asyncio.get_running_loop().time

    # --- sending

    @property
    def up(self) -> bool:
        return self._link is not None

    def use(self, link: ModelLink) -> None:
        """From now on this is what is spoken into."""
        self._link = link

    async def tell(self, *events: dict[str, Any]) -> bool:
        """Send events, all to the same session with the model. False when there is no line, or it broke: the next one
        begins with all that matters."""
        link = self._link
        if link is None:
            return False
        try:
            for event in events:
                await link.send(event)
        except ModelLost as lost:
            log.debug("session %s: not told: %s", self._name, lost)
            return False
        return True

    def hear(self, pcm: bytes) -> None:
        """Send the caller's audio."""
        if self._link is not None:
            self._link.append(pcm)

    # --- keeping it up

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._group.create_task(work)

    def drop(self, reason: str, kind: Kind = Kind.UNAVAILABLE) -> None:
        """This link is of no use: call again, unless its `kind` says that this is of no use either."""
        self._why = ModelLost(reason, kind)
        self._dropped.set()

    def paused(self) -> None:
        """Nobody would notice a switch just now."""
        if self._spare is not None:
            self._dropped.set()

    async def run(self) -> None:
        """Keep the line up until cancelled. Raises ModelLost when the model cannot be reached, in a group."""
        async with self._group:
            self._be_patient()
            try:
                while True:
                    link = await self._open()
                    self.generation += 1
                    await self._keep(link)
            finally:
                self._fall_back.stop()
                for link in list(self._open_links):
                    await self._hang_up(link)

    def _be_patient(self, lived_s: float = math.inf) -> None:
        """The line is lost, which lived so long."""
        now_s = self._clock()
        if lived_s > FALL_BACK_S:
            self._patient_until_s = now_s + FALL_BACK_S
        self._fall_back.set(max(0.0, self._patient_until_s - now_s))

    async def _open(self) -> ModelLink:
        if self._spare is not None:
            link, self._spare = self._spare, None
            return link
        link = await self._called()
        self._fall_back.stop()
        return link

    async def _called(self) -> ModelLink:
        until_s = self._clock() + OPEN_S
        while True:
            await asyncio.sleep(WAITS_S[self._failures])
            try:
                return await self._dialled()
            except ModelLost as lost:
                if self._clock() >= until_s:
                    raise
                await self._bear(lost)

    async def _dialled(self) -> ModelLink:
        link = await self._dial()
        self._open_links.add(link)
        return link

    async def _hang_up(self, link: ModelLink) -> None:
        await link.close()
        self._open_links.discard(link)

    async def _bear(self, lost: ModelLost) -> None:
        """Raises `lost` when calling again would not help."""
        self._failures += 1
        if not lost.retryable or self._failures >= len(WAITS_S):
            raise lost
        log.warning("session %s: lost the model (%d): %s", self._name, self._failures, lost)
        if lost.retry_after_s:
            await asyncio.sleep(min(lost.retry_after_s, LONGEST_WAIT_S))

    async def _keep(self, link: ModelLink) -> None:
        """Serve one link until it is lost, dropped, or replaced by the spare."""
        begun_s = self._clock()
        self._dropped.clear()
        listening = self._group.create_task(self._listen(link))
        dropping = self._group.create_task(self._dropped.wait())
        renewing = self._group.create_task(self._renew(link))
        try:
            await asyncio.wait((listening, dropping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._link = None
            for task in (listening, dropping, renewing):
                task.cancel()
        self._group.create_task(self._hang_up(link))
        lived_s = self._clock() - begun_s
        if lived_s > STEADY_S:
            self._failures = 0
        if self._spare is None:
            self._be_patient(lived_s)
            lost = listening.result() if listening.done() and not listening.cancelled() else None
            await self._bear(lost or self._why)

    async def _listen(self, link: ModelLink) -> ModelLost:
        """Returns how it was lost."""
        try:
            await self._begin(link)
            async for event in link.events():
                await self._receive(event)
        except ModelLost as lost:
            return lost
        return ModelLost("it hung up", Kind.UNAVAILABLE)

    async def _renew(self, link: ModelLink) -> None:
        """Have another link ready in time, and switch to it in a pause, or at the last moment."""
        last_call_s = max(link.expires_s - LAST_CALL_S, link.expires_s * 0.9)
        due_s = min(self._renew_after_s, last_call_s - min(LAST_CALL_S, link.expires_s * 0.2))
        age_s = self._clock() - link.opened_s  # it may have waited long as the spare
        until_s = link.opened_s + last_call_s
        await asyncio.sleep(max(0.0, due_s - age_s))
        while self._spare is None:
            try:
                self._spare = await self._dialled()
            except ModelLost as lost:
                log.warning("session %s: the line to the model is not renewed yet: %s", self._name, lost)
                await asyncio.sleep(RENEW_RETRY_S)
        log.info("session %s: the session with the model ends soon: another is ready", self._name)
        if not self._may_switch():
            await asyncio.sleep(max(0.0, until_s - self._clock()))
        self._dropped.set()
