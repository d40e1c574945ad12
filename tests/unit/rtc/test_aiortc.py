"""Fails when aiortc or aioice changes under us, and says what to do.

We use private names of theirs, all listed here with the code that was read. If this fails after an upgrade: read what
changed in the named function, change `trunkline/rtc/` where it says so, then the list and VERSIONS.
"""

from __future__ import annotations

import inspect
from importlib.metadata import version
from typing import Any

import aioice
import pytest
from aioice import stun
from aioice.ice import CandidatePair, StunProtocol
from aiortc import RTCCertificate, RTCDtlsTransport, RTCIceGatherer, RTCIceTransport, RTCSctpTransport
from aiortc import rtp as aiortc_rtp
from aiortc.rtcsctptransport import DATA_CHANNEL_OPEN, WEBRTC_DCEP, InboundStream
from aiortc.sdp import SessionDescription

from trunkline.rtc.channels import Association
from trunkline.rtc.ice import IceConnection, IceSocket, Network

VERSIONS = {"aiortc": "1.16.0", "aioice": "0.13.0", "pylibsrtp": "1.0.0"}
"""What was read. pyproject.toml holds aiortc and aioice to their minor version."""

WHAT_TO_DO = "read its code again, then trunkline/rtc/{}, then bring this list up to date"

SIGNATURES: list[tuple[Any, str, str, str]] = [
    # of what, name, signature as read, where we rely on it
    (aioice.Connection, "add_remote_candidate", "(self, remote_candidate)", "ice.py"),
    (aioice.Connection, "gather_candidates", "(self)", "ice.py"),
    (aioice.Connection, "get_component_candidates", "(self, component, addresses, timeout=5)", "ice.py"),
    (aioice.Connection, "build_request", "(self, pair, nominate)", "ice.py"),
    (aioice.Connection, "query_consent", "(self)", "ice.py"),
    (aioice.Connection, "request_received", "(self, message, addr, protocol)", "ice.py"),
    (aioice.Connection, "data_received", "(self, data, component)", "ice.py"),
    (aioice.Connection, "switch_role", "(self, ice_controlling)", "ice.py"),
    (aioice.Connection, "_valid_username", "(self, username)", "ice.py"),
    (aioice.Connection, "close", "(self)", "ice.py"),
    (aioice.ice, "get_host_addresses", "(use_ipv4, use_ipv6)", "ice.py"),
    (StunProtocol, "datagram_received", "(self, data, addr)", "ice.py"),
    (StunProtocol, "request", "(self, request, addr, integrity_key=None, retransmissions=None)", "ice.py"),
    (StunProtocol, "close", "(self)", "ice.py"),
    (stun, "parse_message", "(data)", "ice.py"),
    (stun.Message, "check_message_integrity", "(self, key)", "ice.py"),
    (stun.Transaction, "response_received", "(self, message, addr)", "ice.py"),
    (RTCIceTransport, "start", "(self, remoteParameters)", "peer.py"),
    (RTCIceTransport, "stop", "(self)", "peer.py"),
    (RTCDtlsTransport, "start", "(self, remoteParameters)", "peer.py"),
    (RTCDtlsTransport, "stop", "(self)", "peer.py"),
    (RTCDtlsTransport, "_set_role", "(self, role)", "peer.py"),
    (RTCSctpTransport, "start", "(self, remoteCaps, remotePort)", "channels.py"),
    (RTCSctpTransport, "stop", "(self)", "channels.py"),
    (RTCSctpTransport, "_handle_data", "(self, data)", "channels.py"),
    (RTCSctpTransport, "_receive_data_chunk", "(self, chunk)", "channels.py"),
    (RTCSctpTransport, "_get_inbound_stream", "(self, stream_id)", "channels.py"),
    (RTCSctpTransport, "_data_channel_receive", "(self, stream_id, pp_id, data)", "channels.py"),
    (SessionDescription, "parse", "(sdp)", "sdp.py"),
    (aiortc_rtp.RtcpPacket, "parse", "(data)", "rtp.py"),
]

ATTRIBUTES = {
    "ice.py": (
        "_check_list _closing _early_checks _local_candidates _nominated _protocols _queue local_password "
        "local_username remote_password remote_username remote_is_lite ice_controlling"
    ),
    "peer.py": "_rx_srtp _tx_srtp _task _role _data_receiver",
    "channels.py": (
        "_advertised_rwnd _data_channels _inbound_streams _inbound_streams_max "
        "_last_received_tsn _remote_max_message_size _sack_misordered"
    ),
}


