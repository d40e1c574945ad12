"""What `trunkline doctor` looks at for WebRTC: the UDP ports of calls, and the STUN and TURN servers that browsers are
told of. To each of those goes a binding request (RFC 8489), which needs no password."""

from __future__ import annotations

import contextlib
import errno
import secrets
import socket
import ssl
from collections.abc import Iterator
from typing import NamedTuple

from cli.checks import Finding
from gateway import turn
from trunkline.errors import SettingsError
from trunkline.settings import PREFIX, Settings

TRIES, WAIT_S = 3, 0.7
"""A request by UDP may be lost."""
CONNECT_S = 3.0
MAGIC_COOKIE = 0x2112A442
BINDING_REQUEST, BINDING_RESPONSE = 0x0001, 0x0101
HEADER_BYTES = 20
PORTS = {"stun": 3478, "turn": 3478, "stuns": 5349, "turns": 5349}
"""RFC 7064, 3.2, and RFC 7065, 3.2."""


class Server(NamedTuple):
    """A STUN or TURN URL, taken apart."""

    secure: bool
    host: str
    port: int
    by_tcp: bool


def udp_ports(found: Settings) -> Iterator[Finding]:
    """Whether calls can have the ports that they are given."""
    first, last = found.rtc_port_range
    wrong = []
    for address in found.rtc_bind_addresses or ("0.0.0.0",):
        why, taken = _taken(address, range(first, last + 1))
        if why:
            wrong.append(Finding("problem", "UDP", f"{address}: {why}", f"correct {PREFIX}RTC_ADDRESSES"))
        elif taken and taken == last - first + 1:
            text = f"{address}: every port from {first} to {last} is taken"
            wrong.append(Finding("problem", "UDP", text, f"name others in {PREFIX}RTC_PORTS"))
        elif taken:
            text = (
                f"{address}: {taken} of the ports from {first} to {last} are taken; by calls, if a gateway is running"
            )
            wrong.append(Finding("warning", "UDP", text, f"else name others in {PREFIX}RTC_PORTS"))
    if wrong:
        yield from wrong
    elif first:
        text = f"{first} to {last} are free: room for {last - first + 1} WebRTC calls at once on one machine"
        yield Finding("ok", "UDP", text, "let them through the firewall")
    else:
        yield Finding(
            "ok", "UDP", "any port", f"behind a firewall: {PREFIX}RTC_PORTS=40000-40100, and let those through"
        )


def ice_servers(found: Settings) -> Iterator[Finding]:
    """Whether the STUN and TURN servers are there."""
    try:
        turn.check(found)
    except SettingsError as error:
        yield Finding("problem", "TURN", str(error), "without it no browser can use them")
    for kind, urls in (("STUN", found.stun_server_urls), ("TURN", found.turn_server_urls)):
        for url in urls:
            why = _ask(_taken_apart(url))
            if why:
                advice = f"start it, correct {PREFIX}{kind}_URLS, or let it through the firewall"
                yield Finding("problem", kind, f"{url}: {why}", advice)
            else:
                yield Finding("ok", kind, f"{url} answers")
    if not found.turn_server_urls:
        text = "no server is named"
        yield Finding("ok", "TURN", text, f"callers behind strict firewalls need one: {PREFIX}TURN_URLS")


def _taken(address: str, ports: range) -> tuple[str, int]:
    """Why the address is none to bind, and how many of the ports are taken."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    taken = 0
    for port in ports:
        with socket.socket(family, socket.SOCK_DGRAM) as made:
            try:
                made.bind((address, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    return error.strerror or str(error), 0
                taken += 1
    return "", taken


def _taken_apart(url: str) -> Server:
    scheme, _, rest = url.partition(":")
    where, _, query = rest.partition("?")
    host, colon, port = where.rpartition(":")
    if not colon or where.endswith("]"):
        host, port = where, ""
    secure = scheme.endswith("s")
    return Server(secure, host.strip("[]"), int(port or PORTS[scheme]), secure or query == "transport=tcp")


def _ask(server: Server) -> str:
    """Why it is of no use; nothing if it answers."""
    transaction = secrets.token_bytes(12)
    request = b"".join((BINDING_REQUEST.to_bytes(2, "big"), bytes(2), MAGIC_COOKIE.to_bytes(4, "big"), transaction))
    try:
        answer = _by_tcp(server, request) if server.by_tcp else _by_udp(server, request)
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return error.strerror or str(error)
    right = answer[:2] == BINDING_RESPONSE.to_bytes(2, "big") and answer[8:HEADER_BYTES] == transaction
    return "" if right else "what answers there is no STUN server"


def _by_udp(server: Server, request: bytes) -> bytes:
    """The first datagram that comes back. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as asking:
        asking.settimeout(WAIT_S)
        asking.connect(address)
        for _ in range(TRIES):
            asking.send(request)
            with contextlib.suppress(TimeoutError):
                return asking.recv(2048)
    raise TimeoutError


def _by_tcp(server: Server, request: bytes) -> bytes:
    """The header of what comes back, or less. Raises OSError."""
    with contextlib.ExitStack() as stack:
        asking = stack.enter_context(socket.create_connection((server.host, server.port), CONNECT_S))
        if server.secure:
            context = ssl.create_default_context()
            asking = stack.enter_context(context.wrap_socket(asking, server_hostname=server.host))
        asking.sendall(request)
        answer = b""
        while len(answer) < HEADER_BYTES and (piece := asking.recv(2048)):
            answer += piece
        return answer
