"""What must hold around every attack by telephone: an innocent caller speaks noise meanwhile, and hears all of it back;
and afterwards nothing of the attack is left."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cli import valkey
from tests.standins.twilio import AUTH_TOKEN
from tests.system.hostile.target import GRACE_S, PATIENCE_S, Target
from tests.waiting import until
from trunkline.bus.connection import Redis
from trunkline.bus.keys import dispatch

log = logging.getLogger(__name__)

MOST_GAP_S = 0.6
NOISE_S = 120
"""As long as the longest test; the innocent caller says it without a pause."""
KEYS_THAT_STAY = ("tenants", "numbers", "processes", "dispatch:echo", "dispatch:relay", "dispatch-dead")
"""Bounded by the deployment, not by its callers."""
BYTES_OF_SPEECH = bytes(0x80 | byte & 0x7E for byte in range(256))
"""Mu-law that is neither silence nor a second way to write it."""


@asynccontextmanager
async def nobody_is_hurt(target: Target) -> AsyncIterator[None]:
    """An innocent call meanwhile; afterwards there must be no session, no socket and no key more than before, but such
    as go by themselves, and no traceback in any log."""
    before = target.sockets
    target.began_at = len(target.stack.log_text())
    target.redis = Redis(valkey.url(target.stack.directory))
    try:
        async with _innocent(target):
            yield
        await until(lambda: _is_back(target, before), "sessions and sockets as before", GRACE_S + PATIENCE_S)
        await _check_what_is_left(target)
    finally:
        await target.redis.close()


async def _check_what_is_left(target: Target) -> None:
    for key in await target.keys():
        stays = key in KEYS_THAT_STAY or key.startswith("lane:")
        ttl_s = await target.ttl_s(key)
        assert stays or ttl_s != -1, f"{key} stays for ever: {await target.redis.ask('HGETALL', key)}"
    await until(lambda: _nobody_is_served(target), "workers have let go of every relayed session")
    assert "Traceback" not in target.log, target.log[-6000:]
    assert AUTH_TOKEN not in target.log


async def _nobody_is_served(target: Target) -> bool:
    return int(await target.redis.ask("XLEN", dispatch("relay"))) == 0


async def _is_back(target: Target, sockets: int) -> bool:
    return await target.sessions() == 0 and target.sockets <= sockets


@asynccontextmanager
async def _innocent(target: Target) -> AsyncIterator[None]:
    """A caller who is echoed, from before the attack until after it."""
    said = random.Random(1).randbytes(NOISE_S * 8000).translate(BYTES_OF_SPEECH)
    async with target.call() as call:
        await call.connected()
        spoken = call.say_ulaw(said)
        yield
        end_s = asyncio.get_running_loop().time()
        await asyncio.sleep(0.7)  # what was said at the end of the attack is on its way back
        frames = [frame for frame in call.heard.frames(spoken.began_s) if frame.queued]
        heard = b"".join(frame.ulaw[: frame.queued] for frame in frames)
        gaps = [end - begin for begin, end in call.heard.gaps(spoken.began_s)]
        at = heard.find(said[:800])
        assert at >= 0, "what the innocent caller said first did not come back"
        heard = heard[at:]
        assert said.startswith(heard), "something of what the innocent caller said was lost"
        spoken_s, worst_s = min(NOISE_S, end_s - spoken.began_s), max(gaps, default=0.0)
        log.info(
            "innocent: heard %.1f of %.1f s; worst gap %.2f of %.2f s in all; our own clock %.2f s late",
            len(heard) / 8000,
            spoken_s,
            worst_s,
            sum(gaps),
            call.late_s,
        )
        assert worst_s <= MOST_GAP_S + call.late_s
        assert len(heard) / 8000 > spoken_s - sum(gaps)
        assert len(call.streams) == 1
        await call.hang_up()
        assert call.errors == []
