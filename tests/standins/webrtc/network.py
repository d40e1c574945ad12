"""Between a peer of aiortc and its network: where it binds, what becomes of its packets, and vanishing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiortc import RTCPeerConnection

LOOPBACK = ("127.0.0.1",)


@dataclass(slots=True)
class Weather:
    """What happens to the RTP that a peer sends; the same seed gives the same fates. Shares are of 1."""

    loss: float = 0.0
    jitter_ms: float = 0.0
    """Each packet is late by between nothing and this; beyond 20 ms packets overtake each other."""

    reorder: float = 0.0
    """Share of packets that are held back behind the next one (30 ms)."""

    duplicate: float = 0.0
    seed: int = 1
    _dice: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def fates_ms(self) -> list[float]:
        """When the next packet goes out, after its time: never, once or twice."""
        lost, reordered, twice, late = (self._dice.random() for _ in range(4))
        if lost < self.loss:
            return []
        wait_ms = late * self.jitter_ms + (_HELD_MS if reordered < self.reorder else 0.0)
        return [wait_ms, wait_ms] if twice < self.duplicate else [wait_ms]


_HELD_MS = 30.0


class Cable:
    """In place of a UDP socket's transport: all that ICE, DTLS and SRTP send goes through `sendto`."""

    def __init__(self, protocol: Any, weather: Weather | None, sent: Callable[[bytes], None]) -> None:
        self._protocol, self._weather, self._sent = protocol, weather, sent
        self._transport, self._receive = protocol.transport, protocol.datagram_received
        self._loop = asyncio.get_running_loop()
        self.cut = False
        """Nothing goes out or comes in."""

        protocol.transport, protocol.datagram_received = self, self._received

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def sendto(self, data: bytes, addr: Any = None) -> None:
        if not _is_rtp(data):
            self._put(data, addr)
            return
        self._sent(data)
        for wait_ms in self._weather.fates_ms() if self._weather else (0.0,):
            if wait_ms:
                self._loop.call_later(wait_ms / 1000, self._put, data, addr)
            else:
                self._put(data, addr)

    def _put(self, data: bytes, addr: Any) -> None:
        if not self.cut and not self._transport.is_closing():
            self._transport.sendto(data, addr)

    def _received(self, data: bytes, addr: Any) -> None:
        if not self.cut:
            self._receive(data, addr)


def ice_of(connection: RTCPeerConnection) -> Any:
    """The aioice connection that carries it all (the audio's and, bundled, the data channels')."""
    transceivers = connection.getTransceivers()
    carrier: Any = transceivers[0].receiver if transceivers else connection.sctp
    assert carrier is not None, "a peer connection with neither audio nor data"
    return carrier.transport.transport._connection


def bind(connection: RTCPeerConnection, addresses: Sequence[str]) -> None:
    """Bind to these local addresses when candidates are gathered; none: to all but loopback, as aioice does."""
    if not addresses:
        return
    ice = ice_of(connection)
    gather = ice.get_component_candidates

    async def here(component: int, addresses: list[str], timeout: int = 5) -> Any:  # noqa: ASYNC109 - aioice's own
        return await gather(component, chosen, timeout)

    chosen = list(addresses)
    ice.get_component_candidates = here


def lay_cables(
    connection: RTCPeerConnection, weather: Weather | None = None, sent: Callable[[bytes], None] = lambda _: None
) -> list[Cable]:
    """Once candidates are gathered: one cable for each socket. `sent` is shown each SRTP packet, lost ones too."""
    return [Cable(protocol, weather, sent) for protocol in ice_of(connection)._protocols]


async def vanish(connection: RTCPeerConnection) -> None:
    """Close it so that nothing of that reaches the other side: no BYE, no close_notify, no answer any more."""
    for cable in lay_cables(connection):
        cable.cut = True
    await close(connection)


async def close(connection: RTCPeerConnection) -> None:
    """Close it in any state. One that is closed in the moment in which it connects asks for consent all the same:
    aioice begins to when `connect` returns, whatever was closed meanwhile."""
    ice = ice_of(connection)
    await connection.close()
    consent = ice._query_consent_task
    if consent is not None:
        consent.cancel()


def answer_nominations_only(connection: RTCPeerConnection) -> None:
    """Once a pair is nominated, ignore checks without USE-CANDIDATE, as OpenAI does (elixir-webrtc/ex_ice#110)."""
    ice = ice_of(connection)
    answer = ice.request_received
    nominated = False

    def received(message: Any, addr: Any, protocol: Any) -> None:
        nonlocal nominated
        nominates = "USE-CANDIDATE" in message.attributes
        nominated = nominated or nominates
        if nominates or not nominated:
            answer(message, addr, protocol)

    ice.request_received = received


def _is_rtp(data: bytes) -> bool:
    """RFC 7983: the first byte tells STUN, DTLS and RTP apart; RFC 5761: the second RTP from RTCP."""
    return len(data) > 12 and 128 <= data[0] < 192 and not 192 <= data[1] < 224
