"""A live call among strangers: whatever datagrams come, from whomever, it goes on, and holds no more memory.

On both event loops: in asyncio an exception out of a datagram's callback is a line in the log, in uvloop it closes the
socket. Plain aiortc 1.16 is ended by one empty datagram.
"""

from __future__ import annotations

import asyncio
import random
import socket
import tracemalloc
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import uvloop
from aioice import stun

from tests.standins.webrtc.junk import KINDS, junk_dtls, noise
from tests.standins.webrtc.network import ice_of
from tests.unit.rtc.calls import RATE_HZ, Call, Owner, a_call, pitch, tone
from tests.unit.rtc.descriptions import CHROME
from trunkline.rtc.ice import MAX_FRIENDS, Network
from trunkline.rtc.peer import Peer

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
FLOOD = 3000


Run = Callable[[Coroutine[Any, Any, None]], None]
MoreSockets = Callable[[int], Iterator[socket.socket]]


@pytest.fixture
def more_sockets() -> Iterator[MoreSockets]:
    with ExitStack() as stack:
        yield lambda count: (
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(count)
        )


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    failures: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: failures.append(context))
        yield runner.run
    assert failures == [], "nothing may raise in a callback, whatever comes"


async def goes_on(call: Call) -> None:
    """Both ways, by audio and by text."""
    call.line.say(tone(440, 0.6, 48_000))
    await call.owner.watch.until(lambda: abs(pitch(bytes(call.owner.pcm[-RATE_HZ // 2 :])) - 440) < 10, 20)
    turn = call.peer.sent[0] + 1
    call.peer.play(turn, 0, tone(300, 0.4))
    await call.until(lambda: call.peer.sent == (turn, 400) and pitch(call.heard()[-19_200:], 48_000) > 0)
    assert call.peer.send("oai-events", f"turn {turn}")
    await call.until(lambda: f"turn {turn}" in call.told)
    call.line.send(f"turn {turn}")
    await call.owner.until(f"oai-events: turn {turn}")
    assert call.owner.why is None


def door(call: Call) -> tuple[str, int]:
    """Where the peer's socket is."""
    assert call.peer._ice is not None
    (candidate,) = call.peer._ice.local_candidates
    return candidate.host, candidate.port


async def send_all(send: Callable[[bytes], object], datagrams: list[bytes]) -> None:
    """Not more at once than the receive buffer takes: what the kernel drops tests nothing."""
    for index, datagram in enumerate(datagrams):
        send(datagram)
        if index % 50 == 0:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_junk(run: Run, kind: Callable[[random.Random], bytes]) -> None:
    """From strangers, and as if its source was forged: nothing then tells it from the caller's but the keys."""

    async def story() -> None:
        async with a_call() as call:
            dice = random.Random(4)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                await send_all(lambda data: stranger.sendto(data, door(call)), [kind(dice) for _ in range(300)])
            assert dropped(call) >= 250, "they did arrive"
            callers = call.line._cables[0]._transport.get_extra_info("socket").fileno()
            with socket.socket(fileno=callers) as forged:
                await send_all(lambda data: forged.sendto(data, door(call)), [kind(dice) for _ in range(300)])
                forged.detach()
            assert kind in (junk_dtls, noise) or dropped(call) >= 500, "OpenSSL does not tell what it drops"
            await goes_on(call)
            assert call.peer.stats.packets_lost == 0

    run(story())


def dropped(call: Call) -> int:
    stats = call.peer.stats
    return stats.strangers_dropped + stats.malformed_dropped


@pytest.mark.parametrize("private", [False, True])
async def test_candidates_send_nobody_a_packet(private: bool) -> None:
    """A caller names an address inside our network, in its offer and later: somebody listens there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.setblocking(False)
        candidate = f"candidate:1 1 udp 2130706431 127.0.0.1 {listening.getsockname()[1]} typ host"
        offer = CHROME.replace("a=ice-ufrag", f"a={candidate}\na=ice-ufrag", 1)
        peer = Peer(Owner(), RATE_HZ, Network(addresses=("127.0.0.1",), private=private))
        try:
            await peer.answer(offer)
            await peer.add_candidates([candidate, candidate.replace("127.0.0.1", "::ffff:127.0.0.1")])
            if private:
                await asyncio.wait_for(asyncio.get_running_loop().sock_recv(listening, 100), 10)
            else:
                await asyncio.sleep(0.5)
                with pytest.raises(BlockingIOError):
                    listening.recv(100)
        finally:
            await peer.close()


def test_a_flood_of_everything_holds_no_memory(run: Run, more_sockets: MoreSockets) -> None:
    async def story() -> None:
        async with a_call() as call:
            dice = random.Random(5)
            datagrams = [dice.choice(KINDS)(dice) for _ in range(FLOOD)]
            strangers = list(more_sockets(50))
            await send_all(lambda data: dice.choice(strangers).sendto(data, door(call)), datagrams)
            tracemalloc.start()
            before, _ = tracemalloc.get_traced_memory()
            await send_all(lambda data: dice.choice(strangers).sendto(data, door(call)), datagrams)
            grown = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
            assert grown < 300_000, "bytes; audio and events of the call itself included"
            await goes_on(call)

    run(story())


def test_who_knows_the_password_cannot_grow_us(run: Run, more_sockets: MoreSockets) -> None:
    """The caller checks from a thousand ports. Each would be a candidate, a pair and a check of ours."""

    async def story() -> None:
        async with a_call() as call:
            ours = call.peer._ice
            assert ours is not None
            theirs = ice_of(call.line.connection)
            for _ in range(20):
                for each in more_sockets(50):
                    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
                    request.attributes = {
                        "USERNAME": f"{ours.local_username}:{theirs.local_username}",
                        "PRIORITY": 1,
                        "ICE-CONTROLLING": theirs._tie_breaker,
                    }
                    request.add_message_integrity(ours.local_password.encode())
                    each.sendto(bytes(request), door(call))
                await asyncio.sleep(0.005)
            await goes_on(call)
            assert len(ours.friends) <= MAX_FRIENDS
            assert len(ours._check_list) <= MAX_FRIENDS + 1
            assert len(ours.remote_candidates) <= MAX_FRIENDS + 1

    run(story())
