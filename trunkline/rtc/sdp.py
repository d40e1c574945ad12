"""What a call needs of SDP: an offer or answer read and judged, an answer or offer written. No I/O here.

A call is one audio section with Opus, and perhaps one data section, on one transport (BUNDLE, rtcp-mux). The values are
aiortc's to parse; before it sees anything, the text is bounded and cut down to the lines that are used, because its
parser raises whatever it likes, and takes a second for 64 KiB of the wrong kind of lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from aioice import Candidate
from aiortc import RTCDtlsParameters, RTCIceParameters
from aiortc.rtcdtlstransport import X509_DIGEST_ALGORITHMS
from aiortc.sdp import GroupDescription, MediaDescription, SessionDescription

from trunkline.errors import ClientError
from trunkline.rtc.candidates import MAX_TOLD, parse_candidate, too_many_candidates

MAX_BYTES = 65_536
MAX_LINES = 1_000
MAX_SECTIONS = 16
MAX_MESSAGE_BYTES = 65_536
"""What we tell the other side that a data channel message may have."""

OPUS = 111
"""The payload type that Chrome, Firefox and OpenAI use; it is ours when we make the offer."""

SCTP_PORT = 5000
USED = re.compile(
    r"[vostcm]=|a=(?:group|mid|ice-lite|ice-ufrag|ice-pwd|ice-options|fingerprint|setup|rtcp-mux|rtpmap|fmtp|sctp-port"
    r"|max-message-size|sendrecv|sendonly|recvonly|inactive)(?:[: ]|$)"
)
MID = re.compile(r"[!#-'*+\-.0-9A-Z^-~]{1,32}")
ICE_TOKEN = re.compile(r"[0-9A-Za-z+/]+")
FINGERPRINT = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})*")
AS_IT_IS = "Send RTCSessionDescription.sdp as the browser made it."

Setup = Literal["active", "passive", "actpass"]


@dataclass(frozen=True, slots=True)
class Section:
    """An m= section of theirs, as the answer must repeat it."""

    kind: str
    profile: str
    formats: str
    mid: str


@dataclass(frozen=True, slots=True)
class Remote:
    """What the other side's description says of the call."""

    ice: RTCIceParameters
    dtls: RTCDtlsParameters
    candidates: tuple[Candidate, ...]
    sections: tuple[Section, ...]
    audio: int
    """Index of the audio section that is used."""
    data: int | None
    """Index of the data section, if there is one."""
    bundle: tuple[str, ...]
    """Their mids in the group, in order; empty when nothing is bundled."""
    opus: int
    """Payload type."""
    sends: bool
    receives: bool
    trickle: bool
    sctp_port: int = SCTP_PORT
    max_message_bytes: int = MAX_MESSAGE_BYTES


@dataclass(frozen=True, slots=True)
class Local:
    """What our description says."""

    username: str
    password: str
    fingerprint: str
    """SHA-256, as `AB:CD:...`"""
    setup: Setup
    candidates: tuple[Candidate, ...]
    ssrc: int
    cname: str
    session: int = field(default=1)
    """The number in the o= line."""


def read_offer(text: str) -> Remote:
    """Raises `ClientError`: `bad_sdp`, `no_audio`, `no_opus`, `too_many_candidates` or `bad_candidate`."""
    return _read(text, "offer", usable_setups={"auto", "client", "server"})


def read_answer(text: str) -> Remote:
    """The same; an answer must have chosen its side of DTLS."""
    return _read(text, "answer", usable_setups={"client", "server"})


def _read(text: str, what: str, usable_setups: set[str]) -> Remote:
    lines = _bounded(text, what)
    session = _parse([line for line in lines if USED.match(line)], what)
    _check_mids(session.media, what)
    audio = _choose_audio(session.media, what)
    data = next((i for i, media in enumerate(session.media) if _is_data(media)), None)
    bundle = _bundle(session.group, session.media)
    if data is not None and not {session.media[i].rtp.muxId for i in (audio, data)} <= set(bundle):
        raise _bad(what, "audio and data are not in one BUNDLE group", "Offer them in one a=group:BUNDLE.")
    tagged = _tagged(session.media, audio, data, bundle)
    media = session.media[audio]
    if not media.rtcp_mux:
        raise _bad(what, "its audio section has no a=rtcp-mux", "Offer rtcp-mux: RTP and RTCP share one port.")
    transport = session.media[tagged]
    _check_transport(transport, what, usable_setups)
    assert transport.ice is not None
    assert transport.dtls is not None
    sctp = session.media[data] if data is not None else None
    sctp_port, max_message_bytes = _read_sctp(sctp, what)
    direction = media.direction or "sendrecv"
    return Remote(
        ice=transport.ice,
        dtls=transport.dtls,
        candidates=_candidates(lines, tagged),
        sections=tuple(
            Section(media.kind, media.profile, " ".join(map(str, media.fmt)), media.rtp.muxId)
            for media in session.media
        ),
        audio=audio,
        data=data,
        bundle=bundle,
        opus=_opus(media, what),
        sends=direction in {"sendrecv", "sendonly"},
        receives=direction in {"sendrecv", "recvonly"},
        trickle="trickle" in (transport.ice_options or "").split(),
        sctp_port=sctp_port,
        max_message_bytes=max_message_bytes,
    )


