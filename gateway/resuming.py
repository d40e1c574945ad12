"""Resume tokens at a gateway: which are good, and what using one makes of it.

Good is the newest of a session; and the one that its client came back with, until that has shown that it has the
newest. For the answer to a resume may be lost on its way: a client that asks again takes the place of its first try.
"""

from __future__ import annotations

import asyncio
import logging

from trunkline import tokens
from trunkline.errors import BusError, ClientError
from trunkline.sessions import Record, Records

log = logging.getLogger(__name__)

RESTORE_RETRY_S, RESTORE_TRIES = 0.1, 15
"""A worker notices within a beat, which is 1 s, that Redis was emptied."""
ARRIVED_RETRY_S = 0.5


class Resuming:
    """A gateway's. `run` writes down which tokens have arrived."""

    def __init__(self, secret: str, records: Records) -> None:
        self._secret = secret
        self._records = records
        self._arrived: dict[str, int] = {}
        """Links whose tokens have arrived, by session: not written down yet."""
        self._wake = asyncio.Event()

    def check(self, token: str) -> tuple[str, int]:
        """The session and the link of a token of ours. Raises ClientError."""
        known = tokens.check(self._secret, token)
        if known is None:
            raise bad_token("no token of ours")
        return known

    async def record(self, token: str) -> Record:
        """The session that a token is good for, which is not used by that. Raises ClientError, BusError."""
        session, link = self.check(token)
        record = await self.live_record(session)
        if not record.takes(link):
            raise bad_token("a token that was used")
        return record

    async def use(self, session: str, link: int, lane: str, *, spare: bool) -> tuple[int, Record]:
        """The session is taken back by whoever reads `lane`, with the token of `link`: the link that it has from now
        on, and its record. `spare`: that token is good until the new one has `arrived`. Raises ClientError, BusError.
        """
        newest = await self._records.relink(session, link, lane, spare=spare)
        if not newest:
            raise bad_token("a token that was used, or of a session that is over")
        return newest, await self.live_record(session)

    def arrived(self, session: str, link: int) -> None:
        """A client has shown that it has the token of this link: the one that it came with is worthless."""
        if link:  # the first was given for none
            self._arrived[session] = max(link, self._arrived.get(session, 0))
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._arrived:
                session, link = next(iter(self._arrived.items()))
                try:
                    await self._records.arrived(session, link)
                except BusError as error:
                    log.debug("session %s: that its token arrived is written down later: %s", session, error)
                    await asyncio.sleep(ARRIVED_RETRY_S)
                    continue
                if self._arrived[session] == link:
                    del self._arrived[session]

    async def live_record(self, session: str) -> Record:
        """Redis may have come back empty a moment ago: the session's worker writes its record back then, and is waited
        for. Raises ClientError when the session is over, BusError."""
        record = await self._records.read(session)
        for _ in range(RESTORE_TRIES):
            if record is not None:
                break
            await asyncio.sleep(RESTORE_RETRY_S)
            record = await self._records.read(session)
        if record is None or record.closed:
            raise bad_token("the session is over")
        return record


def bad_token(why: str) -> ClientError:
    return ClientError("bad_token", f"cannot resume: {why}", "start a new session without resume", fatal=True)


def elsewhere() -> ClientError:
    """For who was about to take a session back when another took it: of two with one token, the second has it."""
    why = "the session was taken back by another connection meanwhile"
    return ClientError("resumed_elsewhere", why, "go on there, or start a new session", fatal=True)
