"""The record of a session in Redis: what must outlive its gateway and its worker. One hash, `session:{id}`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trunkline.bus import keys
from trunkline.bus.connection import Redis
from trunkline.errors import SessionLost

log = logging.getLogger(__name__)

KEEP_S = 6 * 3600
"""A record lives this long after its last commit; one that is over, `KEEP_CLOSED_S`."""
KEEP_CLOSED_S = 60
NO_SPARE = -1
PAGE = 500
"""Keys that Redis looks at in one go, when all are listed."""

# An epoch is given once: the next is greater than what Redis has, and than what its taker knew when Redis was emptied
# meanwhile. A record that is gone is written anew by whoever takes the session, from what was read.
_ATTACH = """
local closed = redis.call('HGET', KEYS[1], 'closed')
if closed and closed ~= '' then return 0 end
local epoch = math.max(tonumber(redis.call('HGET', KEYS[1], 'epoch') or 0), tonumber(ARGV[1])) + 1
if redis.call('HEXISTS', KEYS[1], 'tenant') == 0 then redis.call('HSET', KEYS[1], unpack(ARGV, 4)) end
redis.call('HSET', KEYS[1], 'epoch', epoch, 'worker', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3], 'NX')
return epoch
"""

# A commit by anyone but the newest owner is refused, and one to a session that is over; of two that an emptied Redis
# gave the same epoch, the one that came second. A record that is gone (Redis came back empty) is written anew by its
# owner from memory, epoch included: then also what is not the owner's to change. Of that, an older link than the owner
# was told of is older by mistake: Redis failed over to a replica that was behind.
_COMMIT = """
local asked = redis.call('HMGET', KEYS[1], 'epoch', 'worker', 'closed', 'tenant', 'link')
local epoch, worker, closed, tenant, link = unpack(asked)
if closed and closed ~= '' then return 0 end
epoch = tonumber(epoch or -1)
if epoch > tonumber(ARGV[1]) then return 0 end
if epoch == tonumber(ARGV[1]) and worker and worker ~= '' and worker ~= ARGV[2] then return 0 end
local last = tenant and 6 + ARGV[6] or #ARGV
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'worker', ARGV[2], unpack(ARGV, 7, last))
if link and tonumber(link) < tonumber(ARGV[4]) then
  redis.call('HSET', KEYS[1], 'link', ARGV[4], 'gateway', ARGV[5])
  redis.call('HDEL', KEYS[1], 'spare')
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""

_PUT_BACK = """
local closed = redis.call('HGET', KEYS[1], 'closed')
if closed and closed ~= '' or redis.call('HEXISTS', KEYS[1], 'tenant') == 1 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
"""

# A resume token names the link it was given for. Good are the newest, and the one that its client came back with
# (`spare`): the answer with the newest may have been lost on its way. A spare is no part of what is put back into an
# emptied Redis: what memories hold of it may be old. A token newer than the newest is good, for only we sign them:
# Redis forgot that it was given.
_RELINK = """
local link, spare, closed = unpack(redis.call('HMGET', KEYS[1], 'link', 'spare', 'closed'))
if closed and closed ~= '' or not link then return 0 end
if tonumber(ARGV[1]) < tonumber(link) and ARGV[1] ~= spare then return 0 end
local newest = math.max(tonumber(link), tonumber(ARGV[1])) + 1
redis.call('HSET', KEYS[1], 'link', newest, 'gateway', ARGV[2])
if ARGV[3] == '1' then redis.call('HSET', KEYS[1], 'spare', ARGV[1]) else redis.call('HDEL', KEYS[1], 'spare') end
return newest
"""

_ARRIVED = """
if redis.call('HGET', KEYS[1], 'link') ~= ARGV[1] then return 0 end
return redis.call('HDEL', KEYS[1], 'spare')
"""


@dataclass(slots=True)
class Record:
    """What gateways and workers know of a session. `gateway` and `worker` are lanes."""

    session: str
    tenant: str
    backend: str
    rate_hz: int
    gateway: str
    transport: str
    conversation_id: str
    epoch: int = 0
    link: int = 0
    spare: int = NO_SPARE
    """The link whose token is good beside that of `link`."""
    blamed: int = 0
    worker: str = ""
    closed: str = ""
    left: str = ""
    """When its session last left a backend that failed: `backend=unix_s`, separated by spaces."""
    snapshot: bytes = b""

    def takes(self, link: int) -> bool:
        """Whether the token of that link is good to come back with."""
        return link >= self.link or link == self.spare

    def fields(self, names: Iterable[str] | None = None) -> list[str | bytes | int]:
        """As HSET takes them."""
        return [part for name in names or _STORED for part in (name, getattr(self, name))]


_INTS = ("rate_hz", "epoch", "link", "blamed")
_TEXTS = ("tenant", "backend", "gateway", "transport", "conversation_id", "worker", "closed", "left")
_STORED = (*_TEXTS, *_INTS, "snapshot")
_WORKERS = ("tenant", "backend", "rate_hz", "transport", "conversation_id", "left", "snapshot")
"""What a worker commits; the rest is changed by others, who do not ask it."""