def _bounded(text: str, what: str) -> list[str]:
    """The lines, when they are few enough to look at. Candidates are counted while they are text."""
    if text.count("a=candidate:") > MAX_TOLD:
        raise too_many_candidates()
    if len(text) > MAX_BYTES or len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise _bad(what, f"it has more than {MAX_BYTES} bytes", "Offer one audio section and one data channel.")
    # `splitlines` as the parser does it: at some characters that are no line ends in SDP, too.
    lines = [line.strip() for line in text.splitlines()] or [""]
    if not lines[0].startswith("v=0"):
        raise _bad(what, f"it does not begin with v=0 but with {lines[0][:40]!r}", "Send RTCSessionDescription.sdp.")
    if sum(1 for line in lines if USED.match(line)) > MAX_LINES:
        raise _bad(what, f"it has more than {MAX_LINES} lines", "Offer one audio section and one data channel.")
    if sum(1 for line in lines if line.startswith("m=")) > MAX_SECTIONS:
        raise _bad(what, f"it has more than {MAX_SECTIONS} m= sections", "Offer one audio section and a data channel.")
    return _unfold_bundle_only(lines)


def _unfold_bundle_only(lines: list[str]) -> list[str]:
    """A section that is only used in its group has port 0 like a rejected one (RFC 9143 section 6); here it gets 9."""
    lines = lines.copy()
    head = None
    for index, line in enumerate(lines):
        if line.startswith("m="):
            head = index
        elif line == "a=bundle-only" and head is not None:
            lines[head] = re.sub(r"^(m=\S+) 0 ", r"\1 9 ", lines[head])
    return lines


def _parse(lines: list[str], what: str) -> SessionDescription:
    odd = next((line for line in lines if not line.isprintable()), None)
    if odd is not None:  # it would be said back, and logged
        raise _unreadable(what, odd)
    error = _parse_error(lines)
    if error is not None:
        # Which line it is: the parser does not say, but it fails as soon as it has read that far.
        few, many = 0, len(lines)
        while many - few > 1:
            middle = (few + many) // 2
            few, many = (few, middle) if _parse_error(lines[:middle]) is not None else (middle, many)
        raise _unreadable(what, lines[many - 1])
    return SessionDescription.parse("\r\n".join(lines))


def _unreadable(what: str, line: str) -> ClientError:
    return _bad(what, f"this line cannot be read: {line[:120]!r}", AS_IT_IS)


def _parse_error(lines: list[str]) -> Exception | None:
    try:
        SessionDescription.parse("\r\n".join(lines))
    except Exception as error:  # the parser raises whatever its expressions raise: assertions, indexes, attributes
        return error
    return None


def _check_mids(sections: list[MediaDescription], what: str) -> None:
    """The answer repeats them, and groups by them."""
    mids = [media.rtp.muxId for media in sections if media.rtp.muxId]
    for mid in mids:
        if not MID.fullmatch(mid) or mids.count(mid) > 1:
            raise _bad(what, f"{mid[:40]!r} is no mid, or that of two sections", "A mid is a short token, like 0.")


def _choose_audio(sections: list[MediaDescription], what: str) -> int:
    """The first audio section that is not rejected; with Opus, if there is one."""
    audio = [i for i, media in enumerate(sections) if media.kind == "audio" and media.port != 0]
    if not audio:
        others = " and ".join(sorted({media.kind for media in sections})) or "no section at all"
        raise ClientError(
            "no_audio",
            f"The {what} has no audio, only {others:.80}" if sections else f"The {what} has no section at all",
            "Add a microphone track, or a transceiver for audio: addTransceiver('audio', {direction: 'recvonly'}).",
        )
    chosen = next((i for i in audio if _opus_types(sections[i])), audio[0])
    if "SAVP" not in sections[chosen].profile:
        raise _bad(what, f"its audio is {sections[chosen].profile}, without DTLS-SRTP", "Offer UDP/TLS/RTP/SAVPF.")
    return chosen


