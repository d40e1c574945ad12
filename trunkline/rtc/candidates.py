"""Remote ICE candidates: places where a stranger says that packets should go. Which are believed, and how many."""

from __future__ import annotations

import ipaddress
import re

from aioice import Candidate

from trunkline.errors import ClientError

MAX_CANDIDATES = 20
"""Remote candidates that are tried. Each is a place that a stranger can make us send to."""

MAX_TOLD = 100
"""Remote candidates that may be told: a caller with many networks and a VPN tells several dozen, TCP ones
included."""

MAX_CANDIDATE_CHARS = 512
CARRY_IPV4 = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")))
"""NAT64 (RFC 6052; RFC 8215, which translates to private addresses), and what was IPv4-compatible (RFC 4291)."""

CANDIDATE = re.compile(
    r"(?:a=)?(?:candidate:)?(?P<foundation>[0-9A-Za-z+/]{1,32}) (?P<component>[0-9]{1,3})"
    r" (?P<transport>[A-Za-z-]{1,16}) (?P<priority>[0-9]{1,10}) (?P<host>[0-9A-Za-z:._-]{1,255})"
    r" (?P<port>[0-9]{1,5}) typ (?P<type>[a-z]{1,16})(?: .*)?"
)
"""RFC 8839 section 5.1."""


def parse_candidate(line: str) -> Candidate:
    """A candidate as browsers write it, `candidate:...`, with or without `a=`. Anything else is a `ClientError`."""
    match = CANDIDATE.fullmatch(line.strip()) if len(line) <= MAX_CANDIDATE_CHARS else None
    if match is None or int(match["port"]) > 0xFFFF or int(match["priority"]) > 0xFFFFFFFF:
        raise ClientError(
            "bad_candidate",
            f"This is no ICE candidate: {line[:120]!r}",
            "Send RTCIceCandidate.candidate as it is: 'candidate:1 1 udp 2122260223 203.0.113.7 54400 typ host'.",
        )
    return Candidate(
        foundation=match["foundation"],
        component=int(match["component"]),
        transport=match["transport"].lower(),
        priority=int(match["priority"]),
        host=match["host"],
        port=int(match["port"]),
        type=match["type"],
    )


def may_be_tried(candidate: Candidate, private: bool) -> bool:
    """Whether packets may go to a candidate that was told to us. One without an address is never looked up in DNS."""
    if candidate.transport != "udp" or candidate.component != 1 or candidate.port == 0:
        return False
    if candidate.type not in {"host", "srflx", "relay"}:
        return False
    if candidate.host.endswith(".local"):
        return private
    try:
        address = ipaddress.ip_address(candidate.host)
    except ValueError:
        return False
    if address.is_multicast or address.is_unspecified or address == ipaddress.IPv4Address("255.255.255.255"):
        return False
    return private or _is_public(address)


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        translated = any(address in network for network in CARRY_IPV4)
        carries_any_ipv4 = translated or address.ipv4_mapped or address.sixtofour or address.teredo
        return address.is_global and not carries_any_ipv4 and not address.is_site_local
    return address.is_global


def too_many_candidates() -> ClientError:
    return ClientError(
        "too_many_candidates",
        f"More than {MAX_TOLD} ICE candidates were sent for one call",
        f"Send those of this call only; the first {MAX_CANDIDATES} usable ones are tried.",
    )