def _present(names: Iterable[str], values: Iterable[bytes | None]) -> dict[str, bytes]:
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def _record(session: str, found: Mapping[str, bytes]) -> Record | None:
    """Of the fields that there are; None when there is no record, or no more than a trace of one."""
    if "tenant" not in found:
        return None
    values: dict[str, Any] = {name: found.get(name, b"").decode() for name in _TEXTS}
    values |= {name: int(found.get(name, b"0")) for name in _INTS}
    values["spare"] = int(found.get("spare", NO_SPARE))
    return Record(session=session, snapshot=found.get("snapshot", b""), **values)


class Records:
    """All that is done with session records. Every method may raise BusError."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._attach = redis.script(_ATTACH)
        self._commit = redis.script(_COMMIT)
        self._put_back = redis.script(_PUT_BACK)
        self._relink = redis.script(_RELINK)
        self._arrived = redis.script(_ARRIVED)

    async def write(self, record: Record) -> None:
        """Write a whole record."""
        key = keys.session(record.session)
        await self._redis.ask_all([("HSET", key, *record.fields()), ("EXPIRE", key, KEEP_S)])

    async def read(self, session: str) -> Record | None:
        """A session's record, or None when there is none."""
        raw = await self._redis.ask("HGETALL", keys.session(session))
        return _record(session, {name.decode(): value for name, value in zip(raw[::2], raw[1::2], strict=True)})

    async def open_ones(self) -> list[Record]:
        """Every session that is not over, without its snapshot. For people: Redis looks at all its keys for it."""
        names, cursor = set[bytes](), b"0"
        while True:
            cursor, page = await self._redis.ask("SCAN", cursor, "MATCH", keys.session("*"), "COUNT", PAGE)
            names.update(page)
            if cursor == b"0":
                break
        asked = (*_TEXTS, *_INTS)
        answers = await self._redis.ask_all([("HMGET", name, *asked) for name in names])
        found = []
        for name, values in zip(names, answers, strict=True):
            session = name.decode().removeprefix(keys.session(""))
            try:
                record = _record(session, _present(asked, values))
            except ValueError as error:
                log.warning("session %s: its record cannot be read: %s", session, error)
                continue
            if record is not None and not record.closed:
                found.append(record)
        return found

    async def put_back(self, record: Record) -> bool:
        """Write a record if there is none: Redis came back empty, and its worker may be gone. Says whether it was."""
        return bool(await self._put_back(keys.session(record.session), KEEP_S, *record.fields()))

    async def attach(self, record: Record, worker: str) -> int:
        """A worker takes the session whose record it has read: the new epoch. Raises SessionLost when it is over."""
        epoch = await self._attach(keys.session(record.session), record.epoch, worker, KEEP_S, *record.fields())
        if not epoch:
            raise SessionLost(f"session {record.session} is over")
        return int(epoch)

    async def commit(self, record: Record) -> None:
        """Store what the next worker must know; all of it when Redis has lost the record. Raises SessionLost when a
        newer epoch exists, another worker has this one, or the session is over."""
        await self._change(record, _WORKERS)

    async def move(self, record: Record) -> None:
        """`record.backend` is to go on from what was committed last. Raises SessionLost as `commit` does."""
        await self._change(record, ("backend", "left"))

    async def _change(self, record: Record, names: Sequence[str]) -> None:
        owner = (record.epoch, record.worker, KEEP_S, record.link, record.gateway)
        changed = record.fields(names)
        rest = record.fields(name for name in _STORED if name not in (*names, "epoch", "worker"))
        if not await self._commit(keys.session(record.session), *owner, len(changed), *changed, *rest):
            raise SessionLost(f"session {record.session}: epoch {record.epoch} is over")

    async def relink(self, session: str, link: int, gateway: str, *, spare: bool) -> int:
        """Use the resume token of `link`, one of ours: the session is `gateway`'s now. Returns the link that it has
        from now on; 0 when that token was used up. `spare`: it is good until the new one has `arrived`."""
        return int(await self._relink(keys.session(session), link, gateway, int(spare)))

    async def arrived(self, session: str, link: int) -> None:
        """The client has the token of `link`: if that is the newest, no other is good any more."""
        await self._arrived(keys.session(session), link)

    async def blame(self, session: str) -> int:
        """A worker died with this session's code running. Returns how often that happened."""
        key = keys.session(session)
        blamed, _ = await self._redis.ask_all([("HINCRBY", key, "blamed", 1), ("EXPIRE", key, KEEP_S, "NX")])
        return int(blamed)

    async def close(self, session: str, reason: str) -> None:
        """The session is over: nobody will take it again, and its record goes soon."""
        key = keys.session(session)
        await self._redis.ask_all([("HSET", key, "closed", reason), ("EXPIRE", key, KEEP_CLOSED_S)])
