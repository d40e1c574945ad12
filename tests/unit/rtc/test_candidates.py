"""Which remote candidates are believed."""

from __future__ import annotations

import pytest

from trunkline.errors import ClientError
from trunkline.rtc.candidates import may_be_tried, parse_candidate


def candidate(host: str, port: int = 54400, *, transport: str = "udp", component: int = 1, type: str = "host") -> str:
    return f"candidate:842163049 {component} {transport} 1677729535 {host} {port} typ {type} generation 0"


@pytest.mark.parametrize("prefix", ["", "a=", " a="])
def test_a_browsers_candidate(prefix: str) -> None:
    read = parse_candidate(
        f"{prefix}candidate:1 1 UDP 2122252543 203.0.113.7 54400 typ srflx raddr 10.0.0.1 rport 9\r\n"
    )
    assert (read.host, read.port, read.transport, read.type, read.priority, read.component) == (
        "203.0.113.7", 54400, "udp", "srflx", 2122252543, 1,
    )  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "candidate",
        "candidate:1 1 udp 2122252543 203.0.113.7 54400",
        "candidate:1 1 udp 2122252543 203.0.113.7 99999 typ host",
        "candidate:1 1 udp 99999999999 203.0.113.7 54400 typ host",
        "candidate:1 1 udp 4294967296 203.0.113.7 54400 typ host",
        "candidate:1 one udp 2122252543 203.0.113.7 54400 typ host",
        "candidate:1 1 udp 2122252543 203.0.113.7;ls 54400 typ host",
        "candidate:1 1 udp 2122252543 fe80::1%eth0 54400 typ host",
        "candidate:1 1 udp 2122252543 203.0.113.7 54400 typ host\r\na=ice-pwd:x",
        "candidate:1 1 udp 2122252543 203.0.113.7 54400 typ host " + "x" * 600,
        "\x00",
    ],
)
def test_no_candidate(line: str) -> None:
    with pytest.raises(ClientError) as refusal:
        parse_candidate(line)
    assert refusal.value.code == "bad_candidate"
    assert "candidate:1 1 udp" in refusal.value.hint


PUBLIC = ["8.8.8.8", "203.0.114.7", "2a00:1450:4001:80b::200e"]
INSIDE = [
    "127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.2.1",
    "198.18.0.1", "::1", "fe80::1", "fd00::2", "fec0::1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "64:ff9b::a00:1",
    "64:ff9b:1::a00:1", "::10.0.0.1", "2002:a00:1::1", "2001:0:0a00:1::1", "3bb6b4ad-c4a9-4949-8dc6-cb431c7475f0.local",
]  # fmt: skip
NOWHERE = ["0.0.0.0", "::", "255.255.255.255", "224.0.0.251", "ff02::fb", "example.com", "localhost", "1.2.3", "0x7f.1"]


@pytest.mark.parametrize("host", PUBLIC)
def test_public_addresses_are_tried(host: str) -> None:
    assert may_be_tried(parse_candidate(candidate(host)), private=False)


@pytest.mark.parametrize("host", INSIDE)
def test_addresses_inside_a_network_only_if_the_operator_says_so(host: str) -> None:
    assert not may_be_tried(parse_candidate(candidate(host)), private=False)
    assert may_be_tried(parse_candidate(candidate(host)), private=True)


@pytest.mark.parametrize("host", NOWHERE)
def test_no_host_address_is_never_tried(host: str) -> None:
    assert not may_be_tried(parse_candidate(candidate(host)), private=True)


@pytest.mark.parametrize(
    "line",
    [
        candidate("8.8.8.8", transport="tcp"),
        candidate("8.8.8.8", transport="ssltcp"),
        candidate("8.8.8.8", component=2),
        candidate("8.8.8.8", port=0),
        candidate("8.8.8.8", type="prflx"),
    ],
)
def test_what_cannot_be_used_is_no_error(line: str) -> None:
    assert not may_be_tried(parse_candidate(line), private=True)
