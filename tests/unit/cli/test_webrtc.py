"""`trunkline doctor` on WebRTC: ports that can be had, and servers that answer."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from cli import webrtc
from cli.checks import Finding
from trunkline.settings import Settings, load

LOCAL = "127.0.0.1"


def levels(findings: Iterator[Finding]) -> list[str]:
    return [finding.level for finding in findings]


@contextlib.contextmanager
def bound() -> Iterator[int]:
    """A UDP port that somebody has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs:
        theirs.bind((LOCAL, 0))
        yield theirs.getsockname()[1]


def on_ports(first: int, last: int) -> Settings:
    return load({}, rtc_addresses=LOCAL, rtc_ports=f"{first}-{last}")


def test_ports_that_can_be_had_are_counted() -> None:
    with bound() as port:
        pass
    (finding,) = webrtc.udp_ports(on_ports(port, port))
    assert finding.level == "ok"
    assert "room for 1 WebRTC call" in finding.found


def test_ports_that_are_taken() -> None:
    with bound() as port:
        (all_taken,) = webrtc.udp_ports(on_ports(port, port))
        (some_taken,) = webrtc.udp_ports(on_ports(port - 50, port))
    assert (all_taken.level, some_taken.level) == ("problem", "warning")
    assert all("TRUNKLINE_RTC_PORTS" in finding.advice for finding in (all_taken, some_taken))


def test_an_address_that_is_another_machines() -> None:
    (finding,) = webrtc.udp_ports(load({}, rtc_addresses="192.0.2.7"))
    assert finding.level == "problem"
    assert "192.0.2.7" in finding.found


def test_without_a_range_any_port_will_do() -> None:
    assert levels(webrtc.udp_ports(load({}))) == ["ok"]


# --- servers


def as_stun(request: bytes) -> bytes:
    """An answer without attributes, as far as doctor reads it."""
    return b"\x01\x01" + request[2:]


def as_another(request: bytes) -> bytes:
    return b"HTTP/1.1 400 Bad Request\r\n\r\n"


@contextlib.contextmanager
def udp_server(answer: Callable[[bytes], bytes], deaf: int = 0) -> Iterator[int]:
    """Answers datagrams, but for the first few."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((LOCAL, 0))

        def serve() -> None:
            ignored = 0
            while request := server.recvfrom(2048):
                if request[0] == b"stop":
                    return
                ignored += 1
                if ignored > deaf:
                    server.sendto(answer(request[0]), request[1])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stop:
                stop.sendto(b"stop", server.getsockname())
            thread.join()


@contextlib.contextmanager
def tcp_server(answer: Callable[[bytes], bytes]) -> Iterator[int]:
    """Answers one request."""
    with socket.create_server((LOCAL, 0)) as server:

        def serve() -> None:
            accepted, _ = server.accept()
            with accepted:
                said = answer(accepted.recv(2048))
                accepted.sendall(said[:7])
                accepted.sendall(said[7:])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            thread.join()


def turn(url: str) -> list[Finding]:
    return list(webrtc.ice_servers(load({}, turn_urls=url, turn_secret="x")))


def test_servers_that_answer() -> None:
    with udp_server(as_stun) as port, tcp_server(as_stun) as tcp_port:
        url = f"turn:{LOCAL}:{port}, turn:{LOCAL}:{tcp_port}?transport=tcp"
        assert levels(iter(turn(url))) == ["ok", "ok"]
        stun = list(webrtc.ice_servers(load({}, stun_urls=f"stun:{LOCAL}:{port}")))
        assert [finding.what for finding in stun] == ["STUN", "TURN"]
        assert levels(iter(stun)) == ["ok", "ok"]


def test_a_datagram_may_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc, "WAIT_S", 0.1)
    with udp_server(as_stun, deaf=1) as port:
        assert levels(iter(turn(f"turn:{LOCAL}:{port}"))) == ["ok"]


def test_servers_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc, "WAIT_S", 0.02)
    with bound() as mute, udp_server(as_another) as port, tcp_server(as_another) as tcp_port:
        with socket.create_server((LOCAL, 0)) as free:
            gone = free.getsockname()[1]
        for url, why in (
            (f"turn:{LOCAL}:{mute}", "no answer"),
            (f"turn:{LOCAL}:{port}", "no STUN server"),
            (f"turn:{LOCAL}:{tcp_port}?transport=tcp", "no STUN server"),
            (f"turn:{LOCAL}:{gone}?transport=tcp", "refused"),
        ):
            (finding,) = turn(url)
            assert finding.level == "problem"
            assert why in finding.found
            assert "TRUNKLINE_TURN_URLS" in finding.advice


def test_turn_without_a_secret() -> None:
    with udp_server(as_stun) as port:
        findings = list(webrtc.ice_servers(load({}, turn_urls=f"turn:{LOCAL}:{port}")))
    assert levels(iter(findings)) == ["problem", "ok"]
    assert "TRUNKLINE_TURN_SECRET" in findings[0].found


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("stun:s.example", (False, "s.example", 3478, False)),
        ("turns:t.example", (True, "t.example", 5349, True)),
        ("turn:t.example:99?transport=tcp", (False, "t.example", 99, True)),
        ("turn:[2001:db8::7]", (False, "2001:db8::7", 3478, False)),
        ("turns:[2001:db8::7]:443?transport=udp", (True, "2001:db8::7", 443, True)),
    ],
)
def test_urls(url: str, expected: tuple[bool, str, int, bool]) -> None:
    assert webrtc._taken_apart(url) == expected
