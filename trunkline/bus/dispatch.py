"""Dispatch: sessions wait on a stream, workers pull them one at a time; an entry stays pending while its session lives.

An entry's owner is whoever has it pending in the consumer group. The owner renews it; entries that nobody renewed for
the lease may be taken by anyone. No wall clock takes part: idle times are the server's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trunkline.bus import keys
from trunkline.bus.connection import Line, MissingGroup, Redis
from trunkline.errors import BusError

CLAIM_BLOCK_MS = 1000
SCAN = 10_000
"""Entries looked at in one listing of what a worker has pending."""
ASKED_MS = 3 * CLAIM_BLOCK_MS
"""A worker with room asks for sessions more often than this."""
RECENT = 100
"""Dead letters looked at for one that a session has already."""

# Renewing must not steal back what others took from a worker that slept: list what is still ours, renew just that.
_RENEW = """
local mine = {}
for _, p in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[3], ARGV[2])) do mine[p[1]] = true end
local lost = {}
for i = 4, #ARGV do
  if mine[ARGV[i]] then redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID')
  else lost[#lost + 1] = ARGV[i] end
end
return lost
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A session's place on a dispatch stream."""

    backend: str
    id: str
    session: str
    owner: str | None = None
    """Set when the entry was written for one worker: one that has the session already, after Redis came back empty."""


class Dispatch:
    """All that is done with dispatch streams. Every method may raise BusError."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._renew = redis.script(_RENEW)

    async def offer(self, backend: str, session: str, owner: str | None = None) -> str:
        """Put a session up for a worker; `owner` keeps it for one that has it already. Returns the entry's id."""
        fields = ["s", session] + (["o", owner] if owner else [])
        entry_id: bytes = await self._redis.ask("XADD", keys.dispatch(backend), "*", *fields)
        return entry_id.decode()

    async def make_group(self, backend: str) -> None:
        try:
            await self._redis.ask("XGROUP", "CREATE", keys.dispatch(backend), keys.GROUP, "0", "MKSTREAM")
        except BusError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def pull(self, reader: Line, backend: str, consumer: str) -> Entry | None:
        """The next waiting session, now `consumer`'s; None when none came in a second."""
        await self._redis.ask("SET", keys.room(backend), consumer, "PX", ASKED_MS)
        try:
            reply = await reader.ask(
                *("XREADGROUP", "GROUP", keys.GROUP, consumer, "COUNT", 1, "BLOCK", CLAIM_BLOCK_MS),
                *("STREAMS", keys.dispatch(backend), ">"),
                block_s=CLAIM_BLOCK_MS / 1000,
            )
        except MissingGroup:
            await self.make_group(backend)
            return None
        if not reply:
            return None
        entry = _entry(backend, *reply[0][1][0])
        if entry.owner and entry.owner != consumer:
            await self._redis.ask("XCLAIM", keys.dispatch(backend), keys.GROUP, entry.owner, 0, entry.id, "JUSTID")
            return None
        return entry

    async def take_stale(self, backend: str, consumer: str, lease_ms: int) -> Entry | None:
        """One session that nobody renewed for the lease, now `consumer`'s; None when there is none."""
        try:
            reply = await self._redis.ask(
                "XAUTOCLAIM", keys.dispatch(backend), keys.GROUP, consumer, lease_ms, "0-0", "COUNT", 1
            )
        except MissingGroup:
            await self.make_group(backend)
            return None
        entries = [raw for raw in reply[1] if raw and raw[1]]
        return _entry(backend, *entries[0]) if entries else None

    async def renew(self, backend: str, consumer: str, entry_ids: Iterable[str]) -> list[str]:
        """Keep entries for another lease. Returns those that are no longer `consumer`'s."""
        try:
            lost = await self._renew(keys.dispatch(backend), keys.GROUP, consumer, SCAN, *entry_ids)
        except MissingGroup:
            return list(entry_ids)
        return [entry_id.decode() for entry_id in lost]

    async def done(self, entry: Entry) -> None:
        """The session is over, or another entry stands for it."""
        stream = keys.dispatch(entry.backend)
        await self._redis.ask_all([("XACK", stream, keys.GROUP, entry.id), ("XDEL", stream, entry.id)])

    async def pending_of(self, backend: str, consumer: str) -> list[Entry]:
        """What a worker has."""
        stream = keys.dispatch(backend)
        try:
            rows = await self._redis.ask("XPENDING", stream, keys.GROUP, "-", "+", SCAN, consumer)
        except MissingGroup:
            return []
        found = []
        for row in rows:
            raw = await self._redis.ask("XRANGE", stream, row[0], row[0])
            if raw:
                found.append(_entry(backend, *raw[0]))
        return found

    async def redispatch(self, entry: Entry, backend: str | None = None) -> Entry:
        """Put a session up again, for another `backend` if one is named: workers wait for new entries, so one has it
        within milliseconds. Returns the entry that stands for it now."""
        backend = backend or entry.backend
        entry_id = await self.offer(backend, entry.session)
        await self.done(entry)
        return Entry(backend, entry_id, entry.session)

    async def give_up(self, entry: Entry, why: str) -> None:
        """Move a session to the dead letters, once: a worker that dies over it leaves it to the next."""
        recent = await self._redis.ask("XREVRANGE", keys.DEAD_LETTERS, "+", "-", "COUNT", RECENT)
        if not any(entry.session.encode() in fields for _, fields in recent):
            await self._redis.ask("XADD", keys.DEAD_LETTERS, "MAXLEN", "~", 1000, "*", "s", entry.session, "why", why)
        await self.done(entry)

    async def forget_consumer(self, backend: str, consumer: str) -> None:
        """Remove a consumer that will not come back and has nothing pending."""
        try:
            await self._redis.ask("XGROUP", "DELCONSUMER", keys.dispatch(backend), keys.GROUP, consumer)
        except BusError as error:
            if not isinstance(error, MissingGroup) and "requires the key to exist" not in str(error):
                raise

    async def is_served(self, backend: str) -> bool:
        """Whether a worker with room for another session of this backend asked for one lately.

        Consumers' idle times do not tell: renewing counts for them, which full workers do, too, and before Redis 7.2
        asking in vain does not.
        """
        return bool(await self._redis.ask("EXISTS", keys.room(backend)))

    async def waiting(self, backend: str) -> int:
        """How many entries the stream holds: sessions waiting or alive."""
        length: int = await self._redis.ask("XLEN", keys.dispatch(backend))
        return length


def _entry(backend: str, entry_id: bytes, raw: list[bytes]) -> Entry:
    fields = dict(zip(raw[::2], raw[1::2], strict=True))
    owner = fields.get(b"o")
    return Entry(backend, entry_id.decode(), fields[b"s"].decode(), owner.decode() if owner else None)
