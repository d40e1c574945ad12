"""ICE: which sockets there are, who is believed, and that no datagram whatever does more than be counted."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from aioice import stun
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.errors import ClientError, SettingsError
from trunkline.rtc.candidates import MAX_CANDIDATES, parse_candidate
from trunkline.rtc.ice import MAX_FRIENDS, MAX_WAITING, IceConnection, IceSocket, Network

FRIEND = ("127.0.0.1", 40001)
STRANGER = ("127.0.0.1", 40002)
PASSWORD = "theirs-0123456789abcdefgh"


@pytest.fixture
async def ice() -> AsyncIterator[IceConnection]:
    connection = connect(Network(addresses=("127.0.0.1",)))
    await connection.gather_candidates()
    connection.remote_username, connection.remote_password = "them", PASSWORD
    yield connection
    await connection.close()


def connect(network: Network, media: list[bytes] | None = None) -> IceConnection:
    return IceConnection(network, controlling=False, media=(media or []).append, lost=lambda: None)


def check(ice: IceConnection, *, password: str = "", leave_out: str = "") -> bytes:
    """A connectivity check as the other side sends it."""
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    request.attributes = {
        "USERNAME": f"{ice.local_username}:them", "PRIORITY": 1853824767, "ICE-CONTROLLING": 1, "USE-CANDIDATE": None,
    }  # fmt: skip
    request.attributes.pop(leave_out, None)
    request.add_message_integrity((password or ice.local_password).encode())
    return bytes(request)


class Wire:
    """In place of a socket's transport."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Any]] = []

    def sendto(self, data: bytes, addr: Any = None) -> None:
        self.sent.append((data, addr))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...

    def abort(self) -> None: ...


@pytest.fixture
async def wired() -> tuple[IceConnection, IceSocket, Wire, list[bytes]]:
    media: list[bytes] = []
    connection = connect(Network())
    connection.media = media.append
    connection.remote_username, connection.remote_password = "them", PASSWORD
    sock, wire = IceSocket(connection), Wire()
    sock.transport = cast("asyncio.DatagramTransport", wire)
    sock.local_candidate = parse_candidate("candidate:1 1 udp 1 127.0.0.1 40000 typ host")
    connection._protocols.append(sock)
    return connection, sock, wire, media


async def test_sockets_are_bound_where_the_operator_says() -> None:
    connection = connect(Network(addresses=("127.0.0.1", "::1"), ports=(27_320, 27_339)))
    try:
        await connection.gather_candidates()
        told = {(candidate.host, candidate.type) for candidate in connection.local_candidates}
        assert told == {("127.0.0.1", "host"), ("::1", "host")}
        assert all(27_320 <= candidate.port <= 27_339 for candidate in connection.local_candidates)
        for protocol in connection._protocols:
            bound = protocol.transport.get_extra_info("socket")
            assert bound.getsockname()[:2] == (protocol.local_candidate.host, protocol.local_candidate.port)
            assert bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 200_000
    finally:
        await connection.close()


async def test_what_is_advertised_stands_for_what_is_bound() -> None:
    connection = connect(Network(addresses=("127.0.0.1", "::1"), advertised="203.0.113.1"))
    try:
        await connection.gather_candidates()
        assert [candidate.host for candidate in connection.local_candidates] == ["203.0.113.1"], "IPv4 stands for IPv4"
        (protocol,) = connection._protocols
        assert protocol.transport.get_extra_info("sockname")[0] == "127.0.0.1"
    finally:
        await connection.close()


async def test_loopback_is_used_only_when_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1", "127.0.1.1", "::1"])
    connection = connect(Network())
    with pytest.raises(SettingsError, match="no address for media"):
        await connection.gather_candidates()
    await connection.close()


async def test_an_address_that_is_not_ours_is_named() -> None:
    connection = connect(Network(addresses=("203.0.113.1",)))
    with pytest.raises(SettingsError, match=r"bound to 203\.0\.113\.1"):
        await connection.gather_candidates()
    await connection.close()


async def test_candidates_are_filtered_and_few(ice: IceConnection) -> None:
    inside = parse_candidate("candidate:1 1 udp 1 10.0.0.1 5000 typ host")
    public = [parse_candidate(f"candidate:1 1 udp 1 8.8.8.{n} 5000 typ host") for n in range(50)]
    assert ice.admit([inside, *public[:5]]) == public[:5]
    assert ice.admit(public[5:40]) == public[5:MAX_CANDIDATES]
    assert ice.admit(public[40:]) == []
    assert ice.ignored == 51 - MAX_CANDIDATES
    with pytest.raises(ClientError, match="More than 100"):
        ice.admit(public)