@pytest.mark.parametrize("package", VERSIONS)
def test_the_version_that_was_read(package: str) -> None:
    read = VERSIONS[package].rsplit(".", 1)[0]
    assert version(package).startswith(f"{read}."), f"{package} {version(package)} is not {read}: {__doc__}"


@pytest.mark.parametrize(("owner", "name", "signature", "where"), SIGNATURES, ids=lambda value: str(value)[:40])
def test_functions_that_we_call_or_replace(owner: Any, name: str, signature: str, where: str) -> None:
    function = getattr(owner, name, None)
    assert function is not None, f"{owner.__name__}.{name} is gone: " + WHAT_TO_DO.format(where)
    found = inspect.signature(function)
    bare = found.replace(
        parameters=[parameter.replace(annotation=parameter.empty) for parameter in found.parameters.values()],
        return_annotation=found.empty,
    )
    assert str(bare) == signature, f"{owner.__name__}.{name} takes {bare}: " + WHAT_TO_DO.format(where)


@pytest.fixture
async def parts() -> dict[str, object]:
    gatherer = RTCIceGatherer(iceServers=[])
    gatherer._connection = ice = IceConnection(Network(), controlling=False, media=lambda _: None, lost=lambda: None)
    transport = RTCIceTransport(gatherer)
    assert transport._connection is ice, "RTCIceTransport takes its connection elsewhere: " + WHAT_TO_DO.format(
        "peer.py"
    )
    dtls = RTCDtlsTransport(transport, [RTCCertificate.generateCertificate()])
    return {"ice.py": ice, "peer.py": dtls, "channels.py": Association(dtls)}


@pytest.mark.parametrize("where", ATTRIBUTES)
async def test_attributes_that_we_read(parts: dict[str, object], where: str) -> None:
    missing = [name for name in ATTRIBUTES[where].split() if not hasattr(parts[where], name)]
    assert not missing, f"{missing} of {type(parts[where]).__mro__[1].__name__} are gone: " + WHAT_TO_DO.format(where)


async def test_what_dtls_reads_and_sends_goes_through_our_connection(parts: dict[str, Any]) -> None:
    """RTCDtlsTransport awaits `transport._recv()` and `_send()`, which are the connection's `recv` and `send`."""
    transport = parts["peer.py"].transport
    assert transport._recv == parts["ice.py"].recv
    assert transport._send == parts["ice.py"].send


async def test_what_we_replace_is_called(parts: dict[str, Any]) -> None:
    """The names of what we override are found in what calls it: a renamed one would leave our override unused."""
    for caller, called in (
        (aioice.Connection.gather_candidates, "self.get_component_candidates("),
        (aioice.Connection.connect, "asyncio.create_task(self.query_consent())"),
        (aioice.Connection.check_start, "self.build_request(pair, nominate="),
        (aioice.Connection.recvfrom, "self._queue.get()"),
        (aioice.Connection.close, "await protocol.close()"),
        (RTCDtlsTransport._recv_next, "self._data_receiver._handle_data("),
        (RTCDtlsTransport._recv_next, "first_byte = data[0]"),
        (RTCSctpTransport._receive_chunk, "self._receive_data_chunk("),
        (RTCSctpTransport._receive_data_chunk, "self._get_inbound_stream(chunk.stream_id)"),
        (RTCSctpTransport._receive_forward_tsn_chunk, "self._get_inbound_stream(stream_id)"),
        (RTCSctpTransport._receive, "self._data_channel_receive("),
        (stun.Transaction._Transaction__retry, "if self.__future.done():"),  # type: ignore[attr-defined]
    ):
        where = "channels.py" if caller.__qualname__.startswith("RTCSctp") else "ice.py"
        assert called in inspect.getsource(caller), f"{caller.__qualname__} changed: " + WHAT_TO_DO.format(where)


def test_small_things() -> None:
    assert [state.name for state in CandidatePair.State] == ["FROZEN", "WAITING", "IN_PROGRESS", "SUCCEEDED", "FAILED"]
    assert (WEBRTC_DCEP, DATA_CHANNEL_OPEN) == (50, 3), WHAT_TO_DO.format("channels.py")
    assert InboundStream().reassembly == [], WHAT_TO_DO.format("channels.py")
    assert issubclass(IceSocket, StunProtocol)
    assert {method.name for method in stun.Class} == {"REQUEST", "INDICATION", "RESPONSE", "ERROR"}
