"""Telephone calls in Redis: which session a call has, what becomes of it when its stream ends, and the one-use tokens
that tie a stream to the webhook that asked for it. Every method may raise BusError."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from typing import NamedTuple

from trunkline.bus import keys
from trunkline.bus.connection import Redis

TOKEN_S = 30
"""Twilio opens the stream within a second of being told to."""
KEEP_S = 6 * 3600
"""A call's hash lives this long after it was last renewed, as its session's record does."""
KEEP_ENDED_S = 600
"""And this long after its end; Twilio asks at once."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{20,100}")

# Twilio asks again when it had no answer: a stream may begin a session between what was read and this.
_RING = """
if (redis.call('HGET', KEYS[1], 'session') or '') == ARGV[1] then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'tenant', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""


class Known(NamedTuple):
    """What is known of a call."""

    tenant: str
    session: str
    """Empty until its first stream has begun."""
    ended: str
    """Why its session is over; empty while it is not."""
    transfer_to: str
    """The telephone number that the call is put through to then."""


class Calls:
    def __init__(self, redis: Redis, token_s: float = TOKEN_S) -> None:
        """`token_s`: how long a stream's token is good."""
        self._redis = redis
        self._token_ms = round(token_s * 1000)
        self._ring = redis.script(_RING)

    async def ring(self, call_sid: str, tenant: str, earlier: str = "") -> None:
        """A call begins. What was known of the same call with its `earlier` session is forgotten; if it has another by
        now, that stays."""
        await self._ring(keys.call(call_sid), earlier, tenant, KEEP_S)

    async def read(self, call_sid: str) -> Known | None:
        """None for a call that nobody knows (any more)."""
        values = await self._redis.ask("HMGET", keys.call(call_sid), *Known._fields)
        known = Known(*((value or b"").decode() for value in values))
        return known if known.tenant else None

    async def grant(self, call_sid: str) -> tuple[str, int]:
        """A token for the call's next stream, and how many it has had since the last that came to something."""
        token, key = secrets.token_urlsafe(32), keys.call(call_sid)
        _, tries, _ = await self._redis.ask_all(
            [
                ("SET", keys.stream_token(token), call_sid, "PX", self._token_ms),
                ("HINCRBY", key, "tries", 1),
                _kept(key),
            ]
        )
        return token, int(tries)

    async def burn(self, token: str, call_sid: str) -> bool:
        """Use a token up. Says whether it was given for this call, and not used before."""
        if _TOKEN.fullmatch(token) is None:
            return False
        given_for = await self._redis.ask("GETDEL", keys.stream_token(token))
        return given_for is not None and given_for.decode() == call_sid

    async def claim(self, call_sid: str, session: str) -> str:
        """The session of the call, which is `session` if it had none."""
        key = keys.call(call_sid)
        *_, owner = await self._redis.ask_all(
            [("HSETNX", key, "session", session), _kept(key), ("HGET", key, "session")]
        )
        return str(owner.decode())

    async def begun(self, call_sid: str, session: str) -> None:
        """A stream of the call came to something: it has this session now."""
        key = keys.call(call_sid)
        await self._redis.ask_all([("HSET", key, "session", session, "tries", 0), _kept(key)])

    async def renew(self, calls: Iterable[tuple[str, str, str]]) -> None:
        """Keep running calls (call, tenant, session) known, also to a Redis that came back empty."""
        commands: list[tuple[str | int, ...]] = []
        for call_sid, tenant, session in calls:
            key = keys.call(call_sid)
            commands += [("HSET", key, "tenant", tenant, "session", session), ("EXPIRE", key, KEEP_S)]
        if commands:
            await self._redis.ask_all(commands)

    async def end(self, call_sid: str, reason: str, transfer_to: str = "") -> bool:
        """The call's session is over. Says whether that is news."""
        key = keys.call(call_sid)
        news, *_ = await self._redis.ask_all(
            [
                ("HSETNX", key, "ended", reason),
                ("HSETNX", key, "transfer_to", transfer_to),
                ("EXPIRE", key, KEEP_ENDED_S),
            ]
        )
        return bool(news)


def _kept(key: str) -> tuple[str | int, ...]:
    """For what may write to a call that was forgotten a moment ago: nothing stays for ever."""
    return ("EXPIRE", key, KEEP_S, "NX")