def _is_data(media: MediaDescription) -> bool:
    """RFC 8841's form. The older one, with a=sctpmap, left browsers in 2018, and its section is rejected."""
    return media.kind == "application" and media.port != 0 and media.fmt == ["webrtc-datachannel"]


def _opus_types(media: MediaDescription) -> list[int]:
    offered = {int(number) for number in media.fmt}
    return [
        codec.payloadType
        for codec in media.rtp.codecs
        if codec.mimeType.lower() == "audio/opus" and codec.clockRate == 48_000 and codec.payloadType in offered
    ]


def _opus(media: MediaDescription, what: str) -> int:
    types = _opus_types(media)
    if not types:
        named = ", ".join(sorted({codec.mimeType.removeprefix("audio/") for codec in media.rtp.codecs})) or "none named"
        raise ClientError(
            "no_opus", f"The {what} has no Opus (codecs: {named:.80})", "Leave opus/48000/2 in the codecs."
        )
    return types[0]


def _bundle(groups: list[GroupDescription], sections: list[MediaDescription]) -> tuple[str, ...]:
    mids = {media.rtp.muxId for media in sections}
    named = next((group.items for group in groups if group.semantic == "BUNDLE"), [])
    return tuple(str(mid) for mid in named if mid in mids)


def _tagged(sections: list[MediaDescription], audio: int, data: int | None, bundle: tuple[str, ...]) -> int:
    """The section whose transport all share: the first of the group that is not rejected (RFC 9143 section 7.3.1)."""
    used = {sections[i].rtp.muxId: i for i in (audio, data) if i is not None}
    return next((used[mid] for mid in bundle if mid in used), audio)


def _check_transport(media: MediaDescription, what: str, usable_setups: set[str]) -> None:
    ice = media.ice
    if ice is None or not _ice_token(ice.usernameFragment, 4) or not _ice_token(ice.password, 22):
        raise _bad(what, "a=ice-ufrag (4 to 256) or a=ice-pwd (22 to 256 characters) is missing or wrong", AS_IT_IS)
    if media.dtls is None or media.dtls.role not in usable_setups:
        wanted = "active, passive or actpass" if what == "offer" else "active or passive"
        raise _bad(what, f"a=setup is missing, or is not {wanted}", AS_IT_IS)
    known = [(fingerprint.algorithm.lower(), fingerprint.value) for fingerprint in media.dtls.fingerprints]
    known = [(algorithm, value) for algorithm, value in known if algorithm in X509_DIGEST_ALGORITHMS]
    if not known:
        raise _bad(what, f"a=fingerprint is missing, or is none of {', '.join(X509_DIGEST_ALGORITHMS)}", AS_IT_IS)
    for algorithm, value in known:  # DTLS takes a certificate only if it has all of them
        if len(value) != 3 * X509_DIGEST_ALGORITHMS[algorithm].digest_size - 1 or not FINGERPRINT.fullmatch(value):
            raise _bad(what, f"this a=fingerprint is no {algorithm.upper()}: {value[:40]!r}", AS_IT_IS)


def _ice_token(value: str | None, least: int) -> bool:
    return value is not None and least <= len(value) <= 256 and ICE_TOKEN.fullmatch(value) is not None


def _read_sctp(sctp: MediaDescription | None, what: str) -> tuple[int, int]:
    """The port, and how long a message may be (RFC 8841 sections 5.1 and 6.1; 0 is any size)."""
    told = sctp.sctpCapabilities if sctp is not None else None
    port = (sctp.sctp_port if sctp is not None else None) or SCTP_PORT
    size = told.maxMessageSize if told is not None else MAX_MESSAGE_BYTES
    if not 0 < port <= 0xFFFF:
        raise _bad(what, f"a=sctp-port:{port!r:.20} is no port", AS_IT_IS)
    if size < 0:
        raise _bad(what, f"a=max-message-size:{size!r:.20} is no size", AS_IT_IS)
    return port, size


