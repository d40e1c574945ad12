"""ICE as a server speaks it: host candidates on the sockets we choose, and no packet to where nobody may make us send.

The protocol is aioice's. Ours: where sockets are bound; which remote candidates are believed; that no datagram of a
stranger does anything; that media skips aioice's queue; and who decides that the other side is gone (`pulse.py`).
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import secrets
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import aioice
from aioice import stun
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import CandidatePair, StunProtocol, get_host_addresses

from trunkline.errors import NoPortLeft, SettingsError
from trunkline.rtc.candidates import MAX_CANDIDATES, MAX_TOLD, may_be_tried, too_many_candidates
from trunkline.rtc.pulse import Beat, Pulse

RECEIVE_BUFFER_BYTES = 262_144
"""A packet of speech takes about 1 KiB of it, so that 2 s of a loop that stands still lose nothing."""

MAX_FRIENDS = 32
"""Addresses that the other side may send from in one call, each authenticated: it moves between networks, no more."""

MAX_WAITING = 256
"""DTLS datagrams that wait to be read."""

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Network:
    """Where media sockets are bound, and where packets may go.

    `addresses`: local addresses to bind; none means every one of this machine but loopback. `advertised`: the address
    that our candidates name instead (a 1:1 NAT); empty means the bound one. `ports`: first and last UDP port, both
    included; (0, 0) leaves the choice to the kernel. `private`: whether packets may go to remote candidates at
    loopback, private, link-local and mDNS addresses. Whoever sends us an authenticated check is answered at any
    address.
    """

    addresses: tuple[str, ...] = ()
    advertised: str = ""
    ports: tuple[int, int] = (0, 0)
    private: bool = False


def bind(network: Network, address: str) -> socket.socket:
    """A UDP socket at this address, on a free port of the range. Raises `NoPortLeft`, or `OSError` if it is not ours.

    What the machine has no more of (open files, most likely) is no fault of the address, and so a `NoPortLeft`, too.
    Which port is tried first is left to chance, so that what still comes for a call that has ended finds nobody.
    """
    try:
        return _bind(network, address)
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise NoPortLeft(f"no socket can be had for media: {error}") from error
        raise


def _bind(network: Network, address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    first, last = network.ports
    count = last - first + 1
    start = secrets.randbelow(count)
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for step in range(count):
            try:
                sock.bind((address, first + (start + step) % count))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return sock
        raise NoPortLeft(f"no UDP port from {first} to {last} is free at {address}")
    except BaseException:
        sock.close()
        raise


class IceSocket(StunProtocol):
    """One UDP socket of a call. What comes from strangers is dropped and counted, whatever it is.

    aioice alone lets any datagram through: an empty one ended a call, and malformed STUN raises out of
    `datagram_received`. In asyncio that is a line in the log, in uvloop the end of the socket. But for that, both loops
    serve: the InvalidStateError out of STUN's retries that pipecat#2488 reports with uvloop is gone with aioice 0.13
    (14,000 transactions on each loop with loss, duplicates, late answers, cancellations and stalls: none).
    """

    receiver: IceConnection

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        ice = self.receiver
        data = cast("bytes", data)
        if not data or not addr:
            ice.malformed += 1
            return
        source = (addr[0], addr[1])
        first = data[0]  # RFC 7983: 0..3 STUN, 20..63 DTLS, 128..191 RTP and RTCP
        if first < 4:
            self._stun(data, source)
        elif source not in ice.friends:
            ice.strangers += 1
        elif 128 <= first < 192:
            self._media(data)
        elif 20 <= first < 64:
            ice.data_received(data, 1)
        else:
            ice.malformed += 1

    async def close(self) -> None:
        self.transport.abort()  # what the kernel did not take by now is not waited for
        await super().close()

    def _media(self, data: bytes) -> None:
        try:
            self.receiver.media(data)
        except Exception as error:
            # A fault of ours: to be seen, but no reason for uvloop to close the socket, which is what it does.
            loop = asyncio.get_running_loop()
            loop.call_exception_handler({"message": "A datagram of media raised", "exception": error, "protocol": self})

    def _stun(self, data: bytes, source: Address) -> None:
        ice = self.receiver
        # A look without parsing first: a flood from strangers costs a search for 4 bytes each.
        if source not in ice.friends and ice.name not in data and data[8:20] not in self.transactions:
            ice.strangers += 1
            return
        try:
            message = stun.parse_message(data)
        except (ValueError, struct.error):
            ice.malformed += 1
            return
        if message.message_class == stun.Class.REQUEST:
            ice.request_received(message, source, self)
        elif message.message_class != stun.Class.INDICATION and ice.is_answer(message, source):
            transaction = self.transactions.get(message.transaction_id)
            if transaction is not None:
                transaction.response_received(message, source)


class IceConnection(aioice.Connection):
    """The ICE of one call, with one component.

    `media` is called in the datagram callback with what looks like SRTP or SRTCP and comes from an address that has
    sent an authenticated check. `lost` is called once, when the other side is.
    """

    def __init__(
        self, network: Network, *, controlling: bool, media: Callable[[bytes], None], lost: Callable[[], None]
    ) -> None:
        super().__init__(ice_controlling=controlling)
        self.media = media
        self.name = self.local_username.encode()
        self.friends: set[Address] = set()
        self.strangers = 0
        self.malformed = 0
        self.ignored = 0
        self.round_trip_s: float | None = None
        self.pulse = Pulse(asyncio.get_running_loop().time())
        self._network = network
        self._lost = lost
        self._told = 0
        self._tried = 0

    async def get_component_candidates(
        self,
        component: int,
        addresses: list[str],
        timeout: int = 5,  # noqa: ASYNC109 - aioice's signature; there is no STUN server to wait for
    ) -> list[aioice.Candidate]:
        """Binds the sockets, instead of aioice, which knows neither a port range nor an advertised address."""
        network = self._network
        candidates = []
        for preference, address in enumerate(_to_bind(network, addresses)):
            try:
                sock = bind(network, address)
            except OSError as error:
                if network.addresses:
                    raise SettingsError(f"no media socket can be bound to {address}: {error}") from None
                continue  # an address that went away since it was listed
            candidates.append(await self._listen(sock, component, 0xFFFF - preference))
        if not candidates:
            raise SettingsError("this machine has no address for media: name one (loopback is only used when named)")
        return candidates

    async def _listen(self, sock: socket.socket, component: int, preference: int) -> aioice.Candidate:
        loop = asyncio.get_running_loop()
        try:
            _, protocol = await loop.create_datagram_endpoint(lambda: IceSocket(self), sock=sock)
        except BaseException:
            sock.close()
            raise
        self._protocols.append(protocol)
        host, port = sock.getsockname()[:2]
        protocol.local_candidate = aioice.Candidate(
            foundation=candidate_foundation("host", "udp", host),
            component=component,
            transport="udp",
            priority=candidate_priority(component, "host", preference),
            host=self._network.advertised or host,
            port=port,
            type="host",
        )
        return protocol.local_candidate

    def admit(self, candidates: list[aioice.Candidate]) -> list[aioice.Candidate]:
        """Those of the remote candidates that are to be added. The rest is counted. Raises `ClientError` for too
        many.

        That there will be no more is never told to aioice: it would give up when none is left, while the other side's
        checks can still reach us (peer-reflexive, RFC 8445 section 7.3.1.3). The peer has a deadline of its own.
        """
        self._told += len(candidates)
        if self._told > MAX_TOLD:
            raise too_many_candidates()
        usable = [candidate for candidate in candidates if may_be_tried(candidate, self._network.private)]
        admitted = usable[: MAX_CANDIDATES - self._tried]
        self._tried += len(admitted)
        self.ignored += len(candidates) - len(admitted)
        return admitted

    async def add(self, candidates: list[aioice.Candidate]) -> None:
        """Admitted ones. Only those with an mDNS name take time: 1 s for all of them."""
        async with asyncio.TaskGroup() as group:
            for candidate in candidates:
                group.create_task(self._add(candidate), name="remote candidate")

    async def _add(self, candidate: aioice.Candidate) -> None:
        try:
            await self.add_remote_candidate(candidate)
        except OSError:
            self.ignored += 1  # nowhere to look its mDNS name up

    def request_received(self, message: stun.Message, addr: Address, protocol: StunProtocol) -> None:
        """A check. One that is not authenticated gets no answer, not even an error: we are nobody's reflector."""
        attributes = message.attributes
        if (
            message.message_method != stun.Method.BINDING
            or not self._valid_username(attributes.get("USERNAME", ""))
            or not message.check_message_integrity(self.local_password.encode())
        ):
            self.strangers += 1
        elif "PRIORITY" not in attributes:
            self.malformed += 1  # RFC 8445 section 7.1.1 requires it, and aioice takes it for granted
        elif self._befriend(addr):
            super().request_received(message, addr, protocol)

    def is_answer(self, message: stun.Message, source: Address) -> bool:
        """Whether a response is authentic. It may be late: the transaction is gone, and it is a sign of life all the
        same."""
        if self.remote_password is None or not message.check_message_integrity(self.remote_password.encode()):
            self.strangers += 1
            return False
        if self._befriend(source):
            self.pulse.answered(asyncio.get_running_loop().time())
        return True

    def _befriend(self, address: Address) -> bool:
        if address not in self.friends:
            if len(self.friends) >= MAX_FRIENDS:
                self.strangers += 1
                return False
            self.friends.add(address)
        self.pulse.heard(asyncio.get_running_loop().time())
        return True

    def data_received(self, data: bytes, component: int) -> None:
        if self._queue.qsize() >= MAX_WAITING:
            self.malformed += 1  # DTLS sends again what it needs
        else:
            super().data_received(data, component)

    def build_request(self, pair: CandidatePair, nominate: bool) -> stun.Message:
        """Questions after the pair was chosen carry USE-CANDIDATE too: OpenAI's agent answers no others."""
        return super().build_request(pair, nominate or (bool(self._nominated) and self.ice_controlling))

    async def query_consent(self) -> None:
        """Runs while connected, started by `connect`. Closing is the peer's part, not aioice's after 30 s."""
        loop = asyncio.get_running_loop()
        self.pulse = Pulse(loop.time())
        while True:
            beat = self.pulse.beat(loop.time())
            if beat is Beat.LOST:
                return self._lost()
            if beat is Beat.ASK:
                await self._ask()
            await asyncio.sleep(max(0.0, self.pulse.due_s - loop.time()))

    async def _ask(self) -> None:
        pair = self.selected
        if pair is None or self.remote_password is None:
            return
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await pair.protocol.request(
                self.build_request(pair, nominate=False),
                pair.remote_addr,
                integrity_key=self.remote_password.encode(),
                retransmissions=0,
            )
        except stun.TransactionTimeout:
            return  # `pulse` counts the questions that nobody answered
        except stun.TransactionFailed as failure:
            if failure.response.error_code == 487:
                self.switch_role(ice_controlling=not self.ice_controlling)
            return
        self.round_trip_s = loop.time() - began

    @property
    def selected(self) -> CandidatePair | None:
        """The pair that carries the call."""
        return self._nominated.get(1)

    @property
    def broken(self) -> bool:
        """Whether the socket of the selected pair is gone, which is no doing of the other side."""
        pair = self.selected
        return pair is None or pair.protocol.transport.is_closing()

    def transmit(self, data: bytes) -> None:
        """At once, without a task. Before a pair is chosen, and after the end, it goes nowhere."""
        pair = self._nominated.get(1)
        if pair is not None and not pair.protocol.transport.is_closing():
            pair.protocol.transport.sendto(data, pair.remote_addr)


def local_addresses(network: Network) -> list[str]:
    """Where a call has a socket each."""
    return _to_bind(network, get_host_addresses(use_ipv4=True, use_ipv6=True))


def _to_bind(network: Network, all_addresses: list[str]) -> list[str]:
    addresses = [address for address in all_addresses if not ipaddress.ip_address(address).is_loopback]
    advertised = network.advertised
    return [
        address
        for address in network.addresses or addresses
        if not advertised or (":" in advertised) == (":" in address)
    ]