async def test_no_packet_goes_to_where_none_may(ice: IceConnection) -> None:
    """Somebody listens at loopback, and a caller names it, in every way there is to name it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.setblocking(False)
        port = listening.getsockname()[1]
        told = [
            parse_candidate(f"candidate:1 1 udp 2130706431 {host} {port} typ {kind}")
            for host in ("127.0.0.1", "::ffff:127.0.0.1", "localhost", "0.0.0.0", "x.local")
            for kind in ("host", "srflx", "relay")
        ]
        connecting = asyncio.create_task(ice.connect())
        await ice.add(ice.admit(told))
        await asyncio.sleep(0.3)
        with pytest.raises(BlockingIOError):
            listening.recv(100)
        ice._network = Network(private=True)
        await ice.add(ice.admit(told[:1]))
        await asyncio.wait_for(asyncio.get_running_loop().sock_recv(listening, 100), 10)
        await ice.close()
        with pytest.raises(ConnectionError):
            await connecting


Wired = tuple[IceConnection, IceSocket, Wire, list[bytes]]


async def test_a_check_makes_a_friend_whose_media_passes(wired: Wired) -> None:
    ice, sock, wire, media = wired
    packet = bytes([0x80, 111]) + bytes(20)
    sock.datagram_received(packet, FRIEND)
    assert (media, ice.strangers, wire.sent) == ([], 1, [])
    sock.datagram_received(check(ice), FRIEND)
    assert len(wire.sent) == 1
    assert stun.parse_message(wire.sent[0][0]).message_class == stun.Class.RESPONSE
    sock.datagram_received(packet, FRIEND)
    sock.datagram_received(packet, STRANGER)
    assert (media, ice.strangers, ice.malformed) == ([packet], 2, 0)


async def test_a_check_without_the_password_gets_no_answer(wired: Wired) -> None:
    """Not even an error: 20 bytes with a false source would make us send 48 to it."""
    ice, sock, wire, _ = wired
    sock.datagram_received(check(ice, password="a guess"), STRANGER)
    sock.datagram_received(check(ice).replace(ice.local_username.encode(), b"Nope"), STRANGER)
    sock.datagram_received(bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST)), STRANGER)
    sock.datagram_received(check(ice, leave_out="USERNAME"), STRANGER)
    assert (wire.sent, ice.strangers, ice.malformed, ice.friends) == ([], 4, 0, set())


async def test_a_check_without_priority_is_dropped(wired: Wired) -> None:
    """aioice would raise KeyError."""
    ice, sock, wire, _ = wired
    sock.datagram_received(check(ice, leave_out="PRIORITY"), STRANGER)
    assert (wire.sent, ice.malformed, ice.friends) == ([], 1, set())


async def test_friends_are_few_even_with_the_password(wired: Wired) -> None:
    ice, sock, wire, _ = wired
    for port in range(1, 1000):
        sock.datagram_received(check(ice), ("127.0.0.1", port))
    assert len(ice.friends) == len(wire.sent) == MAX_FRIENDS
    assert len(ice._early_checks) <= MAX_FRIENDS


async def test_dtls_that_nobody_reads_is_not_kept_for_ever(wired: Wired) -> None:
    ice, sock, _, _ = wired
    sock.datagram_received(check(ice), FRIEND)
    for _ in range(1000):
        sock.datagram_received(bytes([22]) + bytes(1000), FRIEND)
    assert ice._queue.qsize() == MAX_WAITING


async def test_answers_are_believed_by_their_password_alone(wired: Wired) -> None:
    """Late ones, too: the transaction is over after 0.5 s, and a satellite takes longer."""
    ice, sock, _, _ = wired
    sock.datagram_received(check(ice), FRIEND)
    heard_s = ice.pulse._heard_s = -1.0
    answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE)
    answer.attributes["XOR-MAPPED-ADDRESS"] = ("127.0.0.1", 1)
    answer.add_message_integrity(b"not the password")
    sock.datagram_received(bytes(answer), FRIEND)
    assert ice.pulse._heard_s == heard_s
    answer.add_message_integrity(PASSWORD.encode())
    sock.datagram_received(bytes(answer), FRIEND)
    assert ice.pulse._heard_s > heard_s
    assert ice.pulse._answers


def attribute(kind: int, value: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + bytes(-len(value) % 4)


KNOWN = sorted(stun.ATTRIBUTES_BY_TYPE)
MALFORMED_STUN = st.builds(
    lambda kind, attributes, lie: (
        kind.to_bytes(2, "big")
        + max(0, sum(map(len, attributes)) + lie).to_bytes(2, "big")
        + b"\x21\x12\xa4\x42"
        + bytes(12)
        + b"".join(attributes)
    ),
    st.sampled_from([0x0001, 0x0101, 0x0111, 0x0011, 0x0003, 0x3FFF]),
    st.lists(st.builds(attribute, st.sampled_from([*KNOWN, 0x7FFF]), st.binary(max_size=40)), max_size=6),
    st.sampled_from([0, 0, 0, 4, -4]),
)
CUT = st.builds(lambda data, size: data[:size], MALFORMED_STUN, st.integers(0, 200))


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.one_of(MALFORMED_STUN, CUT, st.binary(max_size=100)), friendly=st.booleans())
async def test_no_datagram_raises_or_is_answered(wired: Wired, data: bytes, friendly: bool) -> None:
    ice, sock, wire, _ = wired
    if friendly:
        ice.friends.add(FRIEND)
    sock.datagram_received(data, FRIEND if friendly else STRANGER)
    assert wire.sent == []
    assert STRANGER not in ice.friends