def _candidates(lines: list[str], section: int) -> tuple[Candidate, ...]:
    found = []
    index = -1
    for line in lines:
        if line.startswith("m="):
            index += 1
        elif index == section and line.startswith("a=candidate:"):
            found.append(parse_candidate(line))
    return tuple(found)


def _bad(what: str, why: str, hint: str) -> ClientError:
    return ClientError("bad_sdp", f"The {what} cannot be used: {why}", hint)


def write_answer(remote: Remote, local: Local) -> str:
    """Every section of theirs is answered in its place (RFC 9429 section 5.3.1); what is not used, is rejected."""
    used = [i for i in (remote.audio, remote.data) if i is not None]
    mids = [mid for mid in remote.bundle if mid in {remote.sections[i].mid for i in used}]
    lines = _session_lines(local, mids)
    for index, section in enumerate(remote.sections):
        if index == remote.audio:
            direction = _direction(sends=remote.receives, receives=remote.sends)
            lines += _audio_lines(local, section.profile, remote.opus, direction)
        elif index == remote.data:
            lines += _data_lines(local, section.profile)
        else:
            lines += [f"m={section.kind} 0 {section.profile} {section.formats}", "c=IN IP4 0.0.0.0", "a=inactive"]
        if section.mid:
            lines.append(f"a=mid:{section.mid}")
        if index in used:
            lines += _transport_lines(local, trickle=remote.trickle)
    return "".join(f"{line}\r\n" for line in lines)


def write_offer(local: Local) -> str:
    """Audio both ways, and a data section."""
    lines = _session_lines(local, ["0", "1"])
    lines += [*_audio_lines(local, "UDP/TLS/RTP/SAVPF", OPUS, "sendrecv"), "a=mid:0"]
    lines += _transport_lines(local)
    lines += [*_data_lines(local, "UDP/DTLS/SCTP"), "a=mid:1"]
    lines += _transport_lines(local)
    return "".join(f"{line}\r\n" for line in lines)


def _direction(*, sends: bool, receives: bool) -> str:
    return {(True, True): "sendrecv", (True, False): "sendonly", (False, True): "recvonly"}.get(
        (sends, receives), "inactive"
    )


def _session_lines(local: Local, mids: list[str]) -> list[str]:
    lines = ["v=0", f"o=- {local.session} 1 IN IP4 0.0.0.0", "s=-", "t=0 0"]
    if mids:
        lines.append(f"a=group:BUNDLE {' '.join(mids)}")
    return [*lines, "a=msid-semantic:WMS *"]


def _audio_lines(local: Local, profile: str, opus: int, direction: str) -> list[str]:
    lines = [
        f"m=audio {_port(local)} {profile} {opus}",
        _connection_line(local),
        "a=rtcp:9 IN IP4 0.0.0.0",
        "a=rtcp-mux",
        f"a={direction}",
        f"a=rtpmap:{opus} opus/48000/2",
        f"a=fmtp:{opus} minptime=10;useinbandfec=1",
        "a=ptime:20",
    ]
    if direction in {"sendrecv", "sendonly"}:
        lines += ["a=msid:trunkline voice", f"a=ssrc:{local.ssrc} cname:{local.cname}"]
    return lines


def _data_lines(local: Local, profile: str) -> list[str]:
    return [
        f"m=application {_port(local)} {profile} webrtc-datachannel",
        _connection_line(local),
        f"a=sctp-port:{SCTP_PORT}",
        f"a=max-message-size:{MAX_MESSAGE_BYTES}",
    ]


def _transport_lines(local: Local, *, trickle: bool = False) -> list[str]:
    """Each section repeats the transport that all share. Candidates needed no repeating (RFC 9143 section 7.1), but
    aiortc with `max-bundle` takes the last section's, and nobody minds."""
    return [
        *(f"a=candidate:{candidate.to_sdp()}" for candidate in local.candidates),
        "a=end-of-candidates",
        f"a=ice-ufrag:{local.username}",
        f"a=ice-pwd:{local.password}",
        *(["a=ice-options:trickle"] if trickle else []),
        f"a=fingerprint:sha-256 {local.fingerprint}",
        f"a=setup:{local.setup}",
    ]


def _port(local: Local) -> int:
    return local.candidates[0].port if local.candidates else 9


def _connection_line(local: Local) -> str:
    host = local.candidates[0].host if local.candidates else "0.0.0.0"
    return f"c=IN IP{6 if ':' in host else 4} {host}"
