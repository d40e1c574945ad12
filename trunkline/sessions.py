"""The record of a session in Redis: what must outlive its gateway and its worker. One hash, `session:{id}`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trunkline.bus import keys
from trunkline.bus.connection import Redis
from trunkline.errors import SessionLost

KEEP_S = 6 * 3600
"""A record lives this long after its last commit; one that is over, `KEEP_CLOSED_S`."""
KEEP_CLOSED_S = 60

# A commit by anyone but the newest owner is refused, and one to a session that is over. A record that is gone (Redis
# came back empty) is written anew by its owner from memory, epoch included.
_COMMIT = """
local epoch = redis.call('HGET', KEYS[1], 'epoch')
local closed = redis.call('HGET', KEYS[1], 'closed')
if closed and closed ~= '' then return 0 end
if epoch and tonumber(epoch) > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], unpack(ARGV, 3))
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""

# A resume token is good once: it names the link it was given for.
_RELINK = """
local link = redis.call('HGET', KEYS[1], 'link')
local closed = redis.call('HGET', KEYS[1], 'closed')
if closed and closed ~= '' then return 0 end
if not link or link ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'link', ARGV[2], 'gateway', ARGV[3])
return 1
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
    blamed: int = 0
    worker: str = ""
    closed: str = ""
    left: str = ""
    """When its session last left a backend that failed: `backend=unix_s`, separated by spaces."""
    snapshot: bytes = b""

    def fields(self) -> list[str | bytes | int]:
        """As HSET takes them."""
        flat: list[str | bytes | int] = []
        for name in _STORED:
            flat += [name, getattr(self, name)]
        return flat


_INTS = ("rate_hz", "epoch", "link", "blamed")
_TEXTS = ("tenant", "backend", "gateway", "transport", "conversation_id", "worker", "closed", "left")
_STORED = (*_TEXTS, *_INTS, "snapshot")


class Records:
    """All that is done with session records. Every method may raise BusError."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._commit = redis.script(_COMMIT)
        self._relink = redis.script(_RELINK)

    async def write(self, record: Record) -> None:
        """Write a whole record."""
        key = keys.session(record.session)
        await self._redis.ask_all([("HSET", key, *record.fields()), ("EXPIRE", key, KEEP_S)])

    async def read(self, session: str) -> Record | None:
        """A session's record, or None when there is none."""
        raw = await self._redis.ask("HGETALL", keys.session(session))
        found = dict(zip(raw[::2], raw[1::2], strict=True))
        if b"tenant" not in found:
            return None
        values: dict[str, Any] = {name: found.get(name.encode(), b"").decode() for name in _TEXTS}
        values |= {name: int(found.get(name.encode(), b"0")) for name in _INTS}
        return Record(session=session, snapshot=found.get(b"snapshot", b""), **values)

    async def attach(self, session: str, worker: str) -> int:
        """A worker takes the session: the new epoch."""
        key = keys.session(session)
        epoch, *_ = await self._redis.ask_all(
            [("HINCRBY", key, "epoch", 1), ("HSET", key, "worker", worker), ("EXPIRE", key, KEEP_S, "NX")]
        )
        return int(epoch)

    async def commit(self, record: Record) -> None:
        """Store what the next worker must know. Raises SessionLost when a newer epoch exists or the session is over."""
        fields = [name for name in _STORED if name not in ("epoch", "link", "gateway", "blamed")]
        flat = [value for name in fields for value in (name, getattr(record, name))]
        if not await self._commit(keys.session(record.session), record.epoch, KEEP_S, *flat):
            raise SessionLost(f"session {record.session}: epoch {record.epoch} is over")

    async def move(self, record: Record) -> None:
        """`record.backend` is to go on from what was committed last. Raises SessionLost as `commit` does."""
        moved = ("backend", record.backend, "left", record.left)
        if not await self._commit(keys.session(record.session), record.epoch, KEEP_S, *moved):
            raise SessionLost(f"session {record.session}: epoch {record.epoch} is over")

    async def restore(self, record: Record) -> None:
        """Write a record that Redis lost. Raises SessionLost when a newer epoch exists or the session is over."""
        flat = [value for name in _STORED if name != "epoch" for value in (name, getattr(record, name))]
        if not await self._commit(keys.session(record.session), record.epoch, KEEP_S, *flat):
            raise SessionLost(f"session {record.session}: epoch {record.epoch} is over")

    async def relink(self, session: str, link: int, gateway: str) -> bool:
        """Use up the resume token of `link`: the session is `gateway`'s now. False when it was used, or never given."""
        return bool(await self._relink(keys.session(session), link, link + 1, gateway))

    async def blame(self, session: str) -> int:
        """A worker died with this session's code running. Returns how often that happened."""
        key = keys.session(session)
        blamed, _ = await self._redis.ask_all([("HINCRBY", key, "blamed", 1), ("EXPIRE", key, KEEP_S, "NX")])
        return int(blamed)

    async def close(self, session: str, reason: str) -> None:
        """The session is over: nobody will take it again, and its record goes soon."""
        key = keys.session(session)
        await self._redis.ask_all([("HSET", key, "closed", reason), ("EXPIRE", key, KEEP_CLOSED_S)])
